"""Steps: a task starts when the one that it needs is done, with that one's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.ledger.states import TaskState
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.run_bench import RunBench
from tests.support.three_shots import three_shots

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> SandboxServer:
    return SandboxServer(SandboxConfig(latency=(0.02, 0.1), scale=0.1))


async def test_three_shots_chain_by_their_last_frames(tmp_path: Path, server: SandboxServer) -> None:
    with server:
        bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
        file = bench.write_job(three_shots())
        result = await bench.run(file)
        assert (result.exit_code, result.counts) == (ExitCode.DONE, {TaskState.DONE: 12})
        assert server.accepted == 12
        sent = [task.request["content"] for task in server.tasks()]
        first_frames = [
            item["image_url"]["url"] for content in sent for item in content if "image_url" in item
        ]
        assert len(set(first_frames)) == 8
        assert all(url.startswith("data:image/png;base64,") for url in first_frames)
        again = await bench.run(file)
        assert (again.exit_code, server.accepted) == (ExitCode.DONE, 12)


async def test_a_story_stopped_in_the_middle_goes_on_and_pays_nothing_twice(tmp_path: Path) -> None:
    with SandboxServer(SandboxConfig(latency=(0.3, 0.3), scale=0.1)) as server:
        bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
        file = bench.write_job(three_shots())
        first = await bench.run(file, until=lambda: server.accepted > 4)
        assert first.exit_code is ExitCode.TRY_AGAIN
        last = await bench.run(file)
        assert (last.exit_code, last.run_id) == (ExitCode.DONE, first.run_id)
        assert (last.counts, server.accepted) == ({TaskState.DONE: 12}, 12)


async def test_an_empty_pick_waits_for_a_person_and_says_what_to_write(
    tmp_path: Path, server: SandboxServer
) -> None:
    with server:
        bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
        first = await bench.run(bench.write_job(three_shots("pick: []")))
        assert (first.exit_code, first.counts) == (ExitCode.DONE, {TaskState.DONE: 4})
        assert any("pick" in sentence for sentence in first.waits)
        assert server.accepted == 4
        second = await bench.run(bench.write_job(three_shots("pick: [{seed: 2}]")))
        assert (second.exit_code, second.counts) == (ExitCode.DONE, {TaskState.DONE: 6})
        assert (second.run_id, server.accepted) == (first.run_id, 6)


async def test_a_failed_shot_skips_what_needs_it(tmp_path: Path, server: SandboxServer) -> None:
    with server:
        bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
        result = await bench.run(bench.write_job(three_shots(first="'a door [violate]'")))
        assert result.exit_code is ExitCode.TASK_FAILED
        assert result.counts == {TaskState.FAILED: 4, TaskState.SKIPPED: 8}
        states = {task["name"]: task["state"] for task in bench.manifest()["tasks"]}  # type: ignore[attr-defined]
        assert sorted(states.values()) == ["failed"] * 4 + ["skipped"] * 8


async def test_a_lost_last_frame_stops_only_what_begins_with_it(
    tmp_path: Path, server: SandboxServer
) -> None:
    with server:
        bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
        await bench.run(bench.write_job(three_shots("pick: []")))
        for task in server.tasks():
            if task.request["seed"] == 1:
                server.faults.add(
                    Fault(
                        where=Where.GET,
                        kind=Kind.ANSWER,
                        task=task.id,
                        status=404,
                        times=None,
                        code="not_found",
                    )
                )
        (bench.project.base / "out" / "one-s1.last.png").unlink()
        result = await bench.run(bench.write_job(three_shots()))
        assert result.exit_code is ExitCode.INPUT_MISSING, result.reasons
        assert result.counts[TaskState.DONE] == 3 + 6
        assert any("one-s1.last.png is not there" in reason for reason in result.reasons)
        assert server.accepted == 4 + 6
