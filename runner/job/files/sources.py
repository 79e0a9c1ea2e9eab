"""The further files that a job reads: below the root, each read once, from disk or from a run's copies."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from runner.job.problems import InvalidValueError
from runner.job.yaml.nodes import cut
from runner.job.yaml.source import MAX_BYTES
from runner.plain_file import read_plain
from runner.spelling import did_you_mean

FROM = "from"
"""The key that names the file which holds the values of an axis, or a text."""

_RELATIVE = "paths are relative to the job file"


class SourceError(InvalidValueError):
    """A further file that the job cannot read."""


@dataclass(frozen=True, slots=True)
class JobCopy:
    """A job file as it was run: its bytes, and those of the `files` that it read, by path below the root."""

    text: bytes = field(repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class Sources:
    """Reads the further files of one job. `directory` is the job file's; nothing outside `root` is read.

    With `copies`, those that a run keeps, the disk is not looked at.
    """

    def __init__(self, root: Path, directory: Path, copies: Mapping[str, bytes] | None = None) -> None:
        self._root = root.resolve()
        self._directory = directory.resolve()
        self._copies = copies
        self._read: dict[str, bytes] = {}

    @property
    def files(self) -> Mapping[str, bytes]:
        """What was read so far, by path below the root, with forward slashes; it grows."""
        return MappingProxyType(self._read)

    def read(self, text: str) -> tuple[str, bytes]:
        """(path below the root, content) of the file that a job calls `text`. Raises SourceError."""
        path = self._below_root(text)
        if path not in self._read:
            self._read[path] = self._kept(path) if self._copies is not None else self._on_disk(text, path)
        return path, self._read[path]

    def _below_root(self, text: str) -> str:
        if not text.strip() or not text.isprintable():
            raise SourceError(f"{_shown(text)}: not a path", _RELATIVE)
        if Path(text).is_absolute():
            raise SourceError(f"{_shown(text)}: an absolute path", _RELATIVE)
        # without looking at links, so that a run finds its copies again, whatever became of the disk
        path = Path(os.path.normpath(self._directory / text))
        if not path.is_relative_to(self._root) or path == self._root:
            raise _outside(text)
        relative = path.relative_to(self._root)
        _refuse_hidden(text, relative)
        return relative.as_posix()

    def _kept(self, path: str) -> bytes:
        assert self._copies is not None
        if path not in self._copies:
            raise SourceError(f"{_shown(path)}: the run keeps no copy of it", is_missing_input=True)
        return self._copies[path]

    def _on_disk(self, text: str, path: str) -> bytes:
        try:
            resolved = (self._root / path).resolve()
        except (OSError, RuntimeError):
            raise SourceError(f"{_shown(text)}: cannot be resolved") from None
        if not resolved.is_relative_to(self._root):
            raise _outside(text)
        _refuse_hidden(text, resolved.relative_to(self._root))
        try:
            content = read_plain(resolved, MAX_BYTES + 1, follow=False)
        except FileNotFoundError:
            message = f"{_shown(text)}: no such file (looked for {_shown(path)} below the project root)"
            raise SourceError(message, _near(resolved) or _RELATIVE, is_missing_input=True) from None
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EISDIR):
                raise SourceError(f"{_shown(text)}: not a file") from None
            message = f"{_shown(text)}: cannot read it: {error.strerror}"
            raise SourceError(message, is_missing_input=True) from None
        if len(content) > MAX_BYTES:
            raise SourceError(f"{_shown(text)}: larger than {MAX_BYTES:,} bytes", "split it")
        return content


def _near(path: Path) -> str:
    """A hint at a file beside it that is spelled alike; empty if there is none."""
    with contextlib.suppress(OSError):
        return did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()])
    return ""


def _refuse_hidden(text: str, relative: Path) -> None:
    """Hidden files are refused, because what a job reads may be sent to the service: `.env` holds keys."""
    if any(part.startswith(".") for part in relative.parts):
        message = f"{_shown(text)}: a hidden file, which may hold secrets"
        raise SourceError(message, "give it a name that begins with no dot")


def _outside(text: str) -> SourceError:
    return SourceError(
        f"{_shown(text)}: outside the project root", "copy it below the root; a link is not enough"
    )


def _shown(text: str) -> str:
    return cut("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))
