"""A Job to a Plan: every task known and checked before anything is paid, none of them kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from runner.errors import Problem
from runner.job.build import TaskBuilder
from runner.job.cost import Total
from runner.job.expressions import Scope
from runner.job.filters import ExpressionError, as_text
from runner.job.marks import Marks
from runner.job.matrix import Axis, Entry, Matrix
from runner.job.model import Job, Step
from runner.job.node import JsonValue
from runner.job.patterns import Patterns
from runner.job.rundate import RunDate
from runner.job.stages import Stage, Stages
from runner.job.step_checks import check_values
from runner.job.survey import MOST_TASKS, report_collisions, survey_cells
from runner.job.task import Task
from runner.job.values import ProblemError, Problems, Value

MOST_LOOKUPS = 20_000_000
"""Look-ups of one step's cells in its `exclude`, `include` and `pick`: a minute or so."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All tasks of a job, in order. `warnings` are the job's and those of the cells.

    `cost` is the estimate of all tasks, whether they are done or not.
    """

    job: Job
    origin: str
    run_date: RunDate
    edition: str
    count: int
    warnings: tuple[Problem, ...]
    cost: Total
    marks: Marks | None = field(repr=False)
    """What tells of a task without building it; None where a step needs another one."""
    _stages: Stages = field(repr=False)
    clock: tuple[float, float] | None = None
    """Where `run_date` was read off this machine's clock: `time.time()` and `time.monotonic()` then."""

    def tasks(self) -> Iterator[Task]:
        """Each task, built as it is asked for: the same ones in the same order each time.

        Depth first: a task comes before those that need it.
        """
        return self._stages.tasks()

    def identities(self) -> Iterator[str]:
        """The identity of each task, in order; in a flat job none is built for that."""
        if self.marks is None:
            return (task.identity for task in self.tasks())
        return map(self.marks.identity, range(len(self.marks)))

    def roots(self, without: Sequence[int] = ()) -> Iterator[Task]:
        """The tasks that need no other one, except those whose `without[index]` is 1."""
        for stage in self._stages.roots:
            yield from stage.tasks(None, without)

    def children(self, task: Task) -> Iterator[Task]:
        """The tasks that need `task`, built as they are asked for; none where `pick` leaves it out."""
        return self._stages.children(task)

    def is_needed(self, task: Task) -> bool:
        """Whether any step needs that of `task`."""
        return self._stages.is_needed(task)

    def waits_for(self, task: Task) -> str:
        """What to write so that the steps below use `task`, where `pick: []` says: none yet.

        Empty where nobody is asked: the step picks already, or no step needs it.
        """
        return self._stages.waits_for(task)


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
    _check_size(job, matrices, problems)
    _check_patterns(job, matrices, picks, problems)
    problems.raise_errors(job.file)
    _check_matrices(job, matrices, problems)

    def make_stages(ambiguous: frozenset[int]) -> Stages:
        builders = {
            name: TaskBuilder(job, step, origin=origin, edition=edition, scope=scope, ambiguous=ambiguous)
            for name, step in job.steps.items()
        }
        return _stages(job, matrices, builders, picks)

    stages = make_stages(frozenset())
    survey = survey_cells(job, stages, problems)
    if survey.same_names and survey.is_whole and problems.is_sound:
        stages = make_stages(survey.same_names)
        survey = survey_cells(job, stages, problems)
    report_collisions(job, stages, survey, problems)
    problems.raise_errors(job.file)
    return Plan(
        job,
        origin,
        run_date,
        edition,
        survey.count,
        problems.warnings,
        survey.cost,
        survey.marks,
        stages,
        clock,
    )


def _stages(
    job: Job,
    matrices: Mapping[str, Matrix],
    builders: Mapping[str, TaskBuilder],
    picks: Mapping[str, tuple[Entry, ...] | None],
) -> Stages:
    """Each step with the index of its first task: all of a step's, then all of the next one's."""
    stages: dict[str, Stage] = {}
    totals: dict[str, int] = {}
    for name, step in job.steps.items():
        # the one step of a flat job starts at 0 and needs no count
        count = sum(1 for _ in matrices[name].cells()) if len(job.steps) > 1 else 0
        stages[name] = Stage(
            step=step,
            matrix=matrices[name],
            builder=builders[name],
            picks=picks[name],
            count=count,
            base=sum(totals.values()),
            above_base=stages[step.needs].base if step.needs else 0,
        )
        totals[name] = count * totals.get(step.needs, 1)
    return Stages(stages)


def _check_size(job: Job, matrices: Mapping[str, Matrix], problems: Problems) -> None:
    """Without expanding anything; below a `pick` nobody knows yet, and the survey counts."""
    bounds: dict[str, int] = {}
    for name, step in job.steps.items():
        above = bounds[step.needs] if step.needs and job.steps[step.needs].pick is None else 1
        bounds[name] = matrices[name].upper_bound * above
        if sum(bounds.values()) > MOST_TASKS:
            message = f"{sum(bounds.values()):,} cells; a plan has at most {MOST_TASKS:,}"
            problems.add(step.takes_place.error(message, "split the job file"))
            return


def _check_patterns(
    job: Job,
    matrices: Mapping[str, Matrix],
    picks: Mapping[str, tuple[Entry, ...] | None],
    problems: Problems,
) -> None:
    """Without expanding anything: entries that each name other axes are looked up one by one."""
    for name, step in job.steps.items():
        matrix = matrices[name]
        picked = Patterns(entry.pairs for entry in picks[name] or ()).kinds
        if matrix.lookups + picked * matrix.upper_bound > MOST_LOOKUPS:
            cells = f"{matrix.upper_bound:,} cells"
            message = f"too many kinds of entries in `exclude`, `include` or `pick` for {cells}"
            problems.add(step.takes_place.error(message, "name the same axes in them, or split the job file"))


def _check_matrices(job: Job, matrices: Mapping[str, Matrix], problems: Problems) -> None:
    needed = {step.needs for step in job.steps.values()}
    for name, step in job.steps.items():
        matrix = matrices[name]
        for entry in matrix.idle_excludes():
            problems.add(entry.place.warning("matches no cell, so it excludes nothing"))
        if next(matrix.cells(), None) is None:
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


__all__ = ["MOST_TASKS", "Plan", "RunDate", "make_plan"]
