"""When each task was submitted, queued, running and downloading, by the history in the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from runner.ledger.states import TaskState
from runner.providers.base import GenerationStatus
from runner.record.manifest import ManifestChange, ManifestRun, ManifestTask

PHASES = ("submitting", "queued", "running", "downloading", "unclear")

_BY_STATE: Mapping[TaskState, str] = {
    TaskState.INTENDED: "submitting",
    TaskState.SUBMITTED: "queued",
    TaskState.COLLECTING: "downloading",
    TaskState.AMBIGUOUS: "unclear",
    TaskState.HELD: "unclear",
}
_BY_STATUS: Mapping[str, str] = {
    GenerationStatus.PENDING: "queued",
    GenerationStatus.QUEUED: "queued",
    GenerationStatus.RUNNING: "running",
}

Span = tuple[int, int, int]
"""Index in PHASES, begin and end in milliseconds since the run started."""


def milliseconds(text: str) -> int:
    """A time of the manifest as Unix milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def spans(task: ManifestTask, *, start: int, end: int) -> list[Span]:
    """The phases of a task within the run from `start` to `end`, both in Unix milliseconds.

    A status is as old as the poll that saw it. What is under way lasts to the end.
    """
    found: list[Span] = []
    for attempt in dict.fromkeys(change.attempt for change in task.history):
        rows = [change for change in task.history if change.attempt == attempt]
        found += _of_attempt(rows, start, end)
    return found


def _of_attempt(rows: Sequence[ManifestChange], start: int, end: int) -> list[Span]:
    found: list[Span] = []
    phase, since = None, 0
    for row in rows:
        at = milliseconds(row.at)
        following = _BY_STATUS.get(row.status or "") if row.state is None else _BY_STATE.get(row.state)
        if following != phase:
            found += _clipped(phase, since, at, start, end)
            phase, since = following, at
    return found + _clipped(phase, since, end, start, end)


def _clipped(phase: str | None, since: int, until: int, start: int, end: int) -> list[Span]:
    begin, stop = max(since, start), min(until, end)
    # an instant that nobody sees is left out; one that began and ended at once is shown
    if phase is None or stop < begin or (stop == begin and since != until):
        return []
    return [(PHASES.index(phase), begin - start, stop - start)]


def sessions(run: ManifestRun, *, start: int, end: int) -> list[tuple[int, int]]:
    """When a process worked on the run, in milliseconds since it started; between them nobody looked.

    After a kill nobody knows when a session ended: it lasts to the next one.
    """
    if not run.sessions:
        return [(0, end - start)]
    begins = [milliseconds(session.started_at) for session in run.sessions]
    ends = [
        milliseconds(session.ended_at) if session.ended_at else following
        for session, following in zip(run.sessions, [*begins[1:], end], strict=True)
    ]
    spanned = [(begin - start, stop - start) for begin, stop in zip(begins, ends, strict=True)]
    # the first process has planned the job before its session begins
    return [(0, spanned[0][1]), *spanned[1:]]
