"""What a result file is: proof that it is whole, and facts about it.

The formats: ISO/IEC 14496-12 for the boxes of MP4 and MOV, W3C PNG, ITU-T T.81 for JPEG.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import struct
import zlib
from dataclasses import dataclass, replace
from typing import BinaryIO

from runner.engine.boxes import (
    MOST_BOXES,
    NotMediaError,
    boxes,
    describe,
    find,
    numbers,
    read_at,
    read_samples,
    top_boxes,
)

_MOST_INDEX_BYTES = 64 << 20
"""A moov box larger than this is no clip of ours: an hour at 60 fps needs about 4 MB."""
_MOST_TRACKS = 64
_MOST_SAMPLES = 2_000_000
"""Nine hours at 60 fps. FFmpeg makes a table of all samples that an index claims, however small the file."""
_MOST_PICTURE_BYTES = 64 << 20
_BLOCK = 1 << 20

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


@dataclass(frozen=True, slots=True)
class _Index:
    """`end` is the first byte behind all samples, `samples` their number. `is_full`: every track's table
    was read, so that nothing can be missing where the file reaches to `end`.
    """

    facts: MediaFacts
    end: int
    samples: int
    is_full: bool


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


def probe(file: BinaryIO, *, has_kept_length: bool = True) -> MediaFacts:
    """Facts of a whole MP4 or MOV file, opened for reading; blocking. Raises NotMediaError.

    The boxes are walked in any case: FFmpeg opens a file whose index stands first without a word
    about missing pictures. With PyAV its reading of the file must succeed as well. Without
    `has_kept_length` (a length that the server promised and kept) the index has to prove the end.
    """
    index = _read_boxes(file, has_kept_length=has_kept_length)
    if index.samples > _MOST_SAMPLES or not has_pyav():
        return index.facts
    return _probe_pyav(file, index.facts)


def probe_boxes(file: BinaryIO, *, has_kept_length: bool = True) -> MediaFacts:
    """Facts of an MP4 or MOV file from its boxes alone. Raises NotMediaError.

    The top-level boxes must add up to the file's length, with `ftyp` first, media data, and an
    index that holds a video track and names no sample beyond the file's end.
    """
    return _read_boxes(file, has_kept_length=has_kept_length).facts


def _read_boxes(file: BinaryIO, *, has_kept_length: bool) -> _Index:
    length = file.seek(0, io.SEEK_END)
    brand = moov = None
    has_data = False
    last = b""
    for last, start, size in top_boxes(file, length):
        if last == b"ftyp" and brand is None:
            brand = read_at(file, start, min(4, size))
        elif last == b"moov" and moov is None:
            if size > _MOST_INDEX_BYTES:
                raise NotMediaError(f"the video's index claims {size} bytes")
            moov = read_at(file, start, size)
        elif last == b"mdat":
            has_data = True
    if moov is None:
        raise NotMediaError("the video has no index (moov)")
    if not has_data:
        raise NotMediaError("the video has no media data (mdat)")
    index = _read_index(memoryview(moov))
    if index.end > length:
        raise NotMediaError(f"the video is cut off: its index goes on to byte {index.end} of {length}")
    # a video in fragments ends with an index of them, where it has one
    if not has_kept_length and not index.is_full and last != b"mfra":
        raise NotMediaError(
            "nothing proves that the video is whole: the server promised no length, and the file's index"
            " does not name every sample"
        )
    return replace(index, facts=replace(index.facts, container="mov" if brand == b"qt  " else "mp4"))


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
        end = _end_of_jpeg(data, end)
    if data[end:].strip(b"\0"):
        raise NotMediaError("something follows the end of the JPEG")
    return MediaFacts("jpeg", codec="mjpeg")


_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_RESTARTS = range(0xD0, 0xD8)


def _end_of_jpeg(data: bytes, start: int) -> int:
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
    except Exception as error:  # whatever a library does with a stranger's bytes, they are the cause
        raise NotMediaError(f"FFmpeg cannot read the video ({type(error).__name__})") from error


def _read_index(moov: memoryview) -> _Index:
    tracks = list(
        itertools.islice((content for kind, content in boxes(moov) if kind == b"trak"), _MOST_TRACKS + 1)
    )
    if len(tracks) > _MOST_TRACKS:
        raise NotMediaError(f"the video has more than {_MOST_TRACKS} tracks")
    handlers = [_handler(track) for track in tracks]
    if b"vide" not in handlers:
        raise NotMediaError("there is no video track in the file")
    track = tracks[handlers.index(b"vide")]
    duration = _duration(find(track, b"mdia", b"mdhd"))
    table = find(track, b"mdia", b"minf", b"stbl")
    entry = find(table, b"stsd") if table is not None else None
    if table is None or entry is None:
        raise NotMediaError("the video's index is broken")
    tables = [read_samples(each) for each in tracks]
    sizes = find(table, b"stsz")
    frames = numbers("I", sizes, 8)[0] if sizes is not None else None
    fourcc = bytes(entry[12:16])
    header = find(track, b"tkhd")
    width, height = numbers("II", header, max(0, len(header) - 8)) if header is not None else (0, 0)
    return _Index(
        facts=MediaFacts(
            container="mp4",
            codec=_CODECS.get(fourcc) or (fourcc.decode("ascii", "replace") or None),
            width=width >> 16 or None,
            height=height >> 16 or None,
            duration=duration,
            fps=round(frames / duration, 6) if frames and duration else None,
            frames=frames or None,
            has_sound=b"soun" in handlers,
        ),
        end=max((samples.end or 0 for samples in tables), default=0),
        samples=sum(samples.claimed for samples in tables),
        is_full=bool(frames)
        and all(samples.end is not None for samples in tables)
        and find(moov, b"mvex") is None,
    )


def _handler(track: memoryview) -> bytes:
    handler = find(track, b"mdia", b"hdlr")
    return bytes(handler[8:12]) if handler is not None else b""


def _duration(header: memoryview | None) -> float | None:
    """Seconds from a media header (mdhd), version 0 or 1; None where it says unknown."""
    if header is None:
        return None
    is_long = numbers("B", header, 0) == (1,)
    scale, ticks = numbers("IQ", header, 20) if is_long else numbers("II", header, 12)
    return round(ticks / scale, 6) if scale and ticks else None
