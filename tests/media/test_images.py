"""Images by their structure: Pillow writes them, and every cut is found."""

from __future__ import annotations

import io
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runner.media.boxes import NotMediaError
from runner.media.images import ImageSize, measure
from tests.support.pictures import png

FORMATS = {
    "png": ("PNG", "image/png", {}),
    "jpeg": ("JPEG", "image/jpeg", {}),
    "progressive": ("JPEG", "image/jpeg", {"progressive": True}),
    "gif": ("GIF", "image/gif", {}),
    "webp": ("WEBP", "image/webp", {}),
    "lossless": ("WEBP", "image/webp", {"lossless": True}),
    "bmp": ("BMP", "image/bmp", {}),
    "tiff": ("TIFF", "image/tiff", {}),
    "lzw": ("TIFF", "image/tiff", {"compression": "tiff_lzw"}),
}


def written(form: str) -> tuple[bytes, str]:
    """(an image of 61 x 47 noisy pixels, its media type)."""
    name, media_type, options = FORMATS[form]
    image = Image.frombytes("RGB", (61, 47), random.Random(4).randbytes(61 * 47 * 3))
    out = io.BytesIO()
    image.save(out, name, **options)
    return out.getvalue(), media_type


@pytest.mark.parametrize("form", FORMATS)
def test_an_image_has_its_size_and_every_cut_is_found(form: str) -> None:
    data, media_type = written(form)
    assert measure(data, media_type) == ImageSize(61, 47)
    for end in [*range(16, len(data), 97), len(data) - 1]:
        with pytest.raises(NotMediaError):
            measure(data[:end], media_type)


@pytest.mark.parametrize("form", FORMATS)
def test_what_follows_the_image_does_not_matter(form: str) -> None:
    data, media_type = written(form)
    assert measure(data + b"appended by a camera", media_type) == ImageSize(61, 47)


def test_a_damaged_png_is_found() -> None:
    data = bytearray(png(300, 300))
    data[60] ^= 1
    with pytest.raises(NotMediaError, match="damaged at byte"):
        measure(bytes(data), "image/png")


def test_a_png_that_is_none_behind_its_first_bytes_is_found() -> None:
    with pytest.raises(NotMediaError, match="no header"):
        measure(b"\x89PNG\r\n\x1a\n" + b"x" * 500, "image/png")


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def heic(width: int, height: int) -> bytes:
    extents = b"".join(box(b"ispe", struct.pack(">III", 0, *size)) for size in ((512, 512), (width, height)))
    meta = box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", extents)))
    return box(b"ftyp", b"heic" + bytes(4)) + meta + box(b"mdat", bytes(100))


def test_a_heic_has_the_size_of_its_image_not_of_its_tiles() -> None:
    data = heic(4032, 3024)
    assert measure(data, "image/heic") == ImageSize(4032, 3024)
    with pytest.raises(NotMediaError, match="cut off: it goes on to byte"):
        measure(data[:-1], "image/heic")


def test_an_image_without_pixels_is_told() -> None:
    with pytest.raises(NotMediaError, match="no pixels"):
        measure(png(0, 5), "image/png")


def test_of_another_format_nothing_is_known() -> None:
    assert measure(b"anything", "image/avif") is None


@pytest.mark.parametrize("media_type", [*dict.fromkeys(each[1] for each in FORMATS.values()), "image/heic"])
@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_size_or_are_refused(media_type: str, data: bytes) -> None:
    head = {"image/gif": b"GIF89a", "image/tiff": b"II*\0", "image/bmp": b"BM", "image/webp": b"RIFF"}
    try:
        size = measure(head.get(media_type, b"") + data, media_type)
    except NotMediaError:
        return
    assert size is not None
    assert size.width > 0 < size.height
