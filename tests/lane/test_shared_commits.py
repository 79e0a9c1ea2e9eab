"""Group commit over PostgreSQL: all of a transaction in a worker thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from runner.errors import StateError
from runner.lane.commits import Commits
from runner.lane.machine import WorkerThreads
from runner.ledger.caps import Caps
from runner.ledger.ledger import Ledger
from runner.ledger.postgres import Address
from runner.ledger.read import LedgerReader
from runner.ledger.shared import open_shared
from runner.ledger.states import TaskState
from tests.support.ledger_rows import RUN, intent, task
from tests.support.postgres import Cluster
from tests.support.postgres_proxy import Break, PostgresProxy, Strike, postgres_proxy

pytestmark = pytest.mark.anyio

_NO_CAPS = Caps()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[PostgresProxy]:
    with postgres_proxy(cluster.port) as found:
        yield found


@pytest.fixture
def commits(cluster: Cluster, proxy: PostgresProxy) -> Iterator[Commits]:
    ledger = Ledger(open_shared(Address.parse(cluster.make_schema(port=proxy.port))))
    yield Commits(ledger, WorkerThreads())
    ledger.close()


async def test_steps_share_a_transaction_off_the_event_loop_and_fail_alone(commits: Commits) -> None:
    loop, seen, told = threading.get_ident(), set[int](), list[type[BaseException]]()

    async def intend(number: int) -> None:
        def step(ledger: Ledger) -> str:
            seen.add(threading.get_ident())
            made = intent(number)
            if number == 3:
                ledger.intend(task(number), RUN.job_file, RUN.id, made, _NO_CAPS, 1.0)
                raise ValueError
            return ledger.intend(task(number), RUN.job_file, RUN.id, made, _NO_CAPS, 1.0)

        try:
            await commits.write(step)
        except ValueError as error:
            told.append(type(error))

    await commits.write(lambda ledger: ledger.begin_run(RUN))
    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(intend, number)
    found = await commits.read(lambda reader: [row.id for row in reader.in_state(*TaskState)])
    assert sorted(found) == [f"attempt-{number}" for number in range(8) if number != 3]
    assert told == [ValueError]
    assert loop not in seen


async def test_a_lost_connection_is_told_to_every_step_and_the_next_commit_has_a_new_one(
    commits: Commits, proxy: PostgresProxy
) -> None:
    failed: list[int] = []

    async def note(number: int) -> None:
        try:
            await commits.write(lambda ledger: ledger.claim(f"out/{number}.mp4", task(1).identity))
        except StateError:
            failed.append(number)

    await commits.write(lambda ledger: ledger.begin_run(RUN))
    await commits.write(lambda ledger: ledger.intend(task(1), RUN.job_file, RUN.id, intent(1), _NO_CAPS, 1.0))
    strike = Strike(Break.BEFORE, 5)
    proxy.add(strike)
    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(note, number)
    assert strike.has_struck.is_set()
    for number in [*failed]:
        await note(number)
    kept = await commits.read(lambda reader: reader.claims([f"out/{number}.mp4" for number in range(4)]))
    assert len(kept) == 4
    assert failed


async def test_a_cancelled_caller_leaves_a_step_that_was_handed_in_whole(commits: Commits) -> None:
    with anyio.move_on_after(0.0):
        await commits.write(lambda ledger: ledger.begin_run(RUN))
    assert await commits.read(LedgerReader.count_runs) == 1


async def test_many_steps_at_once_are_several_transactions(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other machines wait for the end of each."""
    transact, sizes = Commits._transact, list[int]()

    def counted(self: Commits, batch: list[Any]) -> None:
        sizes.append(len(batch))
        transact(self, batch)

    monkeypatch.setattr(Commits, "_transact", counted)
    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(commits.write, lambda ledger, at=number: ledger.read.meta(f"key {at}"))
    assert sum(sizes) == 40
    assert 16 in sizes
    assert max(sizes) == 16
