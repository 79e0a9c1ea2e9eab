"""A Job to a Plan: every task built once, and checked before anything is paid."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runner.errors import Problem
from runner.job.cost import Total
from runner.job.expressions import Scope
from runner.job.filters import ExpressionError, as_text
from runner.job.matrix import Axis, Entry, Matrix
from runner.job.model import Job, Step
from runner.job.patterns import Patterns
from runner.job.rundate import RunDate
from runner.job.step_checks import check_values
from runner.job.task import Task
from runner.job.values import ProblemError, Problems, Value
from runner.json_value import JsonValue
from runner.plan.build import TaskBuilder
from runner.plan.stages import MOST_CELLS, Stages, make_stages, too_many
from runner.plan.survey import build_tasks

MOST_LOOKUPS = 20_000_000
"""Look-ups of one step's cells in its `exclude`, `include` and `pick`: a minute or so."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All tasks of a job, depth first: a task comes before those that need it.

    `warnings` are the job's and those of the cells. `cost` is the estimate of all tasks, whether they
    are done or not.
    """

    job: Job
    origin: str
    run_date: RunDate
    edition: str
    tasks: tuple[Task, ...] = field(repr=False)
    warnings: tuple[Problem, ...]
    cost: Total
    clock: tuple[float, float] | None = None
    """Where `run_date` was read off this machine's clock: `time.time()` and `time.monotonic()` then."""
    _below: Mapping[str, tuple[Task, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        below: dict[str, list[Task]] = {}
        for task in self.tasks:
            below.setdefault(task.upstream.identity if task.upstream else "", []).append(task)
        object.__setattr__(self, "_below", {identity: tuple(tasks) for identity, tasks in below.items()})

    @property
    def count(self) -> int:
        """How many tasks."""
        return len(self.tasks)

    @property
    def roots(self) -> tuple[Task, ...]:
        """The tasks that need no other one."""
        return self._below.get("", ())

    def children(self, task: Task) -> tuple[Task, ...]:
        """The tasks that need `task`; none where `pick` leaves it out."""
        return self._below.get(task.identity, ())


def make_plan(job: Job, *, origin: str, run_date: RunDate | None = None) -> Plan:
    """Expands and checks the whole job. Raises JobError with every problem found.

    `origin` is where its requests go, as `https://api.meshapi.ai`; it is a part of each task's
    identity. `sandbox` is the embedded sandbox. `run_date` is today where it is not given.
    """
    clock = None
    if run_date is None:
        clock = (time.time(), time.monotonic())
        run_date = RunDate.today(clock[0])
    problems = Problems()
    for warning in job.warnings:
        problems.add(warning)
    scope = _scope(job, run_date, problems)
    problems.raise_errors(job.file)
    edition = _edition(job, scope, problems)
    matrices = {name: _matrix(step, scope, problems) for name, step in job.steps.items()}
    picks = {name: _picks(step, scope, problems) for name, step in job.steps.items()}
    problems.raise_errors(job.file)
    _check_size(job, matrices, picks, problems)
    problems.raise_errors(job.file)
    stages = make_stages(job, matrices, picks, problems)
    problems.raise_errors(job.file)
    _check_matrices(job, stages, problems)
    builders = {
        name: TaskBuilder(job, step, origin=origin, edition=edition, scope=scope)
        for name, step in job.steps.items()
    }
    tasks = build_tasks(job, stages, builders, problems)
    problems.raise_errors(job.file)
    cost = Total()
    for task in tasks:
        cost.add(task.estimate_tokens, task.estimate_micros)
    return Plan(job, origin, run_date, edition, tasks, problems.warnings, cost, clock)


def _check_size(
    job: Job,
    matrices: Mapping[str, Matrix],
    picks: Mapping[str, tuple[Entry, ...] | None],
    problems: Problems,
) -> None:
    """Before any cell is gone through, if only to count it."""
    for name, step in job.steps.items():
        matrix = matrices[name]
        cells = matrix.upper_bound
        # entries that each name other axes are looked up one by one
        kinds = Patterns(entry.pairs for entry in picks[name] or ()).kinds
        if cells > MOST_CELLS:
            problems.add(too_many(step, cells))
        elif matrix.lookups + kinds * cells > MOST_LOOKUPS:
            message = f"too many kinds of entries in `exclude`, `include` or `pick` for {cells:,} cells"
            problems.add(step.takes_place.error(message, "name the same axes in them, or split the job file"))


def _check_matrices(job: Job, stages: Stages, problems: Problems) -> None:
    needed = {step.needs for step in job.steps.values()}
    for name, step in job.steps.items():
        stage = stages.by_step[name]
        for entry in stage.matrix.idle_excludes():
            problems.add(entry.place.warning("matches no cell, so it excludes nothing"))
        if not stage.count:
            problems.add(step.takes_place.error("no cell is left to generate", "look at `exclude`"))
        if step.pick is not None and name not in needed:
            problems.add(step.pick_place.warning(f"no step needs `{name}`, so there is nothing to pick for"))


def _scope(job: Job, run_date: RunDate, problems: Problems) -> Scope:
    """The names that hold for all cells."""
    scope: Scope = {
        "job": {"name": job.name},
        "env": dict(job.env),
        "run": {"date": run_date},
    }
    variables: dict[str, JsonValue] = {}
    for name, value in job.variables.items():
        variables[name] = _evaluate(value, scope, problems)
    return {**scope, "vars": variables}


def _evaluate(value: Value, scope: Scope, problems: Problems) -> JsonValue:
    try:
        return value.evaluate(scope)
    except ProblemError as found:
        problems.add(found.problem)
        return None


def _edition(job: Job, scope: Scope, problems: Problems) -> str:
    if job.edition is None:
        return ""
    value = _evaluate(job.edition, scope, problems)
    try:
        return "" if value is None else as_text(value, "edition")
    except ExpressionError as error:
        problems.add(job.edition.place.error(error.message, error.hint))
        return ""


def _picks(step: Step, scope: Scope, problems: Problems) -> tuple[Entry, ...] | None:
    return None if step.pick is None else _entries(step.pick, scope, problems)


def _matrix(step: Step, scope: Scope, problems: Problems) -> Matrix:
    axes: list[Axis] = []
    for axis in step.axes:
        values = tuple(_evaluate(value, scope, problems) for value in axis.values)
        axes.append(Axis(axis.name, values))
        if not problems.errors:  # what cannot be computed is null here
            check_values(
                ((value.place, found) for value, found in zip(axis.values, values, strict=True)), problems
            )
    return Matrix(
        models=step.model_names,
        seeds=step.seeds,
        samples=step.samples,
        axes=tuple(axes),
        exclude=_entries(step.exclude, scope, problems),
        include=_entries(step.include, scope, problems),
    )


def _entries(values: Sequence[Value], scope: Scope, problems: Problems) -> tuple[Entry, ...]:
    evaluated = ((value, _evaluate(value, scope, problems)) for value in values)
    return tuple(Entry(value.place, pairs) for value, pairs in evaluated if isinstance(pairs, dict))
