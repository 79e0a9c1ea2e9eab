"""Random schedules: crashes at any step, every fault, restarts; what the service billed is the oracle."""

from __future__ import annotations

import pytest

from tests.simulation.batch import play_here
from tests.simulation.simulate import replay

SCHEDULES = 2000
CHUNK = 50


@pytest.mark.parametrize("first", range(0, SCHEDULES, CHUNK))
def test_no_schedule_pays_twice_loses_or_stays(first: int) -> None:
    tally = play_here(range(first, first + CHUNK))
    assert tally.schedules == CHUNK
    assert not tally.failed, f"replay with: scripts/simulate --trace --seed {min(tally.failed)}"


def test_the_schedules_are_worth_playing() -> None:
    """Most end with everything done, many crash, and some POSTs stay for a person to clear up."""
    tally = play_here(range(100))
    assert tally.finished > 50
    assert tally.crashes > 30
    assert tally.accepted > 150
    assert 0 < tally.held.total() < tally.accepted / 4


@pytest.mark.parametrize("seed", [3, 11, 42])
def test_a_seed_replays_exactly(seed: int) -> None:
    first, second = replay(seed), replay(seed)
    assert first.trace == second.trace
    assert first.digest == second.digest
    assert first.steps == second.steps


def test_another_seed_is_another_schedule() -> None:
    assert replay(3).digest != replay(4).digest
