"""Which POST may follow which: invariant 1, in two questions about a task's newest attempt."""

from __future__ import annotations

from runner.ledger.rows import AttemptRow
from runner.ledger.states import Reason, Resolution, TaskState


def is_reusable(attempt: AttemptRow) -> bool:
    """An intent that is proved unsent or refused for now, and that nobody has settled since."""
    return attempt.state is TaskState.PLANNED and attempt.resolution is None


def goes_on(attempt: AttemptRow | None, run_id: str) -> bool:
    """Whether a POST of this run uses that intent again. One of another run stays that run's for good."""
    return attempt is not None and is_reusable(attempt) and attempt.run_id == run_id


def reason_after(latest: AttemptRow | None, reason: Reason) -> Reason:
    """Why a new attempt is made. Where nobody decided anew, it belongs to the decision before: an absence
    has spent that, and an intent that was never sent was of it.
    """
    if reason in (Reason.RETRY, Reason.AGAIN) or latest is None or latest.state is not TaskState.PLANNED:
        return reason
    if latest.resolution is None:
        return latest.reason
    return Reason.RECONCILE if latest.resolution in _ABSENT else reason


_ABSENT = (Resolution.ABSENT, Resolution.CONFIRMED, Resolution.NOT_BILLED)


def may_follow(latest: AttemptRow, reason: Reason) -> bool:
    """Whether a new POST may follow this attempt (invariant 1)."""
    if latest.state is TaskState.PLANNED:
        return True
    if reason is Reason.RETRY:
        return latest.state in (TaskState.FAILED, TaskState.EXPIRED, TaskState.WRITTEN_OFF)
    return reason is Reason.AGAIN and latest.state.is_terminal
