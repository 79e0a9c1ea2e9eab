"""The steps of a plan with their cells: how many tasks there will be, and which of them go on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from runner.errors import Problem
from runner.job.expressions import NEEDS
from runner.job.matrix import MODEL, Cell, Entry, Matrix, matches
from runner.job.model import Job, Step
from runner.job.patterns import Patterns
from runner.job.problems import Checked
from runner.job.task import Task
from runner.job.yaml.nodes import show_path
from runner.json_value import JsonValue, canonical_json
from runner.plan.names import telling_part

MOST_TASKS = 100_000
"""Of one plan, which is kept whole."""
MOST_CELLS = 1_000_000
"""Of one step before `exclude` and `include`, which are counted one by one."""

_PLAIN = re.compile(r"(?!(?i:true|false|null)$)[A-Za-z][\w./-]*|\d+:\d+")

Chain: TypeAlias = Mapping[str, Mapping[str, JsonValue]]
"""The cell of a task and those of the tasks above it, by step, the nearest first."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step. Its tasks are counted from `base`: `count` of them for each task of the step above.

    `count` and `base` are those of the job without any `pick`, so that a person who picks changes
    no `index`, which may stand in a prompt. `above_base` is the `base` of the step above.
    """

    step: Step
    matrix: Matrix
    picks: tuple[Entry, ...] | None
    count: int
    base: int
    above_base: int
    _picked: Patterns | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        patterns = None if self.picks is None else Patterns(entry.pairs for entry in self.picks)
        object.__setattr__(self, "_picked", patterns)

    def slots(self, above: Task | None) -> Iterator[tuple[int, Cell]]:
        """(index, cell) of each task that needs `above`."""
        first = self.base
        if above is not None:
            first += (above.index - self.above_base) * self.count
        return enumerate(self.matrix.cells(), start=first)

    def goes_on(self, chain: Chain) -> bool:
        """Whether further steps may use the task of `chain`, one of this step."""
        return self._picked is None or self._picked.any_matches(_pickable(chain))

    def picks_of(self, chain: Chain) -> list[int]:
        """The numbers of the entries of `pick` that mean the task of `chain`, one of this step."""
        return [] if self._picked is None else self._picked.matching(_pickable(chain))


@dataclass(frozen=True, slots=True)
class Stages:
    """All steps of a plan, each after the one that it needs."""

    by_step: Mapping[str, Stage]

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.by_step.values())

    @property
    def roots(self) -> tuple[Stage, ...]:
        """The stages that need no other one."""
        return tuple(stage for stage in self if not stage.step.needs)

    def below(self, stage: Stage) -> tuple[Stage, ...]:
        """The stages that need this one."""
        return tuple(other for other in self if stage.step.name and other.step.needs == stage.step.name)

    def chains(self, stage: Stage) -> Iterator[Chain]:
        """The chain of each task of `stage`, in order; no task is built for it."""
        name, needs = stage.step.name, stage.step.needs
        chains = self.chains_that_go_on(self.by_step[needs]) if needs else iter(({},))
        return ({name: cell, **chain} for chain in chains for cell in stage.matrix.cells())

    def chains_that_go_on(self, stage: Stage) -> Iterator[Chain]:
        """The chain of each task of `stage` that `pick` lets through."""
        return filter(stage.goes_on, self.chains(stage))


def make_stages(
    job: Job, matrices: Mapping[str, Matrix], picks: Mapping[str, tuple[Entry, ...] | None]
) -> Checked[Stages]:
    """Each step with the index of its first task: all of a step's, then all of the next one's.

    A plan that would be too large is found without building a task.
    """
    by_step: dict[str, Stage] = {}
    stages = Stages(by_step)
    unpicked: dict[str, int] = {}
    tasks: dict[str, int] = {}
    for name, step in job.steps.items():
        matrix, needs = matrices[name], step.needs
        count = matrix.count()
        above = tasks[needs] if needs else 1
        if needs and picks[needs] is not None:
            # one at least: below a `pick` that lets nothing through, one is tried
            above = max(1, sum(1 for _ in stages.chains_that_go_on(by_step[needs])))
        tasks[name] = count * above
        if (total := sum(tasks.values())) > MOST_TASKS:
            yield too_many(step, total)
            break
        base, above_base = sum(unpicked.values()), by_step[needs].base if needs else 0
        unpicked[name] = count * unpicked.get(needs, 1)
        by_step[name] = Stage(step, matrix, picks[name], count, base, above_base)
    return stages


def too_many(step: Step, cells: int) -> Problem:
    return step.takes_location.error(
        f"{cells:,} cells; a plan has at most {MOST_TASKS:,}", "split the job file"
    )


def waits_for(job: Job, task: Task) -> str:
    """What to write so that the steps below use `task`, where `pick: []` says: none yet.

    Empty where nobody is asked: the step picks already, or no step needs it.
    """
    step = job.steps[task.step]
    is_needed = any(task.step and other.needs == task.step for other in job.steps.values())
    if step.pick != () or not is_needed:
        return ""
    pattern = _pattern(step, task.cell)
    if task.upstream is not None:
        above = {name: _pattern(job.steps[name], cell) for name, cell in task.upstream.cells.items()}
        pattern[NEEDS] = {name: cell for name, cell in reversed(above.items()) if cell}
        pattern = {name: value for name, value in pattern.items() if value != {}}
    if not pattern:
        pattern = {MODEL: task.model}
    where = show_path(step.pick_location.path)
    return f"{where}: write `pick: [{flow_yaml(pattern)}]` to go on with {task.name}"


def _pattern(step: Step, cell: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """What tells the cell from others of its step."""
    with_model = len(step.models) > 1
    return {name: telling_part(value) for name, value in cell.items() if name != MODEL or with_model}


def _pickable(chain: Chain) -> Cell:
    """What a pattern of `pick` can name: the task's own values and, under `needs`, those above it."""
    (_, cell), *above = chain.items()
    return _with_above(cell, dict(above))


def _with_above(cell: Mapping[str, JsonValue], above: Mapping[str, Mapping[str, JsonValue]]) -> Cell:
    return {**cell, NEEDS: {step: dict(values) for step, values in above.items()}}


def means(
    pattern: Mapping[str, JsonValue],
    cell: Mapping[str, JsonValue],
    above: Mapping[str, Mapping[str, JsonValue]],
) -> bool:
    """Whether a pattern of `pick` means a cell: its own values and, under `needs`, those above it."""
    return matches(pattern, _with_above(cell, above))


def flow_yaml(value: JsonValue) -> str:
    """`value` as YAML on one line, as a job file takes it."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {flow_yaml(item)}" for name, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(flow_yaml(item) for item in value) + "]"
        case str() if _PLAIN.fullmatch(value):
            return value
    return canonical_json(value).decode()
