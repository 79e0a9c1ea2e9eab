"""What a file is, with PyAV and without it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runner.engine import media
from runner.engine.media import MediaFacts, NotMediaError, probe, probe_boxes, probe_image
from tests.support.clips import make_clip

Probe = Callable[[io.BytesIO], MediaFacts]


@pytest.fixture(params=["with PyAV", "without PyAV"])
def either_probe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Probe:
    """The public probe, on a machine with the extra and on one without."""
    if request.param == "without PyAV":
        monkeypatch.setattr(media, "has_pyav", lambda: False)
    return probe


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


@pytest.mark.parametrize("fast", [True, False])
def test_both_probes_say_the_same_of_a_real_clip(either_probe: Probe, fast: bool) -> None:
    clip = make_clip(frames=18, fps=12, width=96, height=64, sound=True, fast=fast)
    assert either_probe(io.BytesIO(clip)) == MediaFacts(
        container="mp4", codec="h264", width=96, height=64, duration=1.5, fps=12.0, frames=18, has_sound=True
    )


def test_a_silent_clip_has_no_sound(either_probe: Probe) -> None:
    assert either_probe(io.BytesIO(make_clip(frames=3))).has_sound is False


@pytest.mark.fault(41)
def test_every_cut_of_a_clip_is_refused(either_probe: Probe, clip: bytes) -> None:
    """Index first, so that FFmpeg alone would take most cuts for a whole file."""
    for cut in [*range(0, 64), *range(64, len(clip), 501), len(clip) - 1]:
        with pytest.raises(NotMediaError):
            either_probe(io.BytesIO(clip[:cut]))


@pytest.mark.fault(41)
@pytest.mark.parametrize("tail", [b"\0", b"junk", b"<html>and a page behind it</html>"])
def test_something_behind_the_end_is_refused(either_probe: Probe, clip: bytes, tail: bytes) -> None:
    with pytest.raises(NotMediaError):
        either_probe(io.BytesIO(clip + tail))


@pytest.mark.fault(41)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><p>gone", "HTML"),
        (b"\n  <html>", "HTML"),
        (b"<?xml version='1.0'?><Error/>", "XML"),
        (b'{"error": "no such key"}', "JSON"),
        (b"\x1aE\xdf\xa3" + bytes(99), "unknown"),
        (box(b"ftyp", b"isom\0\0\0\0"), "no index"),
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", b""), "no media data"),
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", b"") + box(b"mdat", b"1"), "no video track"),
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", b"\0\0\0\1trak") + box(b"mdat", b"1"), "broken"),
    ],
)
def test_a_refusal_says_what_came_instead(either_probe: Probe, content: bytes, words: str) -> None:
    with pytest.raises(NotMediaError, match=words):
        either_probe(io.BytesIO(content))


def test_a_box_may_have_a_long_size_or_run_to_the_end(either_probe: Probe) -> None:
    """Both ways are the standard's for media data; a cut long box is still found."""
    clip = make_clip(frames=3, fast=True)
    at = clip.rindex(b"mdat") - 4
    content = clip[at + 8 :]
    long_size = clip[:at] + struct.pack(">I4sQ", 1, b"mdat", 16 + len(content)) + content
    to_the_end = clip[:at] + struct.pack(">I4s", 0, b"mdat") + content
    assert probe_boxes(io.BytesIO(long_size)).frames == 3
    assert either_probe(io.BytesIO(to_the_end)).frames == 3
    with pytest.raises(NotMediaError):
        either_probe(io.BytesIO(long_size[:-1]))


def test_an_index_that_claims_to_be_huge_is_not_read(
    either_probe: Probe, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media, "_MOST_INDEX_BYTES", 100)
    with pytest.raises(NotMediaError, match="claims"):
        either_probe(io.BytesIO(clip))


@given(data=st.binary(max_size=200), at=st.integers(0, 2000))
@settings(max_examples=200)
def test_damage_anywhere_is_a_refusal_or_a_reading_and_never_a_crash(data: bytes, at: int) -> None:
    damaged = DAMAGEABLE[:at] + data + DAMAGEABLE[at + len(data) :]
    for read in (probe_boxes, probe):
        try:
            assert read(io.BytesIO(damaged)).container in ("mp4", "mov")
        except NotMediaError:
            continue


DAMAGEABLE = make_clip(frames=2, sound=True)


def test_what_ffmpeg_cannot_read_is_refused(clip: bytes) -> None:
    """The boxes add up, and the table that says where the pictures are is noise."""
    at = clip.index(b"stsc")
    broken = clip[: at + 8] + b"\xff" * 8 + clip[at + 16 :]
    assert probe_boxes(io.BytesIO(broken)).codec == "h264"
    with pytest.raises(NotMediaError, match="FFmpeg"):
        probe(io.BytesIO(broken))


@pytest.mark.parametrize("table", [b"stsd", b"stbl"])
def test_an_index_without_a_description_is_refused(either_probe: Probe, clip: bytes, table: bytes) -> None:
    with pytest.raises(NotMediaError, match="broken"):
        either_probe(io.BytesIO(clip.replace(table, b"free")))


def test_facts_that_the_index_leaves_out_are_unknown(clip: bytes) -> None:
    facts = probe_boxes(io.BytesIO(clip.replace(b"tkhd", b"free").replace(b"mdhd", b"free")))
    assert (facts.width, facts.height, facts.duration, facts.fps) == (None, None, None, None)
    assert probe_boxes(io.BytesIO(clip.replace(b"stsz", b"free"))).frames is None
    assert probe_boxes(io.BytesIO(clip.replace(b"isom", b"qt  "))).container == "mov"


def test_a_codec_that_ffmpeg_does_not_know_is_no_reason_to_refuse(clip: bytes) -> None:
    """What was paid for is kept; the facts are those of the boxes."""
    new = clip.replace(b"avc1", b"zzz9")
    assert probe(io.BytesIO(new)) == probe_boxes(io.BytesIO(new))
    assert probe(io.BytesIO(new)).codec == "zzz9"


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((40, 30), 90).save(out, kind)
    return out.getvalue()


def test_a_png_has_a_size_and_a_jpeg_an_end() -> None:
    assert probe_image(io.BytesIO(picture("PNG"))) == MediaFacts("png", codec="png", width=40, height=30)
    assert probe_image(io.BytesIO(picture("JPEG"))).container == "jpeg"
    assert probe_image(io.BytesIO(picture("JPEG") + b"\0\0")).container == "jpeg"


@pytest.mark.fault(41)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_cut_of_a_picture_is_refused(kind: str) -> None:
    whole = picture(kind)
    for cut in range(len(whole) - 1):
        with pytest.raises(NotMediaError):
            probe_image(io.BytesIO(whole[:cut]))
    if kind == "PNG":
        with pytest.raises(NotMediaError):
            probe_image(io.BytesIO(whole + b"tail"))


def test_a_page_is_no_picture() -> None:
    with pytest.raises(NotMediaError, match="HTML"):
        probe_image(io.BytesIO(b"<html>" + bytes(50)))


def test_a_real_file_is_probed_where_it_lies(tmp_path: Path, clip: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip)
    with (tmp_path / "clip.mp4").open("rb") as file:
        assert probe(file).codec == "h264"
