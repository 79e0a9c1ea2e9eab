"""Rows of the fault table that take a whole run to see: full disks, clocks, keys, midnights."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.errors import ExitCode, StateError
from runner.ledger.ledger import Ledger
from runner.ledger.states import TaskState
from runner.providers.base import Generation, GenerationStatus
from runner.run.task.watch import LOOK_FAILURES
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.run_bench import RunBench, job_text

pytestmark = pytest.mark.anyio

DAY = 86_400.0


@dataclass(slots=True)
class FullBench(RunBench):
    """SQLite's own SQLITE_FULL at one statement: the file may not grow, and a trigger makes it."""

    full_at: str = ""

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Ledger]:
        with RunBench.ledger(self) as ledger:
            if self.full_at:
                database = ledger._db
                database.execute("CREATE TABLE IF NOT EXISTS ballast (data)")
                database.execute(
                    f"CREATE TEMP TRIGGER full AFTER {self.full_at} ON main.attempts"
                    " BEGIN INSERT INTO ballast VALUES (zeroblob(4000000)); END"
                )
                database.execute("PRAGMA max_page_count = 500")
            yield ledger


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.3, 0.3), scale=0.1)) as running:
        yield running


@pytest.mark.fault(12)
async def test_an_id_that_another_task_holds_is_held_and_said(tmp_path: Path, server: SandboxServer) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.FOREIGN_ID, after=1))
    file = bench.write_job(job_text(seeds=2, run="submit_slots: 1"))
    result = await bench.run(file)
    assert (result.exit_code, result.counts) == (
        ExitCode.PERSON_NEEDED,
        {TaskState.DONE: 1, TaskState.HELD: 1},
    )
    [held] = [fields for name, fields in bench.events if name == "task.held"]
    assert server.tasks()[0].id in str(held["reason"])
    posts = server.accepted
    assert (await bench.run(file)).exit_code is ExitCode.PERSON_NEEDED
    assert server.accepted == posts


@pytest.mark.fault(164)
@pytest.mark.parametrize("status", [400, 429, 503])
async def test_a_refusal_that_names_what_was_accepted_buys_nothing_twice(
    tmp_path: Path, server: SandboxServer, status: int
) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    error = '{"code": "slow_down", "message": "later"}'
    body = f'{{"id": "t-elsewhere", "request_id": "req_1", "error": {error}}}'
    server.faults.add(
        Fault(where=Where.SUBMIT, kind=Kind.ANSWER, accept=True, status=status, body=body, after=1)
    )
    file = bench.write_job(job_text(seeds=2, run="submit_slots: 1, settle: 300ms"))
    result = await bench.run(file)
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2), result.reasons
    assert result.counts == {TaskState.DONE: 2}


@pytest.mark.fault(27)
async def test_a_disk_that_is_full_at_the_intent_sends_nothing(tmp_path: Path, server: SandboxServer) -> None:
    bench = FullBench(root=tmp_path, url=server.url, key=SANDBOX_KEY, full_at="INSERT")
    result = await bench.run(bench.write_job(job_text(seeds=1)))
    assert result.exit_code is ExitCode.CANNOT_WRITE
    assert any("disk is full" in reason for reason in result.reasons)
    assert server.accepted == 0


@pytest.mark.fault(28)
async def test_a_disk_that_is_full_at_the_id_tells_it_and_the_next_run_adopts(
    tmp_path: Path, server: SandboxServer
) -> None:
    bench = FullBench(root=tmp_path, url=server.url, key=SANDBOX_KEY, full_at="UPDATE OF remote_id")
    file = bench.write_job(job_text(seeds=1, run="settle: 300ms"))
    result = await bench.run(file)
    assert result.exit_code is ExitCode.CANNOT_WRITE
    assert any(server.tasks()[0].id in reason for reason in result.reasons), result.reasons
    bench.full_at = ""
    again = await bench.run(file)
    assert (again.exit_code, server.accepted) == (ExitCode.DONE, 1)


@pytest.mark.fault(32)
async def test_a_404_right_after_acceptance_is_waited_out(tmp_path: Path, server: SandboxServer) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    server.faults.add(
        Fault(where=Where.GET, kind=Kind.ANSWER, times=5, per_task=True, status=404, code="not_found")
    )
    result = await bench.run(bench.write_job(job_text(seeds=2)))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)


@pytest.mark.fault(71)
async def test_a_404_that_stays_is_told_before_the_looks_run_out(
    tmp_path: Path, server: SandboxServer
) -> None:
    """The service's own code and message are told, once for each task."""
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    answer = Fault(where=Where.GET, kind=Kind.ANSWER, times=5, status=404, code="gone", message="no task")
    server.faults.add(answer)
    await bench.run(bench.write_job(job_text(seeds=1)))
    told = [fields for name, fields in bench.events if name == "task.not_shown"]
    assert [(fields["status"], fields["code"]) for fields in told] == [(404, "gone")]
    assert "no task" in str(told[0]["message"])


@pytest.mark.fault(32)
async def test_a_short_404_is_no_news(tmp_path: Path, server: SandboxServer) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    server.faults.add(Fault(where=Where.GET, kind=Kind.ANSWER, times=2, status=404, code="not_found"))
    await bench.run(bench.write_job(job_text(seeds=1)))
    assert "task.not_shown" not in [name for name, _ in bench.events]


@pytest.mark.fault(33)
async def test_a_look_that_succeeds_forgives_those_that_failed(tmp_path: Path, server: SandboxServer) -> None:
    """Two long series of failures with one success between them, together more than may fail in a row."""
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    series = LOOK_FAILURES - 1
    server.faults.add(
        *(Fault(where=Where.GET, kind=Kind.CUT, times=series, after=after) for after in (0, series + 1)),
        Fault(where=Where.GET, kind=Kind.REGRESS, times=1, after=series),
    )
    result = await bench.run(bench.write_job(job_text(seeds=1)))
    assert server.faults.struck == 2 * series + 1
    assert (result.exit_code, result.counts) == (ExitCode.DONE, {TaskState.DONE: 1})


@pytest.mark.fault(33)
async def test_looks_that_keep_failing_leave_the_task_resumable(
    tmp_path: Path, server: SandboxServer
) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    server.faults.add(Fault(where=Where.GET, kind=Kind.CUT, times=None))
    file = bench.write_job(job_text(seeds=1))
    first = await bench.run(file)
    assert (first.exit_code, first.counts) == (ExitCode.TRY_AGAIN, {TaskState.SUBMITTED: 1})
    assert any(f"{LOOK_FAILURES} looks failed in a row" in reason for reason in first.reasons)
    server.faults.clear()
    second = await bench.run(file)
    assert (second.exit_code, server.accepted) == (ExitCode.DONE, 1)


@pytest.mark.fault(35)
async def test_what_is_done_stays_done_when_the_service_says_running(
    tmp_path: Path, server: SandboxServer
) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
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


@pytest.mark.fault(38)
@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
async def test_a_jumping_wall_clock_moves_no_timer(
    jump: float, tmp_path: Path, server: SandboxServer
) -> None:
    """It jumps at every second look; the run is as fast and as cheap as ever."""
    looks = itertools.cycle([0.0, jump])
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY, wall=lambda: time.time() + next(looks))
    started = time.monotonic()
    result = await bench.run(bench.write_job(job_text(seeds=3)))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 3)
    assert time.monotonic() - started < 30


@pytest.mark.fault(48)
@pytest.mark.parametrize(("limit", "deadline"), [("timeout: 100ms", None), ("", 0.1)])
async def test_running_out_of_time_leaves_a_task_resumable(
    limit: str, deadline: float | None, tmp_path: Path, server: SandboxServer
) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    first = await bench.run(bench.write_job(job_text(seeds=2, run=limit)), deadline=deadline)
    assert first.exit_code is ExitCode.TRY_AGAIN
    assert TaskState.FAILED not in first.counts
    server.faults.clear()
    second = await bench.run(bench.write_job(job_text(seeds=2)))
    assert (second.exit_code, server.accepted) == (ExitCode.DONE, 2)


@pytest.mark.fault(49)
@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda file: file.write_bytes(b"cut")], ids=["deleted", "changed"]
)
async def test_a_lost_output_is_never_bought_again(
    harm: Callable[[Path], object], tmp_path: Path, server: SandboxServer
) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    file = bench.write_job(job_text(seeds=1))
    await bench.run(file)
    harm(bench.project.base / "out/s1.mp4")
    again = await bench.run(file)
    assert (again.exit_code, server.accepted) == (ExitCode.DONE, 1)


@pytest.mark.fault(52)
async def test_a_task_of_another_key_waits_for_that_key(tmp_path: Path, server: SandboxServer) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=f"{SANDBOX_KEY}_old")
    file = bench.write_job(job_text(seeds=1))
    assert (await bench.run(file, until=lambda: server.accepted == 1)).counts[TaskState.SUBMITTED] == 1
    rotated = await bench.run(file, key=f"{SANDBOX_KEY}_new")
    assert (rotated.exit_code, rotated.counts[TaskState.SUBMITTED]) == (ExitCode.PERSON_NEEDED, 1)
    assert any("another API key" in reason for reason in rotated.reasons)
    assert ((await bench.run(file)).exit_code, server.accepted) == (ExitCode.DONE, 1)


@pytest.mark.fault(53)
async def test_a_run_that_is_resumed_the_next_day_buys_nothing_new(
    tmp_path: Path, server: SandboxServer
) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    file = bench.write_job(job_text(seeds=2, run="timeout: 7d", more="edition: ${{ run.date }}"))
    first = await bench.run(file, deadline=0.15)
    bench.wall = lambda: time.time() + DAY
    second = await bench.run(file, resume=first.run_id)
    assert (second.exit_code, second.run_id) == (ExitCode.DONE, first.run_id)
    assert server.accepted == 2


@pytest.mark.fault(77)
async def test_a_stuck_task_of_another_job_changes_no_exit_code_but_its_own(
    tmp_path: Path, server: SandboxServer
) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    stuck = bench.write_job(job_text(seeds=1))
    await bench.run(stuck, until=lambda: server.accepted == 1)
    [task] = server.tasks()
    server.faults.add(Fault(where=Where.GET, kind=Kind.CUT, task=task.id, times=None))
    other = bench.write_job(job_text(seeds=2).replace("out/", "other/").replace("teapot", "kettle"), "b.yaml")
    result = await bench.run(other)
    assert (result.exit_code, result.reasons) == (ExitCode.DONE, ())
    [note] = result.notes
    assert "looks failed in a row" in note
    own = await bench.run(stuck)
    assert (own.exit_code, own.notes) == (ExitCode.TRY_AGAIN, ())


@pytest.mark.fault(77)
async def test_a_task_that_two_jobs_share_is_each_ones_own(tmp_path: Path, server: SandboxServer) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    await bench.run(bench.write_job(job_text(seeds=1)), until=lambda: server.accepted == 1)
    server.faults.add(Fault(where=Where.GET, kind=Kind.CUT, times=None))
    result = await bench.run(bench.write_job(job_text(seeds=1), "same.yaml"))
    assert (result.exit_code, result.notes, server.accepted) == (ExitCode.TRY_AGAIN, (), 1)
