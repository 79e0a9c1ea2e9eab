"""b: looks per task and mean delay from done to noticed, over the published durations."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence

from benchmarks.measure import Figure
from runner.job.model import PollPolicy
from runner.run.task.wait import SPREAD, Expectation, expect, fit, next_look

TRUTH = fit(*SPREAD)
_POLICY = PollPolicy()

Schedule = Callable[[float], float]
"""Seconds to the next look, by the age of the task; an age of 0 begins a new task."""


def draw(source: random.Random, count: int) -> list[float]:
    """Durations in seconds, log-normal above a shortest time."""
    return [TRUTH.shortest + TRUTH.scale * math.exp(TRUTH.spread * source.gauss(0, 1)) for _ in range(count)]


def noticed(schedule: Schedule, duration: float) -> tuple[int, float]:
    """Looks at a task that takes so long, and its age when it is seen to be done."""
    looks, age = 0, 0.0
    while age < duration:
        age += schedule(age)
        looks += 1
    return looks, age


def follow(schedule: Schedule, durations: Sequence[float]) -> tuple[float, float]:
    """Mean looks and mean delay."""
    seen = [noticed(schedule, duration) for duration in durations]
    delays = [age - duration for (_, age), duration in zip(seen, durations, strict=True)]
    return statistics.fmean(looks for looks, _ in seen), statistics.fmean(delays)


def backing_off(base: float, factor: float, most: float) -> Schedule:
    """Plain exponential backoff."""
    pause = base

    def schedule(age: float) -> float:
        nonlocal pause
        pause = base if age == 0 else min(most, pause * factor)
        return pause

    return schedule


def ours(expected: Expectation, price: float, seed: int) -> Schedule:
    source = random.Random(seed)
    return lambda age: next_look(expected, _POLICY, age, source, price=price)


def at_equal(
    expected: Expectation,
    durations: Sequence[float],
    *,
    looks: float | None = None,
    delay: float | None = None,
) -> tuple[float, float]:
    """Our looks and delay with the price of a look at which one of the two is the rival's."""
    low, high = 0.01, 100.0
    for _ in range(14):
        price = math.sqrt(low * high)
        found = follow(ours(expected, price, 1), durations)
        is_too_eager = found[1] < delay if delay is not None else found[0] > (looks or 0.0)
        low, high = (price, high) if is_too_eager else (low, price)
    return found


def measure(*, tasks: int) -> list[Figure]:
    """The schedule with 200 durations in the ledger, and with none, against what people write."""
    source = random.Random(1)
    durations = draw(source, tasks)
    figures: list[Figure] = []
    for known, count in (("200 known durations", 200), ("nothing known but the published run", 0)):
        expected = expect(draw(source, count), SPREAD)
        looks, delay = follow(lambda age: 5.0, durations)
        figures.append(
            Figure(
                "b",
                f"looks of a fixed 5 s loop's at equal delay ({known})",
                at_equal(expected, durations, delay=delay)[0] / looks,
                0.5,
                is_most=True,
            )
        )
        figures.append(
            Figure(
                "b",
                f"delay of a fixed 5 s loop's at equal looks ({known})",
                at_equal(expected, durations, looks=looks)[1] / delay,
                is_most=True,
            )
        )
        for name, rival in (
            ("1 s x2 to 30 s", backing_off(1, 2, 30)),
            ("2 s x1.5 to 10 s", backing_off(2, 1.5, 10)),
        ):
            looks, delay = follow(rival, durations)
            figures.append(
                Figure(
                    "b",
                    f"looks of backoff's ({name}) at equal delay ({known})",
                    at_equal(expected, durations, delay=delay)[0] / looks,
                    1.0,
                    is_most=True,
                )
            )
            figures.append(
                Figure(
                    "b",
                    f"delay of backoff's ({name}) at equal looks ({known})",
                    at_equal(expected, durations, looks=looks)[1] / delay,
                    1.0,
                    is_most=True,
                )
            )
    return figures
