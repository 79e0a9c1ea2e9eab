"""Ways to pay twice, or to tell what was not so: each was possible once."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import ExitCode, JobError
from runner.ledger.states import TaskState
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.run_bench import RunBench, job_text
from tests.support.unclear_runs import attempts, cut, views, warm_up

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("later", ["sets it", "no longer sets it"])
async def test_an_intent_that_is_used_again_has_the_tag_that_is_sent(
    later: str, bench: RunBench, server: SandboxServer
) -> None:
    """The field that carries the tag is no part of the identity: the job may begin to set it."""
    await bench.run(bench.write_job(job_text(seeds=1, run="settle: 0s")))
    plain = job_text(seeds=2, run="settle: 0s")
    own = plain.replace("duration: 4}", "duration: 4, execution_expires_after: 7200}")
    before, after = (plain, own) if later == "sets it" else (own, plain)
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=402, code="insufficient_credits"))
    assert (await bench.run(bench.write_job(before))).exit_code is ExitCode.OUT_OF_MONEY
    server.faults.clear()
    server.faults.add(cut(accept=True))
    result = await bench.run(bench.write_job(after))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)
    (_, second) = attempts(bench)
    assert second["resolution"] == "adopted"
    assert (second["tag"] is None) == (later == "sets it")


async def test_a_list_that_leaves_out_what_is_accepted_proves_no_absence(
    bench: RunBench, server: SandboxServer
) -> None:
    """It lags longer than `run.settle`, and shows it: tasks whose ids are known are missing too."""
    server.faults.add(
        cut(accept=True, after=1), Fault(where=Where.LIST, kind=Kind.LAG, seconds=3600, times=None)
    )
    result = await bench.run(bench.write_job(job_text(seeds=3, run="settle: 0s, submit_slots: 1")))
    assert (result.exit_code, server.accepted) == (ExitCode.TRY_AGAIN, 3)
    assert (result.counts[TaskState.DONE], result.counts[TaskState.AMBIGUOUS]) == (2, 1)


async def test_a_list_that_catches_up_adopts(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(
        cut(accept=True, after=1), Fault(where=Where.LIST, kind=Kind.LAG, seconds=2, times=None)
    )
    policy = "settle: 0s, settle_alone: 1m, submit_slots: 1"
    result = await bench.run(bench.write_job(job_text(seeds=3, run=policy)))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 3)


async def test_the_manifest_tells_the_request_that_was_sent(bench: RunBench, server: SandboxServer) -> None:
    """A field outside the identity was added after the task was done: nothing was sent with it."""
    await bench.run(bench.write_job(job_text(seeds=1)))
    flexible = job_text(seeds=1).replace("duration: 4}", "duration: 4, service_tier: flex}")
    await bench.run(bench.write_job(flexible))
    (task,) = bench.manifest()["tasks"]  # type: ignore[misc]
    assert "service_tier" not in server.tasks()[0].request
    assert "service_tier" not in task["request"]


async def test_what_is_held_of_another_job_is_told(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=500, accept=False, after=1))
    file = bench.write_job(job_text(seeds=2, run="settle: 60s, submit_slots: 1"))
    await bench.run(file, until=lambda: bench.has_seen("task.ambiguous"))
    result = await bench.run(bench.write_job(job_text(seeds=1, run="settle: 0s")))
    assert result.exit_code is ExitCode.PERSON_NEEDED


@pytest.mark.parametrize("stands", ["a link that leads out", "a link that leads nowhere", "a file"])
async def test_a_place_that_takes_no_video_is_told_before_anything_is_paid(
    stands: str, bench: RunBench, server: SandboxServer, tmp_path: Path
) -> None:
    out = bench.project.base / "out"
    out.parent.mkdir(exist_ok=True)
    if stands == "a file":
        out.write_text("mine")
    elif stands == "a link that leads out":
        out.symlink_to(tmp_path.parent)
    else:
        out.mkdir()
        (out / "s1.mp4").symlink_to(tmp_path / "nowhere")
    with pytest.raises(JobError, match=r"out/s1.mp4|the path of each cannot be written"):
        await bench.run(bench.write_job(job_text(seeds=2)))
    assert server.accepted == 0


async def test_what_is_collected_for_an_edited_job_is_put_where_the_job_says_now(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    await bench.run(bench.write_job(job_text(seeds=2)), until=lambda: server.accepted == 2)
    server.faults.clear()
    result = await bench.run(bench.write_job(job_text(seeds=2).replace("out/", "new/")))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)
    assert sorted(path.name for path in (bench.project.base / "new").iterdir()) == ["s1.mp4", "s2.mp4"]


EMPTY_LIST = Fault(where=Where.LIST, kind=Kind.HIDDEN, times=None)


@pytest.mark.fault(55)
@pytest.mark.fault(57)
@pytest.mark.parametrize("accept", [True, False])
async def test_posts_that_are_always_cut_beside_an_empty_list_are_made_once(
    bench: RunBench, server: SandboxServer, accept: bool
) -> None:
    """They went out again after each `settle`, for ever, above every cap."""
    server.faults.add(cut(accept=accept, times=None), EMPTY_LIST)
    policy = "settle: 0s, submit_slots: 1, timeout: 2s, max_failures: 1"
    file = bench.write_job(job_text(seeds=9, run=policy, more="budget: {max_tasks: 4}"))
    for runs in (1, 2):
        result = await bench.run(file)
        assert result.exit_code is (ExitCode.TRY_AGAIN if runs == 1 else ExitCode.REFUSED)
    with bench.ledger() as ledger:
        unclear = list(ledger.read.in_state(TaskState.AMBIGUOUS))
    assert len({one.identity for one in unclear}) == len(unclear) == 4
    assert server.accepted == (4 if accept else 0)


@pytest.mark.fault(55)
async def test_three_doubts_in_a_row_stop_submitting(bench: RunBench, server: SandboxServer) -> None:
    """An edge that accepts and cuts while free GETs work would make a thousand unclear submits."""
    await warm_up(bench)
    server.faults.add(cut(accept=True, times=None))
    file = bench.write_job(job_text(seeds=9, run="settle: 0s, submit_slots: 1"))
    result = await bench.run(file)
    assert (result.exit_code, server.accepted) == (ExitCode.TRY_AGAIN, 1 + 3)
    assert any("3 submits in a row" in reason for reason in result.reasons)
    server.faults.clear()
    assert (await bench.run(file)).exit_code is ExitCode.DONE
    assert server.accepted == 1 + 9


@pytest.mark.fault(55)
async def test_doubts_with_an_acceptance_between_them_stop_nothing(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, every=2, times=None))
    result = await bench.run(bench.write_job(job_text(seeds=8, run="settle: 0s, submit_slots: 1")))
    assert (result.exit_code, result.reasons, server.accepted) == (ExitCode.DONE, (), 8)


@pytest.mark.fault(56)
async def test_a_defect_of_ours_while_an_answer_is_read_stops_submitting(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may happen with each answer; what was accepted is found again by the list."""

    def broken(*_: object, **__: object) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    with monkeypatch.context() as patched:
        patched.setattr("runner.providers.mesh.client.judge_submit", broken)
        file = bench.write_job(job_text(seeds=5, run="settle: 0s, submit_slots: 1"))
        result = await bench.run(file)
    assert (result.exit_code, server.accepted) == (ExitCode.BUG, 1)
    assert any("RecursionError" in reason for reason in result.reasons)
    assert (await bench.run(file)).exit_code is ExitCode.DONE
    assert server.accepted == 5


@pytest.mark.fault(58)
async def test_a_queued_row_that_echoes_nothing_decided_proves_no_absence(
    bench: RunBench, server: SandboxServer
) -> None:
    await warm_up(bench)
    fields = {"status": "queued", "seed": -1, "execution_expires_after": None}
    server.faults.add(
        cut(accept=True),
        Fault(where=Where.LIST, kind=Kind.FIELDS, times=20, fields=fields),
        Fault(where=Where.GET, kind=Kind.FIELDS, times=20, fields=fields),
    )
    result = await bench.run(bench.write_job(job_text(seeds=1, run="settle: 0s")))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)


@pytest.mark.fault(58)
async def test_seeds_that_came_back_wrong_prove_no_absence(bench: RunBench, server: SandboxServer) -> None:
    """Three tasks had come back with other seeds than were sent; the fourth was proved absent by its own."""
    wrong = {"seed": 4711, "execution_expires_after": None}
    server.faults.add(
        cut(accept=True, after=3),
        *views(Kind.FIELDS, fields=wrong),
    )
    file = bench.write_job(job_text(seeds=4, run="settle: 0s, submit_slots: 1"))
    result = await bench.run(file)
    assert (result.exit_code, server.accepted) == (ExitCode.PERSON_NEEDED, 4)
    assert result.counts == {TaskState.DONE: 3, TaskState.HELD: 1}


@pytest.mark.fault(59)
@pytest.mark.parametrize("fault", [Kind.ENDLESS, Kind.TOTAL])
async def test_a_list_that_contradicts_itself_is_no_scan_and_is_given_up(
    bench: RunBench, server: SandboxServer, fault: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """90,000 GETs in a minute, for ever, was one that ignored `offset` and said `has_more`."""
    monkeypatch.setattr("runner.lane.reconcile.SCAN_TRIES", 3)
    await warm_up(bench)
    server.faults.add(cut(accept=False), Fault(where=Where.LIST, kind=fault, times=None))
    result = await bench.run(bench.write_job(job_text(seeds=2, run="settle: 0s, submit_slots: 1")))
    assert result.exit_code is ExitCode.TRY_AGAIN
    assert result.counts == {TaskState.DONE: 1, TaskState.AMBIGUOUS: 1}
    assert server.faults.struck < 30
