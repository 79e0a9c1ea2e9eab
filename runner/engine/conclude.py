"""How a run ends for now: its tasks counted, its exit code found, its manifest written."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.engine.standing import BATCH
from runner.errors import ExitCode
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


@dataclass(frozen=True, slots=True)
class Conclusion:
    """`counts` are the plan's tasks by state."""

    counts: Mapping[TaskState, int]
    exit_code: ExitCode
    manifest: Path


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
    absent: frozenset[str] = frozenset(),
) -> Conclusion:
    """Ends a session of a run, and the run itself where nothing is left to do; writes the manifest.

    `conditions` are what stopped the work; `absent` are identities whose files are gone for good.
    Raises StateError where the ledger or the manifest cannot be written.
    """
    view = _view(absent)
    reader = ledger.read
    counts = _count(plan.tasks(), reader, view)
    exit_code = ExitCode.first(conditions | _conditions(counts))
    with ledger.transaction():
        ledger.end_session(session, at, exit_code)
        if not any(counts[state] for state in UNFINISHED):
            ledger.finish_run(run_id, at)
    run = reader.run(run_id)
    assert run is not None
    manifest = RunFolder(project, run_id).manifest
    write_manifest(
        manifest,
        run=run,
        sessions=reader.sessions(run_id),
        spend=reader.spend(run_id),
        tasks=plan.tasks(),
        reader=reader,
        view=view,
        root=project.root,
        redactor=redactor,
    )
    return Conclusion(counts, exit_code, manifest)


def _view(absent: frozenset[str]) -> View:
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
    if counts.get(TaskState.FAILED) or counts.get(TaskState.EXPIRED):
        conditions.add(ExitCode.TASK_FAILED)
    if counts.get(TaskState.HELD):
        conditions.add(ExitCode.PERSON_NEEDED)
    open_states = (TaskState.SUBMITTED, TaskState.COLLECTING, TaskState.AMBIGUOUS)
    if any(counts.get(state) for state in open_states):
        conditions.add(ExitCode.TRY_AGAIN)
    return conditions
