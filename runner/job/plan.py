"""A Job to a Plan: every task known and checked before anything is paid, none of them kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from runner.errors import Problem
from runner.job.build import TaskBuilder
from runner.job.expressions import ExpressionError, Scope, as_text
from runner.job.matrix import Axis, Entry, Matrix
from runner.job.model import Job
from runner.job.node import JsonValue
from runner.job.rundate import RunDate
from runner.job.survey import report_collisions, survey_cells
from runner.job.task import Task
from runner.job.values import ProblemError, Problems, Value

MOST_TASKS = 1_000_000
"""Of one plan: nobody means to pay for more, and `seeds: 0..4294967295` would never end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All tasks of a job, in order. `warnings` are the job's and those of the cells."""

    job: Job
    origin: str
    run_date: RunDate
    edition: str
    count: int
    warnings: tuple[Problem, ...]
    _matrix: Matrix = field(repr=False)
    _builder: TaskBuilder = field(repr=False)

    def tasks(self) -> Iterator[Task]:
        """Each task, built as it is asked for: the same ones in the same order each time."""
        for index, cell in enumerate(self._matrix.cells()):
            yield self._builder.build(index, cell)


def make_plan(job: Job, *, origin: str, run_date: RunDate) -> Plan:
    """Expands and checks the whole job. Raises JobError with every problem found."""
    problems = Problems()
    for warning in job.warnings:
        problems.add(warning)
    scope = _scope(job, run_date, problems)
    problems.raise_errors(job.file)
    edition = _edition(job, scope, problems)
    matrix = _matrix(job, scope, problems)
    problems.raise_errors(job.file)
    if matrix.upper_bound > MOST_TASKS:
        problems.add(
            job.step.takes_place.error(
                f"{matrix.upper_bound:,} cells; a plan has at most {MOST_TASKS:,}", "split the job file"
            )
        )
        problems.raise_errors(job.file)
    for entry in matrix.idle_excludes():
        problems.add(entry.place.warning("matches no cell, so it excludes nothing"))
    builder = TaskBuilder(job, origin=origin, edition=edition, scope=scope)
    survey = survey_cells(job, matrix, builder, problems)
    if survey.same_names and not problems.errors:
        builder = TaskBuilder(job, origin=origin, edition=edition, scope=scope, ambiguous=survey.same_names)
        survey = survey_cells(job, matrix, builder, problems)
    if survey.count == 0:
        problems.add(job.step.takes_place.error("no cell is left to generate", "look at `exclude`"))
    report_collisions(job, matrix, builder, survey, problems)
    for warning in builder.warnings:
        problems.add(warning)
    problems.raise_errors(job.file)
    return Plan(job, origin, run_date, edition, survey.count, problems.warnings, matrix, builder)


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


def _matrix(job: Job, scope: Scope, problems: Problems) -> Matrix:
    step = job.step
    return Matrix(
        models=tuple(dict.fromkeys(job.models)),
        seeds=step.seeds,
        samples=step.samples,
        axes=tuple(
            Axis(axis.name, tuple(_evaluate(value, scope, problems) for value in axis.values))
            for axis in step.axes
        ),
        exclude=_entries(step.exclude, scope, problems),
        include=_entries(step.include, scope, problems),
    )


def _entries(values: Sequence[Value], scope: Scope, problems: Problems) -> tuple[Entry, ...]:
    evaluated = ((value, _evaluate(value, scope, problems)) for value in values)
    return tuple(Entry(value.place, pairs) for value, pairs in evaluated if isinstance(pairs, dict))


__all__ = ["MOST_TASKS", "Plan", "RunDate", "make_plan"]
