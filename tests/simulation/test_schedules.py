"""Random schedules: crashes at any step, every fault, restarts; what the service billed is the oracle."""

from __future__ import annotations

import itertools

import pytest

from tests.simulation.batch import play_here
from tests.simulation.loops import Backend
from tests.simulation.schedule import side_by_side
from tests.simulation.simulate import replay
from tests.support.evidence import evidence_but

CHUNK = 50
LANES = 8
"""Schedules of a part."""


@pytest.mark.parametrize(
    ("backend", "first"),
    evidence_but((Backend.TRIO, 0).__eq__, itertools.product(Backend, range(0, 200, CHUNK))),
)
def test_no_schedule_pays_twice_loses_or_stays(backend: Backend, first: int) -> None:
    """And they are worth playing: most end with everything done, many crash, some POSTs stay for a person."""
    tally = play_here(range(first, first + CHUNK), backend)
    assert tally.schedules == CHUNK
    assert not tally.failed, (
        f"replay with: scripts/simulate --trace --seed {min(tally.failed)} --backend {backend}"
    )
    assert tally.finished > 20
    assert tally.crashes > 15
    assert tally.accepted > 75
    assert 0 < tally.held.total() < tally.accepted / 4


@pytest.mark.parametrize("backend", evidence_but(Backend.ASYNCIO.__eq__, Backend))
@pytest.mark.parametrize("part", evidence_but((0).__eq__, range(6)))
def test_no_lane_harms_another_and_budgets_hold(backend: Backend, part: int) -> None:
    """By the services' own counts and sums, through kills, over midnights and a change of clocks."""
    tally = play_here(range(part * LANES, (part + 1) * LANES), backend, lanes=True)
    assert not tally.failed, (
        f"replay with: scripts/simulate --lanes --trace --seed {min(tally.failed)} --backend {backend}"
    )
    assert tally.accepted > 4 * LANES
    assert tally.crashes > LANES / 4


def test_lanes_are_drawn_in_all_ways() -> None:
    drawn = [side_by_side(seed) for seed in range(LANES)]
    assert {len(schedule.places) for schedule in drawn} == {2, 3}
    assert {schedule.beside is None for schedule in drawn} == {True, False}
    caps = list(itertools.chain.from_iterable(schedule.caps for schedule in drawn))
    assert {cap.window for cap in caps} == {"day", "month"}
    assert {bool(cap.where.account) for cap in caps} == {True, False}
    assert {cap.max_tasks is None for cap in caps} == {True, False}


@pytest.mark.parametrize("backend", Backend)
def test_a_seed_replays_exactly(backend: Backend) -> None:
    for seed, lanes in ((3, False), (11, False), (42, False), (2, True)):
        first, second = (replay(seed, backend, lanes=lanes) for _ in range(2))
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
