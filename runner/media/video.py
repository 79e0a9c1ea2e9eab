"""What a result file is: proof that it is whole, and facts about it, from its own structure alone.

The formats: ISO/IEC 14496-12 for the boxes of MP4 and MOV, W3C PNG, ITU-T T.81 for JPEG. FFmpeg reads
a stranger's file in a process of its own (`pictures`), never in one that submits.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from runner.media.boxes import (
    MOST_BOXES,
    NotMediaError,
    Tables,
    UnprovenError,
    boxes,
    describe,
    find,
    numbers,
    read_at,
    read_fragments,
    read_samples,
    read_tables,
    read_times,
    top_boxes,
)
from runner.media.containers import read_matroska, recognise

_MOST_INDEX_BYTES = 16 << 20
"""A larger index (moov, moof) is refused: an hour at 60 fps needs about 4 MB."""
_MOST_TRACKS = 64
_MOST_PICTURE_BYTES = 16 << 20
_BLOCK = 1 << 20

_CODECS = {
    b"avc1": "h264",
    b"avc3": "h264",
    b"hvc1": "hevc",
    b"hev1": "hevc",
    b"av01": "av1",
    b"vp08": "vp8",
    b"vp09": "vp9",
    b"apch": "prores",
    b"apcn": "prores",
    b"apcs": "prores",
    b"apco": "prores",
    b"ap4h": "prores",
    b"jpeg": "mjpeg",
}
"""FFmpeg's names. `mp4v` is any of several codecs."""
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What is known of a file; None where it is not. `width` and `height` in pixels, `duration`
    in seconds, `fps` in frames a second. `codec` is FFmpeg's name of the picture's codec, or the file's
    four characters for it.
    """

    container: str
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    fps: float | None = None
    frames: int | None = None
    has_sound: bool | None = None


def has_pyav() -> bool:
    """Whether the `media` extra is installed."""
    return importlib.util.find_spec("av") is not None


@dataclass(frozen=True, slots=True)
class Index:
    """`samples` is how many an MP4 has in all its tracks, by its own word."""

    facts: MediaFacts
    samples: int


def probe(file: BinaryIO, *, has_kept_length: bool = True) -> MediaFacts:
    """Facts of a whole video, opened for reading; blocking. Raises NotMediaError.

    Of an MP4 or MOV the top-level boxes must add up to the file's length, with media data and an index
    that holds a video track and names no sample beyond the file's end. Of another container
    little is read. Without `has_kept_length` (a length that the server promised and kept) the file itself
    has to prove its end.
    """
    other = recognise(file, file.seek(0, io.SEEK_END))
    if other is None:
        return read_index(file, has_kept_length=has_kept_length).facts
    if not has_kept_length and not other.ends_where_it_says:
        raise UnprovenError(
            f"nothing proves that the {other.name} file is whole: the server promised no length, and the file"
            " does not tell its own"
        )
    if other.segment is None:
        return MediaFacts(other.name)
    found = read_matroska(file, other.segment)
    return MediaFacts(
        other.name,
        codec=found.codec,
        width=found.width,
        height=found.height,
        duration=found.duration,
        fps=found.fps,
        has_sound=found.has_sound,
    )


def read_index(file: BinaryIO, *, has_kept_length: bool = True) -> Index:
    """As `probe`, and the number of samples."""
    length = file.seek(0, io.SEEK_END)
    brand = moov = None
    fragments: list[bytes] = []
    room = _MOST_INDEX_BYTES
    has_data = False
    last = b""
    for last, start, size in top_boxes(file, length):
        if last == b"ftyp" and brand is None:
            brand = read_at(file, start, min(4, size))
        elif last == b"moof" or (last == b"moov" and moov is None):
            room -= size
            if room < 0:
                raise NotMediaError(f"the video's index claims more than {_MOST_INDEX_BYTES} bytes")
            content = read_at(file, start, size)
            if last == b"moof":
                fragments.append(content)
            else:
                moov = memoryview(content)
        elif last == b"mdat":
            has_data = True
    if moov is None:
        raise NotMediaError("the video has no index (moov)")
    if not has_data:
        raise NotMediaError("the video has no media data (mdat)")
    tracks = _tracks(moov)
    tables = [read_tables(track) for track in tracks]
    samples = list(map(read_samples, tracks, tables))
    end = max((each.end or 0 for each in samples), default=0)
    if end > length:
        raise NotMediaError(f"the video is cut off: its index goes on to byte {end} of {length}")
    facts, held = _facts(moov, tracks, tables, fragments)
    # a video in fragments ends with an index of them, where it has one
    is_full = all(each.end is not None for each in samples) and find(moov, b"mvex") is None and facts.frames
    if not has_kept_length and not is_full and last != b"mfra":
        raise NotMediaError(
            "nothing proves that the video is whole: the server promised no length, and the file's index"
            " does not name every sample"
        )
    container = "mov" if brand in (b"qt  ", None) else "mp4"
    return Index(replace(facts, container=container), sum(each.claimed for each in samples) + held)


def probe_image(file: BinaryIO) -> MediaFacts:
    """Facts of a whole PNG or JPEG file, opened for reading. Raises NotMediaError.

    Both formats mark their end, so that nothing else has to prove it.
    """
    length = file.seek(0, io.SEEK_END)
    head = read_at(file, 0, min(24, length))
    if head.startswith(_PNG):
        return _probe_png(file, length)
    if head.startswith(_JPEG):
        return _probe_jpeg(file, length)
    raise NotMediaError(f"neither a PNG nor a JPEG: {describe(head)}")


def _probe_png(file: BinaryIO, length: int) -> MediaFacts:
    position = len(_PNG)
    size_of_picture: tuple[int, int] | None = None
    for _ in range(MOST_BOXES):
        if position + 12 > length:
            break
        size, kind = struct.unpack(">I4s", read_at(file, position, 8))
        if position + 12 + size > length:
            break
        if not _is_intact(file, position + 4, size + 4):
            raise NotMediaError(f"the PNG is damaged at byte {position}")
        if kind == b"IHDR" and size >= 8:
            size_of_picture = struct.unpack(">II", read_at(file, position + 8, 8))
        position += 12 + size
        if kind == b"IEND" and position == length and size_of_picture is not None:
            width, height = size_of_picture
            return MediaFacts("png", codec="png", width=width, height=height)
    raise NotMediaError("the PNG is cut off, or something follows its end")


def _is_intact(file: BinaryIO, position: int, size: int) -> bool:
    """Whether `size` bytes have the CRC that follows them."""
    checksum = 0
    for start in range(position, position + size, _BLOCK):
        checksum = zlib.crc32(read_at(file, start, min(_BLOCK, position + size - start)), checksum)
    return checksum == int.from_bytes(read_at(file, position + size, 4))


def _probe_jpeg(file: BinaryIO, length: int) -> MediaFacts:
    """A thumbnail within has an end marker too, so the segments are walked."""
    if length > _MOST_PICTURE_BYTES:
        raise NotMediaError(f"a picture of {length} bytes")
    data = read_at(file, 0, length)
    end = 0
    while data.startswith(_JPEG, end):
        end = end_of_jpeg(data, end)
    if data[end:].strip(b"\0"):
        raise NotMediaError("something follows the end of the JPEG")
    return MediaFacts("jpeg", codec="mjpeg")


_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_RESTARTS = range(0xD0, 0xD8)


def end_of_jpeg(data: bytes, start: int) -> int:
    """The first byte behind the picture that begins at `start` (T.81, B.1)."""
    position = start + 2
    while position + 4 <= len(data) or data[position:] == b"\xff\xd9":
        fill, marker = data[position], data[position + 1]
        if fill != 0xFF:
            break
        if marker == _END_OF_IMAGE:
            return position + 2
        if marker == 0xFF:
            position += 1
            continue
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4]))
        if marker == _START_OF_SCAN:
            position = _end_of_scan(data, position)
    raise NotMediaError("the JPEG is cut off")


def _end_of_scan(data: bytes, position: int) -> int:
    """Where the next marker is; in coded data FF is followed by 00, or begins a restart."""
    while (position := data.find(b"\xff", position)) >= 0 and position + 1 < len(data):
        if data[position + 1] != 0 and data[position + 1] not in _RESTARTS:
            return position
        position += 2
    raise NotMediaError("the JPEG is cut off")


def _tracks(moov: memoryview) -> list[memoryview]:
    tracks = list(
        itertools.islice((content for kind, content in boxes(moov) if kind == b"trak"), _MOST_TRACKS + 1)
    )
    if len(tracks) > _MOST_TRACKS:
        raise NotMediaError(f"the video has more than {_MOST_TRACKS} tracks")
    return tracks


def _facts(
    moov: memoryview, tracks: Sequence[memoryview], tables: Sequence[Tables], fragments: Sequence[bytes]
) -> tuple[MediaFacts, int]:
    """Facts of the first video track, as FFmpeg gives them, and the samples that fragments claim for it."""
    headers = [find(track, b"mdia", b"hdlr") for track in tracks]
    handlers = [bytes(header[8:12]) if header is not None else b"" for header in headers]
    if b"vide" not in handlers:
        raise NotMediaError("there is no video track in the file")
    number = handlers.index(b"vide")
    entry = tables[number].get(b"stsd")
    if entry is None or not 16 <= numbers("I", entry, 8)[0] <= len(entry) - 8:
        raise NotMediaError("the video's index is broken")
    fourcc = bytes(entry[12:16])
    # the entry's own size: the track header's is that of the picture as it is shown
    width, height = numbers("HH", entry, 40) if len(entry) >= 44 else (0, 0)
    times = _read_times(moov, tracks[number], tables[number], fragments)
    facts = MediaFacts(
        container="mp4",
        codec=_CODECS.get(fourcc) or (fourcc.decode("ascii", "replace").rstrip() or None),
        width=width or None,
        height=height or None,
        duration=round(times.shown / times.scale, 6) if times.scale and times.shown else None,
        fps=round(times.frames * times.scale / times.ticks, 6) if times.scale and times.ticks else None,
        frames=times.frames or None,
        has_sound=b"soun" in handlers,
    )
    return facts, times.in_fragments


@dataclass(slots=True)
class _Times:
    """Times of one track in ticks, `scale` of them a second; 0 is unknown.

    All `frames` last `ticks`; the edit list shows the track for `shown`.
    """

    scale: int = 0
    frames: int = 0
    in_fragments: int = 0
    ticks: int = 0
    shown: int = 0


def _read_times(moov: memoryview, track: memoryview, tables: Tables, fragments: Sequence[bytes]) -> _Times:
    """What is readable of it: a file that plays is not refused for how long it says it is."""
    times = _Times()
    with contextlib.suppress(NotMediaError):
        times.scale, said = _media_header(find(track, b"mdia", b"mdhd"))
        times.frames, times.ticks = read_times(tables)
        times.in_fragments, more = read_fragments(fragments, moov, track)
        times.frames, times.ticks = times.frames + times.in_fragments, times.ticks + more
        # in fragments the header tells of the first ones at most
        times.shown = min(filter(None, (times.ticks, 0 if times.in_fragments else said)), default=0)
        times.shown = min(filter(None, (times.shown, _ticks_shown(moov, track, times.scale))), default=0)
    return times


def _media_header(header: memoryview | None) -> tuple[int, int]:
    """Ticks a second, and how many the media header (mdhd, mvhd) says; 0 for what is unknown."""
    if header is None:
        return 0, 0
    is_long = numbers("B", header, 0) == (1,)
    scale, ticks = numbers("IQ", header, 20) if is_long else numbers("II", header, 12)
    # all ones: unknown
    return scale, 0 if ticks == (0xFFFFFFFFFFFFFFFF if is_long else 0xFFFFFFFF) else ticks


def _ticks_shown(moov: memoryview, track: memoryview, scale: int) -> int:
    """How long the edit list (elst) shows the track, at `scale` ticks a second; 0 where it does not say."""
    edits = find(track, b"edts", b"elst")
    own_scale, _ = _media_header(find(moov, b"mvhd"))
    if edits is None or not own_scale:
        return 0
    is_long = numbers("B", edits, 0) == (1,)
    step = 20 if is_long else 12
    shown = 0
    for at in range(8, min(8 + step * numbers("I", edits, 4)[0], len(edits)), step):
        length, begin = numbers("Qq" if is_long else "Ii", edits, at)
        if begin < 0:  # a wait before the media begins
            continue
        if length == 0:  # in fragments: all that follows
            return 0
        shown += length
    return (shown * scale + own_scale // 2) // own_scale
