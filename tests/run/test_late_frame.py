"""What was asked for is awaited: a last frame that comes after its video, or never."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from runner.errors import ExitCode
from runner.lane.pace import Retry
from runner.lane.paid import paid_of
from runner.ledger.states import TaskState
from runner.providers.base import Generation
from runner.providers.mesh import MESH
from runner.providers.mesh.client import MeshClient
from runner.record.show import describe
from runner.run.run import Crew
from runner.run.task.deliver import Delivery
from runner.run.task.watch import Watch
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.run_bench import RunBench, job_text
from tests.support.three_shots import three_shots

pytestmark = [pytest.mark.anyio, pytest.mark.fault(64)]

FRAMED = job_text(seeds=1).replace("duration: 4", "duration: 4, return_last_frame: true")


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.1)) as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, server: SandboxServer) -> RunBench:
    return RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)


def late(*, times: int | None) -> Fault:
    return Fault(where=Where.GET, kind=Kind.LATE_FRAME, times=times)


def paths(bench: RunBench) -> list[str]:
    [task] = bench.manifest()["tasks"]  # type: ignore[misc, attr-defined]
    return [output["path"] for output in task["outputs"]]


def missing(bench: RunBench) -> list[str]:
    [task] = bench.manifest()["tasks"]  # type: ignore[misc, attr-defined]
    found: list[str] = task["missing"]
    return found


def downloads(bench: RunBench, path: str) -> int:
    return sum(name == "task.download" and fields["path"] == path for name, fields in bench.events)


async def test_a_frame_that_appears_after_the_video_is_awaited(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(late(times=6))
    result = await bench.run(bench.write_job(FRAMED))
    assert (result.exit_code, result.counts) == (ExitCode.DONE, {TaskState.DONE: 1})
    assert paths(bench) == ["out/s1.mp4", "out/s1.last.png"]
    assert (missing(bench), downloads(bench, "out/s1.mp4"), server.accepted) == ([], 1, 1)


async def test_the_video_is_recorded_at_once_and_not_fetched_again(
    bench: RunBench, server: SandboxServer
) -> None:
    """`run.timeout` leaves the frame for the next run."""
    server.faults.add(late(times=None))
    file = bench.write_job(FRAMED.replace("run: {", "run: {timeout: 1s, "))
    first = await bench.run(file)
    assert (first.exit_code, first.counts) == (ExitCode.TRY_AGAIN, {TaskState.COLLECTING: 1})
    assert any("last frame is still to come" in reason for reason in first.reasons)
    assert paths(bench) == ["out/s1.mp4"]
    second = await bench.collect(deadline=0.3)
    assert (second.exit_code, second.counts[TaskState.COLLECTING]) == (ExitCode.TRY_AGAIN, 1)
    server.faults.clear()
    third = await bench.run(file)
    assert (third.exit_code, third.counts) == (ExitCode.DONE, {TaskState.DONE: 1})
    assert paths(bench) == ["out/s1.mp4", "out/s1.last.png"]
    assert (downloads(bench, "out/s1.mp4"), server.accepted) == (1, 1)


async def test_a_video_that_was_changed_meanwhile_is_fetched_again(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(late(times=None))
    file = bench.write_job(FRAMED.replace("run: {", "run: {timeout: 1s, "))
    await bench.run(file)
    (bench.project.base / "out/s1.mp4").unlink()
    server.faults.clear()
    assert (await bench.run(file)).counts == {TaskState.DONE: 1}
    assert (bench.project.base / "out/s1.mp4").is_file()
    assert downloads(bench, "out/s1.mp4") == 2


async def leave_past_its_life(bench: RunBench, server: SandboxServer, text: str) -> Path:
    """A run that stops with the frame still to come, and a clock a day and more later."""
    server.faults.add(late(times=None))
    file = bench.write_job(text.replace("run: {", "run: {timeout: 1s, "))
    assert (await bench.run(file)).exit_code is ExitCode.TRY_AGAIN
    return file


async def test_a_frame_that_never_comes_leaves_the_video_done_and_is_told(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await leave_past_its_life(bench, server, FRAMED)
    monkeypatch.setitem(vars(MESH), "url_life", 0.0)
    result = await bench.run(file)
    assert (result.exit_code, result.counts) == (ExitCode.TASK_FAILED, {TaskState.DONE: 1})
    assert any("last_frame" in reason for reason in result.reasons)
    assert (paths(bench), missing(bench)) == (["out/s1.mp4"], ["last_frame"])
    with bench.ledger() as ledger:
        [done] = ledger.read.in_state(TaskState.DONE)
        task = ledger.read.task(done.identity)
        assert task is not None
        assert describe(ledger.read, task, bench.project).missing == ("last_frame",)
    again = await bench.run(file)
    assert (again.exit_code, server.accepted) == (ExitCode.DONE, 1)


@pytest.mark.parametrize(("ours", "theirs", "is_past"), [(2, 0, False), (0, 2, False), (2, 2, True)])
async def test_its_life_is_over_by_the_slower_of_two_clocks(
    bench: RunBench, server: SandboxServer, ours: int, theirs: int, is_past: bool
) -> None:
    """Ours may have been set, and one `Date` may be a day ahead."""
    file = await leave_past_its_life(bench, server, FRAMED)
    assert file.is_file()
    with bench.ledger() as ledger:
        [attempt] = ledger.read.in_state(TaskState.COLLECTING)
        async with bench.order(ledger) as order:
            tools = order.tools
            (session,) = Crew([order]).jobs[0].work.sessions.values()
            paid, clock = (
                paid_of(ledger.read, attempt.id, tools.machine, anyio.current_time()),
                session.lane.clock,
            )
            clock.hear(time.time() + theirs * MESH.url_life)
            paid = dataclasses.replace(
                paid,
                since=anyio.current_time() - ours * MESH.url_life,
                server_time=clock.earliest() - theirs * MESH.url_life,
            )
            assert Delivery(Watch(session, paid))._is_past_life() is is_past


async def test_a_step_that_needs_the_frame_is_told_and_does_not_die_at_every_start(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails with a message, the others go on; and it goes on once the frame is there after all."""
    server.faults.add(late(times=None))
    file = bench.write_job(
        three_shots().replace("seeds: 1..4", "seeds: 1..1").replace("run: {", "run: {timeout: 1s, ")
    )
    first = await bench.run(file)
    assert first.counts == {TaskState.COLLECTING: 1, TaskState.WAITING: 2}
    with monkeypatch.context() as later:
        later.setitem(vars(MESH), "url_life", 0.0)
        for _ in range(2):
            result = await bench.run(file)
            assert (result.exit_code, result.counts) == (
                ExitCode.TASK_FAILED,
                {TaskState.DONE: 1, TaskState.SKIPPED: 2},
            )
            assert any("last frame never came" in reason for reason in result.reasons)
    errors = [task["error"] for task in bench.manifest()["tasks"]]  # type: ignore[attr-defined]
    assert "last frame never came" in errors[1]["message"]
    assert server.accepted == 1
    server.faults.clear()
    last = await bench.run(file)
    assert (last.exit_code, last.counts) == (ExitCode.DONE, {TaskState.DONE: 3}), last.reasons
    assert server.accepted == 3
    assert downloads(bench, "out/one-s1.mp4") == 1


async def test_an_old_ledger_s_done_task_without_a_frame_is_asked_for_it_once_more(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions called it done when the video was there."""
    file = bench.write_job(three_shots("pick: []").replace("seeds: 1..4", "seeds: 1..2"))
    with monkeypatch.context() as earlier:
        earlier.setitem(vars(MESH), "makes", {})
        faults = late(times=None)
        server.faults.add(faults)
        assert (await bench.run(file)).counts == {TaskState.DONE: 2}
    server.faults.clear()
    result = await bench.run(bench.write_job(three_shots().replace("seeds: 1..4", "seeds: 1..2")))
    assert (result.exit_code, result.counts) == (ExitCode.DONE, {TaskState.DONE: 6}), result.reasons
    assert server.accepted == 6


@pytest.mark.fault(67)
@pytest.mark.parametrize("url", ["https://xn--/", "http://127.0.0.1:1/gone.png"])
async def test_a_frame_that_nobody_asked_for_holds_nothing_up(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(Retry, "pause", lambda _: 0.0)
    server.faults.add(Fault(where=Where.GET, kind=Kind.EARLY_FRAME, times=None, text=url))
    result = await bench.run(bench.write_job(job_text(seeds=1)))
    assert (result.exit_code, result.counts) == (ExitCode.DONE, {TaskState.DONE: 1})
    assert (paths(bench), missing(bench)) == (["out/s1.mp4"], [])


@pytest.mark.fault(67)
async def test_thousands_of_files_are_not_fetched(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.run.task.deliver.MOST_FILES", 3)
    get = MeshClient.get

    async def many(self: MeshClient, remote_id: str) -> Generation:
        generation = await get(self, remote_id)
        return dataclasses.replace(generation, files=generation.files * 500)

    monkeypatch.setattr(MeshClient, "get", many)
    result = await bench.run(bench.write_job(job_text(seeds=1)))
    assert result.counts == {TaskState.DONE: 1}
    assert paths(bench) == ["out/s1.mp4", "out/s1-2.mp4", "out/s1-3.mp4"]
