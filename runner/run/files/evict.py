"""Local copies of archived files that have stayed for `store_keep`: they go, and their tasks stay done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from runner.errors import StateError, UsageError
from runner.ledger.read import LedgerReader
from runner.ledger.rows import OutputRow
from runner.objects.store import ObjectError, Stores
from runner.project import Project
from runner.run.wholeness import filed
from runner.store.archive import let_go
from runner.store.files import LocalFiles

_AT_ONCE = 8
"""Each asks the store for one size, and reads one file."""


@dataclass(frozen=True, slots=True)
class Evicted:
    """`trouble` is the first reason why a file that may go has stayed; empty where there was none."""

    files: int = 0
    bytes: int = 0
    trouble: str = ""


def evict(
    project: Project,
    reader: LedgerReader,
    stores: Stores,
    *,
    store: str,
    before: float,
    needed: Container[str] = frozenset(),
) -> Evicted:
    """Removes each file here that lies in `store` since `before`, in Unix seconds, and was not put back here
    since; not those of `needed` identities.

    Only a file that is as it was published goes, and only where the store has its size now. Enter it under
    the project's lock.
    """
    rows = [
        row
        for row in reader.outputs_stored_before(store, before)
        if row.identity not in needed and _is_older(project, row, before)
    ]
    files, troubles = LocalFiles(project.base), list[str]()

    def go(row: OutputRow, address: str) -> int:
        if len(troubles) >= _AT_ONCE:
            return 0  # the store has failed all of them: the rest can wait
        try:
            return row.bytes if let_go(stores, address, filed(row), files) else 0
        except (ObjectError, UsageError, StateError) as error:
            troubles.append(str(error))
            return 0

    stored = reader.stored(rows)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        freed = [*threads.map(lambda row: go(row, stored[row.sha256].address), rows)]
    gone = [size for size in freed if size]
    return Evicted(len(gone), sum(gone), troubles[0] if troubles else "")


def _is_older(project: Project, row: OutputRow, before: float) -> bool:
    with contextlib.suppress(OSError):
        found = os.lstat(project.base / row.path)
        # not when it was written, which a copy keeps
        return found.st_size == row.bytes and found.st_ctime <= before
    return False
