"""Files that may go: those of rehearsals, older versions of takes, and takes that `pick` passed over.

The ledger keeps every row: a task whose file is gone stays done, and is never bought again for that.
"""

from __future__ import annotations

import contextlib
import enum
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from runner.errors import StateError
from runner.ledger.read import LedgerReader
from runner.ledger.rows import OutputRow
from runner.plan.task import STEP_SCHEME
from runner.project import Project
from runner.run.wholeness import whole_files
from runner.store.files import LocalFiles, UnsafePathError
from runner.store.versions import version_of

_STEP = re.compile(rf"{STEP_SCHEME}([0-9a-f]{{64}})/")


class Why(enum.StrEnum):
    """Why a file may go, in the words that a person reads."""

    REHEARSAL = "made in a rehearsal"
    VERSION = "an older version"
    TAKE = "not picked"


@dataclass(frozen=True, slots=True)
class Prunable:
    row: OutputRow
    why: Why


def find_prunable(
    reader: LedgerReader, project: Project, *, before: float, picked: Set[str], passed_over: Set[str]
) -> Iterator[Prunable]:
    """The published files older than `before` (Unix seconds) that may go, the oldest first.

    In a rehearsal that is all of them; else older versions, and the videos whose sha256 is in `passed_over`,
    with their frames. What a later step is made of stays, and so does what is in `picked`.
    """
    rows = [row for row in reader.standing_outputs() if row.created_at < before]
    if project.is_rehearsal:
        yield from (Prunable(row, Why.REHEARSAL) for row in rows)
        return
    used = {identity for request in reader.every_request() for identity in _STEP.findall(request)}
    kept = {row.attempt_id for row in rows if row.sha256 in picked or row.identity in used}
    takes = {row.attempt_id for row in rows if row.sha256 in passed_over}
    for row in rows:
        if row.attempt_id in kept:
            continue
        if _is_version(reader, row):
            yield Prunable(row, Why.VERSION)
        elif row.attempt_id in takes:
            yield Prunable(row, Why.TAKE)


def _is_version(reader: LedgerReader, row: OutputRow) -> bool:
    """A job may write `out/a.v2.mp4` by itself: that is a take under its own name."""
    task = reader.task(row.identity)
    return version_of(row.path) is not None and (task is None or task.output != row.path)


def standing(prunable: Iterable[Prunable], project: Project) -> list[Prunable]:
    """Those whose file is there, as it was published: what a person has changed is not ours to remove."""
    files = LocalFiles(project.base)
    return [one for one in prunable if whole_files([one.row], files, project.base)]


def remove(prunable: Iterable[Prunable], project: Project) -> Iterator[tuple[Prunable, str]]:
    """Removes each file; gives it, with the reason where that failed."""
    files = LocalFiles(project.base)
    for one in prunable:
        path = Path(project.base / one.row.path)
        try:
            files.remove(path)
            with contextlib.suppress(OSError, StateError):
                files.sync_dir(path)
        except (OSError, UnsafePathError) as error:
            yield one, (error.strerror if isinstance(error, OSError) else "") or str(error)
        else:
            yield one, ""
