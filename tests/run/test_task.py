"""One task's life: where its place at the service begins and ends, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from runner.errors import ExitCode
from runner.ledger.states import TaskState
from runner.run.task.task import TaskLife
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.run_bench import RunBench, job_text
from tests.support.unclear_runs import cut, sweep, warm_up

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.05)) as running:
        yield running


def told(bench: RunBench, *names: str) -> list[str]:
    return [name for name, _ in bench.events if name in names]


async def test_a_submit_in_doubt_leaves_its_place_to_others(bench: RunBench, server: SandboxServer) -> None:
    await warm_up(bench)
    bench.events.clear()
    server.faults.add(cut(accept=False))
    file = bench.write_job(sweep(seeds=2, settle="60s", more=", concurrency: 1"))
    result = await bench.run(file, until=lambda: bench.has_seen("task.done"))
    assert result.exit_code is ExitCode.TRY_AGAIN
    assert result.counts == {TaskState.AMBIGUOUS: 1, TaskState.DONE: 1}
    order = ["task.intended", "task.ambiguous", "task.intended", "task.submitted", "task.done"]
    assert told(bench, *order) == order


async def test_a_place_is_left_before_the_files_are_here(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks that end together are replaced at the service while they are fetched."""
    fetched = 0
    fetch = TaskLife._fetch

    async def counted(life: TaskLife, end: object) -> None:
        nonlocal fetched
        fetched += 1
        assert life.session.lane.in_flight.count < 2
        await fetch(life, end)  # type: ignore[arg-type]

    monkeypatch.setattr(TaskLife, "_fetch", counted)
    result = await bench.run(bench.write_job(job_text(seeds=4, run="concurrency: 2")))
    assert result.counts == {TaskState.DONE: 4}
    assert fetched == 4


async def test_a_failed_task_keeps_its_place_until_it_is_counted(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next task is submitted only once `run.max_failures` knows of the failure."""
    held: list[int] = []
    fail = TaskLife._fail

    async def watched(life: TaskLife, *arguments: object, **keywords: object) -> None:
        held.append(life.session.lane.in_flight.count)
        await fail(life, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(TaskLife, "_fail", watched)
    server.faults.add(
        Fault(where=Where.SUBMIT, kind=Kind.OUTCOME, text="failed", code="internal_error", times=None)
    )
    result = await bench.run(bench.write_job(job_text(seeds=3, run="concurrency: 1, max_failures: 2")))
    assert result.counts == {TaskState.FAILED: 2, TaskState.PLANNED: 1}
    assert held == [1, 1]


@pytest.mark.parametrize("is_early", [True, False], ids=["before it took it", "in it"])
async def test_a_life_that_breaks_gives_its_place_back(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch, is_early: bool
) -> None:
    lives: list[TaskLife] = []

    def hear(name: str, fields: Mapping[str, object]) -> None:
        if name == "task.intended":
            raise LookupError("an observer that breaks")

    begin = TaskLife.buy

    async def buy(life: TaskLife, *arguments: object) -> None:
        lives.append(life)
        if is_early:
            raise LookupError("a life that breaks")
        await begin(life, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(TaskLife, "buy", buy)
    bench.tell = hear
    result = await bench.run(bench.write_job(job_text(seeds=2, run="concurrency: 1")))
    assert result.exit_code is ExitCode.BUG
    assert {life.session.lane.in_flight.count for life in lives} == {0}
