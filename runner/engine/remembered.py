"""Whether the ledger remembers what this project's runs have submitted.

A ledger that was lost, or put back from an older copy, would pay for it again. The runs' own logs tell:
an event of an intent is written once that intent is on the disk.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from runner.errors import StateError
from runner.ledger.read import LedgerReader
from runner.project import Project
from runner.record.folder import LATEST, RunFolder, is_run_id

_INTENDED = b'"event":"task.intended"'
_ATTEMPT = re.compile(rb'"attempt":"([0-9a-f]{32})"')


def check_is_remembered(project: Project, reader: LedgerReader) -> None:
    """Raises StateError where the log of a run tells of a submit that the ledger does not know."""
    unknown = [
        folder.run_id
        for folder in _folders(project)
        if reader.run(folder.run_id) is None and next(_intents(folder.events), None) is not None
    ]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise _forgotten(project, f"{min(unknown)}{more}")
    latest = project.runs_dir / LATEST
    if latest.is_symlink() and is_run_id(latest.readlink().name):
        folder = RunFolder(project, latest.readlink().name)
        # the whole lines: one that a kill has cut short tells nothing
        attempts = deque(filter(None, map(_attempt, _intents(folder.events))), maxlen=1)
        if attempts and reader.attempt(attempts[0]) is None:
            raise _forgotten(project, folder.run_id)


def _folders(project: Project) -> Iterator[RunFolder]:
    if project.runs_dir.is_dir():
        for path in project.runs_dir.iterdir():
            if is_run_id(path.name) and path.is_dir() and not path.is_symlink():
                yield RunFolder(project, path.name)


def _intents(log: Path) -> Iterator[bytes]:
    try:
        with log.open("rb") as file:
            yield from (line for line in file if _INTENDED in line)
    except OSError:
        return


def _attempt(line: bytes) -> str:
    found = _ATTEMPT.search(line)
    return found[1].decode() if found else ""


def _forgotten(project: Project, runs: str) -> StateError:
    return StateError(
        f"{project.runs_dir}: tells of submits that the ledger does not know: {runs}; the ledger was lost, or"
        " is an older copy; nothing was sent",
        hint="put the newest ledger.db back. Without one: see in the service's own console what was paid for,"
        " then move those folders out of runs/, and their tasks are new",
    )
