"""The steps of a plan with their cells: how many tasks there will be, and which of them go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from runner.errors import Problem
from runner.job.model import Job, Step
from runner.job.problems import Checked
from runner.plan.matrix import Cell, Entry, Matrix
from runner.plan.patterns import Patterns
from runner.plan.picks import Lineage, pickable
from runner.plan.task import Task

MOST_TASKS = 100_000
"""Of one plan, which is kept whole."""
MOST_CELLS = 1_000_000
"""Of one step before `exclude` and `include`, which are counted one by one."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step with its matrix computed. Its tasks are counted from `base`, `count` for each task above.

    `count` and `base` are those of the job without any `pick`, so that a person who picks changes
    no `index`, which may stand in a prompt. `above_base` is the `base` of the step above.
    """

    spec: Step
    matrix: Matrix
    picks: tuple[Entry, ...] | None
    count: int
    base: int
    above_base: int
    _picked: Patterns | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        patterns = None if self.picks is None else Patterns(entry.pairs for entry in self.picks)
        object.__setattr__(self, "_picked", patterns)

    @property
    def name(self) -> str:
        return self.spec.name

    def cells_below(self, above: Task | None) -> Iterator[tuple[int, Cell]]:
        """(index, cell) of each task that needs `above`."""
        first = self.base
        if above is not None:
            first += (above.index - self.above_base) * self.count
        return enumerate(self.matrix.cells(), start=first)

    def goes_on(self, cells: Lineage) -> bool:
        """Whether further steps may use the task of this step that has this lineage."""
        return self._picked is None or self._picked.any_matches(pickable(cells))

    def picks_of(self, cells: Lineage) -> list[int]:
        """The numbers of the entries of `pick` that mean the task of this step with this lineage."""
        return [] if self._picked is None else self._picked.matching(pickable(cells))


@dataclass(frozen=True, slots=True)
class PlannedSteps:
    """All steps of a plan, each after the one that it needs."""

    by_name: Mapping[str, PlannedStep]

    def __iter__(self) -> Iterator[PlannedStep]:
        return iter(self.by_name.values())

    @property
    def roots(self) -> tuple[PlannedStep, ...]:
        """The steps that need no other one."""
        return tuple(step for step in self if not step.spec.needs)

    def below(self, step: PlannedStep) -> tuple[PlannedStep, ...]:
        """The steps that need this one."""
        return tuple(other for other in self if step.name and other.spec.needs == step.name)

    def lineages_that_go_on(self, step: PlannedStep) -> Iterator[Lineage]:
        """The lineage of each task of `step` that `pick` lets through; no task is built for it."""
        needs = step.spec.needs
        above = self.lineages_that_go_on(self.by_name[needs]) if needs else iter(({},))
        own = ({step.name: cell, **cells} for cells in above for cell in step.matrix.cells())
        return filter(step.goes_on, own)


def plan_steps(
    job: Job, matrices: Mapping[str, Matrix], picks: Mapping[str, tuple[Entry, ...] | None]
) -> Checked[PlannedSteps]:
    """Each step with the index of its first task: all of a step's, then all of the next one's.

    A plan that would be too large is found without building a task.
    """
    by_name: dict[str, PlannedStep] = {}
    steps = PlannedSteps(by_name)
    unpicked: dict[str, int] = {}
    tasks: dict[str, int] = {}
    for name, step in job.steps.items():
        matrix, needs = matrices[name], step.needs
        count = matrix.count()
        above = tasks[needs] if needs else 1
        if needs and picks[needs] is not None:
            # one at least: below a `pick` that lets nothing through, one is tried
            above = max(1, sum(1 for _ in steps.lineages_that_go_on(by_name[needs])))
        tasks[name] = count * above
        if (total := sum(tasks.values())) > MOST_TASKS:
            yield too_many(step, total)
            break
        base, above_base = sum(unpicked.values()), by_name[needs].base if needs else 0
        unpicked[name] = count * unpicked.get(needs, 1)
        by_name[name] = PlannedStep(step, matrix, picks[name], count, base, above_base)
    return steps


def too_many(step: Step, cells: int) -> Problem:
    return step.takes_location.error(
        f"{cells:,} cells; a plan has at most {MOST_TASKS:,}", "split the job file"
    )
