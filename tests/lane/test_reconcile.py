"""Reconciling, sentence by sentence of the design: what is adopted, and from which list.

The real engine against a real sandbox, whose own count is the oracle for money.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import runner.lane.reconcile
from runner.errors import ExitCode
from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.lane.pace import Retry
from runner.lane.paid import InDoubt
from runner.ledger.caps import Caps
from runner.ledger.rows import Intent, RunRow
from runner.ledger.states import Reason, Resolution, TaskState
from runner.plan.plan import make_plan
from runner.providers.mesh import MESH
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.lane_bench import open_lane
from tests.support.run_bench import RunBench, job_text
from tests.support.unclear_runs import (
    ALL,
    answer_500,
    attempts,
    cut,
    is_done,
    leave_unclear_once,
    samples,
    settled,
    sweep,
    tag_comes_back_as,
    views,
    warm_up,
)

pytestmark = pytest.mark.anyio


# Adopted.


@pytest.mark.parametrize("after", [0, 2])
async def test_an_accepted_submit_is_adopted_by_its_tag(
    bench: RunBench, server: SandboxServer, after: int
) -> None:
    server.faults.add(cut(accept=True, after=after))
    assert is_done(await bench.run(bench.write_job(sweep())), 3)
    assert server.accepted == 3
    assert settled(bench) in ([("adopted", "tag")], [("adopted", "seed")])


async def test_a_tag_is_believed_as_soon_as_an_accepted_task_has_come_back_with_its_own(
    bench: RunBench, server: SandboxServer
) -> None:
    """Nothing but the tag can tell: what waits for it is resolved when the first such answer comes."""
    server.faults.add(cut(accept=True))
    assert is_done(await bench.run(bench.write_job(samples(3))), 3)
    assert server.accepted == 3
    assert settled(bench) == [("adopted", "tag")]


async def test_a_tag_that_nobody_has_seen_come_back_proves_nothing(
    bench: RunBench, server: SandboxServer
) -> None:
    """It may be seen one day, so a person is not asked yet."""
    server.faults.add(cut(accept=True))
    for _ in range(2):
        result = await bench.run(bench.write_job(samples(1)))
        assert (result.exit_code, result.counts) == (ExitCode.TRY_AGAIN, {TaskState.AMBIGUOUS: 1})
    assert server.accepted == 1


async def test_where_tags_never_come_back_an_explicit_seed_adopts(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(cut(accept=True), *tag_comes_back_as(None))
    assert is_done(await bench.run(bench.write_job(sweep())), 3)
    assert server.accepted == 3
    assert settled(bench) == [("adopted", "seed")]


async def test_where_the_default_comes_back_instead_of_the_tag_nothing_is_adopted(
    bench: RunBench, server: SandboxServer
) -> None:
    """Such a row looks like one of another project: a person decides."""
    server.faults.add(cut(accept=True), *tag_comes_back_as(172_800))
    result = await bench.run(bench.write_job(sweep()))
    assert (result.exit_code, result.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 1)
    assert server.accepted == 3


async def test_a_500_after_acceptance_is_adopted(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(answer_500(accept=True))
    assert is_done(await bench.run(bench.write_job(sweep())), 3)
    assert server.accepted == 3


@pytest.mark.fault(24)
async def test_what_was_accepted_while_the_process_died_is_adopted_by_the_next(
    bench: RunBench, server: SandboxServer
) -> None:
    """The intent is durable, the POST was accepted, the id was never written."""
    file = bench.write_job(sweep())
    job = load_job(file, root=bench.root.resolve(), options=LoadOptions(environ={}))
    today = RunDate.today(0.0)
    task = make_plan(job, origin=bench.url, run_date=today).tasks[0]
    with bench.ledger() as ledger:
        async with bench.order(ledger) as order:
            (lane,) = order.lanes.values()
            body = lane.provider.body(task.request, (), lambda _: b"", tag=99, callback_url=None)
            at = order.tools.machine.wall()
            run = RunRow("r0", job.file, job.name, job.digest, "", today.format(), "mesh", bench.url, at)
            with ledger.transaction():
                ledger.begin_run(run)
                intent = Intent("f" * 32, Reason.RUN, "mesh", lane.key_hash, 99, "b" * 64, at)
                ledger.intend(task, job.file, "r0", intent, Caps(), at)
            await lane.client.submit(body)
    assert server.accepted == 1
    assert is_done(await bench.run(file), 3)
    assert server.accepted == 3
    assert attempts(bench)[0]["verdict"] == "ambiguous"
    assert len(settled(bench)) == 1


# A list that does not tell the truth at once (row 36).


@pytest.mark.fault(36)
async def test_a_row_that_comes_late_is_waited_for_until_settle_has_passed(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(cut(accept=True), Fault(where=Where.LIST, kind=Kind.LAG, seconds=0.5, times=ALL))
    assert is_done(await bench.run(bench.write_job(sweep(settle="1500ms"))), 3)
    assert server.accepted == 3


async def test_nulls_of_a_young_task_are_waited_for(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(cut(accept=True), *views(Kind.NULL_ECHOES, seconds=0.5))
    assert is_done(await bench.run(bench.write_job(sweep(settle="1500ms"))), 3)
    assert server.accepted == 3


async def test_nulls_of_the_list_are_read_again_by_get(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(cut(accept=True), Fault(where=Where.LIST, kind=Kind.NULL_ECHOES, times=ALL))
    assert is_done(await bench.run(bench.write_job(sweep())), 3)
    assert server.accepted == 3


@pytest.mark.parametrize("accept", [True, False])
async def test_where_every_echo_is_null_it_is_held(
    bench: RunBench, server: SandboxServer, accept: bool
) -> None:
    """A row of which nothing is known excludes nothing, whether it is ours or another project's."""
    neighbour = RunBench(root=bench.root / "neighbour", url=server.url, key=SANDBOX_KEY)
    assert is_done(await neighbour.run(neighbour.write_job(sweep(seeds=1))), 1)
    server.faults.add(*views(Kind.NULL_ECHOES))
    await warm_up(bench)
    server.faults.add(cut(accept=accept))
    result = await bench.run(bench.write_job(sweep(seeds=1)))
    assert (result.exit_code, result.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 1)
    assert server.accepted == 2 + accept


async def test_a_model_with_a_suffix_is_the_same_model(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(cut(accept=True), *views(Kind.SUFFIX, text="-251215"))
    assert is_done(await bench.run(bench.write_job(sweep())), 3)
    assert server.accepted == 3


@pytest.mark.fault(36)
@pytest.mark.parametrize("kind", [Kind.OVERLAP, Kind.SHUFFLE])
@pytest.mark.parametrize("accept", [True, False])
async def test_pages_that_shift_are_no_full_scan(
    bench: RunBench, server: SandboxServer, kind: Kind, accept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MESH.listing is not None
    monkeypatch.setitem(vars(MESH), "listing", replace(MESH.listing, page=2))
    monkeypatch.setattr(Retry, "pause", lambda _: 0.02)
    server.faults.add(cut(accept=accept, after=3), Fault(where=Where.LIST, kind=kind, after=2, times=6))
    assert is_done(await bench.run(bench.write_job(sweep(seeds=5))), 5)
    assert server.accepted == 5


async def test_a_list_that_cannot_be_read_leaves_it_for_the_next_run(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.lane.reconcile, "SCAN_TRIES", 2)
    file = await leave_unclear_once(bench, server)
    server.faults.add(Fault(where=Where.LIST, kind=Kind.ANSWER, status=503, times=ALL))
    result = await bench.run(file)
    assert (result.exit_code, result.counts[TaskState.AMBIGUOUS]) == (ExitCode.TRY_AGAIN, 1)
    server.faults.clear()
    assert is_done(await bench.run(file), 1)
    assert server.accepted == 1


async def test_a_listed_row_that_no_get_shows_stays_a_candidate(tmp_path: Path) -> None:
    """The list is the account's, a GET the key's own: nobody knows what that row is."""
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.05, shared_list=True)) as server:
        neighbour = RunBench(root=tmp_path / "neighbour", url=server.url, key=f"{SANDBOX_KEY}_other")
        assert is_done(await neighbour.run(neighbour.write_job(sweep(seeds=1))), 1)
        bench = RunBench(root=tmp_path / "own", url=server.url, key=SANDBOX_KEY)
        server.faults.add(*views(Kind.NULL_ECHOES))
        await warm_up(bench)
        server.faults.add(cut(accept=False))
        result = await bench.run(bench.write_job(sweep(seeds=1)))
        assert (result.exit_code, result.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 1)
        assert server.accepted == 2


@pytest.mark.parametrize(("accept", "resolution"), [(True, Resolution.ADOPTED), (False, Resolution.ABSENT)])
async def test_a_doubt_is_clarified_by_the_list(
    bench: RunBench, server: SandboxServer, accept: bool, resolution: Resolution
) -> None:
    """The task before it has earned the belief in tags and stands in the list; the ledger has the rest."""
    policy = "settle: 0s, settle_alone: 0s"
    await bench.run(bench.write_job(job_text(seeds=1, run=policy)))
    async with open_lane(bench, job_text(seeds=2, run=policy)) as lane:
        server.faults.add(cut(accept=accept))
        doubt = await lane.submit(1)
        assert isinstance(doubt, InDoubt)
        assert (
            await lane.session.work.reconciler.clarify(doubt.attempt_id, lane.session.control) is resolution
        )
        attempt = lane.latest(1)
    remote_id = server.tasks()[-1].id if accept else None
    state = TaskState.SUBMITTED if accept else TaskState.PLANNED
    assert (attempt.state, attempt.resolution, attempt.remote_id) == (state, resolution, remote_id)
    assert server.accepted == 1 + accept
