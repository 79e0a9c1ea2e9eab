"""The loops that schedules run on: a seed decides the order, and time is never waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import anyio
import pytest

from tests.simulation.loops import Backend, StalledError, cancelled_after, in_thread, run, watched

both = pytest.mark.parametrize("backend", Backend)


async def _race(tasks: int) -> str:
    order: list[str] = []

    async def step(name: str) -> None:
        for _ in range(3):
            await anyio.sleep(1)
            order.append(name)

    async with anyio.create_task_group() as group:
        for number in range(tasks):
            group.start_soon(step, str(number))
    return "".join(order)


@both
def test_a_seed_decides_who_goes_first(backend: Backend) -> None:
    found = [run(backend, seed, _race, 4) for seed in (1, 1, 2, 3, 4)]
    assert found[0] == found[1]
    assert len(set(found)) > 2
    assert {"".join(sorted(one)) for one in found} == {"000111222333"}


@both
def test_a_day_passes_at_once(backend: Backend) -> None:
    async def day() -> float:
        with anyio.move_on_after(3 * 86_400):
            await anyio.sleep(86_400)
            return anyio.current_time()
        return 0.0

    started = time.monotonic()
    assert run(backend, 1, day) == 86_400
    assert time.monotonic() - started < 10


def test_waiting_for_nothing_fails() -> None:
    with pytest.raises(StalledError):
        run(Backend.ASYNCIO, 1, anyio.sleep_forever)


@both
def test_every_turn_of_a_task_is_a_step(backend: Backend) -> None:
    async def count() -> int:
        steps: list[float] = []
        with watched(lambda: steps.append(anyio.current_time())):
            for _ in range(5):
                await anyio.sleep(1)
        await anyio.sleep(1)
        return len(steps)

    assert 5 <= run(backend, 1, count) <= 11


@both
def test_work_in_a_thread_ends_though_it_is_cancelled(backend: Backend) -> None:
    async def cut() -> tuple[bool, list[str]]:
        done: list[str] = []

        async def work() -> None:
            with cancelled_after(0) as is_cut:
                await in_thread(lambda: done.append("worked"))
                await anyio.sleep(1)
                done.append("not cut")
            assert is_cut()

        async with anyio.create_task_group() as group:
            group.start_soon(work)
        return True, done

    assert run(backend, 1, cut) in ((True, ["worked"]), (True, []))


def test_a_schedule_replays_in_another_process() -> None:
    """Whatever the addresses and hashes of its objects are."""
    code = (
        "from tests.simulation.simulate import replay; from tests.simulation.loops import Backend;"
        "print(*(replay(seed, backend).digest for seed in (4, 11) for backend in Backend))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
