"""A Job to a Plan: every task built once, and checked before anything is paid."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runner.errors import Problem
from runner.job.axes import check_values
from runner.job.expressions.expressions import RUN, RUN_TIME, Scope
from runner.job.expressions.filters import ExpressionError, as_text
from runner.job.expressions.rundate import RunDate, RunTime
from runner.job.model import Job, Step
from runner.job.problems import Checked, ProblemError, Problems
from runner.job.values import Value
from runner.json_value import JsonValue
from runner.plan.build import StepBuilder
from runner.plan.combinations import Combined
from runner.plan.cost import Total, total_of
from runner.plan.lint import check_time
from runner.plan.matrix import Axis, Entry, Matrix
from runner.plan.patterns import Patterns
from runner.plan.steps import MOST_CELLS, PlannedSteps, plan_steps, too_many
from runner.plan.task import Task
from runner.plan.tasks import Behind, build_tasks
from runner.providers.account import replaced_origins

MOST_LOOKUPS = 20_000_000
"""Look-ups of one step's cells in its `exclude`, `include` and `pick`: a minute or so."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All tasks of a job, depth first: a task comes before those that build on it.

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
    """`time.time()` and `time.monotonic()` when this machine's clock gave `run_date`; None if it did not."""
    combined: Mapping[str, Combined] = field(default_factory=dict, repr=False)
    """How the tasks of each step that joins steps or makes a chain were found, by step."""
    behind: tuple[Behind, ...] = ()
    """The steps that wait for a pick."""
    began: float = 0.0
    """What `run.time` is, in Unix seconds."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where the requests of each account go, by its name. `origin` are all of them, each once."""
    _below: Mapping[str, tuple[Task, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        below: dict[str, list[Task]] = {}
        for task in self.tasks:
            for identity in {upstream.identity for upstream in task.upstreams} or {""}:
                below.setdefault(identity, []).append(task)
        object.__setattr__(self, "_below", {identity: tuple(tasks) for identity, tasks in below.items()})

    @property
    def count(self) -> int:
        """How many tasks."""
        return len(self.tasks)

    @property
    def roots(self) -> tuple[Task, ...]:
        """The tasks that build on no other one."""
        return self._below.get("", ())

    def children(self, task: Task) -> tuple[Task, ...]:
        """The tasks that build on `task`; none where `pick` leaves it out."""
        return self._below.get(task.identity, ())


def make_plan(
    job: Job,
    *,
    origin: str = "",
    origins: Mapping[str, str] | None = None,
    run_date: RunDate | None = None,
    began: float | None = None,
) -> Plan:
    """Expands and checks the whole job. Raises JobError with every problem found.

    `origins` are where the requests of each account go, by its name, as `https://api.example.com`; they are
    a part of each task's identity. `origin` is where those of all accounts go, and `sandbox` is the embedded
    sandbox; a server that an account names by its `base_url` stays another one there. `run_date` is today if
    not given, and `began`, the start of the run in Unix seconds, is now.
    """
    places = replaced_origins(job.accounts, origin) if origins is None else origins
    clock = None
    if run_date is None:
        clock = (time.time(), time.monotonic())
        run_date = RunDate.today(clock[0], job.project_file.timezone)
    if began is None:
        began = time.time() if clock is None else clock[0]
    problems = Problems(job.file)
    for warning in job.warnings:
        problems.add(warning)
    with problems:
        scope = problems.gather(_scope(job, run_date, RunTime.of(began, run_date)))
    with problems:
        edition = problems.gather(_edition(job, scope))
        matrices = {name: problems.gather(_matrix(step, scope)) for name, step in job.steps.items()}
        picks = {
            name: None if step.pick is None else problems.gather(_entries(step.pick, scope))
            for name, step in job.steps.items()
        }
    with problems:
        problems.gather(_check_size(job, matrices, picks))
    with problems:
        steps = problems.gather(plan_steps(job, matrices, picks))
    with problems:
        problems.gather(_check_matrices(steps))
        builders = {
            name: StepBuilder(job, step, origins=places, edition=edition, scope=scope)
            for name, step in job.steps.items()
        }
        built = build_tasks(job, steps, builders, problems)
        problems.gather(check_time(job))
    return Plan(
        job,
        ", ".join(dict.fromkeys(places[name] for name in job.accounts)),
        run_date,
        edition,
        built.tasks,
        problems.warnings,
        total_of(built.tasks),
        clock,
        {step.name: step.combined for step in steps if step.combined is not None},
        built.behind,
        began,
        places,
    )


def most_cells(job: Job) -> int:
    """No plan of `job` has more cells: as if each step were combined with all that it needs."""
    cells = 1
    for step in job.steps.values():
        axes = math.prod(len(axis.values) for axis in step.axes)
        takes = len(step.seeds) if step.seeds is not None else step.samples or 1
        cells *= max(1, axes * takes * len(step.models)) + len(step.include)
    return cells


def _scope(job: Job, run_date: RunDate, run_time: RunTime) -> Checked[Scope]:
    """The names that hold for all cells."""
    scope: Scope = {
        "job": {"name": job.name},
        "env": dict(job.env),
        RUN: {"date": run_date, "time": run_time},
        RUN_TIME: run_time,
    }
    variables: dict[str, JsonValue] = {}
    for name, value in job.variables.items():
        for _, result in (yield from _computed([value], scope)):
            variables[name] = result
    return {**scope, "vars": variables}


def _edition(job: Job, scope: Scope) -> Checked[str]:
    for value, edition in (yield from _computed([job.edition] if job.edition else (), scope)):
        try:
            return "" if edition is None else as_text(edition, "edition")
        except ExpressionError as error:
            yield error.at(value.location)
    return ""


def _matrix(step: Step, scope: Scope) -> Checked[Matrix]:
    axes: list[Axis] = []
    for axis in step.axes:
        computed = yield from _computed(axis.values, scope)
        yield from check_values((value.location, result) for value, result in computed)
        axes.append(Axis(axis.name, tuple(result for _, result in computed)))
    return Matrix(
        models=step.model_names,
        seeds=step.seeds,
        samples=step.samples,
        axes=tuple(axes),
        exclude=(yield from _entries(step.exclude, scope)),
        include=(yield from _entries(step.include, scope)),
    )


def _entries(values: Iterable[Value], scope: Scope) -> Checked[tuple[Entry, ...]]:
    computed = yield from _computed(values, scope)
    return tuple(Entry(value.location, pairs) for value, pairs in computed if isinstance(pairs, dict))


def _computed(values: Iterable[Value], scope: Scope) -> Checked[list[tuple[Value, JsonValue]]]:
    """Each value with its result, without those that fail."""
    computed: list[tuple[Value, JsonValue]] = []
    for value in values:
        try:
            computed.append((value, value.evaluate(scope)))
        except ProblemError as error:
            yield from error.problems
    return computed


def _check_size(
    job: Job, matrices: Mapping[str, Matrix], picks: Mapping[str, tuple[Entry, ...] | None]
) -> Checked[None]:
    """Before any cell is visited, even to count it."""
    for name, step in job.steps.items():
        matrix = matrices[name]
        cells = matrix.upper_bound
        # entries that each name other axes are looked up one by one
        kinds = Patterns(entry.pairs for entry in picks[name] or ()).kinds
        if cells > MOST_CELLS:
            yield too_many(step, cells)
        elif matrix.lookups + kinds * cells > MOST_LOOKUPS:
            message = f"too many kinds of entries in `exclude`, `include` or `pick` for {cells:,} cells"
            yield step.takes_location.error(message, "name the same axes in them, or split the job file")


def _check_matrices(steps: PlannedSteps) -> Checked[None]:
    for step in steps:
        for entry in step.matrix.idle_excludes():
            yield entry.location.warning("matches no cell, so it excludes nothing")
        if not step.count:
            yield step.spec.takes_location.error("no cell is left to generate", "look at `exclude`")
        if step.picks is not None and not steps.below(step):
            yield step.spec.pick_location.warning(
                f"no step needs `{step.name}`, so there is nothing to pick for"
            )
