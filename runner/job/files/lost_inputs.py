"""What became of an input that is not there, or that is there in name only."""

from __future__ import annotations

import contextlib
import unicodedata
from itertools import islice
from pathlib import Path, PurePosixPath

from runner.spelling import nearest

_MOST_ENTRIES = 10_000
"""Names of one directory that are compared."""
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def did_you_mean_file(text: str, directory: Path, root: Path) -> str:
    """A hint at the file that the path `text` may mean, each part of it misspelt at most a little; or empty.

    `text` is relative to `directory`. No directory outside of `root` is listed.
    """
    at, parts = directory, list[str]()
    for part in PurePosixPath(text).parts:
        if part != "..":
            entries = _entries(at, root)
            part = part if part in entries else nearest(part, entries)
        if not part:
            return ""
        at /= part
        parts.append(part)
    found = "/".join(parts)
    if not at.is_file():
        return ""
    is_same = unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", text)
    return f"did you mean `{found}`?" + (
        " Its name has the same letters in another Unicode form" if is_same else ""
    )


def _entries(directory: Path, root: Path) -> list[str]:
    with contextlib.suppress(OSError, RuntimeError):
        if directory.resolve().is_relative_to(root):
            return [entry.name for entry in islice(directory.iterdir(), _MOST_ENTRIES)]
    return []


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file's first bytes are those of what Git LFS leaves in the place of a file."""
    return head.startswith(_LFS_POINTER)
