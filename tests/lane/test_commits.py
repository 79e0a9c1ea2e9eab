"""Group commit over a real ledger."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from runner.errors import StateError
from runner.lane.commits import Commits
from runner.lane.machine import T, Ts, WorkerThreads
from runner.ledger.ledger import Ledger
from runner.ledger.rows import RunRow

pytestmark = pytest.mark.anyio


class Counted(WorkerThreads):
    """Counts the transactions: each is one call into a worker thread."""

    def __init__(self) -> None:
        self.calls = 0

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        self.calls += 1
        return await super().run(function, *args)


class SlowDisk(Counted):
    """Each commit waits 10 ms for the disk."""

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        def slow() -> T:
            time.sleep(0.01)
            return function(*args)

        return await super().run(slow)


def begin(number: int) -> Callable[[Ledger], None]:
    row = RunRow(f"r{number}", "a.yaml", "a", "0" * 64, "", "2026-05-31+00:00", "mesh", "o", float(number))
    return lambda ledger: ledger.begin_run(row)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def kept(path: Path) -> set[str]:
    """The runs that another connection finds on the disk."""
    ledger = Ledger.open(path)
    try:
        return {run.id for run in ledger.read.unfinished_runs()}
    finally:
        ledger.close()


async def test_what_returned_is_on_the_disk_and_many_share_a_transaction(path: Path) -> None:
    threads = Counted()
    commits = Commits(Ledger.open(path), threads)
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(commits.write, begin(number))
    assert threads.calls < 20
    image = commits.ledger._db.serialize()
    commits.ledger.close()
    path.with_name("crash.db").write_bytes(image)
    assert kept(path.with_name("crash.db")) == {f"r{number}" for number in range(20)}


async def test_a_step_that_raises_fails_its_own_caller_alone(path: Path) -> None:
    commits, failed = Commits(Ledger.open(path), WorkerThreads()), []

    def refuse(_: Ledger) -> None:
        raise StateError("refused")

    async def write(action: Callable[[Ledger], None]) -> None:
        try:
            await commits.write(action)
        except StateError as error:
            failed.append(str(error))

    async with anyio.create_task_group() as group:
        for action in (begin(1), refuse, begin(2)):
            group.start_soon(write, action)
    commits.ledger.close()
    assert failed == ["refused"]
    assert kept(path) == {"r1", "r2"}


async def test_a_cancelled_caller_s_step_is_saved_all_the_same(path: Path) -> None:
    """Otherwise an intent could be durable while its owner believes it is not, or the reverse."""
    commits = Commits(Ledger.open(path), WorkerThreads())
    with anyio.CancelScope() as scope:
        scope.cancel()
        await commits.write(begin(1))
    commits.ledger.close()
    assert kept(path) == {"r1"}


async def test_a_note_waits_for_the_next_commit(path: Path) -> None:
    commits = Commits(Ledger.open(path), WorkerThreads())
    commits.note(begin(1))
    assert commits.ledger.read.unfinished_runs() == []
    await commits.flush()
    assert [run.id for run in await commits.read(lambda reader: reader.unfinished_runs())] == ["r1"]
    commits.ledger.close()


async def test_a_slow_disk_serves_all_submit_slots_at_once_and_leaves_the_loop_free(path: Path) -> None:
    """Four slots with five commits each: some five waits of 10 ms and not twenty, the loop running on."""
    threads = SlowDisk()
    commits = Commits(Ledger.open(path), threads)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.001)
            ticks += 1

    async def slot(first: int) -> None:
        for number in range(first, first + 5):
            await commits.write(begin(number))

    async with anyio.create_task_group() as ticking:
        ticking.start_soon(tick)
        async with anyio.create_task_group() as slots:
            for first in range(0, 20, 5):
                slots.start_soon(slot, first)
        ticking.cancel_scope.cancel()
    commits.ledger.close()
    assert kept(path) == {f"r{number}" for number in range(20)}
    assert threads.calls <= 10
    assert ticks > threads.calls


@pytest.mark.parametrize("moment", [0.005, 0.03, 0.055])
def test_asyncio_s_own_cancellation_of_one_caller_tells_no_other_a_lie(tmp_path: Path, moment: float) -> None:
    """`asyncio.timeout` around `run_plan` knows no shield: whoever waits in the same batch is told that it
    is saved only where it is, or would POST without an intent."""

    class Sleepy(WorkerThreads):
        async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
            def slow() -> T:
                time.sleep(0.05)
                return function(*args)

            return await super().run(slow)

    async def scenario() -> tuple[bool, bool]:
        ledger = Ledger.open(tmp_path / "ledger.db")
        commits = Commits(ledger, Sleepy())

        def saving(name: str) -> Callable[[Ledger], object]:
            return lambda ledger: ledger._db.execute("INSERT INTO meta VALUES (?, '1')", (name,))

        first = asyncio.create_task(commits.write(lambda ledger: None))
        await asyncio.sleep(0)
        leader = asyncio.create_task(commits.write(saving("leader")))
        follower = asyncio.create_task(commits.write(saving("follower")))
        await first
        await asyncio.sleep(moment)
        leader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leader
        is_told = True
        try:
            await follower
        except StateError:
            is_told = False
        await commits.write(lambda ledger: None)
        ledger.close()
        again = Ledger.open(tmp_path / "ledger.db")
        is_saved = again.read.meta("follower") is not None
        again.close()
        return is_told, is_saved

    is_told, is_saved = asyncio.run(scenario())
    assert is_saved or not is_told
