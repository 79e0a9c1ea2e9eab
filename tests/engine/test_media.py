"""What a file is, with PyAV and without it."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runner.engine import media
from runner.engine.boxes import NotMediaError
from runner.engine.media import MediaFacts, probe, probe_boxes, probe_image
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
KINDS = [
    b"ftyp",
    b"moov",
    b"mvhd",
    b"trak",
    b"tkhd",
    b"mdia",
    b"mdhd",
    b"hdlr",
    b"minf",
    b"dinf",
    b"dref",
    b"stbl",
    b"stsd",
    b"stts",
    b"stsc",
    b"stsz",
    b"stco",
    b"mdat",
    b"edts",
    b"elst",
]


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


def to_the_end(clip: bytes) -> bytes:
    """The same clip with media data that reaches to the end of the file, wherever that is."""
    at = clip.rindex(b"mdat") - 4
    return clip[:at] + struct.pack(">I", 0) + clip[at + 4 :]


def in_fragments(*, frames: int = 24) -> bytes:
    """A fragmented MP4, one fragment a key frame, with an index of them (mfra) at its end."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=12, options={"g": "6"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def emptied(clip: bytes, kind: bytes) -> bytes:
    """The first box of this kind without content; what it held is padding now."""
    at = clip.index(kind) - 4
    (size,) = struct.unpack_from(">I", clip, at)
    return clip[:at] + box(kind, b"") + struct.pack(">I4s", size - 8, b"free") + clip[at + 16 :]


@pytest.mark.fault(65)
@pytest.mark.parametrize("share", [0.4, 0.7, 0.99])
def test_half_of_a_file_whose_last_box_reaches_to_the_end_is_refused(
    either_probe: Probe, clip: bytes, share: float
) -> None:
    """Also where a length was promised and kept: the index names bytes that are not there."""
    whole = to_the_end(clip)
    assert probe(io.BytesIO(whole), has_kept_length=False).frames == 12
    half = whole[: int(len(whole) * share)]
    for has_kept_length in (True, False):
        with pytest.raises(NotMediaError, match="cut off"):
            probe(io.BytesIO(half), has_kept_length=has_kept_length)
    with pytest.raises(NotMediaError, match="cut off"):
        either_probe(io.BytesIO(half))


@pytest.mark.fault(65)
@given(cut=st.integers(1, 20_000))
@settings(max_examples=60)
def test_no_shorter_file_is_proved_whole_without_a_promise(cut: int) -> None:
    for whole in (TO_THE_END, DAMAGEABLE, FRAGMENTED):
        with pytest.raises(NotMediaError):
            probe_boxes(io.BytesIO(whole[: max(0, len(whole) - cut)]), has_kept_length=False)


@pytest.mark.fault(65)
def test_fragments_are_proved_by_the_index_at_their_end_alone() -> None:
    """Each fragment is a whole box, so that a file cut between two of them adds up."""
    index = FRAGMENTED.rindex(b"mfra") - 4
    last = FRAGMENTED.rindex(b"moof") - 4
    assert probe(io.BytesIO(FRAGMENTED), has_kept_length=False).codec == "h264"
    for cut in (index, last):
        assert probe(io.BytesIO(FRAGMENTED[:cut])).codec == "h264"
        with pytest.raises(NotMediaError, match="nothing proves"):
            probe(io.BytesIO(FRAGMENTED[:cut]), has_kept_length=False)


@pytest.mark.parametrize("table", [b"stco", b"stsc", b"dref"])
def test_an_index_that_does_not_tell_where_its_samples_lie_proves_nothing(clip: bytes, table: bytes) -> None:
    unsaid = clip.replace(table, b"free")
    assert probe_boxes(io.BytesIO(unsaid)).codec == "h264"
    with pytest.raises(NotMediaError, match="nothing proves"):
        probe_boxes(io.BytesIO(unsaid), has_kept_length=False)


@pytest.mark.fault(63)
@pytest.mark.parametrize(
    "kind", [b"mdhd", b"tkhd", b"hdlr", b"stsd", b"stsz", b"stsc", b"stco", b"dref", b"stts"]
)
def test_a_box_without_content_is_a_refusal_or_a_reading(
    either_probe: Probe, clip: bytes, kind: bytes
) -> None:
    """An empty `mdhd` ended the process at every start."""
    try:
        assert either_probe(io.BytesIO(emptied(clip, kind))).container == "mp4"
    except NotMediaError:
        return


@given(kind=st.sampled_from(sorted(set(KINDS))), content=st.binary(max_size=64), keep=st.booleans())
@settings(max_examples=300)
def test_any_content_of_any_box_is_a_refusal_or_a_reading(kind: bytes, content: bytes, keep: bool) -> None:
    at = DAMAGEABLE.index(kind) - 4
    (size,) = struct.unpack_from(">I", DAMAGEABLE, at)
    content = content[: size - 16] if size >= 16 else b""
    rest = size - 16 - len(content)
    changed = (
        content + DAMAGEABLE[at + 8 + len(content) : at + size]
        if keep or rest < 0
        else content + struct.pack(">I4s", rest + 8, b"free") + bytes(rest)
    )
    head = DAMAGEABLE[at : at + 8] if keep or rest < 0 else struct.pack(">I4s", 8 + len(content), kind)
    damaged = DAMAGEABLE[:at] + head + changed + DAMAGEABLE[at + size :]
    for has_kept_length in (True, False):
        try:
            assert probe(io.BytesIO(damaged), has_kept_length=has_kept_length).container in ("mp4", "mov")
        except NotMediaError:
            continue


@pytest.mark.fault(66)
def test_millions_of_empty_boxes_are_refused_in_little_memory(either_probe: Probe, clip: bytes) -> None:
    """200 MiB of them took 1.4 GiB; within the index they took as much."""
    many = box(b"free", b"") * 4_000_000
    at = clip.index(b"moov")
    within = (
        clip[: at - 4] + struct.pack(">I", 8 + len(many)) + b"moov" + many + clip[clip.rindex(b"mdat") - 4 :]
    )
    for content in (clip + many, within):
        file = io.BytesIO(content)
        tracemalloc.start()
        with pytest.raises(NotMediaError, match="boxes"):
            either_probe(file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * len(within if content is within else b"") + (1 << 20)


def test_ffmpeg_makes_no_table_of_samples_that_a_small_file_only_claims(
    clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold 24 bytes for each of four thousand million; the boxes are read by themselves."""
    at = clip.index(b"stsz") + 8
    claims = clip[:at] + struct.pack(">II", 1, 0xFFFFFFFF) + clip[at + 8 :]

    def must_not(*_: object, **__: object) -> None:
        raise AssertionError("FFmpeg was asked")

    monkeypatch.setattr("av.open", must_not)
    assert probe(io.BytesIO(claims)).frames == 0xFFFFFFFF
    with pytest.raises(NotMediaError):
        probe(io.BytesIO(claims), has_kept_length=False)


def test_whatever_a_library_raises_over_foreign_bytes_is_a_refusal(
    clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise AttributeError("a defect of a library")

    monkeypatch.setattr("av.open", break_down)
    with pytest.raises(NotMediaError, match="AttributeError"):
        probe(io.BytesIO(clip))


def test_more_tracks_than_anyone_makes_are_refused(either_probe: Probe, clip: bytes) -> None:
    with pytest.raises(NotMediaError, match="tracks"):
        either_probe(io.BytesIO(with_tracks(clip, 100)))


def with_tracks(clip: bytes, tracks: int) -> bytes:
    at = clip.index(b"moov") - 4
    (size,) = struct.unpack_from(">I", clip, at)
    more = box(b"trak", b"") * tracks
    return (
        clip[:at] + struct.pack(">I", size + len(more)) + clip[at + 4 : at + size] + more + clip[at + size :]
    )


@pytest.mark.fault(65)
def test_a_thumbnail_s_end_is_not_the_end_of_a_jpeg() -> None:
    """A JPEG that is cut right behind the thumbnail in its head ends with an end marker."""
    thumbnail = picture("JPEG")
    whole = picture("JPEG")
    head = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    held = whole[:2] + head + whole[2:]
    assert probe_image(io.BytesIO(held)).container == "jpeg"
    assert probe_image(io.BytesIO(held + picture("JPEG"))).container == "jpeg"
    with pytest.raises(NotMediaError):
        probe_image(io.BytesIO(held[: 2 + len(head)]))
    with pytest.raises(NotMediaError, match="follows"):
        probe_image(io.BytesIO(held + b"<html>"))


@pytest.mark.fault(65)
@given(at=st.integers(8, 2000), byte=st.integers(1, 255))
@settings(max_examples=100)
def test_a_changed_byte_of_a_png_is_found(at: int, byte: int) -> None:
    at = 8 + at % (len(NOISE) - 8)
    changed = NOISE[:at] + bytes([NOISE[at] ^ byte]) + NOISE[at + 1 :]
    with pytest.raises(NotMediaError):
        probe_image(io.BytesIO(changed))


def test_a_png_of_many_chunks_is_read_with_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = struct.pack(">I4s", 0, b"tEXt") + struct.pack(">I", zlib.crc32(b"tEXt"))
    monkeypatch.setattr(media, "MOST_BOXES", 100)
    with pytest.raises(NotMediaError):
        probe_image(io.BytesIO(NOISE[:33] + chunk * 200 + NOISE[33:]))


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8\xff\xda"]),
)
@settings(max_examples=300)
def test_any_bytes_are_a_picture_or_a_refusal(data: bytes, head: bytes) -> None:
    try:
        probe_image(io.BytesIO(head + data))
    except NotMediaError:
        return


NOISE = picture("PNG")
TO_THE_END = to_the_end(DAMAGEABLE)
FRAGMENTED = in_fragments()
