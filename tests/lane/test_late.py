"""What was taken for absent, written off or given up, and turns out to be accepted and paid for."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import anyio
import pytest

from runner.errors import ExitCode
from runner.job.project_file import Where as ForWhom
from runner.job.project_file import Window, WindowCap
from runner.lane.paid import InDoubt
from runner.ledger.caps import Budgets
from runner.ledger.rows import GIVEN_UP, TAKEN_OVER, Grounds
from runner.ledger.states import Basis, Reason, Resolution, TaskState
from runner.providers.base import RemoteTask
from runner.run import lock
from runner.run.prepare import Resubmit
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.lane_bench import open_lane
from tests.support.run_bench import RunBench, job_text
from tests.support.unclear_runs import ALL, attempts, cut, is_done, sweep, warm_up

pytestmark = pytest.mark.anyio

DAY = 86_400.0

SILENT = json.dumps({"row": TAKEN_OVER, "headers_begun": None, "reason": "fell silent"})


def hidden(**fields: object) -> Fault:
    """Rows that lag alone: the list has everything else."""
    return Fault(where=Where.LIST, kind=Kind.HIDDEN, times=ALL, fields=fields)


def resolutions(bench: RunBench) -> list[str]:
    return [attempt["resolution"] for attempt in attempts(bench) if attempt["resolution"]]


def attempts_of_seed_1(bench: RunBench) -> str:
    document: Any = bench.manifest()
    return next(task["identity"] for task in document["tasks"] if task["name"].endswith("s1"))


async def take_for_absent(bench: RunBench, server: SandboxServer) -> Any:
    """An accepted POST whose row lags alone is taken for absent; its task is bought again and done."""
    await warm_up(bench)
    server.faults.add(cut(accept=True), hidden(seed=1))
    file = bench.write_job(sweep(seeds=1))
    assert is_done(await bench.run(file), 1)
    assert (server.accepted, resolutions(bench)) == (3, ["absent"])
    server.faults.clear()
    return file


@pytest.mark.fault(78)
@pytest.mark.parametrize("verb", ["run", "collect"])
async def test_a_row_that_turns_up_after_its_absence_is_a_paid_attempt_of_its_task(
    bench: RunBench, server: SandboxServer, verb: str
) -> None:
    file = await take_for_absent(bench, server)
    result = await (bench.run(file) if verb == "run" else bench.collect())
    assert result.exit_code is ExitCode.DONE
    assert any("is in the service's list after all" in reason for reason in result.reasons)
    assert bench.has_seen("task.found")
    with bench.ledger() as ledger:
        states = [one.state for one in ledger.read.attempts(attempts_of_seed_1(bench))]
    # equal bytes: the sandbox makes the same video of the same request, and one file holds it
    assert states == [TaskState.DONE, TaskState.DONE]
    assert (await bench.run(file)).counts == {TaskState.DONE: 1}
    assert (server.accepted, resolutions(bench)) == (3, ["found"])


@pytest.mark.fault(128)
@pytest.mark.parametrize("is_taken_over", [True, False])
async def test_what_was_held_when_a_machine_fell_silent_is_looked_for_too(
    bench: RunBench, server: SandboxServer, is_taken_over: bool
) -> None:
    """It may wake and send it; what is held for another reason waits for a person."""
    await warm_up(bench)
    server.faults.add(cut(accept=True), hidden(seed=1))
    file = bench.write_job(sweep(seeds=1, more=", on_ambiguous: hold"))
    assert (await bench.run(file)).counts == {TaskState.HELD: 1}
    accepted = server.accepted
    server.faults.clear()
    if is_taken_over:
        with bench.ledger() as ledger, ledger.transaction():
            ledger._db.execute("UPDATE attempts SET evidence = ? WHERE state = 'held'", (SILENT,))
    result = await bench.run(file)
    assert result.counts == {TaskState.DONE if is_taken_over else TaskState.HELD: 1}
    assert (
        any("held for a person is in the service's list" in said for said in result.reasons) is is_taken_over
    )
    assert server.accepted == accepted


@pytest.mark.fault(116)
async def test_a_late_row_that_passes_a_budget_is_told(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another task took its place, for it was counted no more."""
    file = await take_for_absent(bench, server)
    with bench.ledger() as ledger, ledger.transaction():
        [absent] = ledger.read.counted_absences()
        ledger.settle_absent(absent.id, Resolution.NOT_BILLED, Grounds.of(Basis.PERSON))
    cap = WindowCap("budgets[0].month", ForWhom(), Window.MONTH, max_tasks=2)
    # a rehearsal has none
    monkeypatch.setattr(lock, "budgets_of", lambda _project: Budgets(caps=(cap,)))
    result = await bench.run(file)
    assert result.exit_code is ExitCode.DONE
    assert any("max_tasks is 2 for the project" in reason for reason in result.reasons)
    assert bench.has_seen("budget.exceeded")


@pytest.mark.fault(78)
async def test_a_row_that_turns_up_before_its_task_was_bought_again_is_not_bought_again(
    bench: RunBench, server: SandboxServer
) -> None:
    await warm_up(bench)
    server.faults.add(cut(accept=True), hidden(seed=1))
    file = bench.write_job(sweep(seeds=1))
    await bench.run(file, until=lambda: bench.has_seen("task.never_accepted"))
    accepted = server.accepted
    server.faults.clear()
    assert (await bench.run(file)).exit_code is ExitCode.DONE
    assert server.accepted == accepted


async def test_a_cap_counts_what_was_taken_for_absent(bench: RunBench, server: SandboxServer) -> None:
    """The second POST for a task may be the second that is billed."""
    await warm_up(bench)
    server.faults.add(cut(accept=True), hidden(seed=1))
    text = sweep(seeds=1) + "budget: {max_tasks: 2}\n"
    result = await bench.run(bench.write_job(text))
    assert (result.exit_code, server.accepted) == (ExitCode.REFUSED, 2)
    with bench.ledger() as ledger:
        [absent] = ledger.read.counted_absences()
        with ledger.transaction():
            ledger.settle_absent(absent.id, Resolution.NOT_BILLED, Grounds.of(Basis.PERSON))
    result = await bench.run(bench.write_job(text))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 3)


@pytest.mark.parametrize("hours", [23, 25])
async def test_a_day_later_a_list_that_still_excludes_it_frees_the_cap(
    bench: RunBench, server: SandboxServer, hours: int
) -> None:
    await warm_up(bench)
    server.faults.add(cut(accept=False))
    file = bench.write_job(sweep(seeds=1))
    assert is_done(await bench.run(file), 1)
    with bench.ledger() as ledger, ledger.transaction():
        for change in (
            "UPDATE attempts SET server_time = server_time - ?1, intended_at = intended_at - ?1",
            "UPDATE history SET at = at - ?1",
        ):
            ledger._db.execute(change, (hours * 3600.0,))
    assert (await bench.run(file)).exit_code is ExitCode.DONE
    with bench.ledger() as ledger:
        assert len(ledger.read.counted_absences()) == (hours < 24)
        assert len(ledger.read.looked_for(bench.url, _key_hash(ledger), 0.0)) == 1


def _key_hash(ledger: Any) -> str:
    return str(ledger._db.execute("SELECT key_hash FROM attempts").fetchone()[0])


async def test_absence_is_taken_once_for_each_decision(bench: RunBench, server: SandboxServer) -> None:
    """A POST that is cut each time and never accepted: two in all, then a person decides."""
    await warm_up(bench)
    server.faults.add(cut(accept=False, times=None))
    file = bench.write_job(sweep(seeds=1))
    result = await bench.run(file)
    assert (result.exit_code, result.counts) == (ExitCode.PERSON_NEEDED, {TaskState.HELD: 1})
    posts = server.faults.struck
    assert (await bench.run(file)).counts == {TaskState.HELD: 1}
    assert (posts, server.faults.struck, server.accepted) == (2, 2, 1)


async def test_a_list_that_cannot_be_read_is_no_trouble_of_a_run_that_looks_back(
    bench: RunBench, server: SandboxServer
) -> None:
    file = await take_for_absent(bench, server)
    server.faults.add(Fault(where=Where.LIST, kind=Kind.ANSWER, status=503, times=ALL))
    assert is_done(await bench.run(file), 1)
    assert bench.has_seen("run.not_looked_back")


@pytest.mark.parametrize("is_there", [True, False])
async def test_retry_looks_before_it_buys_what_was_given_up(
    bench: RunBench, server: SandboxServer, is_there: bool
) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=ALL))
    file = bench.write_job(sweep(seeds=1))
    await bench.run(file, until=lambda: server.accepted == 1)
    server.faults.clear()
    with bench.ledger() as ledger:
        [attempt] = ledger.read.in_state(TaskState.SUBMITTED)
        with ledger.transaction():
            ledger.fail(attempt.id, GIVEN_UP, "by a person", time.time(), expired=True)
            if not is_there:
                old = "UPDATE attempts SET accepted_at = accepted_at - ?1, server_time = server_time - ?1"
                ledger._db.execute(old, (8 * DAY,))
    if not is_there:
        server.faults.add(Fault(where=Where.GET, kind=Kind.ANSWER, status=404, code="not_found", times=3))
    result = await bench.run(file, resubmit=Resubmit(Reason.RETRY))
    assert (result.exit_code, result.counts) == (ExitCode.DONE, {TaskState.DONE: 1})
    assert server.accepted == (1 if is_there else 2)


@pytest.mark.fault(71)
@pytest.mark.parametrize("status", [503, 404])
async def test_retry_buys_nothing_while_nobody_can_say_that_it_is_gone(
    bench: RunBench, server: SandboxServer, status: int
) -> None:
    file = bench.write_job(sweep(seeds=1))
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=ALL))
    await bench.run(file, until=lambda: server.accepted == 1)
    with bench.ledger() as ledger:
        [attempt] = ledger.read.in_state(TaskState.SUBMITTED)
        with ledger.transaction():
            ledger.fail(attempt.id, GIVEN_UP, "by a person", time.time(), expired=True)
    server.faults.clear()
    server.faults.add(Fault(where=Where.GET, kind=Kind.ANSWER, status=status, code="not_found", times=ALL))
    result = await bench.run(file, resubmit=Resubmit(Reason.RETRY))
    assert (result.exit_code, server.accepted) == (ExitCode.TRY_AGAIN, 1)
    assert any("--again" in reason for reason in result.reasons)
    server.faults.clear()
    result = await bench.run(file, resubmit=Resubmit(Reason.AGAIN))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)


async def test_a_row_of_what_was_taken_for_absent_is_found_later(
    bench: RunBench, server: SandboxServer
) -> None:
    """And told to be paid: the submit was accepted, whatever three scans had shown."""
    await bench.run(bench.write_job(job_text(seeds=1, run="settle: 0s")))
    async with open_lane(bench, job_text(seeds=2, run="settle: 0s")) as lane:
        server.faults.add(cut(accept=True))
        doubt = await lane.submit(1)
        assert isinstance(doubt, InDoubt)
        grounds, at = Grounds.of(Basis.LIST), lane.session.tools.machine.wall()
        with lane.ledger.transaction():
            lane.ledger.resolve(doubt.attempt_id, Resolution.ABSENT, grounds, at)
        assert lane.latest(1).state is TaskState.PLANNED
        with anyio.fail_after(10):  # a row that is still queued echoes nothing
            while (await lane.session.lane.client.get(RemoteTask(server.tasks()[-1].id))).is_undecided:
                await anyio.sleep(0.01)
        [found] = await lane.session.work.lookback.find()
        assert found == replace(lane.latest(1), state=TaskState.SUBMITTED)
        assert await lane.session.work.lookback.find() == []
    assert (found.id, found.remote_id) == (doubt.attempt_id, server.tasks()[-1].id)
