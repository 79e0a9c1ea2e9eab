"""The steps of a plan with their cells: how many tasks there will be, and which of them go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from runner.errors import Problem
from runner.job.model import Job, Step
from runner.job.problems import Checked
from runner.plan.chains import linked
from runner.plan.combinations import Above, Combined, combine
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
    no `index`, which may stand in a prompt. `above_base` is the `base` of the step above. `combined` has the
    tasks where the step joins several steps or makes a chain; `count` and `above_base` mean nothing then.
    """

    spec: Step
    matrix: Matrix
    picks: tuple[Entry, ...] | None
    count: int
    base: int
    above_base: int
    combined: Combined | None = None
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
    """All steps of a plan, each after those that it needs."""

    by_name: Mapping[str, PlannedStep]

    def __iter__(self) -> Iterator[PlannedStep]:
        return iter(self.by_name.values())

    def below(self, step: PlannedStep) -> tuple[PlannedStep, ...]:
        """The steps that need this one."""
        return tuple(other for other in self if step.name in other.spec.needs)

    def lineages_that_go_on(self, step: PlannedStep) -> Iterator[Lineage]:
        """The lineage of each task of `step` that `pick` lets through; no task is built for it."""
        return (lineage for lineage, goes_on in self.lineages(step, only_made=True) if goes_on)

    def lineages(self, step: PlannedStep, *, only_made: bool) -> Iterator[tuple[Lineage, bool]]:
        """(lineage, whether `pick` lets it through) of each task of `step`, in the order of its index.

        With `only_made` those that no `pick` above leaves out.
        """
        own: Iterator[tuple[Lineage, bool]]
        if step.combined is not None:
            combinations = sorted(step.combined.combinations, key=lambda each: each.index)
            own = ((each.lineage(step.name), each.is_made) for each in combinations)
        else:
            above: Iterator[tuple[Lineage, bool]] = iter([({}, True)])
            for needed in step.spec.needs:
                above = self.lineages(self.by_name[needed], only_made=only_made)
            own = (
                ({step.name: cell, **cells}, is_made)
                for cells, is_made in above
                for cell in step.matrix.cells()
            )
        for lineage, is_made in own:
            if is_made or not only_made:
                yield lineage, is_made and step.goes_on(lineage)


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
        matrix = matrices[name]
        count, base = matrix.count(), sum(unpicked.values())
        if step.joins or step.chain:
            combined = yield from _combined(steps, step, matrices, base)
            if combined is None:
                break
            by_name[name] = PlannedStep(step, matrix, picks[name], count, base, 0, combined)
            tasks[name], unpicked[name] = len(combined.made), len(combined.combinations)
        else:
            needs = next(iter(step.needs), "")
            above = tasks[needs] if needs else 1
            if needs and picks[needs] is not None:
                # one at least: below a `pick` that lets nothing through, one is tried
                above = max(1, sum(1 for _ in steps.lineages_that_go_on(by_name[needs])))
            tasks[name], unpicked[name] = count * above, count * unpicked.get(needs, 1)
            above_base = by_name[needs].base if needs else 0
            by_name[name] = PlannedStep(step, matrix, picks[name], count, base, above_base)
        if (total := sum(tasks.values())) > MOST_TASKS:
            yield too_many(step, total)
            break
    return steps


def _combined(
    steps: PlannedSteps, step: Step, matrices: Mapping[str, Matrix], base: int
) -> Checked[Combined | None]:
    above = {
        name: [Above(*found) for found in steps.lineages(steps.by_name[name], only_made=False)]
        for name in step.needs
    }
    combined = yield from combine(step, matrices[step.name], above, base=base)
    if combined is not None and step.chain:
        combined = yield from linked(step, matrices, combined)
    return combined


def too_many(step: Step, cells: int) -> Problem:
    return step.takes_location.error(
        f"{cells:,} cells; a plan has at most {MOST_TASKS:,}", "split the job file"
    )
