"""Videos in other containers than MP4, made and muxed by FFmpeg."""

from __future__ import annotations

import io
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.media.boxes import NotMediaError, UnprovenError
from runner.media.containers import SUFFIXES
from runner.media.pictures import Wanted, read_picture
from runner.media.video import MediaFacts, probe
from tests.support.clips import make_other

FORMATS = {
    "webm": ("webm", "libvpx-vp9"),
    "matroska": ("matroska", "libx264"),
    "mov": ("mov", "libx264"),
    "avi": ("avi", "mpeg4"),
    "gif": ("gif", "gif"),
    "flv": ("flv", "flv"),
    "mpegts": ("mpegts", "libx264"),
    "mpeg": ("mpeg", "mpeg2video"),
}
PROVE_THEIR_END = {"webm", "matroska", "avi", "mov"}


@pytest.fixture(scope="module")
def clips() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return {name: make_other(Path(folder), muxer, codec) for name, (muxer, codec) in FORMATS.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_each_container_is_told_by_its_name(clips: dict[str, bytes], name: str) -> None:
    assert probe(io.BytesIO(clips[name])).container == name
    assert name in SUFFIXES


def test_the_head_of_a_webm_tells_its_facts(clips: dict[str, bytes]) -> None:
    facts = probe(io.BytesIO(clips["webm"]))
    assert facts == MediaFacts(
        "webm",
        codec="vp9",
        width=64,
        height=48,
        duration=pytest.approx(1.0, abs=0.01),
        fps=25.0,
        has_sound=False,
    )


@pytest.mark.fault(65)
@pytest.mark.parametrize("name", FORMATS)
def test_without_a_promised_length_the_file_has_to_prove_its_end(clips: dict[str, bytes], name: str) -> None:
    if name in PROVE_THEIR_END:
        assert probe(io.BytesIO(clips[name]), has_kept_length=False).container == name
    else:
        with pytest.raises(UnprovenError, match=name):
            probe(io.BytesIO(clips[name]), has_kept_length=False)


@pytest.mark.fault(41)
@pytest.mark.parametrize("name", ["webm", "matroska", "avi"])
def test_every_cut_is_refused_by_the_file_s_own_sizes(clips: dict[str, bytes], name: str) -> None:
    clip = clips[name]
    for cut in [*range(0, 80), *range(80, len(clip), 97), len(clip) - 1]:
        with pytest.raises(NotMediaError):
            probe(io.BytesIO(clip[:cut]))


def test_a_webm_of_unknown_size_is_whole_by_the_promised_length_alone(clips: dict[str, bytes]) -> None:
    """As a live encoder writes it, which cannot go back to fill the size in."""
    clip = clips["webm"]
    at = clip.index(b"\x18\x53\x80\x67") + 4
    live = clip[:at] + b"\x01" + b"\xff" * 7 + clip[at + 8 :]
    assert probe(io.BytesIO(live)).width == 64
    with pytest.raises(UnprovenError):
        probe(io.BytesIO(live), has_kept_length=False)


def test_quicktime_without_a_brand_is_quicktime(clips: dict[str, bytes]) -> None:
    clip = clips["mov"]
    (size,) = struct.unpack_from(">I", clip)
    old = struct.pack(">I4s", size, b"skip") + clip[8:]
    assert probe(io.BytesIO(old)).container == "mov"


@pytest.mark.parametrize("name", FORMATS)
def test_ffmpeg_makes_a_poster_of_each(clips: dict[str, bytes], name: str) -> None:
    picture = read_picture(io.BytesIO(clips[name]), Wanted.POSTER)
    assert (picture.image is not None, picture.why) == (True, "")


@pytest.mark.parametrize("name", ["webm", "avi", "gif"])
@given(data=st.data())
@settings(max_examples=60)
def test_damage_is_a_refusal_or_a_reading_and_never_a_crash(
    clips: dict[str, bytes], name: str, data: st.DataObject
) -> None:
    clip = clips[name]
    at = data.draw(st.integers(0, min(len(clip), 600)))
    noise = data.draw(st.binary(max_size=40))
    try:
        assert probe(io.BytesIO(clip[:at] + noise + clip[at + len(noise) :])).container in SUFFIXES
    except NotMediaError:
        return
