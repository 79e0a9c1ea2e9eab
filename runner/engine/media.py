"""What a result file is: proof that it is whole, and facts about it.

The formats: ISO/IEC 14496-12 for the boxes of MP4 and MOV, W3C PNG, ITU-T T.81 for JPEG.
"""

from __future__ import annotations

import importlib.util
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

_MOST_INDEX_BYTES = 64 << 20
"""A moov box larger than this is no clip of ours: an hour at 60 fps needs about 4 MB."""

_CODECS = {
    b"avc1": "h264",
    b"avc3": "h264",
    b"hvc1": "hevc",
    b"hev1": "hevc",
    b"av01": "av1",
    b"vp09": "vp9",
    b"mp4v": "mpeg4",
}
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"


class NotMediaError(ValueError):
    """The bytes are not a whole file of the kind that was promised; the text says what they are."""


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What is known of a file; None where it is not. `width` and `height` in pixels, `duration`
    in seconds, `fps` in frames a second. `codec` is FFmpeg's name of the picture's codec.
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


def probe(file: BinaryIO) -> MediaFacts:
    """Facts of a whole MP4 or MOV file, opened for reading; blocking. Raises NotMediaError.

    The boxes are walked in any case: FFmpeg opens a file whose index stands first without a word
    about missing pictures. With PyAV its reading of the file must succeed as well.
    """
    facts = probe_boxes(file)
    return _probe_pyav(file, facts) if has_pyav() else facts


def probe_boxes(file: BinaryIO) -> MediaFacts:
    """Facts of an MP4 or MOV file from its boxes alone. Raises NotMediaError.

    The top-level boxes must add up to the file's length, with `ftyp` first, media data, and an
    index that holds a video track.
    """
    length = file.seek(0, io.SEEK_END)
    kinds: list[bytes] = []
    brand = b""
    index = b""
    for kind, start, size in _top_boxes(file, length):
        kinds.append(kind)
        if kind == b"ftyp":
            brand = _read_at(file, start, 4)
        elif kind == b"moov":
            if size > _MOST_INDEX_BYTES:
                raise NotMediaError(f"the video's index claims {size} bytes")
            index = _read_at(file, start, size)
    for needed, name in ((b"moov", "index"), (b"mdat", "media data")):
        if needed not in kinds:
            raise NotMediaError(f"the video has no {name} ({needed.decode()})")
    try:
        facts = _read_index(memoryview(index))
    except struct.error as error:
        raise NotMediaError("the video's index is broken") from error
    return replace(facts, container="mov" if brand == b"qt  " else "mp4")


def probe_image(file: BinaryIO) -> MediaFacts:
    """Facts of a whole PNG or JPEG file, opened for reading. Raises NotMediaError."""
    length = file.seek(0, io.SEEK_END)
    head = _read_at(file, 0, min(24, length))
    if head.startswith(_PNG):
        return _probe_png(file, length)
    if head.startswith(_JPEG):
        if not _read_at(file, max(0, length - 64), min(64, length)).rstrip(b"\0").endswith(b"\xff\xd9"):
            raise NotMediaError("the JPEG is cut off")
        return MediaFacts("jpeg", codec="mjpeg")
    raise NotMediaError(f"neither a PNG nor a JPEG: {_describe(head)}")


def _probe_png(file: BinaryIO, length: int) -> MediaFacts:
    width, height = struct.unpack(">II", _read_at(file, 16, 8))
    position = len(_PNG)
    while position + 12 <= length:
        size, kind = struct.unpack(">I4s", _read_at(file, position, 8))
        position += 12 + size
        if kind == b"IEND" and position == length:
            return MediaFacts("png", codec="png", width=width, height=height)
    raise NotMediaError("the PNG is cut off, or something follows its end")


def _probe_pyav(file: BinaryIO, facts: MediaFacts) -> MediaFacts:
    # imported here: an optional extra that takes 150 ms to load
    import av

    file.seek(0)
    try:
        # the format is given: FFmpeg's playlist readers would open addresses named in the file
        with av.open(file, format="mp4", metadata_errors="replace") as container:
            video = container.streams.video[0]
            if video.codec_context is None:
                # a codec newer than this FFmpeg; the boxes have been found whole
                return facts
            duration = video.duration * video.time_base if video.duration and video.time_base else None
            return MediaFacts(
                container=facts.container,
                codec=video.codec_context.name,
                width=video.codec_context.width,
                height=video.codec_context.height,
                duration=facts.duration if duration is None else round(float(duration), 6),
                fps=round(float(video.average_rate), 6) if video.average_rate else None,
                frames=video.frames or facts.frames,
                has_sound=bool(container.streams.audio),
            )
    except (av.FFmpegError, IndexError) as error:
        raise NotMediaError("FFmpeg cannot read the video") from error


def _top_boxes(file: BinaryIO, length: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, its size) of each top-level box."""
    position = 0
    while position < length:
        if length - position < 8:
            raise NotMediaError(_cut_or_foreign(file, position, length))
        size, kind = struct.unpack(">I4s", _read_at(file, position, 8))
        if position == 0 and kind != b"ftyp":
            raise NotMediaError(f"not an MP4: {_describe(_read_at(file, 0, min(64, length)))}")
        header = 8
        if size == 1 and length - position >= 16:
            (size,) = struct.unpack(">Q", _read_at(file, position + 8, 8))
            header = 16
        elif size == 0:
            # the standard's "to the end of the file"; the answer's length speaks for its end
            size = length - position
        if size < header or position + size > length:
            raise NotMediaError(_cut_or_foreign(file, position, length))
        yield kind, position + header, size - header
        position += size
    if length == 0:
        raise NotMediaError("the file is empty")


def _cut_or_foreign(file: BinaryIO, position: int, length: int) -> str:
    if position == 0:
        return f"not an MP4: {_describe(_read_at(file, 0, min(64, length)))}"
    return f"the video is cut off, or something else follows it, at byte {position} of {length}"


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, content) of each box inside another."""
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if size < 8 or position + size > len(data):
            raise NotMediaError("the video's index is broken")
        yield kind, data[position + 8 : position + size]
        position += size


def _find(data: memoryview, *path: bytes) -> memoryview | None:
    for kind, content in _boxes(data):
        if kind == path[0]:
            return content if len(path) == 1 else _find(content, *path[1:])
    return None


def _read_index(moov: memoryview) -> MediaFacts:
    tracks = [content for kind, content in _boxes(moov) if kind == b"trak"]
    handlers = [_handler(track) for track in tracks]
    if b"vide" not in handlers:
        raise NotMediaError("there is no video track in the file")
    track = tracks[handlers.index(b"vide")]
    has_sound = b"soun" in handlers
    duration = _duration(_find(track, b"mdia", b"mdhd"))
    table = _find(track, b"mdia", b"minf", b"stbl")
    entry = _find(table, b"stsd") if table is not None else None
    if table is None or entry is None:
        raise NotMediaError("the video's index is broken")
    sizes = _find(table, b"stsz")
    frames = struct.unpack_from(">I", sizes, 8)[0] if sizes is not None else None
    fourcc = bytes(entry[12:16])
    header = _find(track, b"tkhd")
    width, height = struct.unpack_from(">II", header, len(header) - 8) if header is not None else (0, 0)
    return MediaFacts(
        container="mp4",
        codec=_CODECS.get(fourcc) or (fourcc.decode("ascii", "replace") or None),
        width=width >> 16 or None,
        height=height >> 16 or None,
        duration=duration,
        fps=round(frames / duration, 6) if frames and duration else None,
        frames=frames or None,
        has_sound=has_sound,
    )


def _handler(track: memoryview) -> bytes:
    handler = _find(track, b"mdia", b"hdlr")
    return bytes(handler[8:12]) if handler is not None else b""


def _duration(header: memoryview | None) -> float | None:
    """Seconds from a media header (mdhd), version 0 or 1; None where it says unknown."""
    if header is None:
        return None
    scale, ticks = (
        struct.unpack_from(">IQ", header, 20) if header[0] == 1 else struct.unpack_from(">II", header, 12)
    )
    return round(ticks / scale, 6) if scale and ticks else None


def _read_at(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    data = file.read(size)
    if len(data) < size:
        raise NotMediaError("the file is cut off")
    return data


def _describe(head: bytes) -> str:
    """What the first bytes look like, without repeating them: they are a stranger's."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "it is an HTML page"
    if start.startswith(b"<"):
        return "it is an XML document"
    if start.startswith((b"{", b"[")):
        return "it is a JSON document"
    return "unknown bytes" if head else "the file is empty"
