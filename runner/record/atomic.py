"""A file that is either the old one or the whole new one, whatever happens on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runner.durable import replacing
from runner.errors import StateError


@contextlib.contextmanager
def replace_file(target: Path) -> Iterator[BinaryIO]:
    """Gives a new file (0600) that takes the place of `target` when the block ends well.

    It and its directory are on the disk by then. After an exception the old file stands. Raises
    StateError where the disk does not take it.
    """
    try:
        with replacing(target, target.with_name(f".{target.name}.partial")) as file:
            yield file
    except OSError as error:
        raise StateError(
            f"{target}: cannot write: {error.strerror or error}",
            hint="check the permissions and the free space of this directory",
        ) from error
