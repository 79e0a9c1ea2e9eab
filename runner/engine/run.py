"""A run from its first line to its last; read it top to bottom."""

from __future__ import annotations

import itertools
import os
import signal
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio

from runner.engine.collect import Collector
from runner.engine.control import Control
from runner.engine.inputs import InputStore
from runner.engine.lifecycle import Lifecycle
from runner.engine.pacing import Breaker, Gauge, PrioritySlots, RequestBudget
from runner.engine.prepare import Prepared
from runner.engine.reconcile import Reconciler
from runner.engine.scheduler import Scheduler
from runner.engine.standing import BATCH
from runner.engine.submit import Submitter
from runner.engine.world import ServerClock, World
from runner.errors import ExitCode
from runner.job.model import RunPolicy
from runner.job.node import JsonValue
from runner.job.task import Task
from runner.ledger.ledger import Ledger
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow
from runner.ledger.states import TaskState
from runner.record.folder import RunFolder
from runner.record.manifest import View, write_manifest
from runner.record.redact import Redactor

UNFINISHED = frozenset(
    {
        TaskState.PLANNED,
        TaskState.WAITING,
        TaskState.INTENDED,
        TaskState.SUBMITTED,
        TaskState.COLLECTING,
        TaskState.AMBIGUOUS,
        TaskState.HELD,
    }
)
"""States that `run` goes on with; a run that has none of them is finished."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run, or a `collect`, ended; `reasons` are sentences for a person.

    `counts` are the plan's tasks by state; for `collect`, the ledger's attempts.
    """

    exit_code: ExitCode
    reasons: tuple[str, ...]
    counts: Mapping[TaskState, int]
    run_id: str | None = None
    manifest: Path | None = None


async def run_prepared(
    prepared: Prepared,
    world: World,
    *,
    facts: Mapping[str, JsonValue],
    redactor: Redactor,
    deadline: float | None = None,
) -> RunResult:
    """Brings a prepared run to done, or as far as it gets; `deadline` is seconds from now.

    What the network, the service and a task do is in the result, never raised. Raises StateError
    where the ledger or the manifest cannot be written.
    """
    job, run, plan = prepared.plan.job, prepared.run, prepared.plan
    session = await world.commits.write(lambda ledger: _begin(ledger, prepared, world.seams.wall(), facts))
    control = Control(world.observe, max_failures=job.run.max_failures)
    scheduler = _assemble(world, control, job.run, prepared)
    world.observe("run.started", {"run": run.id, "job": job.file, "tasks": plan.count})
    limit = deadline if deadline is not None else job.run.deadline
    await _work(scheduler, control, prepared, limit)
    await world.commits.flush()

    view = _view(scheduler.absent)
    reader = world.commits.ledger.read
    counts = await world.commits.read(lambda reader: _count(plan.tasks(), reader, view))
    exit_code = ExitCode.first(control.conditions | _conditions(counts))
    is_finished = not any(counts[state] for state in UNFINISHED)
    await world.commits.write(
        lambda ledger: _end(ledger, run.id, session, world.seams.wall(), exit_code, is_finished)
    )
    ended = reader.run(run.id)
    assert ended is not None
    manifest = RunFolder(world.project, run.id).manifest
    write_manifest(
        manifest,
        run=ended,
        sessions=reader.sessions(run.id),
        spend=reader.spend(run.id),
        tasks=plan.tasks(),
        reader=reader,
        view=view,
        root=world.project.root,
        redactor=redactor,
    )
    world.observe("run.finished", {"run": run.id, "exit_code": int(exit_code), "reasons": control.reasons})
    return RunResult(exit_code, control.reasons, counts, run.id, manifest)


async def collect_all(world: World, policy: RunPolicy, *, deadline: float | None = None) -> RunResult:
    """Polls and downloads all that is in flight, whatever run it is from; never submits."""
    await world.commits.write(lambda ledger: ledger.recover(world.seams.wall()))
    control = Control(world.observe)
    scheduler = _assemble(world, control, policy, None)
    world.observe("collect.started", {})
    await _work(scheduler, control, None, deadline)
    await world.commits.flush()
    counts = Counter(await world.commits.read(lambda reader: reader.count_states()))
    conditions = control.conditions
    if counts[TaskState.SUBMITTED] or counts[TaskState.COLLECTING]:
        conditions = conditions | {ExitCode.TRY_AGAIN}
    exit_code = ExitCode.first(conditions)
    world.observe("collect.finished", {"exit_code": int(exit_code), "reasons": control.reasons})
    return RunResult(exit_code, control.reasons, counts)


def _assemble(world: World, control: Control, policy: RunPolicy, prepared: Prepared | None) -> Scheduler:
    """The parts of a run, put together; without `prepared` there is nothing that could submit."""
    budget = RequestBudget(policy.rate)
    clock = ServerClock(world.seams)

    async def ping() -> None:
        await budget.acquire()
        clock.hear(await world.provider.ping())

    breaker = Breaker(ping, world.seams.random)
    downloads = PrioritySlots(policy.downloads)
    in_flight = Gauge()
    submitter: Submitter | None = None
    if prepared is not None:
        submitter = Submitter(
            world=world,
            control=control,
            budget=budget,
            breaker=breaker,
            clock=clock,
            inputs=InputStore(world.project.inputs_dir),
            slots=anyio.Semaphore(policy.submit_slots),
            run_id=prepared.run.id,
            job_file=prepared.run.job_file,
            caps=prepared.caps,
            patience=policy.timeout,
        )
    collector = Collector(world, control, budget, clock, policy, downloads)
    reconciler = Reconciler(world, control, budget, clock, policy.settle, policy.on_ambiguous)
    lifecycle = Lifecycle(world, control, submitter, collector, reconciler, in_flight, policy.concurrency)
    return Scheduler(
        world=world,
        control=control,
        lifecycle=lifecycle,
        budget=budget,
        breaker=breaker,
        clock=clock,
        downloads=downloads,
        in_flight=in_flight,
        reconciler=reconciler,
        concurrency=policy.concurrency,
        resubmit=prepared.resubmit if prepared else None,
    )


async def _work(
    scheduler: Scheduler, control: Control, prepared: Prepared | None, deadline: float | None
) -> None:
    """All that takes time; returns when everything is done or the run was told to stop."""
    async with anyio.create_task_group() as watchers:
        watchers.start_soon(_watch_signals, control)
        if deadline is not None:
            watchers.start_soon(_watch_deadline, control, deadline)
        with control.working():
            await scheduler.run(prepared.plan if prepared else None)
        watchers.cancel_scope.cancel()


async def _watch_deadline(control: Control, seconds: float) -> None:
    await anyio.sleep(seconds)
    control.stop(ExitCode.TRY_AGAIN, f"the deadline of {seconds:g} s has passed; run again to go on")


async def _watch_signals(control: Control) -> None:
    """The first signal stops with the state kept, the second leaves at once (row 47).

    Leaving at once is safe: what a kill can interrupt is durable already.
    """
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        is_stopping = False
        async for signum in signals:
            code = ExitCode.INTERRUPTED if signum == signal.SIGINT else ExitCode.TERMINATED
            if is_stopping:
                os._exit(code)
            is_stopping = True
            control.stop(code, f"interrupted by {signal.Signals(signum).name}; run again to go on")


def _begin(ledger: Ledger, prepared: Prepared, at: float, facts: Mapping[str, JsonValue]) -> int:
    run = prepared.run
    if prepared.is_new:
        ledger.begin_run(run)
    ledger.update_run_digest(run.id, prepared.plan.job.digest)
    ledger.finish_run(run.id, None)
    ledger.recover(at)
    return ledger.begin_session(run.id, at, facts)


def _end(
    ledger: Ledger, run_id: str, session: int, at: float, exit_code: ExitCode, is_finished: bool
) -> None:
    ledger.end_session(session, at, exit_code)
    if is_finished:
        ledger.finish_run(run_id, at)


def _view(absent: set[str]) -> View:
    def view(task: Task, attempt: AttemptRow | None) -> TaskState:
        if task.identity in absent:
            return TaskState.ABSENT
        return attempt.state if attempt is not None else TaskState.PLANNED

    return view


def _count(tasks: Iterable[Task], reader: LedgerReader, view: View) -> Counter[TaskState]:
    counts: Counter[TaskState] = Counter()
    iterator = iter(tasks)
    while batch := list(itertools.islice(iterator, BATCH)):
        latest = reader.latest([task.identity for task in batch])
        counts.update(view(task, latest.get(task.identity)) for task in batch)
    return counts


def _conditions(counts: Mapping[TaskState, int]) -> set[ExitCode]:
    """What the states of a plan's tasks tell the caller of the process."""
    conditions: set[ExitCode] = set()
    if any(counts.get(state) for state in (TaskState.FAILED, TaskState.EXPIRED)):
        conditions.add(ExitCode.TASK_FAILED)
    if counts.get(TaskState.HELD):
        conditions.add(ExitCode.PERSON_NEEDED)
    if any(counts.get(state) for state in (TaskState.SUBMITTED, TaskState.COLLECTING, TaskState.AMBIGUOUS)):
        conditions.add(ExitCode.TRY_AGAIN)
    return conditions
