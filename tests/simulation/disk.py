"""A disk that forgets at a crash what was not synced: bytes of files, and names in directories."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import posixpath
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from runner.store.files import FileStat, UnsafePathError


@dataclass(slots=True, eq=False)
class Inode:
    """One file: its bytes as a reader sees them, and those that are on the platter."""

    number: int
    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


class Platter:
    """What processes have in common: inodes and names, current and durable.

    Names of published files are mirrored as files of the same size below `root`, for the engine
    asks the real directory whether an output is there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: dict[str, Inode] = {}
        self.durable: dict[str, Inode] = {}
        self._numbers = itertools.count(1)

    def new_file(self) -> Inode:
        return Inode(next(self._numbers))

    def read(self, path: str) -> bytes | None:
        inode = self.names.get(path)
        return None if inode is None else bytes(inode.content)

    def bind(self, path: str, inode: Inode | None) -> None:
        if inode is None:
            self.names.pop(path, None)
        else:
            self.names[path] = inode
        self._mirror(path)

    def sync_names(self, directory: str) -> None:
        for path in [*self.names, *self.durable]:
            if posixpath.dirname(path) == directory:
                self._make_durable(path)

    def crash(self, source: random.Random) -> None:
        """Power is cut: each name and tail that was not synced is there afterwards, or is not."""
        for path in sorted({*self.names, *self.durable}):
            if self.names.get(path) is not self.durable.get(path) and source.random() < 0.5:
                self._make_durable(path)
        old = self.names
        self.names = dict(self.durable)
        for inode in {id(inode): inode for inode in self.names.values()}.values():
            if bytes(inode.content) != inode.synced:
                _tear(inode, source)
            inode.synced = bytes(inode.content)
        for path in sorted({*old, *self.names}):
            self._mirror(path)

    def _make_durable(self, path: str) -> None:
        if path in self.names:
            self.durable[path] = self.names[path]
        else:
            self.durable.pop(path, None)

    def _mirror(self, path: str) -> None:
        real = self.root / path
        if real.name.startswith("."):
            return
        inode = self.names.get(path)
        if inode is None:
            real.unlink(missing_ok=True)
            return
        real.parent.mkdir(parents=True, exist_ok=True)
        with real.open("wb") as file:
            if real.suffix == ".png":  # the next task of a chain or a join sends it
                file.write(inode.content)
            file.truncate(len(inode.content))
        # older than any record of it: only a file that was written since is read again
        os.utime(real, (0, 0))


def _tear(inode: Inode, source: random.Random) -> None:
    """An unsynced tail: lost, cut anywhere, or there in length and full of zeros."""
    same = itertools.takewhile(
        lambda pair: pair[0] == pair[1], zip(inode.content, inode.synced, strict=False)
    )
    kept = bytes(inode.content[: sum(1 for _ in same)])
    rest = bytes(inode.content[len(kept) :])
    match source.randrange(4):
        case 0:
            inode.content = bytearray(inode.synced)
        case 1:
            inode.content = bytearray(kept + rest[: source.randrange(len(rest) + 1)])
        case 2:
            inode.content = bytearray(kept + bytes(len(rest)))
        case _:
            pass


class SimulatedDisk:
    """The FileStore of one process. `step` is told of every touch and may end the process there.

    `is_full` says whether writes fail at the moment.
    """

    def __init__(self, platter: Platter, step: Callable[[], None], is_full: Callable[[], bool]) -> None:
        self._platter = platter
        self._step = step
        self._is_full = is_full

    @property
    def root(self) -> Path:
        return self._platter.root

    def staying_in(self, directory: Path) -> AbstractContextManager[SimulatedDisk]:
        return contextlib.nullcontext(self)

    def stat(self, path: Path) -> FileStat | None:
        inode = self._find(path)
        if inode is None:
            return None
        links = sum(other is inode for other in self._platter.names.values())
        return FileStat(len(inode.content), (1, inode.number), links)

    def open(self, path: Path) -> BinaryIO:
        return io.BytesIO(bytes(self._need(path).content))

    def open_part(self, path: Path, *, keep: int) -> SimulatedPart:
        self._step()
        found = self.stat(path)
        if keep and found is not None and found.links > 1:
            raise UnsafePathError(f"{path}: has a second name")
        if found is None or found.links > 1:
            self._refuse_if_full()
            self._platter.bind(self._name(path), self._platter.new_file())
        inode = self._need(path)
        del inode.content[keep:]
        return SimulatedPart(inode, self)

    def sync_file(self, path: Path) -> None:
        self._step()
        inode = self._need(path)
        inode.synced = bytes(inode.content)

    def sync_dir(self, path: Path) -> None:
        self._step()
        self._platter.sync_names(posixpath.dirname(self._name(path)))

    def rename_new(self, source: Path, target: Path) -> None:
        self.link_new(source, target)
        self.remove(source)

    def link_new(self, source: Path, target: Path) -> None:
        self._step()
        inode = self._need(source)
        if self._find(target) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        self._refuse_if_full()
        self._platter.bind(self._name(target), inode)

    def rename_over(self, source: Path, target: Path) -> None:
        self._step()
        inode = self._need(source)
        if self._find(target) is not inode:
            self._platter.bind(self._name(target), inode)
            self._platter.bind(self._name(source), None)

    def remove(self, path: Path) -> None:
        self._step()
        self._platter.bind(self._name(path), None)

    def free_bytes(self, path: Path) -> int:
        return 0 if self._is_full() else 1 << 40

    def append(self, inode: Inode, data: bytes) -> None:
        self._step()
        if self._is_full():
            inode.content += data[: len(data) // 2]
        self._refuse_if_full()
        inode.content += data

    def _refuse_if_full(self) -> None:
        if self._is_full():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _name(self, path: Path) -> str:
        return os.fspath(path).removeprefix(f"{self._platter.root}/")

    def _find(self, path: Path) -> Inode | None:
        return self._platter.names.get(self._name(path))

    def _need(self, path: Path) -> Inode:
        inode = self._find(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return inode


class SimulatedPart:
    def __init__(self, inode: Inode, disk: SimulatedDisk) -> None:
        self._inode = inode
        self._disk = disk

    def write(self, data: bytes) -> None:
        self._disk.append(self._inode, data)

    def close(self) -> None:
        """Closing syncs nothing."""
