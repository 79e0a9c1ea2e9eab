"""How each session of a run begins, and how it ends: tasks counted, exit code found, manifest written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import ExitCode, StateError
from runner.json_value import JsonValue
from runner.lane.costs import has_drifted
from runner.ledger.columns import batches
from runner.ledger.leases import HOST, host_name
from runner.ledger.ledger import Ledger
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow, Drift
from runner.ledger.states import AWAITED, TaskState
from runner.money import usd_text
from runner.plan.picks import how_to_pick
from runner.plan.plan import Plan
from runner.plan.task import Task
from runner.project import Project
from runner.record.events import Observer
from runner.record.facts import job_facts
from runner.record.folder import RunFolder
from runner.record.write import View, write_manifest
from runner.redact import Redactor
from runner.run.prepare import Prepared
from runner.run.task.progress import Chain, Needs, needs_of
from runner.run.troubles import Trouble, troubles
from runner.times import iso_time

MOST_WAITS = 5


@dataclass(slots=True)
class Lost:
    """Identities of done tasks, as a run has found them."""

    absent: set[str] = field(default_factory=set)
    """Their files are gone for good."""
    frameless: set[str] = field(default_factory=set)
    """Their last frame never came, and the service has it no more."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """`counts` are the plan's tasks by state."""

    counts: Mapping[TaskState, int]
    exit_code: ExitCode
    manifest: Path
    waits: tuple[str, ...] = ()
    """What a person has to write before the job can go on: the first few `pick` lines."""
    troubles: tuple[Trouble, ...] = ()
    conditions: frozenset[ExitCode] = frozenset()
    """All that hold; the exit code is the first of them."""
    is_forgiven: bool = False
    """What only kept something from being submitted means nothing any more."""


def conclude(
    ledger: Ledger,
    project: Project,
    plan: Plan,
    *,
    run_id: str,
    session: int,
    at: float,
    redactor: Redactor,
    conditions: frozenset[ExitCode] = frozenset(),
    passing: frozenset[ExitCode] = frozenset(),
    asked_again: Iterable[str] = (),
    lost: Lost | None = None,
) -> Conclusion:
    """Ends a session of a run, and the run itself where nothing is left to do; writes the manifest.

    `conditions` are what stopped the work, `passing` those of them that mean nothing once everything
    is done, and with it the tasks that were asked for again.
    Raises StateError where the ledger or the manifest cannot be written.
    """
    reader, lost = ledger.read, lost or Lost()
    counts = _count(plan, reader, lost)
    waits = waits_for_a_person(plan, reader)
    # a task that has left the plan is still this run's, as long as something is to come of it
    states = counts + reader.open_states(run_id)
    is_finished = all(state.is_terminal for state in states)
    is_forgiven = is_finished and _are_done(asked_again, reader)
    kept = conditions - passing if is_forgiven else conditions
    kept = kept | _conditions(states)
    exit_code = ExitCode.first(kept)
    with ledger.transaction():
        ledger.end_session(session, at, exit_code)
        if not waits and is_finished:
            ledger.finish_run(run_id, at)
    run = reader.run(run_id)
    assert run is not None
    manifest = RunFolder(project, run_id).manifest
    try:
        write_manifest(
            manifest,
            run=run,
            sessions=reader.sessions(run_id),
            spend=reader.spend(run_id),
            tasks=plan.tasks,
            reader=reader,
            view=_view(reader, lost),
            root=project.root,
            redactor=redactor,
        )
    except StateError:
        # a run without its manifest is not finished: the next start goes on with it and writes one
        with ledger.transaction():
            ledger.end_session(session, at, ExitCode.CANNOT_WRITE)
            ledger.finish_run(run_id, None)
        raise
    found = troubles(plan, reader, counts, redactor)
    return Conclusion(counts, exit_code, manifest, waits, found, kept, is_forgiven)


def _view(reader: LedgerReader, lost: Lost) -> View:
    chain = Chain(lost.frameless)

    def view(task: Task, attempt: AttemptRow | None) -> TaskState:
        needed = needs_of([task], reader) if task.upstreams else Needs()
        return _state(task, attempt.state if attempt is not None else None, needed, chain, lost)

    return view


def _state(task: Task, own: TaskState | None, needed: Needs, chain: Chain, lost: Lost) -> TaskState:
    if task.identity in lost.absent:
        return TaskState.ABSENT
    return chain.state(task, own, needed) or own or TaskState.PLANNED


def _are_done(identities: Iterable[str], reader: LedgerReader) -> bool:
    for batch in batches(identities):
        states = reader.states(batch)
        if any(states.get(each) is not TaskState.DONE for each in batch):
            return False
    return True


def _count(plan: Plan, reader: LedgerReader, lost: Lost) -> Counter[TaskState]:
    counts: Counter[TaskState] = Counter()
    chain = Chain(lost.frameless)
    for tasks in batches(plan.tasks):
        states = reader.states([task.identity for task in tasks])
        needed = needs_of(tasks, reader)
        counts.update(_state(task, states.get(task.identity), needed, chain, lost) for task in tasks)
    return counts


def waits_for_a_person(plan: Plan, reader: LedgerReader) -> tuple[str, ...]:
    """The first few sentences of `how_to_pick`, for tasks that are done and could be picked."""
    if all(step.pick is None for step in plan.job.steps.values()):
        return ()
    found: dict[str, None] = {}
    for tasks in batches(plan.tasks):
        states = reader.states([task.identity for task in tasks])
        done = (task for task in tasks if states.get(task.identity) is TaskState.DONE)
        found |= dict.fromkeys(filter(None, (how_to_pick(plan.job, task) for task in done)))
        if len(found) > MOST_WAITS:
            return (*[*found][:MOST_WAITS], "more takes than these: the report shows them all")
    return tuple(found)


def _conditions(counts: Mapping[TaskState, int]) -> set[ExitCode]:
    """The exit conditions of the states of a plan's tasks."""
    conditions: set[ExitCode] = set()
    unmade = (TaskState.FAILED, TaskState.EXPIRED, TaskState.WRITTEN_OFF, TaskState.SKIPPED)
    if any(counts.get(state) for state in unmade):
        conditions.add(ExitCode.TASK_FAILED)
    if counts.get(TaskState.HELD):
        conditions.add(ExitCode.PERSON_NEEDED)
    # an intent that stands is another machine's, or was left to it
    if any(counts.get(state) for state in (TaskState.INTENDED, *AWAITED)):
        conditions.add(ExitCode.TRY_AGAIN)
    return conditions


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
    waits: tuple[str, ...] = ()
    """What a person has to write before the job can go on."""
    notes: tuple[str, ...] = ()
    """Sentences about other jobs' tasks, which the exit code leaves out."""
    troubles: tuple[Trouble, ...] = ()
    """The plan's tasks that failed, expired or are held, with the reason of each."""
    conditions: frozenset[ExitCode] = frozenset()
    """All that hold; `exit_code` is the first of them."""


def begin(ledger: Ledger, prepared: Prepared, at: float, facts: Mapping[str, JsonValue]) -> int:
    """Opens a session in the caller's transaction, and gives its number."""
    run = prepared.run
    if prepared.is_new:
        ledger.begin_run(run)
    ledger.update_run_digest(run.id, prepared.plan.job.digest)
    ledger.finish_run(run.id, None)
    ledger.recover(at)
    host = {HOST: host_name()} if ledger.leases is not None else {}
    return ledger.begin_session(run.id, at, {**facts, **job_facts(prepared.plan.job), **host})


def tell_beginning(observe: Observer, prepared: Prepared) -> None:
    """With what makes the run's row again where the ledger is lost."""
    run, plan = prepared.run, prepared.plan
    observe(
        "run.started",
        {
            "run": run.id,
            "job": plan.job.file,
            "tasks": plan.count,
            "name": run.job_name,
            "job_digest": plan.job.digest,
            "edition": run.edition,
            "run_date": run.run_date,
            "provider": run.provider,
            "origin": run.origin,
            "started_at": iso_time(run.started_at),
            "project": plan.job.project_file.project,
        },
    )


def tell_end(
    observe: Observer, run_id: str, drift: Drift, exit_code: ExitCode, reasons: Sequence[str]
) -> None:
    """Also how far what the run cost is from its estimate, where that is far."""
    if has_drifted(drift):
        observe(
            "run.cost_drift",
            {
                "tasks": drift.attempts,
                "estimate_usd": usd_text(drift.estimate_micros),
                "cost_usd": usd_text(drift.cost_micros),
            },
        )
    observe("run.finished", {"run": run_id, "exit_code": int(exit_code), "reasons": reasons})
