"""Videos that came in another container than MP4: which one, under which suffix, and whether it is whole.

The formats: RFC 9559 for Matroska and WebM, RFC 8794 for EBML beneath them, Microsoft's RIFF for AVI.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from runner.media.boxes import MOST_BOXES, NotMediaError, read_at

SUFFIXES: Final = {
    "mp4": ".mp4",
    "mov": ".mov",
    "webm": ".webm",
    "matroska": ".mkv",
    "avi": ".avi",
    "gif": ".gif",
    "flv": ".flv",
    "mpegts": ".ts",
    "mpeg": ".mpg",
}
"""By FFmpeg's name of the container, which stands in the manifest."""

_EBML = b"\x1a\x45\xdf\xa3"
_SIGNATURES: Final = {
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"FLV\x01": "flv",
    b"\x00\x00\x01\xba": "mpeg",
}
_TS_PACKET = 188

_CODECS = {
    "V_VP8": "vp8",
    "V_VP9": "vp9",
    "V_AV1": "av1",
    "V_MPEG4/ISO/AVC": "h264",
    "V_MPEGH/ISO/HEVC": "hevc",
}


@dataclass(frozen=True, slots=True)
class Container:
    """`ends_where_it_says`: whether the file's own sizes add up to its length; None where it has none.

    `segment` is where Matroska's content begins and ends.
    """

    name: str
    ends_where_it_says: bool | None = None
    segment: tuple[int, int] | None = None

    @property
    def demuxer(self) -> str:
        """FFmpeg's name of what reads it."""
        return "matroska" if self.name == "webm" else self.name


def recognise(file: BinaryIO, length: int) -> Container | None:
    """The container of a video that is not MP4 or MOV; None for what nobody would call a video.

    Raises NotMediaError where its own sizes go on beyond `length`.
    """
    head = read_at(file, 0, min(2 * _TS_PACKET, length))
    if head.startswith(_EBML):
        return _matroska(file, length)
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return Container("avi", ends_where_it_says=_end_of_riff(file, length))
    if head[:1] == head[_TS_PACKET : _TS_PACKET + 1] == b"\x47":
        return Container("mpegts")
    return next((Container(name) for start, name in _SIGNATURES.items() if head.startswith(start)), None)


def _end_of_riff(file: BinaryIO, length: int) -> bool:
    """OpenDML puts one RIFF behind another."""
    position = 0
    for _ in range(MOST_BOXES):
        if position + 8 > length:
            break
        kind, size = struct.unpack("<4sI", read_at(file, position, 8))
        if kind != b"RIFF":
            break
        position += 8 + size + size % 2
    if position > length:
        raise NotMediaError(f"the AVI is cut off: it goes on to byte {position} of {length}")
    return position == length


def _matroska(file: BinaryIO, length: int) -> Container:
    name, segment, end = "matroska", None, 0
    for kind, start, size in _elements(file, 0, length):
        if kind == 0x1A45DFA3 and size is not None:
            types = [
                read_at(file, at, min(length_of, 16))
                for child, at, length_of in _elements(file, start, start + size)
                if child == 0x4282 and length_of is not None
            ]
            name = "webm" if types and types[0].rstrip(b"\0") == b"webm" else "matroska"
        elif kind == 0x18538067:
            segment = start, length if size is None else start + size
        if size is None:
            return Container(name, None, segment)
        end = start + size
    if end > length:
        raise NotMediaError(f"the {name} file is cut off: it goes on to byte {end} of {length}")
    if segment is None:
        raise NotMediaError(f"the {name} file is cut off: there is nothing in it")
    return Container(name, end == length, segment)


@dataclass(frozen=True, slots=True)
class MatroskaFacts:
    """Of the first video track; None where the file does not say. `duration` in seconds."""

    codec: str | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    fps: float | None = None
    has_sound: bool | None = None


def read_matroska(file: BinaryIO, segment: tuple[int, int]) -> MatroskaFacts:
    """What the head of the file says; as far as it can be read, for a file that plays is not refused."""
    values: dict[int, bytes] = {}
    tracks: list[dict[int, bytes]] = []
    with contextlib.suppress(NotMediaError):
        for kind, start, size in _elements(file, *segment):
            if size is None or kind == 0x1F43B675:  # the first cluster: the head is behind us
                break
            if kind == 0x1549A966:
                values = _values(file, start, start + size)
            elif kind == 0x1654AE6B:
                tracks = [
                    _values(file, at, at + length)
                    for child, at, length in _elements(file, start, start + size)
                    if child == 0xAE and length is not None
                ]
    kinds = [_number(track.get(0x83)) for track in tracks]
    video = next((track for track, kind in zip(tracks, kinds, strict=True) if kind == 1), {})
    scale = _number(values.get(0x2AD7B1)) or 1_000_000
    ticks, frame = _float(values.get(0x4489)), _number(video.get(0x23E383))
    return MatroskaFacts(
        codec=_CODECS.get(video.get(0x86, b"").decode("ascii", "replace").rstrip("\0")),
        width=_number(video.get(0xB0)),
        height=_number(video.get(0xBA)),
        duration=round(ticks * scale / 1e9, 6) if ticks else None,
        fps=round(1e9 / frame, 6) if frame else None,
        has_sound=2 in kinds if tracks else None,
    )


_VIDEO = 0xE0
_MOST_VALUE = 64


def _values(file: BinaryIO, start: int, end: int) -> dict[int, bytes]:
    """The small elements between two bytes, those of a track's picture among them."""
    found: dict[int, bytes] = {}
    for kind, at, size in _elements(file, start, end):
        if size is None:
            break
        if kind == _VIDEO:
            found |= _values(file, at, at + size)
        elif size <= _MOST_VALUE:
            found.setdefault(kind, read_at(file, at, size))
    return found


def _number(value: bytes | None) -> int | None:
    return int.from_bytes(value) if value else None


def _float(value: bytes | None) -> float | None:
    if value is None or len(value) not in (4, 8):
        return None
    (number,) = struct.unpack(">f" if len(value) == 4 else ">d", value)
    return float(number) if 0 < number < 1e15 else None


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """(id, start of the content, its size; None for unknown) of each EBML element between two bytes.

    The last one may claim to go on beyond `end`. Raises NotMediaError for what is none.
    """
    position = start
    for _ in range(MOST_BOXES):
        if position >= end:
            return
        head = read_at(file, position, min(12, end - position))
        id_width = _width(head)
        size_width = _width(head[id_width:])
        if not id_width or id_width > 4 or not size_width or id_width + size_width > len(head):
            raise NotMediaError(f"the video is broken at byte {position}")
        coded = int.from_bytes(head[id_width : id_width + size_width])
        marker = 1 << 7 * size_width
        size = None if coded == 2 * marker - 1 else coded - marker
        content = position + id_width + size_width
        yield int.from_bytes(head[:id_width]), content, size
        if size is None:
            return
        position = content + size
    raise NotMediaError(f"the video has more than {MOST_BOXES} elements")


def _width(head: bytes) -> int:
    """The width of a number coded by RFC 8794, by its first byte; 0 where there is none."""
    return 9 - head[0].bit_length() if head and head[0] else 0
