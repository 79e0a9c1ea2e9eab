"""Which run goes on, which starts, and what is refused before anything is sent."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.ledger.states import Reason, TaskState
from runner.run.prepare import Resubmit, new_run_id


@pytest.mark.parametrize("state", TaskState)
def test_retry_is_for_what_failed_expired_or_was_given_up(state: TaskState) -> None:
    allowed = {TaskState.FAILED, TaskState.EXPIRED, TaskState.WRITTEN_OFF}
    assert Resubmit(Reason.RETRY).allows(state) is (state in allowed)


@pytest.mark.parametrize("state", TaskState)
def test_again_is_for_what_has_ended_and_never_for_what_may_be_on_its_way(state: TaskState) -> None:
    assert Resubmit(Reason.AGAIN).allows(state) is state.is_terminal
    if state.is_in_flight or state.is_unclear or state is TaskState.INTENDED:
        assert not Resubmit(Reason.AGAIN).allows(state)


@given(
    st.floats(min_value=0, max_value=4e9),
    st.floats(min_value=0.004, max_value=1e6),
    st.randoms(use_true_random=False),
)
def test_ids_sort_as_runs_began_within_a_second_too(now: float, later: float, source: random.Random) -> None:
    assert new_run_id(now, source) < new_run_id(now + later, source)
