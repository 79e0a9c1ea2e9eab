"""Ways to pay twice, or to tell what was not so: each was possible once."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import ExitCode, JobError
from runner.ledger.states import TaskState
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.engine.reconciling import attempts, cut
from tests.support.harness import Bench, job_text

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("later", ["sets it", "no longer sets it"])
async def test_an_intent_that_is_used_again_has_the_tag_that_is_sent(
    later: str, bench: Bench, server: SandboxServer
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
    bench: Bench, server: SandboxServer
) -> None:
    """It lags longer than `run.settle`, and shows it: tasks whose ids are known are missing too."""
    server.faults.add(
        cut(accept=True, after=1), Fault(where=Where.LIST, kind=Kind.LAG, seconds=3600, times=None)
    )
    result = await bench.run(bench.write_job(job_text(seeds=3, run="settle: 0s, submit_slots: 1")))
    assert (result.exit_code, server.accepted) == (ExitCode.TRY_AGAIN, 3)
    assert (result.counts[TaskState.DONE], result.counts[TaskState.AMBIGUOUS]) == (2, 1)


async def test_a_list_that_catches_up_adopts(bench: Bench, server: SandboxServer) -> None:
    server.faults.add(
        cut(accept=True, after=1), Fault(where=Where.LIST, kind=Kind.LAG, seconds=2, times=None)
    )
    policy = "settle: 0s, settle_alone: 1m, submit_slots: 1"
    result = await bench.run(bench.write_job(job_text(seeds=3, run=policy)))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 3)


async def test_the_manifest_tells_the_request_that_was_sent(bench: Bench, server: SandboxServer) -> None:
    """A field outside the identity was added after the task was done: nothing was sent with it."""
    await bench.run(bench.write_job(job_text(seeds=1)))
    flexible = job_text(seeds=1).replace("duration: 4}", "duration: 4, service_tier: flex}")
    await bench.run(bench.write_job(flexible))
    (task,) = bench.manifest()["tasks"]  # type: ignore[misc]
    assert "service_tier" not in server.tasks()[0].request
    assert "service_tier" not in task["request"]


async def test_what_is_held_of_another_job_is_told(bench: Bench, server: SandboxServer) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=500, accept=False, after=1))
    file = bench.write_job(job_text(seeds=2, run="settle: 60s, submit_slots: 1"))
    await bench.run(file, until=lambda: bench.has_seen("task.ambiguous"))
    result = await bench.run(bench.write_job(job_text(seeds=1, run="settle: 0s")))
    assert result.exit_code is ExitCode.PERSON_NEEDED


@pytest.mark.parametrize("stands", ["a link that leads out", "a link that leads nowhere", "a file"])
async def test_a_place_that_takes_no_video_is_told_before_anything_is_paid(
    stands: str, bench: Bench, server: SandboxServer, tmp_path: Path
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
    bench: Bench, server: SandboxServer
) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    await bench.run(bench.write_job(job_text(seeds=2)), until=lambda: server.accepted == 2)
    server.faults.clear()
    result = await bench.run(bench.write_job(job_text(seeds=2).replace("out/", "new/")))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)
    assert sorted(path.name for path in (bench.project.base / "new").iterdir()) == ["s1.mp4", "s2.mp4"]
