"""A file that is either the old one or the whole new one, whatever happens on the way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runner.errors import StateError


@contextlib.contextmanager
def replace_file(target: Path) -> Iterator[BinaryIO]:
    """Gives a new file (0600) that takes the place of `target` when the block ends well.

    It and its directory are on the disk by then. After an exception the old file stands. Raises
    StateError where the disk does not take it.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        # a link that somebody planted here is removed, not followed
        partial.unlink(missing_ok=True)
        descriptor = os.open(
            partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
        sync_directory(target.parent)
    except OSError as error:
        raise StateError(
            f"{target}: cannot write: {error.strerror or error}",
            hint="check the permissions and the free space of this directory",
        ) from error


def sync_directory(directory: Path) -> None:
    """Makes the names in `directory` durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
