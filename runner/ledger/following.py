"""Which POST may follow which: invariant 1, in two questions about a task's newest attempt."""

from __future__ import annotations

from runner.ledger.rows import AttemptRow
from runner.ledger.states import Resolution, TaskState


def is_reusable(attempt: AttemptRow) -> bool:
    """An intent that is proved unsent or refused for now, and that nobody has settled since."""
    return attempt.state is TaskState.PLANNED and attempt.resolution is None


def reason_after(latest: AttemptRow | None, reason: str) -> str:
    """Why a new attempt is made: one after an absence belongs to the decision before, which has spent it."""
    if latest is None or latest.state is not TaskState.PLANNED:
        return reason
    return "reconcile" if latest.resolution in _ABSENT else reason


_ABSENT = (Resolution.ABSENT, Resolution.CONFIRMED, Resolution.NOT_BILLED)


def may_follow(latest: AttemptRow, reason: str) -> bool:
    """Whether a new POST may follow this attempt (invariant 1)."""
    if latest.state is TaskState.PLANNED:
        return True
    if reason == "retry":
        return latest.state in (TaskState.FAILED, TaskState.EXPIRED, TaskState.WRITTEN_OFF)
    return reason == "again" and latest.state.is_terminal
