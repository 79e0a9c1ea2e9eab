"""Random schedules: crashes at any step, every fault, restarts; what the service billed is the oracle."""

from __future__ import annotations

import pytest

from tests.simulation.batch import play_here
from tests.simulation.loops import Backend
from tests.simulation.simulate import replay

SCHEDULES = {Backend.TRIO: 200, Backend.ASYNCIO: 100}
CHUNK = 50


@pytest.mark.parametrize(
    ("backend", "first"),
    [(backend, first) for backend in Backend for first in range(0, SCHEDULES[backend], CHUNK)],
)
def test_no_schedule_pays_twice_loses_or_stays(backend: Backend, first: int) -> None:
    tally = play_here(range(first, first + CHUNK), backend)
    assert tally.schedules == CHUNK
    assert not tally.failed, (
        f"replay with: scripts/simulate --trace --seed {min(tally.failed)} --backend {backend}"
    )


def test_the_schedules_are_worth_playing() -> None:
    """Most end with everything done, many crash, and some POSTs stay for a person to clear up."""
    tally = play_here(range(100))
    assert tally.finished > 50
    assert tally.crashes > 30
    assert tally.accepted > 150
    assert 0 < tally.held.total() < tally.accepted / 4


@pytest.mark.parametrize("backend", Backend)
@pytest.mark.parametrize("seed", [3, 11, 42])
def test_a_seed_replays_exactly(seed: int, backend: Backend) -> None:
    first, second = replay(seed, backend), replay(seed, backend)
    assert first.trace == second.trace
    assert first.digest == second.digest
    assert first.steps == second.steps


def test_another_seed_or_backend_is_another_history() -> None:
    digests = {replay(3).digest, replay(4).digest, replay(3, Backend.ASYNCIO).digest}
    assert len(digests) == 3


@pytest.mark.parametrize("seed", [7284, 2877, 1384, 2858, 1943, 2721, 700718, 701260])
def test_a_schedule_that_once_failed_stays_clean(seed: int) -> None:
    """A paid row hidden after our clock had jumped; a task unclear for ever where no list is whole; a year
    9999 that kept an attempt young; a ledger called lost after a clock was set back; a list asked for four
    times a second for an hour; a task that failed while `retry` ran, and was bought unasked.
    """
    assert replay(seed).violations == ()
