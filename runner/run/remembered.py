"""Whether the ledger remembers what this project's runs have submitted.

A ledger that was lost, or put back from an older copy, would pay for it again. The runs' own logs tell:
an event of an intent is written once that intent is on the disk. A log only grows, so the last intent of
each run is enough: a copy of the ledger that knows it knows those before it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runner.errors import StateError
from runner.http.verdicts import Verdict
from runner.ledger.open import ledger_words
from runner.ledger.read import LedgerReader
from runner.ledger.states import TaskState
from runner.ledger.succession import is_reusable
from runner.project import Project
from runner.record.folder import RunFolder, is_run_id
from runner.record.manifest import read_tasks
from runner.redact import printable

_WRITTEN_WITHIN = 60.0
"""Seconds between an intent in the ledger and its event: more than a slow disk takes."""

_MOST_NAMED = 3

_INTENDED = b'"event":"task.intended"'
_INTENT = re.compile(
    # the first of each: what the task takes of another names an attempt too
    rb'\{"at":"([0-9T:.Z-]+)"[^\n]*?"identity":"([0-9a-f]{64})"[^\n]*?"attempt":"([0-9a-f]{32})"'
)
_POSTED = rb'"event":"task\.(?:submitted|ambiguous|held)"[^\n]*"identity":"%s"'


@dataclass(frozen=True, slots=True)
class _Logged:
    """An intent by a run's own record; `attempt` is empty where all lines of intents are torn.

    `was_posted`: what came of it is recorded too, and it may have been accepted.
    """

    attempt: str
    at: float
    was_posted: bool


def check_is_remembered(project: Project, reader: LedgerReader | None) -> None:
    """Raises StateError for what `check_knows_runs` and `check_is_recovered` raise it for.

    Without a ledger (`reader` is None) nothing is known.
    """
    check_knows_runs(project, reader)
    if reader is not None:
        check_is_recovered(project, reader)


def check_is_recovered(project: Project, reader: LedgerReader) -> None:
    """Raises StateError where the ledger was recovered, and other machines have not told of their submits."""
    if hosts := reader.unrecovered():
        raise StateError(
            f"{ledger_words(project)}: was recovered, and does not know yet what was submitted by"
            f" {hosts_words(hosts)}; nothing was sent",
            hint="there, run `callsheet recover`; for a machine that is gone: callsheet recover --gone"
            f" {shlex.quote(printable(hosts[0]))}",
        )


def hosts_words(hosts: Sequence[str]) -> str:
    """`ci-7, ci-8, ci-9 and 40 more`."""
    named = [printable(host) for host in hosts[:_MOST_NAMED]]
    return ", ".join(named) + (f" and {len(hosts) - len(named)} more" if len(hosts) > len(named) else "")


def check_knows_runs(project: Project, reader: LedgerReader | None) -> None:
    """Raises StateError where the log of a run tells of a submit that the ledger does not know.

    Without a ledger (`reader` is None) none is known. Reads the end of each run's log: 5,000 of them take
    half a second of processor time.
    """
    unknown = [folder.run_id for folder in _folders(project) if _is_forgotten(folder, reader)]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise StateError(
            f"{project.runs_dir}: tells of submits that the ledger does not know: {min(unknown)}{more};"
            " the ledger was lost, or is an older copy; nothing was sent",
            hint="put the newest copy of the ledger back if there is one, then `callsheet recover`"
            + (" (with --sandbox or --base-url as here)" if project.is_rehearsal else "")
            + ": it finds what was paid for",
        )


def _folders(project: Project) -> Iterator[RunFolder]:
    if not project.runs_dir.is_dir():
        return
    with os.scandir(project.runs_dir) as entries:
        for entry in entries:
            if is_run_id(entry.name) and entry.is_dir(follow_symlinks=False):
                yield RunFolder(project, entry.name)


def _is_forgotten(folder: RunFolder, reader: LedgerReader | None) -> bool:
    logged = _last_intent(folder)
    if logged is None:
        return False
    if reader is None or reader.run(folder.run_id) is None:
        return True
    attempt = reader.attempt(logged.attempt)
    if attempt is None:
        return bool(logged.attempt)
    # the ledger has it as proved unsent: is that from before the intent was used again?
    used = [row.at for row in reader.history(attempt.id) if row.state is TaskState.INTENDED]
    is_known = any(abs(logged.at - at) <= _WRITTEN_WITHIN for at in used)
    return is_reusable(attempt) and (logged.was_posted or not is_known)


def _last_intent(folder: RunFolder) -> _Logged | None:
    """The newest intent of a run: by its log, or by its manifest where the log was moved away."""
    try:
        handle = os.open(folder.events, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return _last_in_manifest(folder)
    except OSError as error:
        raise _unreadable(folder.events, error.strerror) from error
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise _unreadable(folder.events, "is not a plain file")
        if found.st_size == 0:
            return None
        with mmap.mmap(handle, 0, access=mmap.ACCESS_READ) as log:
            return _last_in_log(log)
    except OSError as error:
        raise _unreadable(folder.events, error.strerror) from error
    finally:
        os.close(handle)


def _last_in_log(log: mmap.mmap) -> _Logged | None:
    """The last whole line of an intent. A torn line shows that there was an intent, but not which."""
    torn: _Logged | None = None
    end = len(log)
    while (found := log.rfind(_INTENDED, 0, end)) >= 0:
        end = log.rfind(b"\n", 0, found) + 1
        line = _INTENT.match(log, end)
        moment = None if line is None else _seconds(line[1].decode())
        if line is None or moment is None:
            torn = _Logged("", 0.0, was_posted=False)
            continue
        identity, attempt = line[2], line[3].decode()
        return _Logged(attempt, moment, re.search(_POSTED % identity, log[line.end() :]) is not None)
    return torn


def _last_in_manifest(folder: RunFolder) -> _Logged | None:
    newest: _Logged | None = None
    with contextlib.suppress(StateError):  # none was written, or a kill came before its end
        for task in read_tasks(folder.manifest):
            for attempt in task.attempts:
                at = _seconds(attempt.intended_at)
                if at is None or attempt.run_id != folder.run_id:
                    continue
                if newest is None or at > newest.at:
                    was_posted = attempt.verdict in (Verdict.ACCEPTED, Verdict.AMBIGUOUS)
                    newest = _Logged(attempt.id, at, was_posted)
    return newest


def _seconds(text: str) -> float | None:
    """None where `text` is not a time: the folder may be damaged, or a stranger's."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _unreadable(log: Path, why: str | None) -> StateError:
    return StateError(
        f"{log}: {why}, so nobody knows whether the ledger has all that was submitted; nothing was sent",
        hint="make the log a readable file again, or move its folder out of runs/",
    )
