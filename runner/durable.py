"""The one place that syncs: what it says is written, a power cut does not take back.

No library does this: atomicwrites, which did, is no longer kept up.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runner.errors import StateError

_NOT_OFFERED = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.ENOSYS})


def sync(descriptor: int) -> None:
    """An open file or directory is on the disk when this returns. Raises OSError."""
    # macOS: fsync stops at the drive's cache, F_FULLFSYNC does not (its fsync(2)); some file systems,
    # most of them on a network, do not offer it (its fcntl(2))
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(descriptor, full)
        except OSError as error:
            if error.errno not in _NOT_OFFERED:
                raise
        else:
            return
    os.fsync(descriptor)


def sync_directory(directory: Path) -> None:
    """The names in `directory` are on the disk when this returns. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path, mode: int) -> None:
    """Makes `directory` in one that stands, and its name is on the disk; does nothing where it is there.

    Raises OSError.
    """
    try:
        directory.mkdir(mode=mode)
    except FileExistsError:
        return
    sync_directory(directory.parent)


@contextlib.contextmanager
def replace_file(target: Path, *, staged: Path | None = None) -> Iterator[BinaryIO]:
    """Gives a new file (0600) that takes the place of `target` when the block ends well.

    It and its name are on the disk by then. After an exception the old file stands. `staged` is where it
    is written meanwhile, in the same directory; give one where two may write `target` at once. Raises
    StateError where the disk does not take it.
    """
    staged = staged or target.with_name(f".{target.name}.partial")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # a link that somebody planted here is removed, not followed
        staged.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(staged, flags, 0o600), "wb") as file:
                yield file
                file.flush()
                sync(file.fileno())
            staged.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                staged.unlink()
            raise
        sync_directory(target.parent)
    except OSError as error:
        raise StateError(
            f"{target}: cannot write: {error.strerror or error}",
            hint="check the permissions and the free space of this directory",
        ) from error
