"""Reconciling, sentence by sentence of the design: what is absent, held, or left for later.

The real engine against a real sandbox, whose own count is the oracle for money.
"""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from runner.errors import ExitCode
from runner.ledger.states import AWAITED, TaskState
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxServer, Where
from tests.support.run_bench import RunBench
from tests.support.unclear_runs import (
    ALL,
    answer_500,
    attempts,
    cut,
    is_done,
    leave_unclear_once,
    prompts,
    run_changed,
    shots,
    sweep,
    tag_comes_back_as,
    views,
    warm_up,
)

pytestmark = pytest.mark.anyio


# Absent.


async def test_what_three_scans_exclude_is_submitted_again_once(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(cut(accept=False))
    assert is_done(await bench.run(bench.write_job(sweep())), 3)
    assert server.accepted == 3
    (lost,) = [attempt for attempt in attempts(bench) if attempt["resolution"]]
    assert (lost["resolution"], lost["resolution_evidence"]["scans"]) == ("absent", 3)
    assert sorted(attempt["reason"] for attempt in attempts(bench)) == ["reconcile", "run", "run", "run"]


async def test_nothing_is_absent_before_settle_has_passed(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(cut(accept=False))
    scans = Fault(where=Where.LIST, kind=Kind.DELAY, seconds=0, times=ALL)
    server.faults.add(scans)
    file = bench.write_job(sweep(settle="60s"))
    result = await bench.run(file, until=lambda: server.accepted == 2 and server.faults.struck >= 4)
    assert (result.exit_code, result.counts[TaskState.AMBIGUOUS]) == (ExitCode.TRY_AGAIN, 1)
    assert server.accepted == 2


@pytest.mark.parametrize("status", [500, 504, 307])
async def test_what_an_answer_made_unclear_is_never_absent(
    bench: RunBench, server: SandboxServer, status: int
) -> None:
    """The service itself does not know: the row may come later than any scan."""
    fault = Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=status, body="?", code="")
    server.faults.add(fault)
    result = await bench.run(bench.write_job(sweep()))
    assert (result.exit_code, result.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 1)
    assert server.accepted == 2
    assert (await bench.run(bench.write_job(sweep()))).exit_code is ExitCode.PERSON_NEEDED
    assert server.accepted == 2


async def test_on_ambiguous_hold_submits_nothing_again(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(cut(accept=False))
    file = bench.write_job(sweep(more=", on_ambiguous: hold"))
    result = await bench.run(file)
    assert (result.exit_code, result.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 1)
    assert server.accepted == 2


@pytest.mark.parametrize(("ours", "theirs"), [(143, 143), (145, 143), (143, 145), (145, 145)])
async def test_absence_proves_nothing_on_the_last_day_of_a_record(
    bench: RunBench, server: SandboxServer, ours: int, theirs: int
) -> None:
    """By one clock it stays unclear; by both it is held (records live for 168 hours)."""
    await warm_up(bench)
    file = await leave_unclear_once(bench, server, accept=False)
    with bench.ledger() as ledger, ledger.transaction():
        ledger._db.execute(
            "UPDATE attempts SET server_time = server_time - ?, intended_at = intended_at - ?"
            " WHERE state = 'ambiguous'",
            (theirs * 3600, ours * 3600),
        )
    result = await bench.run(file)
    state = {0: TaskState.DONE, 1: TaskState.AMBIGUOUS, 2: TaskState.HELD}[(ours > 144) + (theirs > 144)]
    assert result.counts == {state: 1}
    assert server.accepted == 1 + (state is TaskState.DONE)


async def test_collect_looks_once_and_submits_nothing(bench: RunBench, server: SandboxServer) -> None:
    await leave_unclear_once(bench, server, accept=False)
    result = await bench.collect()
    assert result.counts[TaskState.AMBIGUOUS] == 1
    assert server.accepted == 0


async def test_collect_adopts(bench: RunBench, server: SandboxServer) -> None:
    await leave_unclear_once(bench, server)
    result = await bench.collect(until=lambda: bench.has_seen("task.adopted"))
    # a look may come in between: on loopback the first one does not wait
    assert (result.exit_code, sum(result.counts[state] for state in AWAITED)) == (ExitCode.TRY_AGAIN, 1)
    assert server.accepted == 1


# Held.


@pytest.mark.fault(37)
async def test_two_candidates_are_held(bench: RunBench, server: SandboxServer) -> None:
    neighbour = RunBench(root=bench.root / "neighbour", url=server.url, key=SANDBOX_KEY)
    server.faults.add(*tag_comes_back_as(None))
    assert is_done(await neighbour.run(neighbour.write_job(sweep(seeds=1))), 1)
    await warm_up(bench)
    server.faults.add(cut(accept=True))
    result = await bench.run(bench.write_job(sweep(seeds=1)))
    assert (result.exit_code, result.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 1)
    assert server.accepted == 3


@pytest.mark.fault(50)
async def test_of_two_prompts_with_one_seed_the_tag_finds_the_right_one(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(cut(accept=True, after=1), cut(accept=False, after=2))
    assert is_done(await bench.run(bench.write_job(shots("one", "two", "three"))), 3)
    assert prompts(server) == {"one": 1, "two": 1, "three": 1}


@pytest.mark.fault(50)
async def test_of_two_prompts_with_one_seed_neither_is_adopted_without_the_tag(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(*tag_comes_back_as(None))
    await warm_up(bench)
    server.faults.add(cut(accept=True), cut(accept=False, after=1))
    file = bench.write_job(shots("one", "two"))
    result = await bench.run(file)
    assert (result.exit_code, result.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 2)
    assert (await bench.run(file)).exit_code is ExitCode.PERSON_NEEDED
    assert server.accepted == 2


@pytest.mark.fault(50)
async def test_a_held_task_keeps_its_row_from_a_later_one_with_its_seed(
    bench: RunBench, server: SandboxServer
) -> None:
    """A run later the row still may be the held one's: it is not adopted for another prompt."""
    server.faults.add(*views(Kind.NULL_ECHOES))
    await warm_up(bench)
    server.faults.add(answer_500(accept=True))
    first = await bench.run(bench.write_job(shots("one"), "jobs/one.yaml"))
    assert first.counts[TaskState.HELD] == 1
    server.faults.clear()
    server.faults.add(cut(accept=False), *tag_comes_back_as(None))
    second = await bench.run(bench.write_job(shots("two"), "jobs/two.yaml"))
    assert (second.exit_code, second.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 1)
    assert prompts(server) == {"a teapot": 1, "one": 1}


@pytest.mark.fault(51)
async def test_another_project_s_row_is_not_ours_where_tags_are_believed(
    bench: RunBench, server: SandboxServer
) -> None:
    neighbour = RunBench(root=bench.root / "neighbour", url=server.url, key=SANDBOX_KEY)
    assert is_done(await neighbour.run(neighbour.write_job(sweep())), 3)
    server.faults.add(cut(accept=False, after=2))
    assert is_done(await bench.run(bench.write_job(sweep())), 3)
    assert server.accepted == 6
    ours = {attempt["remote_id"] for attempt in attempts(bench)} - {None}
    theirs = {attempt["remote_id"] for attempt in attempts(neighbour)}
    assert ours.isdisjoint(theirs)


@pytest.mark.fault(51)
async def test_another_project_s_row_is_not_adopted_before_tags_are_believed(
    bench: RunBench, server: SandboxServer
) -> None:
    neighbour = RunBench(root=bench.root / "neighbour", url=server.url, key=SANDBOX_KEY)
    assert is_done(await neighbour.run(neighbour.write_job(sweep(seeds=1))), 1)
    server.faults.add(cut(accept=False))
    result = await bench.run(bench.write_job(sweep(seeds=1)))
    assert (result.exit_code, result.counts) == (ExitCode.TRY_AGAIN, {TaskState.AMBIGUOUS: 1})
    assert server.accepted == 1


async def test_under_another_key_it_is_left_for_the_right_one(bench: RunBench, server: SandboxServer) -> None:
    file = await leave_unclear_once(bench, server)
    result = await bench.run(file, key=f"{SANDBOX_KEY}_rotated")
    assert (result.exit_code, result.counts[TaskState.AMBIGUOUS]) == (ExitCode.PERSON_NEEDED, 1)
    assert "another API key" in " ".join(result.reasons)
    assert is_done(await bench.run(file), 1)
    assert server.accepted == 1


class Listless:
    """A service without a list, over one that has one."""

    def __init__(self, client: object) -> None:
        self._client = client

    def __getattr__(self, name: str) -> object:
        if name == "list_page":
            raise AssertionError("a service without a list was asked for it")
        return getattr(self._client, name)


async def test_without_a_list_it_is_held_at_once(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(cut(accept=True))
    started = anyio.current_time()
    result = await run_changed(
        bench,
        sweep(settle="60s"),
        lambda lane: replace(
            lane, client=Listless(lane.client), provider=replace(lane.provider, listing=None, tag=None)
        ),
    )  # type: ignore[arg-type]
    assert anyio.current_time() - started < 30
    assert (result.exit_code, result.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 1)
    assert result.counts[TaskState.DONE] == 2
    assert server.accepted == 3
    assert [attempt["tag"] for attempt in attempts(bench)] == [None] * 3


# Beside other work.


async def test_a_task_in_doubt_keeps_nothing_else_waiting(bench: RunBench, server: SandboxServer) -> None:
    """One task in flight at most: the unclear one gives its place to the others."""
    server.faults.add(cut(accept=False))
    file = bench.write_job(sweep(seeds=4, settle="60s", more=", concurrency: 1"))
    result = await bench.run(file, until=lambda: bench.has_seen("task.done", 3))
    assert (result.counts[TaskState.DONE], result.counts[TaskState.AMBIGUOUS]) == (3, 1)


async def test_an_outage_leaves_no_more_unclear_than_there_are_submit_slots(
    bench: RunBench, server: SandboxServer
) -> None:
    """Invariant 11: after the first unclear submit a free GET has to succeed before the next."""
    server.faults.add(
        cut(accept=False, times=ALL), Fault(where=Where.LIST, kind=Kind.CUT, after=1, times=ALL)
    )
    file = bench.write_job(sweep(seeds=12, settle="60s", more=", submit_slots: 2"))
    result = await bench.run(file, deadline=1)
    assert result.exit_code is ExitCode.TRY_AGAIN
    assert 1 <= result.counts[TaskState.AMBIGUOUS] <= 2
    server.faults.clear()
    assert server.accepted == 0
