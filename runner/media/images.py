"""How large an image is, and that nothing of it is missing, by its own structure: nothing is decoded.

The formats: W3C PNG, ITU-T T.81 (JPEG), GIF89a, RFC 9649 (WebP), BMP as Windows writes it, TIFF 6.0, and
ISO/IEC 23008-12 (HEIF). A decoder would have to trust a stranger's bytes in the process that holds the key.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from runner.media.boxes import MOST_BOXES, NotMediaError
from runner.media.video import end_of_jpeg

_NOT_SIZES = frozenset({0xC4, 0xC8, 0xCC})
"""JPEG's markers from C0 to CF that do not begin a frame: tables (T.81, B.1.1.3)."""
_TIFF_NUMBERS = {1: "B", 3: "H", 4: "I"}
_WIDTH, _HEIGHT, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 256, 257, 273, 279, 324, 325


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Pixels."""

    width: int
    height: int


def measure(data: bytes, media_type: str) -> ImageSize | None:
    """The size of a whole image; None for a format that is not known here.

    Raises NotMediaError for one that is cut off or damaged.
    """
    reader = _READERS.get(media_type)
    if reader is None:
        return None
    try:
        width, height = reader(data)
    except (struct.error, IndexError):
        raise NotMediaError("the image is cut off") from None
    if not width or not height:
        raise NotMediaError("the image has no pixels")
    return ImageSize(width, height)


def _cut_off(at: int, length: int) -> NotMediaError:
    return NotMediaError(f"the image is cut off: it goes on to byte {at} of {length}")


def _png(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise NotMediaError("the image is damaged: it has no header")
    width, height = struct.unpack_from(">II", data, 16)
    position, has_pixels = 8, False
    for _ in range(MOST_BOXES):
        if position + 12 > len(data):
            break
        size, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + size
        if end > len(data):
            raise _cut_off(end, len(data))
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise NotMediaError(f"the image is damaged at byte {position}")
        has_pixels = has_pixels or kind == b"IDAT"
        if kind == b"IEND":
            break
        position = end
    else:
        raise NotMediaError("the image has too many parts")
    if position + 12 > len(data) or not has_pixels:
        raise NotMediaError("the image is cut off")
    return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    end = end_of_jpeg(data, 0)
    position = 2
    while position < end:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_SIZES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4]))
    raise NotMediaError("the image has no pixels")


def _gif(data: bytes) -> tuple[int, int]:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _colours(flags)
    while (kind := data[position : position + 1]) != b";":
        if kind == b",":
            position += 11 + _colours(data[position + 9])
        elif kind == b"!":
            position += 2
        else:
            raise NotMediaError("the image is cut off")
        while step := data[position]:
            position += 1 + step
        position += 1
    return width, height


def _colours(flags: int) -> int:
    """The bytes of a colour table."""
    return 3 << 1 + (flags & 7) if flags & 0x80 else 0


def _webp(data: bytes) -> tuple[int, int]:
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise _cut_off(end, len(data))
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    raise NotMediaError("the image has no pixels")


def _bmp(data: bytes) -> tuple[int, int]:
    start, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packed = 0
    else:
        width, height, _, bits, packed = struct.unpack_from("<iiHHI", data, 18)
    end = start + (width * bits + 31) // 32 * 4 * abs(height) if packed in (0, 3) else start + 1
    if end > len(data):
        raise _cut_off(end, len(data))
    return abs(width), abs(height)


def _tiff(data: bytes) -> tuple[int, int]:
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    found: dict[int, tuple[int, ...]] = {}
    for number in range(count):
        tag, kind, values = struct.unpack_from(f"{order}HHI", data, directory + 2 + 12 * number)
        if (letter := _TIFF_NUMBERS.get(kind)) is None or values > MOST_BOXES:
            continue
        layout = f"{order}{values}{letter}"
        at = directory + 10 + 12 * number
        if struct.calcsize(layout) > 4:
            (at,) = struct.unpack_from(f"{order}I", data, at)
        found[tag] = struct.unpack_from(layout, data, at)
    for starts, sizes in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        ends = map(sum, zip(found.get(starts, ()), found.get(sizes, ()), strict=False))
        if (end := max(ends, default=0)) > len(data):
            raise _cut_off(end, len(data))
    return found.get(_WIDTH, (0,))[0], found.get(_HEIGHT, (0,))[0]


def _heif(data: bytes) -> tuple[int, int]:
    position, sizes = 0, list[tuple[int, int]]()
    for _ in range(MOST_BOXES):
        if position == len(data):
            break
        size, kind = struct.unpack_from(">I4s", data, position)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
        if kind == b"meta":
            sizes = list(_extents(data[position : position + size]))
        end = position + size if size >= 8 else len(data)
        if end > len(data):
            raise _cut_off(end, len(data))
        position = end
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


def _extents(meta: bytes) -> Iterator[tuple[int, int]]:
    """Of the image, of its tiles and of its thumbnail (23008-12, 6.5.3)."""
    at = meta.find(b"ispe")
    while at >= 0:
        width, height = struct.unpack_from(">II", meta, at + 8)
        yield width, height
        at = meta.find(b"ispe", at + 4)


_READERS: Mapping[str, Callable[[bytes], tuple[int, int]]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/gif": _gif,
    "image/webp": _webp,
    "image/bmp": _bmp,
    "image/tiff": _tiff,
    "image/heic": _heif,
    "image/heif": _heif,
}
