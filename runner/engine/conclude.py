"""How a run ends for now: its tasks counted, its exit code found, its manifest written."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.engine.standing import BATCH, Above, Chain, above
from runner.errors import ExitCode, StateError
from runner.job.plan import Plan
from runner.job.task import Task
from runner.ledger.ledger import Ledger
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow
from runner.ledger.states import TaskState
from runner.project import Project
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


MOST_WAITS = 5


@dataclass(frozen=True, slots=True)
class Conclusion:
    """`counts` are the plan's tasks by state."""

    counts: Mapping[TaskState, int]
    exit_code: ExitCode
    manifest: Path
    waits: tuple[str, ...] = ()
    """What a person has to write before the job can go on: the first few `pick` lines."""
    is_finished: bool = False
    """Nothing of the plan is left for another start."""


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
    absent: frozenset[str] = frozenset(),
    frameless: frozenset[str] = frozenset(),
) -> Conclusion:
    """Ends a session of a run, and the run itself where nothing is left to do; writes the manifest.

    `conditions` are what stopped the work, `passing` those of them that mean nothing once everything
    is done; `absent` are identities whose files are gone for good, `frameless` those whose last frame
    never came.
    Raises StateError where the ledger or the manifest cannot be written.
    """
    reader = ledger.read
    counts = _count(plan, reader, absent, frameless)
    waits = waits_for_a_person(plan, reader)
    # a task that has left the plan is still this run's, as long as something is to come of it
    standing = counts + reader.open_states(run_id)
    is_finished = not any(standing[state] for state in UNFINISHED)
    kept = conditions - passing if is_finished else conditions
    exit_code = ExitCode.first(kept | _conditions(standing))
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
            tasks=plan.tasks(),
            reader=reader,
            view=_view(reader, absent, frameless),
            root=project.root,
            redactor=redactor,
        )
    except StateError:
        # a run without its manifest is not finished: the next start goes on with it and writes one
        with ledger.transaction():
            ledger.end_session(session, at, ExitCode.CANNOT_WRITE)
            ledger.finish_run(run_id, None)
        raise
    return Conclusion(counts, exit_code, manifest, waits, is_finished)


def _view(reader: LedgerReader, absent: frozenset[str], frameless: frozenset[str]) -> View:
    chain = Chain(frameless)

    def view(task: Task, attempt: AttemptRow | None) -> TaskState:
        needed = above([task], reader) if task.upstream is not None else Above()
        return _state(task, attempt, needed, chain, absent)

    return view


def _state(
    task: Task,
    attempt: AttemptRow | None,
    needed: Above,
    chain: Chain,
    absent: frozenset[str],
) -> TaskState:
    if task.identity in absent:
        return TaskState.ABSENT
    blocked = chain.state(task, attempt, needed)
    if blocked is not None:
        return blocked
    return attempt.state if attempt is not None else TaskState.PLANNED


def _count(
    plan: Plan, reader: LedgerReader, absent: frozenset[str], frameless: frozenset[str]
) -> Counter[TaskState]:
    counts: Counter[TaskState] = Counter()
    if plan.marks is not None:
        # no task waits for another one, so the ledger alone says where each stands
        identities = plan.identities()
        while batch := list(itertools.islice(identities, BATCH)):
            states = reader.states(batch)
            counts.update(
                TaskState.ABSENT if identity in absent else states.get(identity, TaskState.PLANNED)
                for identity in batch
            )
        return counts
    chain = Chain(frameless)
    iterator = iter(plan.tasks())
    while tasks := list(itertools.islice(iterator, BATCH)):
        latest = reader.latest([task.identity for task in tasks])
        needed = above(tasks, reader)
        counts.update(_state(task, latest.get(task.identity), needed, chain, absent) for task in tasks)
    return counts


def waits_for_a_person(plan: Plan, reader: LedgerReader) -> tuple[str, ...]:
    """The first few sentences of `Plan.waits_for`, for tasks that are done and could be picked."""
    found: dict[str, None] = {}
    if all(step.pick is None for step in plan.job.steps.values()):
        return ()
    for task in plan.tasks():
        sentence = plan.waits_for(task)
        if not sentence:
            continue
        latest = reader.latest([task.identity]).get(task.identity)
        if latest is not None and latest.state is TaskState.DONE:
            if len(found) == MOST_WAITS:
                found.setdefault("more takes than these: the report shows them all")
                break
            found.setdefault(sentence)
    return tuple(found)


def _conditions(counts: Mapping[TaskState, int]) -> set[ExitCode]:
    """What the states of a plan's tasks tell the caller of the process."""
    conditions: set[ExitCode] = set()
    unmade = (TaskState.FAILED, TaskState.EXPIRED, TaskState.WRITTEN_OFF, TaskState.SKIPPED)
    if any(counts.get(state) for state in unmade):
        conditions.add(ExitCode.TASK_FAILED)
    if counts.get(TaskState.HELD):
        conditions.add(ExitCode.PERSON_NEEDED)
    open_states = (TaskState.SUBMITTED, TaskState.COLLECTING, TaskState.AMBIGUOUS)
    if any(counts.get(state) for state in open_states):
        conditions.add(ExitCode.TRY_AGAIN)
    return conditions
