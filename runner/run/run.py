"""A run from its first line to its last; read it top to bottom."""

from __future__ import annotations

import functools
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager

import anyio

from runner.errors import CallsheetError, ExitCode
from runner.job.model import RunPolicy
from runner.json_value import JsonValue
from runner.ledger.rows import AttemptRow
from runner.ledger.states import AWAITED, TaskState
from runner.run.ends import RunResult, begin, tell_beginning, tell_end
from runner.run.finish import Lost, conclude
from runner.run.followed import following, left_at_the_service
from runner.run.prepare import Prepared
from runner.run.scheduler import Scheduler
from runner.run.session import Session
from runner.run.stop import Control
from runner.run.tools import Tools


async def run_prepared(
    prepared: Prepared,
    tools: Tools,
    *,
    facts: Mapping[str, JsonValue],
    deadline: float | None = None,
) -> RunResult:
    """Brings a prepared run to done, or as far as it gets; `deadline` is seconds from now.

    What the network, the service and a task do is in the result, never raised. Raises StateError
    where the ledger or the manifest cannot be written.
    """
    run, plan, lost, wall = prepared.run, prepared.plan, Lost(), tools.machine.wall
    number = await tools.commits.write(lambda ledger: begin(ledger, prepared, wall(), facts))
    control = Control(tools.observe, tools.redactor, plan.job.run.max_failures, wall)
    session = Session(tools, control, plan.job.run, may_submit=True)
    tell_beginning(tools.observe, prepared)
    async with _signals_heard(control):
        async with _working(session, deadline if deadline is not None else plan.job.run.deadline):
            left = await left_at_the_service(session)
            control.strangers = _strangers(left, prepared)
            async with following(session, left) as followed:
                await Scheduler(session, prepared, followed, lost).start()
        await tools.commits.flush()
        ended = await tools.machine.threads.run(
            functools.partial(
                conclude,
                tools.commits.ledger,
                tools.project,
                plan,
                run_id=run.id,
                session=number,
                at=wall(),
                redactor=tools.redactor,
                conditions=frozenset(control.conditions),
                passing=frozenset(control.passing),
                lost=lost,
            )
        )
    if ended.is_finished:
        control.forgive()
    drift = await tools.commits.read(lambda reader: reader.drift(run.id))
    tell_end(tools.observe, run.id, drift, ended.exit_code, control.reasons)
    return RunResult(
        ended.exit_code, control.reasons, ended.counts, run.id, ended.manifest, ended.waits, control.notes
    )


async def collect_all(
    tools: Tools,
    policy: RunPolicy,
    *,
    deadline: float | None = None,
    attempts: frozenset[str] | None = None,
) -> RunResult:
    """Polls and downloads all that is in flight, whatever run it is from; never submits.

    `attempts` are the ids of those that this key is for, and that the exit code speaks of; None is all of
    them.
    """
    await tools.commits.write(lambda ledger: ledger.recover(tools.machine.wall()))
    control = Control(tools.observe, tools.redactor, wall=tools.machine.wall)
    session = Session(tools, control, policy, may_submit=False)
    tools.observe("collect.started", {})
    async with _signals_heard(control):
        async with _working(session, deadline):
            left = await left_at_the_service(session, attempts)
            async with following(session, left):
                pass
        await tools.commits.flush()
    place = (tools.origin, tools.provider.name)
    counts = Counter(await tools.commits.read(lambda reader: reader.count_states(*place)))
    spoken_of = counts
    if attempts is not None:
        spoken_of = Counter(await tools.commits.read(lambda reader: reader.states_of(attempts)))
    conditions = set(control.conditions)
    if any(spoken_of[state] for state in AWAITED):
        conditions.add(ExitCode.TRY_AGAIN)
    if spoken_of[TaskState.HELD]:
        conditions.add(ExitCode.PERSON_NEEDED)
    exit_code = ExitCode.first(conditions)
    tools.observe("collect.finished", {"exit_code": int(exit_code), "reasons": control.reasons})
    return RunResult(exit_code, control.reasons, counts)


def _strangers(left: Sequence[AttemptRow], prepared: Prepared) -> frozenset[str]:
    """The identities among these attempts that neither this run nor its plan knows."""
    others = frozenset(attempt.identity for attempt in left if attempt.run_id != prepared.run.id)
    return others.difference(task.identity for task in prepared.plan.tasks) if others else others


@asynccontextmanager
async def _working(session: Session, deadline: float | None) -> AsyncIterator[None]:
    """All that takes time stands in here: a stop, or the deadline, leaves it."""
    async with anyio.create_task_group() as watchers:
        if deadline is not None:
            watchers.start_soon(_watch_deadline, session.control, deadline)
        with session.control.working():
            async with anyio.create_task_group() as background:
                background.start_soon(session.lane.breaker.heal)
                background.start_soon(session.reconciler.run)
                yield
                background.cancel_scope.cancel()
        watchers.cancel_scope.cancel()


@asynccontextmanager
async def _signals_heard(control: Control) -> AsyncIterator[None]:
    """Signals stop the run in order for as long as this is open, the writing of the manifest included.

    Only a process's main thread can hear them; a run in another one is stopped by cancelling it.
    """
    with _ungrouped():
        async with anyio.create_task_group() as watchers:
            if threading.current_thread() is threading.main_thread():
                watchers.start_soon(_watch_signals, control)
            yield
            watchers.cancel_scope.cancel()


@contextmanager
def _ungrouped() -> Iterator[None]:
    """A CallsheetError that task groups have wrapped, as itself: who called tells it and goes on."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours, others = group.split(CallsheetError)
        if ours is None or others is not None:
            raise
        error: BaseException = ours
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _watch_deadline(control: Control, seconds: float) -> None:
    await anyio.sleep(seconds)
    control.stop(
        ExitCode.TRY_AGAIN, f"the deadline of {round(seconds, 1):g} s has passed; run again to go on"
    )


async def _watch_signals(control: Control) -> None:
    """The first signal stops with the state kept, the second leaves at once (row 47)."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        is_stopping = False
        async for signum in signals:
            code = ExitCode.INTERRUPTED if signum == signal.SIGINT else ExitCode.TERMINATED
            if is_stopping:
                control.leave(code)
            is_stopping = True
            control.stop(code, f"interrupted by {signal.Signals(signum).name}; run again to go on")
