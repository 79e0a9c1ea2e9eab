"""The disk for results: every touch of an output goes through one seam, and stays below one root.

A simulation replaces `FileStore` by a disk that forgets what was not synced. `LocalFiles` walks to
each file from the root by directory handles that follow no link, so a link planted on the way,
even between two calls, leads nowhere.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from runner.durable import sync
from runner.errors import StateError

_BLOCK = 1 << 20
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_LINK_IN_THE_WAY = frozenset({errno.ELOOP, errno.ENOTDIR})


class UnsafePathError(StateError):
    """A path leaves the root, or something that is no plain file stands in its place."""


@dataclass(frozen=True, slots=True)
class FileStat:
    """`size` in bytes; `file` is equal for two names of one file, of which there are `links`."""

    size: int
    file: tuple[int, int]
    links: int


class PartFile(Protocol):
    """A file that is being written, at its end."""

    def write(self, data: bytes | memoryview) -> None:
        """Appends all of `data`, or raises OSError with an unknown part of it written."""
        ...

    def close(self) -> None: ...


class FileStore(Protocol):
    """The disk as downloads, copies and checks need it. Blocking: call it in a worker thread.

    A path is relative to `root`, or absolute and below it. Every method raises UnsafePathError
    for a path that leaves the root and for a name that is no plain file, and OSError for what
    the disk refuses. Nothing is durable before `sync_file` and `sync_dir`.
    """

    @property
    def root(self) -> Path: ...

    def staying_in(self, directory: Path) -> AbstractContextManager[FileStore]:
        """This store with the way to `directory` walked once, for as long as it is open.

        Makes the directory where there is none.
        """
        ...

    def stat(self, path: Path) -> FileStat | None:
        """None where there is no such file."""
        ...

    def open(self, path: Path) -> BinaryIO:
        """For reading. Raises FileNotFoundError."""
        ...

    def open_part(self, path: Path, *, keep: int) -> PartFile:
        """For writing behind the first `keep` bytes; makes the file and its directories.

        Writes to no file that has a second name: with `keep` 0 the name gets a new file, else
        UnsafePathError.
        """
        ...

    def sync_file(self, path: Path) -> None:
        """The file's bytes are on the disk when this returns."""
        ...

    def sync_dir(self, path: Path) -> None:
        """The names in the directory that holds `path` are on the disk when this returns."""
        ...

    def rename_new(self, source: Path, target: Path) -> None:
        """Moves within one file system; raises FileExistsError and never overwrites.

        A kill in between may leave the file under both names.
        """
        ...

    def link_new(self, source: Path, target: Path) -> None:
        """A second name for one file; raises FileExistsError and never overwrites."""
        ...

    def rename_over(self, source: Path, target: Path) -> None:
        """Moves within one file system, in place of what stands at `target`; a reader finds one of them."""
        ...

    def remove(self, path: Path) -> None:
        """Does nothing where there is no such file."""
        ...

    def free_bytes(self, path: Path) -> int:
        """Free bytes for this user on the disk of `path`."""
        ...


@dataclass(frozen=True, slots=True)
class Digest:
    """`sha256` is 64 hex digits over `size` bytes."""

    size: int
    sha256: str


def digest(files: FileStore, path: Path) -> Digest:
    """Size and sha256 of a whole file. Raises FileNotFoundError."""
    sha256 = hashlib.sha256()
    size = 0
    with files.open(path) as file:
        while block := file.read(_BLOCK):
            sha256.update(block)
            size += len(block)
    return Digest(size, sha256.hexdigest())


def publish(files: FileStore, part: Path, target: Path, *, kept: Path | None = None) -> None:
    """Gives the finished `part` its final name, durably; a kill leaves none or a whole file there.

    What stands at `target` is replaced only where it stands at `kept` too. Raises FileExistsError where
    another file has the name. A publish that was killed half-way is brought to its end.
    """
    files.sync_file(part)
    if kept is not None and has_copy(files, target, kept):
        files.rename_over(part, target)
        files.sync_dir(target)
        return
    try:
        files.rename_new(part, target)
    except FileExistsError:
        if not _is_one_file(files, part, target):
            raise
        files.remove(part)
    files.sync_dir(target)


def place_copy(files: FileStore, source: Path, target: Path) -> None:
    """Puts the file `source` at `target` too: as a hard link, or as a copy where links do not work.

    Does nothing where `target` is that file already; raises FileExistsError where it is another.
    """
    try:
        files.link_new(source, target)
    except FileExistsError:
        if not _is_one_file(files, source, target):
            raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS | {errno.EXDEV}:
            raise
        part = target.with_name(target.name + ".part")
        _copy(files, source, part)
        publish(files, part, target)
        return
    files.sync_dir(target)


def _copy(files: FileStore, source: Path, part: Path) -> None:
    out = files.open_part(part, keep=0)
    try:
        with files.open(source) as file:
            while block := file.read(_BLOCK):
                out.write(block)
    finally:
        out.close()


def replace_by(files: FileStore, source: Path, target: Path, *, kept: Path) -> None:
    """Puts the file `source` at `target` too, in place of a file that stands at `kept` as well.

    Raises FileExistsError where what stands at `target` is not kept. A kill leaves
    one of the two files there.
    """
    staged = target.with_name(f".{target.name}.placed")
    files.remove(staged)
    place_copy(files, source, staged)
    if not has_copy(files, target, kept):
        files.remove(staged)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    files.rename_over(staged, target)
    files.remove(staged)  # rename(2) leaves both names where they are one file already
    files.sync_dir(target)


def has_copy(files: FileStore, one: Path, other: Path) -> bool:
    """Whether two names have the same bytes: one file, or a copy where there are no hard links."""
    if _is_one_file(files, one, other):
        return True
    first, second = files.stat(one), files.stat(other)
    if first is None or second is None or first.size != second.size:
        return False
    return digest(files, one) == digest(files, other)


def _is_one_file(files: FileStore, one: Path, other: Path) -> bool:
    first, second = files.stat(one), files.stat(other)
    return first is not None and second is not None and first.file == second.file


class LocalFiles:
    """The real disk below `root`, on Linux and macOS."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._kept: tuple[list[str], int] | None = None
        """The parts of a directory's path below the root, and its handle."""

    @property
    def root(self) -> Path:
        return self._root

    @contextlib.contextmanager
    def staying_in(self, directory: Path) -> Iterator[LocalFiles]:
        inside = directory / "name"
        with self._parent(inside, create=True) as (handle, _):
            store = copy.copy(self)
            store._kept = (self._split(inside)[0], handle)
            yield store

    def stat(self, path: Path) -> FileStat | None:
        try:
            with self._parent(path) as (directory, name):
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        _require_plain(found.st_mode, path)
        return FileStat(found.st_size, (found.st_dev, found.st_ino), found.st_nlink)

    def open(self, path: Path) -> BinaryIO:
        with self._parent(path) as (directory, name):
            return os.fdopen(_open_plain(name, os.O_RDONLY, directory, path), "rb")

    def open_part(self, path: Path, *, keep: int) -> PartFile:
        with self._parent(path, create=True) as (directory, name):
            handle = _open_plain(name, os.O_RDWR | os.O_CREAT, directory, path)
            try:
                # a publish that was killed leaves .part as a second name of the finished file
                has_second_name = os.fstat(handle).st_nlink > 1
                if not has_second_name:
                    os.ftruncate(handle, keep)
                    os.lseek(handle, keep, os.SEEK_SET)
            except BaseException:
                os.close(handle)
                raise
            if has_second_name:
                os.close(handle)
                if keep:
                    raise UnsafePathError(f"{path}: is a second name of another file", hint=f"remove {path}")
                os.unlink(name, dir_fd=directory)
                handle = _open_plain(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, directory, path)
        return _LocalPart(handle)

    def sync_file(self, path: Path) -> None:
        with self._parent(path) as (directory, name):
            handle = _open_plain(name, os.O_RDONLY, directory, path)
            try:
                sync(handle)
            finally:
                os.close(handle)

    def sync_dir(self, path: Path) -> None:
        with self._parent(path) as (directory, _):
            sync(directory)

    def rename_new(self, source: Path, target: Path) -> None:
        with self._parent(source) as (here, old), self._parent(target, create=True) as (there, new):
            _require_plain(os.stat(old, dir_fd=here, follow_symlinks=False).st_mode, source)
            try:
                os.link(old, new, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                # exFAT and some network disks; the project's lock keeps a second process of ours out
                if _exists(new, there):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
                os.rename(old, new, src_dir_fd=here, dst_dir_fd=there)
            else:
                os.unlink(old, dir_fd=here)

    def link_new(self, source: Path, target: Path) -> None:
        with self._parent(source) as (here, old), self._parent(target, create=True) as (there, new):
            _require_plain(os.stat(old, dir_fd=here, follow_symlinks=False).st_mode, source)
            os.link(old, new, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)

    def rename_over(self, source: Path, target: Path) -> None:
        with self._parent(source) as (here, old), self._parent(target, create=True) as (there, new):
            _require_plain(os.stat(old, dir_fd=here, follow_symlinks=False).st_mode, source)
            with contextlib.suppress(FileNotFoundError):
                _require_plain(os.stat(new, dir_fd=there, follow_symlinks=False).st_mode, target)
            os.replace(old, new, src_dir_fd=here, dst_dir_fd=there)

    def remove(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError), self._parent(path) as (directory, name):
            os.unlink(name, dir_fd=directory)

    def free_bytes(self, path: Path) -> int:
        with self._parent(path, create=True) as (directory, _):
            disk = os.fstatvfs(directory)
        return disk.f_bavail * disk.f_frsize

    @contextlib.contextmanager
    def _parent(self, path: Path, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """A handle of the directory that holds `path`, and the name in it.

        A link on the way that stays below the root is resolved first; the walk itself follows none.
        """
        components, name = self._split(path)
        if self._kept is not None and self._kept[0] == components:
            yield self._kept[1], name
            return
        try:
            directory = self._walk(components, path, create=create)
        except UnsafePathError:
            directory = self._walk(self._resolve(components, path), path, create=create)
        try:
            yield directory, name
        finally:
            os.close(directory)

    def _split(self, path: Path) -> tuple[list[str], str]:
        below = os.fspath(path).removeprefix(f"{self._root}/")
        *components, name = below.split("/")
        if below.startswith("/") or ".." in components or name in (".", ".."):
            raise UnsafePathError(
                f"{path}: is not below {self._root}", hint="results stay below the project root"
            )
        return components, name

    def _walk(self, components: Sequence[str], path: Path, *, create: bool) -> int:
        directory = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for component in components:
            try:
                below = _enter(component, directory, path, create=create)
            finally:
                os.close(directory)
            directory = below
        return directory

    def _resolve(self, components: Sequence[str], path: Path) -> Sequence[str]:
        parent = Path(os.path.realpath(self._root.joinpath(*components)))
        if not parent.is_relative_to(self._root):
            raise UnsafePathError(
                f"{path}: a symbolic link on the way leads out of {self._root}",
                hint="replace the link by a directory, or choose another output path",
            )
        return parent.relative_to(self._root).parts


class _LocalPart:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def write(self, data: bytes | memoryview) -> None:
        written = os.write(self._handle, data)
        while written < len(data):
            written += os.write(self._handle, memoryview(data)[written:])

    def close(self) -> None:
        os.close(self._handle)


def _enter(component: str, directory: int, path: Path, *, create: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with _explaining(path):
        try:
            return os.open(component, flags, dir_fd=directory)
        except FileNotFoundError:
            if not create:
                raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(component, dir_fd=directory)
            # or a power cut takes the new directory, and with it what was published below
            sync(directory)
        return os.open(component, flags, dir_fd=directory)


def _open_plain(name: str, flags: int, directory: int, path: Path) -> int:
    # O_NONBLOCK: opening a planted pipe must not wait for its other end
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with _explaining(path):
        handle = os.open(name, flags, mode=0o666, dir_fd=directory)
    try:
        _require_plain(os.fstat(handle).st_mode, path)
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _LINK_IN_THE_WAY:
            raise
        raise UnsafePathError(
            f"{path}: a symbolic link or a file stands in the way",
            hint="remove it, or choose another output path",
        ) from error


def _require_plain(mode: int, path: Path) -> None:
    if stat.S_ISREG(mode):
        return
    kind = "a symbolic link" if stat.S_ISLNK(mode) else "no plain file"
    raise UnsafePathError(f"{path}: is {kind}", hint="remove it, or choose another output path")


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
