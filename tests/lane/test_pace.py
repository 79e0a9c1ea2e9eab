"""How fast we may ask; all times are simulated by trio's clock."""

from __future__ import annotations

import functools
import random

import anyio
import pytest
import trio
import trio.testing

from runner.http.verdicts import ProviderError, Trouble
from runner.lane.pace import Breaker, InFlight, PrioritySlots, RequestPace


def simulate(scenario: object, *args: object) -> object:
    return trio.run(scenario, *args, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]


def test_a_rate_spaces_requests_after_a_short_burst() -> None:
    async def scenario() -> float:
        budget = RequestPace(rate=2.0)
        for _ in range(25):
            await budget.acquire()
        return anyio.current_time()

    # 25 requests at 2 a second, of which the burst of 5 and the first go at once
    assert simulate(scenario) == pytest.approx((25 - 1 - RequestPace.BURST) / 2.0)


def test_without_a_rate_nothing_waits_until_the_service_says_so() -> None:
    async def scenario() -> tuple[float, float, float | None]:
        budget = RequestPace(rate=None)
        for _ in range(120):
            await budget.acquire()
        unlimited = anyio.current_time()
        budget.throttled(30.0)
        await budget.acquire()
        return unlimited, anyio.current_time(), budget.rate

    unlimited, blocked, rate = simulate(scenario)  # type: ignore[misc]
    assert (unlimited, blocked) == (0.0, 30.0)
    # 120 at once and then 30 s of rest: four a second, less a fifth
    assert rate == pytest.approx(0.8 * 120 / 30)


def test_a_refusal_after_few_requests_a_second_does_not_stop_everything() -> None:
    """Five requests in a second, `Retry-After: 1`: a limit per second, not five a minute."""

    async def scenario() -> float | None:
        budget = RequestPace(rate=None)
        for _ in range(5):
            await budget.acquire()
            await anyio.sleep(0.2)
        budget.throttled(1.0)
        return budget.rate

    assert simulate(scenario) == pytest.approx(0.8 * 5 / 2)


def test_a_submit_refused_while_little_is_sent_lowers_the_tasks_in_flight_and_not_the_rate() -> None:
    async def scenario() -> tuple[float | None, int | None, float, float]:
        budget = RequestPace(rate=10.0)
        for _ in range(100):
            await budget.acquire()
        await anyio.sleep(120)
        for _ in range(5):
            await budget.acquire()
        refused_at = anyio.current_time()
        budget.throttled(20.0, in_flight=6)
        await budget.acquire()
        polled = anyio.current_time() - refused_at
        await budget.acquire(is_submit=True)
        return budget.rate, budget.most_in_flight, polled, anyio.current_time() - refused_at

    assert simulate(scenario) == (10.0, 6, 0.0, 20.0)


def test_the_room_for_tasks_grows_again() -> None:
    async def scenario() -> list[int | None]:
        budget = RequestPace(rate=None)
        for _ in range(10):
            await budget.acquire()
        await anyio.sleep(61)
        budget.throttled(1.0, in_flight=3)
        rooms = [budget.most_in_flight]
        for _ in range(3):
            await anyio.sleep(61)
            rooms.append(budget.most_in_flight)
        return rooms

    assert simulate(scenario) == [3, 4, 5, 6]


def test_polls_and_submits_get_their_turns_alike_under_a_low_rate() -> None:
    async def scenario() -> dict[bool, int]:
        budget = RequestPace(rate=2.0)
        turns = {True: 0, False: 0}

        async def ask(is_submit: bool) -> None:
            while True:
                await budget.acquire(is_submit=is_submit)
                turns[is_submit] += 1

        with anyio.move_on_after(100):
            async with anyio.create_task_group() as group:
                for number in range(10):
                    group.start_soon(ask, number < 2)
        return turns

    turns = simulate(scenario)
    assert isinstance(turns, dict)
    # two of ten ask for submits, and get two of ten turns
    assert turns[True] == pytest.approx(0.2 * sum(turns.values()), rel=0.3)


def test_refusals_that_were_under_way_together_teach_one_lesson() -> None:
    async def scenario() -> tuple[float | None, float | None]:
        budget = RequestPace(rate=None)
        for _ in range(60):
            await budget.acquire()
        budget.throttled(5.0)
        first = budget.rate
        for _ in range(10):
            budget.throttled(5.0)
        return first, budget.rate

    first, after = simulate(scenario)  # type: ignore[misc]
    assert first == after


def test_the_rate_grows_again_slowly_and_not_past_its_ceiling() -> None:
    async def scenario() -> list[float | None]:
        budget = RequestPace(rate=1.0)
        for _ in range(10):
            await budget.acquire()
        budget.throttled(1.0)
        rates = [budget.rate]
        for _ in range(200):
            await anyio.sleep(61)
            await budget.acquire()
            rates.append(budget.rate)
        return rates

    rates = simulate(scenario)
    assert isinstance(rates, list)
    assert rates[0] < 1.0
    assert rates == sorted(rates)
    assert rates[1] <= rates[0] * 1.06
    assert rates[-1] == 1.0


def test_the_breaker_opens_until_a_free_request_succeeds() -> None:
    async def scenario() -> tuple[float, int]:
        tries = 0

        async def ping() -> None:
            nonlocal tries
            tries += 1
            if anyio.current_time() < 100:
                raise ProviderError(Trouble.UNAVAILABLE, "down")

        breaker = Breaker(ping, random.Random(1), lambda error, seconds: None)
        async with anyio.create_task_group() as group:
            group.start_soon(breaker.heal)
            await breaker.closed(lambda: True)
            assert anyio.current_time() == 0
            breaker.trip()
            await breaker.closed(lambda: True)
            group.cancel_scope.cancel()
        return anyio.current_time(), tries

    healed, tries = simulate(scenario)  # type: ignore[misc]
    assert 100 <= healed <= 160
    assert tries < 15


def test_slots_go_to_the_nearest_deadline() -> None:
    async def scenario() -> list[float]:
        slots = PrioritySlots(1, line=1)
        served: list[float] = []

        async def work(deadline: float) -> None:
            async with slots.slot(deadline):
                served.append(deadline)
                await anyio.sleep(1)

        async with anyio.create_task_group() as group:
            group.start_soon(work, 0.0)
            await anyio.sleep(0.1)
            for deadline in (30.0, 10.0, 20.0):
                group.start_soon(work, deadline)
        return served

    assert simulate(scenario) == [0.0, 10.0, 20.0, 30.0]


def test_a_cancelled_wait_gives_its_slot_on() -> None:
    async def scenario() -> bool:
        slots = PrioritySlots(1, line=1)
        async with slots.slot(0.0):
            with anyio.move_on_after(1):
                async with slots.slot(1.0):
                    raise AssertionError("the slot is taken")
        with anyio.move_on_after(1):
            async with slots.slot(2.0):
                return True
        return False

    assert simulate(scenario)


def test_tasks_that_end_together_all_give_their_places_away_before_their_files_are_here() -> None:
    async def scenario() -> float:
        slots = PrioritySlots(1, line=8)

        async def work() -> None:
            async with slots.slot(0.0):
                await anyio.sleep(10)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(work)
            await anyio.sleep(0.1)
            for _ in range(8):
                await slots.room()
            return anyio.current_time()

    assert simulate(scenario) == pytest.approx(0.1)


def test_new_work_waits_for_downloads_and_for_a_place_and_paid_work_for_neither() -> None:
    async def scenario() -> list[float]:
        slots = PrioritySlots(1, line=1)
        in_flight = InFlight(3, lambda: 2, slots.room)
        at: list[float] = []

        async def download(seconds: float) -> None:
            async with slots.slot(0.0):
                await anyio.sleep(seconds)

        async def work(seconds: float) -> None:
            with await in_flight.place(is_paid=True):
                await anyio.sleep(seconds)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(download, 10.0)
            await anyio.sleep(0.1)
            with await in_flight.place(is_paid=True):
                at.append(anyio.current_time())
            with await in_flight.place(is_paid=False):
                at.append(anyio.current_time())
            for seconds in (5.0, 6.0, 7.0):
                group.start_soon(work, seconds)
            await anyio.sleep(0.1)
            assert in_flight.count == 3
            # the service takes two at once, so a place is free when two of three have left
            with await in_flight.place(is_paid=False):
                at.append(anyio.current_time())
        assert in_flight.count == 0
        return at

    assert simulate(scenario) == [pytest.approx(0.1), pytest.approx(20.0), pytest.approx(26.0)]


def test_a_wait_for_room_that_is_too_long_ends_the_submits_alone() -> None:
    async def scenario() -> tuple[float, float, list[str]]:
        said: list[str] = []
        pace = RequestPace(rate=None, patience=60.0, give_up=said.append)
        for _ in range(40):
            await pace.acquire()
        await anyio.sleep(59)
        await pace.acquire()
        await anyio.sleep(2)
        async with anyio.create_task_group() as group:
            pace.throttled(10.0, in_flight=3)
            group.start_soon(functools.partial(pace.acquire, is_submit=True))
            await anyio.sleep(1)
            pace.throttled(600.0, "no room", in_flight=3)
        submitted = anyio.current_time()
        await pace.acquire()
        return submitted, anyio.current_time(), said

    submitted, asked, said = simulate(scenario)  # type: ignore[misc]
    assert submitted == asked == 62.0
    assert said == [
        "the service takes no more tasks at once (429),"
        " and its next wait would pass run.timeout (60 s): no room"
    ]
