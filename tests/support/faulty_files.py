"""A disk that fails or dies at a chosen step."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from runner.store.files import FileStat, FileStore, PartFile


class FaultyFiles:
    """A store that stands before `inner` and calls `before(operation)` ahead of each one."""

    def __init__(self, inner: FileStore) -> None:
        self.inner = inner

    def before(self, operation: str) -> None:
        raise NotImplementedError

    @property
    def root(self) -> Path:
        return self.inner.root

    def staying_in(self, directory: Path) -> AbstractContextManager[FileStore]:
        return contextlib.nullcontext(self)

    def stat(self, path: Path) -> FileStat | None:
        self.before("stat")
        return self.inner.stat(path)

    def open(self, path: Path) -> BinaryIO:
        self.before("open")
        return self.inner.open(path)

    def open_part(self, path: Path, *, keep: int) -> PartFile:
        self.before("open_part")
        return _FaultyPart(self.inner.open_part(path, keep=keep), self)

    def sync_file(self, path: Path) -> None:
        self.before("sync_file")
        self.inner.sync_file(path)

    def sync_dir(self, path: Path) -> None:
        self.before("sync_dir")
        self.inner.sync_dir(path)

    def rename_new(self, source: Path, target: Path) -> None:
        self.before("link")
        self.inner.link_new(source, target)
        self.before("unlink")
        self.inner.remove(source)

    def link_new(self, source: Path, target: Path) -> None:
        self.before("link")
        self.inner.link_new(source, target)

    def rename_over(self, source: Path, target: Path) -> None:
        self.before("rename")
        self.inner.rename_over(source, target)

    def remove(self, path: Path) -> None:
        self.before("remove")
        self.inner.remove(path)

    def free_bytes(self, path: Path) -> int:
        self.before("free_bytes")
        return self.inner.free_bytes(path)


class _FaultyPart:
    def __init__(self, inner: PartFile, files: FaultyFiles) -> None:
        self._inner = inner
        self._files = files

    def write(self, data: bytes) -> None:
        self._files.before("write")
        self._inner.write(data)

    def close(self) -> None:
        self._inner.close()


class FullDisk(FaultyFiles):
    """Refuses one operation, once `after` of its kind have passed."""

    def __init__(self, inner: FileStore, operation: str, number: int, after: int = 0) -> None:
        super().__init__(inner)
        self._refused, self._number, self._left = operation, number, after

    def before(self, operation: str) -> None:
        if operation == self._refused:
            self._left -= 1
            if self._left < 0:
                raise OSError(self._number, "refused by the test")


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs afterwards."""


class KilledFiles(FaultyFiles):
    """Lets `steps` operations (of the kind `only`) pass; every later one fails, the clean-up's too."""

    def __init__(self, inner: FileStore, steps: int, *, only: str = "") -> None:
        super().__init__(inner)
        self.left = steps
        self._only = only

    def before(self, operation: str) -> None:
        if self.left >= 0 and self._only in ("", operation):
            self.left -= 1
        if self.left < 0:
            raise Killed
