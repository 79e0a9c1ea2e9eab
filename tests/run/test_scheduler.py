"""Which tasks are started beside which, called directly: places, order of steps, and what stops it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from runner.errors import ExitCode
from runner.lane.commits import Commits
from runner.ledger.ledger import Ledger
from runner.ledger.states import TaskState
from runner.run.finish import Lost
from runner.run.scheduler import Scheduler
from runner.sandbox import SandboxServer
from tests.support.lane_bench import LaneBench, open_lane
from tests.support.run_bench import RunBench, job_text
from tests.support.three_shots import three_shots

pytestmark = pytest.mark.anyio


async def schedule(lane: LaneBench) -> None:
    """Starts the plan, and returns when all that it started has ended."""
    async with anyio.create_task_group() as group:
        await Scheduler(lane.job, lane.prepared, group, Lost()).start()


def states(lane: LaneBench) -> set[TaskState]:
    return {lane.latest(index).state for index in range(lane.prepared.plan.count)}


async def test_no_more_tasks_are_at_the_service_than_there_are_places(
    bench: RunBench, server: SandboxServer
) -> None:
    most = 0
    async with open_lane(bench, job_text(seeds=6, run="concurrency: 2")) as lane:

        def count(*_: object) -> None:
            nonlocal most
            most = max(most, lane.session.lane.in_flight.count)

        bench.tell = count
        await schedule(lane)
        assert states(lane) == {TaskState.DONE}
        assert lane.session.lane.in_flight.count == 0
    assert (most, server.accepted) == (2, 6)


async def test_tasks_that_start_together_have_their_intents_in_one_commit(
    bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the service has answered the look before the first submit, nothing makes them start one by one."""
    commit, intend, intents = Commits._commit, Ledger.intend, [0]

    async def committed(self: Commits, batch: list[Any]) -> None:
        intents.append(0)
        await commit(self, batch)

    def intended(self: Ledger, *arguments: Any, **named: Any) -> str:
        intents[-1] += 1
        return intend(self, *arguments, **named)

    async with open_lane(bench, job_text(seeds=4, run="submit_slots: 4")) as lane:
        assert await lane.session.lane.answers(lambda: True)
        monkeypatch.setattr(Commits, "_commit", committed)
        monkeypatch.setattr(Ledger, "intend", intended)
        await schedule(lane)
    assert [count for count in intents if count] == [4]


async def test_a_task_is_submitted_after_the_one_that_it_needs_is_done(
    bench: RunBench, server: SandboxServer
) -> None:
    async with open_lane(bench, three_shots().replace("seeds: 1..4", "seeds: 1..2")) as lane:
        await schedule(lane)
        assert states(lane) == {TaskState.DONE}
        told = [(name, fields.get("identity")) for name, fields in bench.events]
        needing = [task for task in lane.prepared.plan.tasks if task.upstream is not None]
        for task in needing:
            assert task.upstream is not None
            done = told.index(("task.done", task.upstream.identity))
            assert done < told.index(("task.intended", task.identity))
    assert (len(needing), server.accepted) == (4, 6)


async def test_nothing_is_started_once_submitting_has_stopped(bench: RunBench, server: SandboxServer) -> None:
    async with open_lane(bench, job_text(seeds=3)) as lane:
        lane.session.control.stop_submitting(ExitCode.REFUSED, "a person said no")
        await schedule(lane)
        assert lane.ledger.read.latest([task.identity for task in lane.prepared.plan.tasks]) == {}
    assert server.accepted == 0


async def test_a_plan_that_is_done_is_started_for_nothing(bench: RunBench, server: SandboxServer) -> None:
    text = job_text(seeds=2)
    await bench.run(bench.write_job(text))
    async with open_lane(bench, text) as lane:
        await schedule(lane)
        assert states(lane) == {TaskState.DONE}
    assert server.accepted == 2
