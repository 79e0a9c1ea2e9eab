"""Rows of the fault table that take a whole run to see: lost outputs, keys, midnights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.errors import ExitCode, StateError
from runner.ledger.states import TaskState
from runner.providers.base import Generation, GenerationStatus
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from tests.support.harness import Bench, job_text

pytestmark = pytest.mark.anyio

DAY = 86_400.0


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.3, 0.3), scale=0.1)) as running:
        yield running


@pytest.mark.fault(35)
async def test_what_is_done_stays_done_when_the_service_says_running(
    tmp_path: Path, server: SandboxServer
) -> None:
    bench = Bench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    await bench.run(bench.write_job(job_text(seeds=1)))
    with bench.ledger() as ledger:
        (done,) = ledger.read.in_state(TaskState.DONE)
        assert done.remote_id is not None
        running = Generation(
            id=done.remote_id, status=GenerationStatus.RUNNING, raw_status="running", model=done.model
        )
        with ledger.transaction():
            ledger.observe(done.id, running, time.time())
        with pytest.raises(StateError), ledger.transaction():
            ledger.collect(done.id, time.time())
        assert [row.id for row in ledger.read.in_state(TaskState.DONE)] == [done.id]


@pytest.mark.fault(48)
@pytest.mark.parametrize(("limit", "deadline"), [("timeout: 100ms", None), ("", 0.1)])
async def test_running_out_of_time_leaves_a_task_resumable(
    limit: str, deadline: float | None, tmp_path: Path, server: SandboxServer
) -> None:
    bench = Bench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    first = await bench.run(bench.write_job(job_text(seeds=2, run=limit)), deadline=deadline)
    assert first.exit_code is ExitCode.TRY_AGAIN
    assert TaskState.FAILED not in first.counts
    second = await bench.run(bench.write_job(job_text(seeds=2)))
    assert (second.exit_code, server.accepted) == (ExitCode.DONE, 2)


@pytest.mark.fault(49)
@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda file: file.write_bytes(b"cut")], ids=["deleted", "changed"]
)
async def test_a_lost_output_is_never_bought_again(
    harm: Callable[[Path], object], tmp_path: Path, server: SandboxServer
) -> None:
    bench = Bench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    file = bench.write_job(job_text(seeds=1))
    await bench.run(file)
    harm(bench.project.base / "out/s1.mp4")
    again = await bench.run(file)
    assert (again.exit_code, server.accepted) == (ExitCode.DONE, 1)


@pytest.mark.fault(52)
async def test_a_task_of_another_key_waits_for_that_key(tmp_path: Path, server: SandboxServer) -> None:
    bench = Bench(root=tmp_path, url=server.url, key=f"{SANDBOX_KEY}_old")
    file = bench.write_job(job_text(seeds=1))
    assert (await bench.run(file, deadline=0.15)).counts[TaskState.SUBMITTED] == 1
    rotated = await bench.run(file, key=f"{SANDBOX_KEY}_new")
    assert (rotated.exit_code, rotated.counts[TaskState.SUBMITTED]) == (ExitCode.PERSON_NEEDED, 1)
    assert any("another API key" in reason for reason in rotated.reasons)
    assert ((await bench.run(file)).exit_code, server.accepted) == (ExitCode.DONE, 1)


@pytest.mark.fault(53)
async def test_a_run_that_is_resumed_the_next_day_buys_nothing_new(
    tmp_path: Path, server: SandboxServer
) -> None:
    bench = Bench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    file = bench.write_job(job_text(seeds=2, more="edition: ${{ run.date }}"))
    first = await bench.run(file, deadline=0.15)
    bench.wall = lambda: time.time() + DAY
    second = await bench.run(file, resume=first.run_id)
    assert (second.exit_code, second.run_id) == (ExitCode.DONE, first.run_id)
    assert server.accepted == 2
