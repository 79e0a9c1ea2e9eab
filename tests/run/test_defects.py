"""Defects that a review found, each kept away by a run that would meet it."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
import trio
import trio.testing

from runner.errors import ExitCode, StateError
from runner.lane.clock import ServerClock
from runner.lane.machine import Machine
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Grounds
from runner.ledger.states import Basis, Resolution, TaskState
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Stage, Where
from tests.support.run_bench import RunBench, job_text
from tests.support.unclear_runs import (
    answer_500,
    cut,
    leave_unclear_once,
    prompts,
    samples,
    shots,
    tag_comes_back_as,
    views,
    warm_up,
)

pytestmark = pytest.mark.anyio

HOUR = 3600.0


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.1)) as running:
        yield running


def heard(wall: float, *answers: float) -> tuple[float, float]:
    """What a clock says at the last of some answers, a second apart; (earliest, latest)."""

    async def scenario() -> tuple[float, float]:
        clock = ServerClock(Machine(wall=lambda: wall + anyio.current_time()))
        for answer in answers:
            await anyio.sleep(1)
            clock.hear(answer)
        return clock.earliest(), clock.latest()

    return trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("answers", [(1001.0, 1002.0 + HOUR), (1001.0 + HOUR, 1002.0)])
def test_one_answer_with_a_wrong_clock_opens_no_window_too_late(answers: tuple[float, float]) -> None:
    """An edge's 429 an hour ahead would have hidden the paid row, and paid again."""
    earliest, latest = heard(5 * HOUR, *answers)
    assert earliest == 1002.0
    assert latest == pytest.approx(1002.0 + HOUR, abs=1)


def test_the_only_answer_s_clock_may_be_wrong() -> None:
    """The first one came from an edge an hour ahead: our own clock opens the window in time."""
    assert heard(1000.0, 1001.0 + HOUR)[0] == 1001.0


def test_our_own_clock_is_not_believed_far() -> None:
    """A machine that lives in 1970 would make every attempt too old for absence to prove anything."""
    now = 1_790_000_000.0
    assert heard(0.0, now)[0] == now - 12 * HOUR


@pytest.mark.fault(32)
async def test_pages_of_an_edge_never_end_a_paid_task(tmp_path: Path, server: SandboxServer) -> None:
    """404s in HTML say nothing of the task: it stays in flight, and the next run has it."""
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    file = bench.write_job(job_text(seeds=1))
    page = Fault(where=Where.GET, kind=Kind.ANSWER, times=None, status=404, body="<html>gone</html>")
    server.faults.add(page)
    first = await bench.run(file)
    assert (first.exit_code, first.counts) == (ExitCode.TRY_AGAIN, {TaskState.SUBMITTED: 1})
    server.faults.clear()
    second = await bench.run(file)
    assert (second.exit_code, server.accepted) == (ExitCode.DONE, 1)


@pytest.mark.fault(32)
@pytest.mark.fault(71)
@pytest.mark.parametrize(
    ("ours", "theirs", "state"),
    [
        (0, 0, TaskState.SUBMITTED),
        (26, 26, TaskState.SUBMITTED),
        (169, 24, TaskState.SUBMITTED),
        (24, 169, TaskState.SUBMITTED),
        (169, 169, TaskState.EXPIRED),
    ],
)
async def test_404s_end_a_paid_task_only_after_its_record_s_life_by_both_clocks(
    tmp_path: Path, server: SandboxServer, ours: int, theirs: int, state: TaskState
) -> None:
    """Hours since the submit by our clock and by the service's; a record lives for 168."""
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    file = bench.write_job(job_text(seeds=1))
    gone = Fault(where=Where.GET, kind=Kind.ANSWER, times=None, status=404, code="not_found")
    server.faults.add(gone)
    first = await bench.run(file)
    assert (first.exit_code, first.counts) == (ExitCode.TRY_AGAIN, {TaskState.SUBMITTED: 1})
    assert any("looked for until" in reason for reason in first.reasons)
    with bench.ledger() as ledger, ledger.transaction():
        ledger._db.execute(
            "UPDATE attempts SET accepted_at = accepted_at - ?, server_time = server_time - ?",
            (ours * HOUR, theirs * HOUR),
        )
    assert (await bench.run(file)).counts == {state: 1}
    server.faults.clear()
    if state is TaskState.SUBMITTED:
        assert (await bench.run(file)).counts == {TaskState.DONE: 1}
    assert server.accepted == 1


@pytest.mark.fault(71)
async def test_one_date_a_day_ahead_ends_no_paid_task(tmp_path: Path, server: SandboxServer) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    ahead = email.utils.formatdate(time.time() + 30 * 24 * HOUR, usegmt=True)
    server.faults.add(
        Fault(
            where=Where.GET,
            kind=Kind.ANSWER,
            times=None,
            status=404,
            code="not_found",
            headers={"Date": ahead},
        )
    )
    result = await bench.run(bench.write_job(job_text(seeds=1)))
    assert (result.exit_code, result.counts) == (ExitCode.TRY_AGAIN, {TaskState.SUBMITTED: 1})


async def test_what_a_person_sends_again_still_counts_against_the_cap(
    tmp_path: Path, server: SandboxServer
) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=500, accept=True))
    text = job_text(
        seeds=2, run="settle: 0s, submit_slots: 1, on_ambiguous: hold", more="budget: {max_tasks: 2}"
    )
    file = bench.write_job(text)
    server.faults.add(Fault(where=Where.LIST, kind=Kind.NULL_ECHOES, times=None))
    server.faults.add(Fault(where=Where.GET, kind=Kind.NULL_ECHOES, times=None))
    await bench.run(file)
    with bench.ledger() as ledger:
        held = list(ledger.read.in_state(TaskState.HELD, TaskState.AMBIGUOUS))
        assert len(held) == 1
        with ledger.transaction():
            ledger.resolve(held[0].id, Resolution.AGAIN, Grounds.of(Basis.PERSON), 1.0)
        assert ledger.read.spend(held[0].run_id).tasks == 2
    result = await bench.run(file)
    assert result.exit_code is ExitCode.REFUSED
    assert server.accepted == 2


async def test_a_status_line_that_came_is_remembered_though_its_body_was_cut(
    tmp_path: Path, server: SandboxServer
) -> None:
    """The service answered, so its absence from the list proves nothing."""
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    await warm_up(bench)
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, stage=Stage.BODY))
    result = await bench.run(bench.write_job(job_text(seeds=1, run="settle: 50ms")))
    [attempt] = bench.manifest()["tasks"][0]["attempts"]  # type: ignore[index, call-overload]
    assert attempt["evidence"]["status"] == 200
    assert (result.exit_code, result.counts) == (ExitCode.PERSON_NEEDED, {TaskState.HELD: 1})


async def test_what_is_written_off_is_not_done(tmp_path: Path, server: SandboxServer) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    await warm_up(bench)
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=500))
    file = bench.write_job(job_text(seeds=1, run="settle: 0s"))
    assert (await bench.run(file)).exit_code is ExitCode.PERSON_NEEDED
    with bench.ledger() as ledger:
        [held] = ledger.read.in_state(TaskState.HELD)
        with ledger.transaction():
            ledger.resolve(held.id, Resolution.WRITTEN_OFF, Grounds.of(Basis.PERSON), 1.0)
    result = await bench.run(file)
    assert (result.exit_code, result.counts) == (ExitCode.TASK_FAILED, {TaskState.WRITTEN_OFF: 1})


async def test_what_a_person_sent_again_still_lays_claim_to_its_first_row(
    tmp_path: Path, server: SandboxServer
) -> None:
    """`--again` proves nothing about the first POST: another prompt with its seed must not get that row."""
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    server.faults.add(*views(Kind.NULL_ECHOES))
    await warm_up(bench)
    server.faults.add(answer_500(accept=True))
    one = bench.write_job(shots("one"), "jobs/one.yaml")
    await bench.run(one)
    with bench.ledger() as ledger:
        [held] = ledger.read.in_state(TaskState.HELD)
        with ledger.transaction():
            ledger.resolve(held.id, Resolution.AGAIN, Grounds.of(Basis.PERSON), 1.0)
    server.faults.clear()
    server.faults.add(cut(accept=False), *tag_comes_back_as(None))
    result = await bench.run(bench.write_job(shots("two"), "jobs/two.yaml"))
    assert (result.exit_code, result.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 1)
    assert prompts(server) == {"a teapot": 1, "one": 1}
    with bench.ledger() as ledger:
        assert held.tag in ledger.read.open_tags(held.origin)


@pytest.mark.evidence
async def test_a_case_that_stays_open_to_evidence_is_not_scanned_for_ever(
    tmp_path: Path,
) -> None:
    """A task in flight might still show that tags come back; after `run.timeout` the next run looks."""
    with SandboxServer(SandboxConfig(latency=(60.0, 60.0), scale=0.1)) as slow:
        bench = RunBench(root=tmp_path, url=slow.url, key=SANDBOX_KEY)
        slow.faults.add(cut(accept=True, after=1), *tag_comes_back_as(None))
        file = bench.write_job(samples(2).replace("settle: 0s", "settle: 0s, submit_slots: 1, timeout: 1s"))
        result = await bench.run(file)
    assert result.counts == {TaskState.SUBMITTED: 1, TaskState.AMBIGUOUS: 1}
    assert result.exit_code is ExitCode.TRY_AGAIN


async def test_a_success_without_a_video_is_looked_at_again_and_never_done(
    tmp_path: Path, server: SandboxServer
) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    file = bench.write_job(job_text(seeds=1))
    server.faults.add(Fault(where=Where.GET, kind=Kind.FIELDS, times=None, fields={"content": None}))
    first = await bench.run(file)
    assert (first.exit_code, first.counts) == (ExitCode.TRY_AGAIN, {TaskState.COLLECTING: 1})
    server.faults.clear()
    second = await bench.run(file)
    assert (second.exit_code, second.counts) == (ExitCode.DONE, {TaskState.DONE: 1})
    assert server.accepted == 1


async def test_a_ledger_that_takes_no_resolution_leaves_the_case_for_the_next_run(
    tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends neither the program nor the other tasks, and nothing is submitted on top of it."""
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    file = await leave_unclear_once(bench, server)

    def full(*_: object, **__: object) -> None:
        raise StateError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "resolve", full)
        first = await bench.run(file)
    assert (first.exit_code, first.counts) == (ExitCode.CANNOT_WRITE, {TaskState.AMBIGUOUS: 1})
    second = await bench.run(file)
    assert (second.exit_code, server.accepted) == (ExitCode.DONE, 1)


@pytest.mark.fault(19)
async def test_an_input_that_is_never_ready_stops_no_other_task(
    tmp_path: Path, server: SandboxServer
) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    text = "The reference image is still being prepared"
    server.faults.add(
        Fault(
            where=Where.SUBMIT, kind=Kind.ANSWER, times=None, status=422, code="unprocessable", message=text
        )
    )
    file = bench.write_job(job_text(seeds=2, run="timeout: 200ms"))
    result = await bench.run(file)
    assert (result.exit_code, result.counts) == (ExitCode.TRY_AGAIN, {TaskState.PLANNED: 2})
    assert len(result.reasons) == 2
    assert "run.submitting_stopped" not in [name for name, _ in bench.events]
    server.faults.clear()
    assert (await bench.run(bench.write_job(job_text(seeds=2)))).exit_code is ExitCode.DONE
    assert server.accepted == 2


@pytest.mark.fault(53)
async def test_the_same_day_in_another_time_zone_is_the_same_run(
    tmp_path: Path, server: SandboxServer
) -> None:
    """And so the same cap."""
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    file = bench.write_job(job_text(seeds=3, more="budget: {max_tasks: 1}"))
    runs = [await bench.run(file, date=f"2026-05-31{offset}") for offset in ("+00:00", "+02:00", "+09:00")]
    assert len({run.run_id for run in runs}) == 1
    assert server.accepted == 1


async def test_absence_by_a_clock_that_is_hours_apart_proves_nothing(
    tmp_path: Path, server: SandboxServer
) -> None:
    """The window of the list may have opened behind the paid row."""
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY, wall=lambda: time.time() - 13 * HOUR)
    await warm_up(bench)
    server.faults.add(cut(accept=False))
    result = await bench.run(bench.write_job(job_text(seeds=1, run="settle: 0s")))
    assert (result.exit_code, result.counts) == (ExitCode.TRY_AGAIN, {TaskState.AMBIGUOUS: 1})
