"""When to look next; all durations are drawn from the published run's distribution."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.model import LOOPBACK_MINIMUM, PollPolicy
from runner.run.task.wait import SPREAD, UNKNOWN, Expectation, expect, fit, look_after_call, next_look

POLICY = PollPolicy()
TRUTH = fit(*SPREAD)


def draw(source: random.Random, count: int) -> list[float]:
    return [TRUTH.shortest + TRUTH.scale * math.exp(TRUTH.spread * source.gauss(0, 1)) for _ in range(count)]


def followed(schedule: Callable[[float], float], durations: list[float]) -> tuple[float, float]:
    """Mean looks and mean delay of a schedule that gives the pause after each age."""
    looks, delays = 0, []
    for duration in durations:
        age = 0.0
        while age < duration:
            age += schedule(age)
            looks += 1
        delays.append(age - duration)
    return looks / len(durations), statistics.fmean(delays)


def learned(expected: Expectation, source: random.Random) -> Callable[[float], float]:
    return lambda age: next_look(expected, POLICY, age, source)


def test_the_fit_has_the_three_figures_that_it_was_made_of() -> None:
    source = random.Random(1)
    drawn = sorted(draw(source, 40_000))
    assert drawn[1_000] == pytest.approx(SPREAD[0], rel=0.01)
    assert drawn[20_000] == pytest.approx(SPREAD[1], rel=0.01)
    assert drawn[39_000] == pytest.approx(SPREAD[2], rel=0.03)


@pytest.mark.parametrize("count", [0, 30, 200])
def test_it_asks_less_than_half_as_often_as_a_fixed_loop_for_the_same_delay(count: int) -> None:
    source = random.Random(2)
    durations = draw(source, 600)
    fixed_looks, fixed_delay = followed(lambda age: 5.0, durations)
    ours = learned(expect(draw(source, count), SPREAD), source)
    looks, delay = followed(ours, durations)
    assert delay <= fixed_delay * 1.1
    assert looks <= 0.5 * fixed_looks


@pytest.mark.parametrize(("base", "factor", "most"), [(1.0, 2.0, 30.0), (2.0, 1.5, 30.0), (1.0, 2.0, 8.0)])
def test_it_beats_exponential_backoff_in_both(base: float, factor: float, most: float) -> None:
    source = random.Random(3)
    durations = draw(source, 600)

    def backing_off() -> Callable[[float], float]:
        pause = base

        def schedule(age: float) -> float:
            nonlocal pause
            pause = base if age == 0 else min(most, pause * factor)
            return pause

        return schedule

    looks, delay = followed(backing_off(), durations)
    expected = expect(draw(source, 200), SPREAD)
    prices = (0.3, 0.45, 0.7, 1.0, 2.0)
    ours = [
        followed(lambda age, price=price: next_look(expected, POLICY, age, source, price=price), durations)
        for price in prices
    ]
    assert any(our_looks < looks and our_delay < delay for our_looks, our_delay in ours)


@pytest.mark.parametrize("real", [3.0, 20.0, 900.0])
def test_a_service_that_has_changed_is_neither_forgotten_nor_hammered(real: float) -> None:
    """The ledger says about 105 s; in truth it is another order of magnitude."""
    source = random.Random(4)
    expected = expect(draw(source, 200), SPREAD)
    looks, delay = followed(learned(expected, source), [real] * 50)
    a_fixed_loop = real / 5.0
    assert looks <= max(5.0, 0.6 * a_fixed_loop)
    assert delay <= max(POLICY.maximum, 80.0)


def test_it_is_deterministic_given_the_random_source() -> None:
    one, other = random.Random(5), random.Random(5)
    expected = expect(draw(random.Random(6), 50), SPREAD)
    assert [next_look(expected, POLICY, age, one) for age in range(200)] == [
        next_look(expected, POLICY, age, other) for age in range(200)
    ]


def test_an_explicit_first_look_is_taken_as_it_is() -> None:
    policy = PollPolicy(first=0.5)
    assert next_look(TRUTH, policy, 0.0, random.Random(7)) == 0.5
    assert next_look(TRUTH, policy, 1.0, random.Random(7)) != 0.5


def test_a_service_without_history_is_looked_at_soon() -> None:
    """A rehearsal takes seconds, and nothing that was published speaks for the sandbox."""
    assert expect([], None) is UNKNOWN
    assert next_look(UNKNOWN, POLICY, 0.0, random.Random(8)) == POLICY.minimum


def test_a_rehearsal_is_looked_at_at_once_and_then_often() -> None:
    policy = POLICY.on_loopback()
    assert next_look(UNKNOWN, policy, 0.0, random.Random(8)) == 0.0
    assert policy.minimum == LOOPBACK_MINIMUM


def test_what_the_job_file_says_of_polling_holds_in_a_rehearsal_too() -> None:
    given = PollPolicy(minimum=5.0, is_minimum_given=True)
    assert given.on_loopback() == given
    assert PollPolicy(first=0.5).on_loopback().first == 0.5


@pytest.mark.parametrize(("waited", "pause"), [(1.0, 2.0), (100.0, 10.0), (1000.0, 30.0)])
def test_after_a_call_the_look_comes_soon(waited: float, pause: float) -> None:
    assert look_after_call(POLICY, waited) == pause


def test_a_crowded_budget_makes_looks_rarer() -> None:
    source = random.Random(9)
    alone, crowded = (
        statistics.fmean(next_look(TRUTH, POLICY, 110.0, source, queue=queue) for _ in range(50))
        for queue in (0.0, 5.0)
    )
    assert crowded > 2 * alone


@given(
    st.lists(st.floats(0.001, 1e6), max_size=30),
    st.sampled_from([None, SPREAD, (1.0, 1.0, 1.0)]),
    st.floats(0.001, 1e5),
    st.floats(0.0, 100.0),
    st.integers(),
)
def test_whatever_was_seen_looks_stay_within_the_policy(
    durations: list[float], usual: tuple[float, float, float] | None, waited: float, queue: float, seed: int
) -> None:
    expected = expect(durations, usual)
    assert math.isfinite(expected.longest)
    pause = next_look(expected, POLICY, waited, random.Random(seed), queue=queue)
    assert POLICY.minimum <= pause <= 1.05 * POLICY.maximum
