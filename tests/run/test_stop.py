"""What stops a run, and how much of it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

import anyio
import pytest

from runner.errors import ExitCode, KeyRefusedError
from runner.lane.control import Control
from runner.ledger.engine import Value
from runner.ledger.sqlite import SqliteEngine
from runner.ledger.states import TaskState
from runner.redact import Redactor
from runner.run.run import collect_all
from runner.sandbox import SandboxServer
from tests.support.run_bench import RunBench, job_text

pytestmark = pytest.mark.anyio


class Heard:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, _fields: Mapping[str, object]) -> None:
        self.names.append(name)


async def test_what_only_kept_tasks_from_being_submitted_means_nothing_once_all_are_done() -> None:
    control = Control(Heard(), Redactor(()))
    control.stop_submitting(ExitCode.TRY_AGAIN, "no answer for an hour")
    control.stop_submitting(ExitCode.REFUSED, "the budget of the day is spent")
    control.stop_submitting(ExitCode.OUT_OF_MONEY, "no money")
    assert set(control.passing) == {ExitCode.TRY_AGAIN, ExitCode.REFUSED}
    control.forgive()
    assert (control.conditions, control.reasons) == ({ExitCode.OUT_OF_MONEY}, ("no money",))


@pytest.mark.parametrize("left_first", [True, False])
async def test_a_task_that_was_left_is_not_forgiven(left_first: bool) -> None:
    """A file that could not be fetched again is missing, though its task is done."""
    control = Control(Heard(), Redactor(()))
    if left_first:
        control.condition(ExitCode.TRY_AGAIN, "a file is missing")
    control.stop_submitting(ExitCode.TRY_AGAIN, "no answer for an hour")
    if not left_first:
        control.condition(ExitCode.TRY_AGAIN, "a file is missing")
    control.forgive()
    assert control.conditions == {ExitCode.TRY_AGAIN}
    assert "a file is missing" in control.reasons


async def test_a_deadline_that_cut_the_work_is_not_forgiven() -> None:
    control = Control(Heard(), Redactor(()))
    control.stop(ExitCode.TRY_AGAIN, "the deadline has passed")
    control.forgive()
    assert control.conditions == {ExitCode.TRY_AGAIN}


async def test_the_first_reason_stops_submitting_once_and_all_reasons_are_kept() -> None:
    heard, released = Heard(), 0

    def release() -> None:
        nonlocal released
        released += 1

    control = Control(heard, Redactor(()))
    control.when_stopped.append(release)
    assert control.may_submit
    control.stop_submitting(ExitCode.OUT_OF_MONEY, "no money")
    control.stop_submitting(ExitCode.REFUSED, "a cap")
    control.stop_submitting(ExitCode.REFUSED, "a cap")
    assert not control.may_submit
    assert (control.reasons, released) == (("no money", "a cap"), 1)
    assert control.conditions == {ExitCode.OUT_OF_MONEY, ExitCode.REFUSED}
    assert heard.names == ["run.submitting_stopped"]


async def test_stopping_to_submit_leaves_the_work_alone() -> None:
    control = Control(Heard(), Redactor(()))
    with control.work:
        control.stop_submitting(ExitCode.KEY_REFUSED, "401")
        await anyio.sleep(0)
        reached = True
    assert reached


async def test_a_stop_leaves_the_work_but_not_a_post_under_way() -> None:
    control, steps = Control(Heard(), Redactor(())), []
    with control.work:
        control.stop(ExitCode.INTERRUPTED, "SIGINT")
        with control.shielded_post():
            await anyio.sleep(0.01)
            steps.append("posted")
        await anyio.sleep(0)
        steps.append("went on")
    assert steps == ["posted"]


async def test_a_stop_bounds_a_post_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.lane.control.POST_GRACE", 0.02)
    control = Control(Heard(), Redactor(()))
    with anyio.fail_after(2):
        async with anyio.create_task_group() as group:

            async def post() -> None:
                with control.work, control.shielded_post():
                    await anyio.sleep_forever()

            group.start_soon(post)
            await anyio.sleep(0.01)
            control.stop(ExitCode.TERMINATED, "SIGTERM")


@pytest.mark.parametrize(("most", "verdicts", "goes_on"), [(2, 1, True), (2, 2, False), (None, 50, True)])
async def test_so_many_verdicts_end_the_submitting(most: int | None, verdicts: int, goes_on: bool) -> None:
    control = Control(Heard(), Redactor(()), max_failures=most)
    for _ in range(verdicts):
        control.count_failure()
    assert control.may_submit is goes_on
    assert (ExitCode.TASK_FAILED in control.conditions) is not goes_on


async def test_the_key_stands_in_no_sentence_about_a_defect() -> None:
    control = Control(Heard(), Redactor(["swordfish"]))
    control.defect("a", ValueError("the header was Bearer swordfish"))
    assert "swordfish" not in str(control.reasons)


@pytest.mark.fault(161)
async def test_a_stop_while_the_disk_takes_an_intent_lets_nothing_be_sent(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute, intended, asked, stopped = SqliteEngine.execute, [False], threading.Event(), threading.Event()

    def slow(engine: SqliteEngine, statement: str, values: Sequence[Value] = ()) -> sqlite3.Cursor:
        intended[0] = intended[0] or statement.startswith("INSERT INTO attempts")
        if statement == "COMMIT" and intended[0]:
            asked.set()
            assert stopped.wait(60)
        return execute(engine, statement, values)

    bench.tell = lambda name, _fields: stopped.set() if name == "run.stopping" else None
    monkeypatch.setattr(SqliteEngine, "execute", slow)
    file = bench.write_job(job_text())
    result = await bench.run(file, until=asked.is_set)
    assert (result.exit_code, result.counts[TaskState.PLANNED]) == (ExitCode.TRY_AGAIN, 3)
    assert server.accepted == 0
    monkeypatch.undo()
    result = await bench.run(file)
    assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 3)
    assert not bench.has_seen("task.held")
    assert server.accepted == 3


async def test_a_collect_tells_that_it_began_before_anything_stops_it(bench: RunBench) -> None:
    """What keeps an account from it is told as a collect's: it would not have submitted anything."""
    with bench.ledger() as ledger:
        async with bench.order(ledger) as order:
            refusal = KeyRefusedError("no API key for mesh")
            lanes = {name: replace(tools, refusal=refusal) for name, tools in order.lanes.items()}
            (result,) = await collect_all([replace(order, lanes=lanes)])
    assert "no API key for mesh" in result.reasons
    assert [name for name, _ in bench.events][:2] == ["collect.started", "run.submitting_stopped"]
