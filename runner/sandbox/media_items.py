"""The pictures, clips and sounds that a request carries, checked as the service checks them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)((?:;[\w.+-]+=[\w.+-]+)*);base64,", re.ASCII)
_IMAGE_FORMATS = frozenset({"JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"})
_MEGABYTE = 1_000_000
_MOST_BYTES = {"image_url": 30 * _MEGABYTE, "video_url": 50 * _MEGABYTE, "audio_url": 15 * _MEGABYTE}
_MIME_TYPES = {
    "video_url": frozenset({"video/mp4", "video/quicktime"}),
    "audio_url": frozenset({"audio/wav", "audio/x-wav", "audio/mpeg", "audio/mp3"}),
}


class BadItem(Exception):  # noqa: N818 - never leaves validation
    """Says what is wrong with an item, for the answer."""


@dataclass(frozen=True, slots=True)
class MediaItem:
    """`digest` names what was sent: of the bytes of a data URI, else of the URL.

    `size` is (width, height) in pixels, None for what is not fetched or not decoded: URLs, clips
    and HEIC. `data` is None for a URL.
    """

    kind: str
    role: str
    digest: str
    size: tuple[int, int] | None = None
    data: bytes | None = field(default=None, repr=False)


def read_media(kind: str, payload: object, role: str, *, heic: bool, any_image: bool) -> MediaItem:
    """The item of type `kind` (`image_url`, ...) with its URL or data checked. Raises BadItem.

    `any_image`: whatever its format and size.
    """
    url = payload.get("url") if isinstance(payload, dict) else None
    if not isinstance(url, str) or not url:
        raise BadItem(f"{kind} needs an object with a url")
    if url.startswith("data:"):
        return _read_data_uri(kind, url, role, heic=heic, any_image=any_image)
    if not is_http_url(url):
        raise BadItem(f"{kind}.url must be an http(s) URL or a data URI; asset references are not supported")
    return MediaItem(kind, role, hashlib.sha256(url.encode("utf-8", "replace")).hexdigest())


def is_http_url(text: str) -> bool:
    try:
        return urlsplit(text).scheme in ("http", "https")
    except ValueError:  # a bracket where no IPv6 address is
        return False


def _read_data_uri(kind: str, url: str, role: str, *, heic: bool, any_image: bool) -> MediaItem:
    head = _DATA_URI.match(url)
    if head is None:
        raise BadItem(f"{kind}.url is not a base64 data URI with a media type")
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadItem(f"{kind}.url is not valid base64") from error
    if not data:
        raise BadItem(f"{kind}.url is empty")
    if len(data) > _MOST_BYTES[kind] or (kind == "image_url" and len(data) == _MOST_BYTES[kind]):
        raise BadItem(f"{kind}.url is larger than {_MOST_BYTES[kind] // _MEGABYTE} MB")
    mime = head[1].lower()
    if kind == "image_url":
        size = _image_size(data, mime, heic=heic, is_any=any_image)
    elif mime not in _MIME_TYPES[kind]:
        raise BadItem(f"{kind}.url has the media type {mime}")
    else:
        size = None
    return MediaItem(kind, role, hashlib.sha256(data).hexdigest(), size, data)


def _image_size(data: bytes, mime: str, *, heic: bool, is_any: bool) -> tuple[int, int] | None:
    if not mime.startswith("image/"):
        raise BadItem(f"image_url.url has the media type {mime}")
    if mime in ("image/heic", "image/heif"):
        if not heic or data[4:8] != b"ftyp":
            raise BadItem("image_url.url: this model takes no heic or heif, or it is none")
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            known = image.format in _IMAGE_FORMATS
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadItem("image_url.url is not an image that can be read") from None
    if is_any:
        return width, height
    if not known:
        raise BadItem("image_url.url: images are jpeg, png, webp, bmp, tiff or gif")
    if not (min(width, height) >= 300 and max(width, height) <= 6000):
        raise BadItem(f"image_url.url: {width}x{height}, but a side has 300 to 6000 pixels")
    if not 0.4 <= width / height <= 2.5:
        raise BadItem(f"image_url.url: {width}x{height}, but width / height is from 0.4 to 2.5")
    return width, height


def read_content(
    items: list[dict[str, Any]], *, heic: bool, any_image: bool = False
) -> tuple[str, tuple[MediaItem, ...], str | None]:
    """(prompt, media, draft task id) of a request's content; several texts are joined. Raises BadItem."""
    texts: list[str] = []
    media: list[MediaItem] = []
    drafts: list[str] = []
    for item in items:
        kind, payload = item["type"], item.get(item["type"])
        if kind == "text":
            if not isinstance(payload, str) or not payload.strip():
                raise BadItem("a text item needs a text")
            texts.append(payload)
        elif kind in _MOST_BYTES:
            media.append(read_media(kind, payload, item.get("role") or "", heic=heic, any_image=any_image))
        elif kind == "draft_task":
            draft = payload.get("id") if isinstance(payload, dict) else None
            if not isinstance(draft, str) or not draft:
                raise BadItem("draft_task needs an object with an id")
            drafts.append(draft)
        else:
            raise BadItem(f"unknown content type {kind!r}")
    if len(drafts) > 1:
        raise BadItem("one draft_task at most")
    return "\n".join(texts), tuple(media), drafts[0] if drafts else None
