"""Signed URLs of results, and the part of a file that a download asks for."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
MEDIA_TYPES = {"video.mp4": "video/mp4", "video.mov": "video/quicktime", "last_frame.png": "image/png"}


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes and checks the query `exp=...&sig=...` of a result's URL; `exp` is in Unix seconds."""

    secret: bytes
    ttl: float

    def query(self, task_id: str, name: str, now: float) -> str:
        expires = int(now + self.ttl)
        return urlencode({"exp": expires, "sig": self._sign(task_id, name, str(expires))})

    def path(self, task_id: str, name: str, now: float) -> str:
        """Of a file of Mesh's."""
        return f"/files/{task_id}/{name}?{self.query(task_id, name, now)}"

    def is_valid(self, task_id: str, name: str, expires: str, signature: str, now: float) -> bool:
        wanted = self._sign(task_id, name, expires)
        if not hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace")):
            return False
        return int(expires) > now

    def _sign(self, task_id: str, name: str, expires: str) -> str:
        text = f"{task_id}/{name}?{expires}".encode("utf-8", "replace")
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()


class RangeNotSatisfiable(Exception):  # noqa: N818 - RFC 9110's name
    """The answer is 416."""


def wanted_range(header: str | None, if_range: str | None, etag: str, size: int) -> tuple[int, int] | None:
    """(first byte, end) of a single range (RFC 9110, 14.2), or None for the whole file.

    A header that is no single byte range is ignored, as is one whose If-Range names another file.
    Raises RangeNotSatisfiable.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "" or (if_range is not None and if_range.strip() != etag):
        return None
    if match[1] == "":
        length = min(int(match[2]), size)
        if length == 0:
            raise RangeNotSatisfiable
        return size - length, size
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return None
    if first >= size:
        raise RangeNotSatisfiable
    return first, last + 1


def read_chunks(path: Path, first: int, end: int, chunk: int = _CHUNK) -> Iterator[bytes]:
    """The bytes from `first` to `end`; the file may be dropped once the first chunk is read."""
    with path.open("rb") as file:
        place = first
        while place < end:
            data = os.pread(file.fileno(), min(chunk, end - place), place)
            if not data:
                return
            place += len(data)
            yield data


def file_headers(name: str, etag: str) -> dict[str, str]:
    return {
        "content-type": MEDIA_TYPES[name],
        "accept-ranges": "bytes",
        "etag": etag,
        "cache-control": "private, max-age=0",
    }
