"""Which tasks of a plan are done with their files in place, found without building them.

A run over 100,000 finished tasks starts with three passes over its plan; building each task again
takes most of their time. Whatever is not plainly settled is left to `standing`.
"""

from __future__ import annotations

import os
from pathlib import Path

from runner.job.marks import Marks
from runner.ledger.read import LedgerReader
from runner.ledger.rows import Published

BATCH = 500


def settled(marks: Marks, reader: LedgerReader, base: Path) -> bytearray:
    """A 1 for each task, by its index, whose newest attempt is done, and each of whose files stands
    where it was published, one of them at the task's output, unchanged since.
    """
    flags = bytearray(len(marks))
    for start in range(0, len(marks), BATCH):
        indices = {marks.identity(index): index for index in range(start, min(start + BATCH, len(marks)))}
        broken: set[str] = set()
        for row in reader.published(list(indices)):
            index = indices[row.identity]
            if not _is_untouched(row, base):
                broken.add(row.identity)
            elif marks.may_be_output(index, row.path):
                flags[index] = 1
        for identity in broken:
            flags[indices[identity]] = 0
    return flags


def _is_untouched(row: Published, base: Path) -> bool:
    try:
        found = os.stat(f"{base}/{row.path}")  # noqa: PTH116  a Path takes twice as long to make
    except OSError:
        return False
    return found.st_size == row.bytes and found.st_mtime <= row.created_at
