"""How long the wait before another try is; all times are simulated by trio's clock."""

from __future__ import annotations

import random

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from runner.lane.pace import Retry


@given(st.integers(1, 10_000), st.integers())
def test_a_wait_grows_to_its_ceiling_and_is_never_nothing(failures: int, seed: int) -> None:
    async def scenario() -> float:
        return Retry(random.Random(seed), base=0.5, most=60.0, failures=failures).pause()

    ceiling = min(60.0, 0.5 * 2.0 ** min(failures - 1, 30))
    assert ceiling / 2 <= trio.run(scenario) <= ceiling


@pytest.mark.anyio
async def test_the_last_of_its_tries_is_known_as_such() -> None:
    retry = Retry(random.Random(0), 3)
    assert [retry.failed() for _ in range(3)] == [False, False, True]


@pytest.mark.anyio
async def test_without_a_number_of_tries_there_is_no_last_one() -> None:
    retry = Retry(random.Random(0))
    assert not any(retry.failed() for _ in range(100))


def test_it_knows_how_long_it_has_been_tried() -> None:
    async def scenario() -> float:
        retry = Retry(random.Random(0))
        await anyio.sleep(42.0)
        return retry.seconds

    assert trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0)) == 42.0
