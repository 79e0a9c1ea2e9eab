"""Which POST may follow which, for every state, decision and resolution: paying twice begins here."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from runner.ledger.states import Reason, Resolution, TaskState
from runner.ledger.succession import goes_on, is_reusable, may_follow, reason_after
from tests.support.unclear_attempts import unclear

ATTEMPT = unclear().attempt
PAID = (TaskState.SUBMITTED, TaskState.COLLECTING, TaskState.DONE)


@pytest.mark.parametrize("state", TaskState)
def test_nobody_who_decided_nothing_pays_again(state: TaskState) -> None:
    """A run and a reconciliation submit what is proved unsent or absent, and nothing else."""
    for reason in (Reason.RUN, Reason.RECONCILE):
        assert may_follow(replace(ATTEMPT, state=state), reason) is (state is TaskState.PLANNED)


def test_retry_follows_what_has_failed_and_again_whatever_has_ended() -> None:
    retried = {state for state in TaskState if may_follow(replace(ATTEMPT, state=state), Reason.RETRY)}
    again = {state for state in TaskState if may_follow(replace(ATTEMPT, state=state), Reason.AGAIN)}
    failed = {TaskState.FAILED, TaskState.EXPIRED, TaskState.WRITTEN_OFF}
    assert retried == {TaskState.PLANNED, *failed}
    # no attempt is absent or skipped: tasks are
    assert again - {TaskState.ABSENT, TaskState.SKIPPED} == {TaskState.PLANNED, *failed, TaskState.DONE}


@pytest.mark.parametrize("reason", Reason)
def test_nothing_follows_what_is_in_flight_or_in_doubt(reason: Reason) -> None:
    for state in (TaskState.INTENDED, TaskState.AMBIGUOUS, TaskState.HELD, *PAID[:2]):
        assert not may_follow(replace(ATTEMPT, state=state), reason)


def test_an_intent_goes_again_in_its_own_run_while_nothing_has_settled_it() -> None:
    for state, resolution in product(TaskState, (None, *Resolution)):
        attempt = replace(ATTEMPT, state=state, resolution=resolution)
        is_free = state is TaskState.PLANNED and resolution is None
        assert is_reusable(attempt) is goes_on(attempt, attempt.run_id) is is_free
        assert not goes_on(attempt, "another run")
    assert not goes_on(None, "any run")


@pytest.mark.parametrize("resolution", [Resolution.ABSENT, Resolution.CONFIRMED, Resolution.NOT_BILLED])
def test_an_absence_is_spent_by_the_submit_that_follows_it(resolution: Resolution) -> None:
    """Until a person decides anew: the second doubt of one decision is held (RECONCILE says so)."""
    absent = replace(ATTEMPT, state=TaskState.PLANNED, resolution=resolution)
    assert reason_after(absent, Reason.RUN) is Reason.RECONCILE
    assert [reason_after(absent, reason) for reason in (Reason.RETRY, Reason.AGAIN)] == ["retry", "again"]


def test_what_was_never_sent_keeps_its_decision() -> None:
    unsent = replace(ATTEMPT, state=TaskState.PLANNED, resolution=None, reason=Reason.AGAIN)
    assert reason_after(unsent, Reason.RUN) is Reason.AGAIN
    assert reason_after(None, Reason.RUN) is Reason.RUN
