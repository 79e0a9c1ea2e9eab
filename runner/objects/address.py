"""`s3://bucket/key`: where an object lies, or all objects below a prefix."""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEMES = {"s3": "S3", "gs": "Google Cloud Storage", "az": "Azure Blob Storage"}
"""The schemes of addresses, with the names that people know."""

_ADDRESS = re.compile(
    r"(?P<scheme>[a-z0-9]+)://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{0,221})(?:/(?P<key>.*))?", re.DOTALL
)
_MOST_OF_A_KEY = 800
"""Bytes: S3 takes 1,024, and what is stored below a prefix needs 80."""


class AddressError(ValueError):
    """What is written is not the address of an object or a prefix; the text says why."""


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """`key` is empty for a whole bucket, and has no slash at either end."""

    scheme: str
    bucket: str
    key: str = ""

    @classmethod
    def parse(cls, text: str) -> ObjectAddress:
        """Raises AddressError. A slash at the end means nothing."""
        found = _ADDRESS.fullmatch(text)
        if found is None or found["scheme"] not in SCHEMES:
            raise AddressError(f"must be {', '.join(f'{scheme}://BUCKET/PREFIX' for scheme in SCHEMES)}")
        key = (found["key"] or "").removesuffix("/")
        parts = key.split("/") if key else []
        if any(part in ("", ".", "..") for part in parts):
            raise AddressError("has an empty part, `.` or `..` in its path")
        if not key.isprintable() or any(letter in key for letter in "?#%\\*"):
            raise AddressError("has a character in its path that not every store takes")
        if len(key.encode()) > _MOST_OF_A_KEY:
            raise AddressError(f"has a path of more than {_MOST_OF_A_KEY} bytes")
        return cls(found["scheme"], found["bucket"], key)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    def child(self, key: str) -> ObjectAddress:
        """The address of `key` below this prefix."""
        return ObjectAddress(self.scheme, self.bucket, f"{self.key}/{key}" if self.key else key)

    @property
    def whole_bucket(self) -> ObjectAddress:
        return ObjectAddress(self.scheme, self.bucket)

    def covers(self, other: ObjectAddress) -> bool:
        """Whether `other` is this address or lies below it."""
        if (self.scheme, self.bucket) != (other.scheme, other.bucket):
            return False
        return not self.key or other.key == self.key or other.key.startswith(f"{self.key}/")


def is_object(text: str) -> bool:
    """Whether a text is meant as the address of an object."""
    return text.partition("://")[0].casefold() in SCHEMES and "://" in text


def digest_key(sha256: str, path: str) -> str:
    """The key of a file by its content, below a prefix: `sha256/<digest>.mp4` for `out/s1.mp4`."""
    suffix = re.search(r"\.[A-Za-z0-9]{1,10}\Z", path)
    return f"sha256/{sha256}{suffix[0].casefold() if suffix else ''}"
