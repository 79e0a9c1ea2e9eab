"""What a file is, by its own structure."""

from __future__ import annotations

import io
import os
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runner.media import video as media
from runner.media.boxes import NotMediaError
from runner.media.containers import SUFFIXES
from runner.media.video import MediaFacts, probe, probe_image
from tests.support.clips import make_clip


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


@pytest.mark.parametrize("fast", [True, False])
def test_the_boxes_tell_the_facts_of_a_real_clip(fast: bool) -> None:
    clip = make_clip(frames=18, fps=12, width=96, height=64, sound=True, fast=fast)
    assert probe(io.BytesIO(clip)) == MediaFacts(
        container="mp4", codec="h264", width=96, height=64, duration=1.5, fps=12.0, frames=18, has_sound=True
    )


def test_a_silent_clip_has_no_sound() -> None:
    assert probe(io.BytesIO(make_clip(frames=3))).has_sound is False


@pytest.mark.fault(41)
def test_every_cut_of_a_clip_is_refused(clip: bytes) -> None:
    """Index first, so that FFmpeg alone would take most cuts for a whole file."""
    for cut in [*range(0, 64), *range(64, len(clip), 501), len(clip) - 1]:
        with pytest.raises(NotMediaError):
            probe(io.BytesIO(clip[:cut]))


@pytest.mark.fault(41)
@pytest.mark.parametrize("tail", [b"\0", b"junk", b"<html>and a page behind it</html>"])
def test_something_behind_the_end_is_refused(clip: bytes, tail: bytes) -> None:
    with pytest.raises(NotMediaError):
        probe(io.BytesIO(clip + tail))


@pytest.mark.fault(41)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><p>gone", "HTML"),
        (b"\n  <html>", "HTML"),
        (b"<?xml version='1.0'?><Error/>", "XML"),
        (b'{"error": "no such key"}', "JSON"),
        (b"\x07E\xdf\xa3" + bytes(99), "unknown"),
        (b"\x1aE\xdf\xa3" + bytes(99), "broken at byte 0"),
        (box(b"ftyp", b"isom\0\0\0\0"), "no index"),
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", b""), "no media data"),
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", b"") + box(b"mdat", b"1"), "no video track"),
        (box(b"ftyp", b"isom\0\0\0\0") + box(b"moov", b"\0\0\0\1trak") + box(b"mdat", b"1"), "broken"),
    ],
)
def test_a_refusal_says_what_came_instead(content: bytes, words: str) -> None:
    with pytest.raises(NotMediaError, match=words):
        probe(io.BytesIO(content))


def test_a_box_may_have_a_long_size_or_run_to_the_end() -> None:
    """Both ways are the standard's for media data; a cut long box is still found."""
    clip = make_clip(frames=3, fast=True)
    at = clip.rindex(b"mdat") - 4
    content = clip[at + 8 :]
    long_size = clip[:at] + struct.pack(">I4sQ", 1, b"mdat", 16 + len(content)) + content
    to_the_end = clip[:at] + struct.pack(">I4s", 0, b"mdat") + content
    assert probe(io.BytesIO(long_size)).frames == 3
    assert probe(io.BytesIO(to_the_end)).frames == 3
    with pytest.raises(NotMediaError):
        probe(io.BytesIO(long_size[:-1]))


def test_an_index_that_claims_to_be_huge_is_not_read(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "_MOST_INDEX_BYTES", 100)
    with pytest.raises(NotMediaError, match="claims"):
        probe(io.BytesIO(clip))


@given(data=st.binary(max_size=200), at=st.integers(0, 2000))
@settings(max_examples=200)
def test_damage_anywhere_is_a_refusal_or_a_reading_and_never_a_crash(data: bytes, at: int) -> None:
    damaged = DAMAGEABLE[:at] + data + DAMAGEABLE[at + len(data) :]
    try:
        assert probe(io.BytesIO(damaged)).container in SUFFIXES
    except NotMediaError:
        return


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


def changed_at(clip: bytes, kind: bytes, offset: int, content: bytes) -> bytes:
    """The clip with `content` at `offset` in the content of its first box of this kind."""
    at = clip.index(kind) + 4 + offset
    return clip[:at] + content + clip[at + len(content) :]


@pytest.mark.fault(41)
@pytest.mark.parametrize("kind", [b"stsc", b"stts", b"stss"])
def test_a_table_that_claims_more_than_it_holds_is_refused(clip: bytes, kind: bytes) -> None:
    with pytest.raises(NotMediaError, match="broken"):
        probe(io.BytesIO(changed_at(clip, kind, 4, b"\xff" * 4)))


@pytest.mark.fault(41)
@pytest.mark.parametrize(("kind", "offset"), [(b"stco", 4), (b"stsd", 8)])
def test_an_index_without_chunks_or_a_description_is_refused(clip: bytes, kind: bytes, offset: int) -> None:
    with pytest.raises(NotMediaError, match="broken"):
        probe(io.BytesIO(changed_at(clip, kind, offset, bytes(4))))


@pytest.mark.parametrize("kind", [b"edts", b"elst", b"mdhd", b"mvhd", b"tkhd"])
def test_a_file_that_plays_is_not_refused_for_facts_that_are_broken(clip: bytes, kind: bytes) -> None:
    (size,) = struct.unpack_from(">I", clip, clip.index(kind) - 4)
    assert probe(io.BytesIO(changed_at(clip, kind, 0, b"\xff" * (size - 8)))).codec == "h264"


@pytest.mark.parametrize("table", [b"stsd", b"stbl"])
def test_an_index_without_a_description_is_refused(clip: bytes, table: bytes) -> None:
    with pytest.raises(NotMediaError, match="broken"):
        probe(io.BytesIO(clip.replace(table, b"free")))


def test_facts_that_the_index_leaves_out_are_unknown(clip: bytes) -> None:
    facts = probe(io.BytesIO(clip.replace(b"mdhd", b"free")))
    assert (facts.duration, facts.fps) == (None, None)
    assert probe(io.BytesIO(clip.replace(b"stts", b"free"))).frames is None
    assert probe(io.BytesIO(clip.replace(b"isom", b"qt  "))).container == "mov"


def test_a_codec_that_nobody_knows_is_no_reason_to_refuse(clip: bytes) -> None:
    """What was paid for is kept, and the file's own four characters are told."""
    assert probe(io.BytesIO(clip.replace(b"avc1", b"zzz9"))).codec == "zzz9"


def made_with(
    codec: str = "libx264",
    *,
    format: str = "mp4",
    rate: Fraction = Fraction(24),
    frames: int = 30,
    square: int = 0,
    sound: bool = False,
    **options: str,
) -> bytes:
    """A clip of 130x98 pixels; frame n is shown at n + square * n * n / 20."""
    out = io.BytesIO()
    with av.open(
        out, "w", format=format, options={key: str(value) for key, value in options.items()}
    ) as file:
        video = file.add_stream(codec, rate=rate, options={"g": "10", "x265-params": "log-level=none"})
        video.width, video.height, video.pix_fmt = 130, 98, "yuv420p"
        video.codec_context.thread_count = 1
        audio = file.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for number in range(frames):
            frame = av.VideoFrame(130, 98, "yuv420p")
            frame.planes[0].update(bytes([number * 8 % 256]) * frame.planes[0].buffer_size)
            frame.pts = number + square * number * number // 20
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        for start in range(0, 48_000 if audio is not None else 0, 960):
            silence = av.AudioFrame(format="s16", layout="mono", samples=960)
            silence.planes[0].update(bytes(silence.planes[0].buffer_size))
            silence.sample_rate, silence.pts, silence.time_base = 48_000, start, Fraction(1, 48_000)
            file.mux(audio.encode(silence))
        file.mux(audio.encode(None) if audio is not None else [])
    return out.getvalue()


def in_a_thread(make: Callable[[], bytes]) -> bytes:
    """Made in a thread that ends: SVT-AV1, run by root, gives the one that calls it real-time priority, for
    good. All processes that start there have it too, and the rest of the machine stands still for seconds.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


def turned(clip: bytes) -> bytes:
    """Shown upright, though it lies in the file: by the matrix and the size of the track header."""
    matrix = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    return changed_at(clip, b"tkhd", 40, matrix + struct.pack(">II", 98 << 16, 130 << 16))


def trimmed(clip: bytes, ticks: int) -> bytes:
    """By its edit list to so many thousandths of a second."""
    return changed_at(clip, b"elst", 8, struct.pack(">I", ticks))


def facts_of_ffmpeg(clip: bytes) -> MediaFacts:
    with av.open(io.BytesIO(clip), format="mp4") as file:
        video = file.streams.video[0]
        assert video.duration is not None
        assert video.time_base is not None
        assert video.average_rate is not None
        return MediaFacts(
            container="mp4",
            codec=video.codec_context.codec.canonical_name,
            width=video.codec_context.width,
            height=video.codec_context.height,
            duration=round(float(video.duration * video.time_base), 6),
            fps=round(float(video.average_rate), 6),
            # of fragments it counts none
            frames=sum(1 for packet in file.demux(video) if packet.size),
            has_sound=bool(file.streams.audio),
        )


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
CLIPS: Mapping[str, Callable[[], bytes]] = {
    "H.264": lambda: made_with(),
    "H.265": lambda: made_with("libx265"),
    "VP9": lambda: made_with("libvpx-vp9"),
    "AV1": lambda: in_a_thread(lambda: made_with("libsvtav1")),
    "with sound": lambda: made_with(sound=True),
    "30000/1001": lambda: made_with(rate=Fraction(30_000, 1001)),
    "one frame": lambda: made_with(frames=1),
    "without an edit list": lambda: made_with(use_editlist="0"),
    "variable rate": lambda: made_with(square=1),
    "H.265, variable rate": lambda: made_with("libx265", square=1),
    "MOV": lambda: made_with(format="mov"),
    "fragments": lambda: made_with(**FRAGMENTS),
    "fragments with sound": lambda: made_with(sound=True, **FRAGMENTS),
    "fragments, the first in the index": lambda: made_with(movflags="frag_keyframe"),
    "fragments, CMAF": lambda: made_with(movflags="cmaf+frag_keyframe"),
    "fragments, variable rate": lambda: made_with(square=1, **FRAGMENTS),
    "turned": lambda: turned(made_with()),
    "trimmed": lambda: trimmed(made_with(), 700),
    "trimmed by a tick": lambda: trimmed(made_with(), 1249),
    "an edit longer than the media": lambda: trimmed(made_with(), 5000),
}


@pytest.mark.parametrize("name", CLIPS)
def test_the_boxes_tell_what_ffmpeg_tells(name: str) -> None:
    clip = CLIPS[name]()
    facts = probe(io.BytesIO(clip))
    assert replace(facts, container="mp4") == facts_of_ffmpeg(clip)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how a thread is scheduled")
@pytest.mark.parametrize("name", CLIPS)
def test_making_a_clip_takes_the_processor_from_no_other_test(name: str) -> None:
    CLIPS[name]()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_fragments_that_only_claim_cost_nothing(clip: bytes) -> None:
    """A hundred thousand of them, each with a run of samples that are not there."""
    run = box(
        b"traf", box(b"tfhd", struct.pack(">II", 0, 1)) + box(b"trun", struct.pack(">II", 0, 0xFFFFFFFF))
    )
    many = clip + box(b"moof", run) * 50_000
    assert probe(io.BytesIO(many)).codec == "h264"
    with pytest.raises(NotMediaError, match="claims"):
        probe(io.BytesIO(clip + box(b"moof", bytes(65 << 20))))


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
def test_half_of_a_file_whose_last_box_reaches_to_the_end_is_refused(clip: bytes, share: float) -> None:
    """Also where a length was promised and kept: the index names bytes that are not there."""
    whole = to_the_end(clip)
    assert probe(io.BytesIO(whole), has_kept_length=False).frames == 12
    half = whole[: int(len(whole) * share)]
    for has_kept_length in (True, False):
        with pytest.raises(NotMediaError, match="cut off"):
            probe(io.BytesIO(half), has_kept_length=has_kept_length)
    with pytest.raises(NotMediaError, match="cut off"):
        probe(io.BytesIO(half))


@pytest.mark.fault(65)
@given(cut=st.integers(1, 20_000))
@settings(max_examples=60)
def test_no_shorter_file_is_proved_whole_without_a_promise(cut: int) -> None:
    for whole in (TO_THE_END, DAMAGEABLE, FRAGMENTED):
        with pytest.raises(NotMediaError):
            probe(io.BytesIO(whole[: max(0, len(whole) - cut)]), has_kept_length=False)


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
    assert probe(io.BytesIO(unsaid)).codec == "h264"
    with pytest.raises(NotMediaError, match="nothing proves"):
        probe(io.BytesIO(unsaid), has_kept_length=False)


@pytest.mark.fault(63)
@pytest.mark.parametrize(
    "kind", [b"mdhd", b"tkhd", b"hdlr", b"stsd", b"stsz", b"stsc", b"stco", b"dref", b"stts"]
)
def test_a_box_without_content_is_a_refusal_or_a_reading(clip: bytes, kind: bytes) -> None:
    """An empty `mdhd` ended the process at every start."""
    try:
        assert probe(io.BytesIO(emptied(clip, kind))).container == "mp4"
    except NotMediaError:
        return


@given(kind=st.sampled_from(sorted(set(KINDS))), content=st.binary(max_size=64), keep=st.booleans())
@settings(max_examples=100)
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
            assert probe(io.BytesIO(damaged), has_kept_length=has_kept_length).container in SUFFIXES
        except NotMediaError:
            continue


@pytest.mark.fault(66)
def test_millions_of_empty_boxes_are_refused_in_little_memory(clip: bytes) -> None:
    """200 MiB of them took 1.4 GiB; within the index they took as much."""
    many = box(b"free", b"") * 2_000_000
    at = clip.index(b"moov")
    within = (
        clip[: at - 4] + struct.pack(">I", 8 + len(many)) + b"moov" + many + clip[clip.rindex(b"mdat") - 4 :]
    )
    for content in (clip + many, within):
        file = io.BytesIO(content)
        tracemalloc.start()
        with pytest.raises(NotMediaError, match="boxes"):
            probe(file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * len(within if content is within else b"") + (1 << 20)


def test_more_tracks_than_anyone_makes_are_refused(clip: bytes) -> None:
    with pytest.raises(NotMediaError, match="tracks"):
        probe(io.BytesIO(with_tracks(clip, 100)))


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
@settings(max_examples=100)
def test_any_bytes_are_a_picture_or_a_refusal(data: bytes, head: bytes) -> None:
    try:
        probe_image(io.BytesIO(head + data))
    except NotMediaError:
        return


NOISE = picture("PNG")
TO_THE_END = to_the_end(DAMAGEABLE)
FRAGMENTED = in_fragments()
