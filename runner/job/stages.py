"""The steps of a plan, ready to build their tasks: which needs which, and which tasks go on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from runner.job.build import TaskBuilder
from runner.job.expressions import NEEDS
from runner.job.matrix import MODEL, Cell, Entry, Matrix, matches
from runner.job.model import Step
from runner.job.naming import telling_part
from runner.job.node import JsonValue, show_path
from runner.job.patterns import Patterns
from runner.job.task import Task, canonical_json

_PLAIN = re.compile(r"(?!(?i:true|false|null)$)[A-Za-z][\w./-]*|\d+:\d+")


@dataclass(frozen=True, slots=True)
class Stage:
    """One step. Its tasks are counted from `base`: `count` of them for each task of the step above.

    `count` and `base` are those of the job without any `pick`, so that a person who picks changes
    no `index`, which may stand in a prompt. `above_base` is the `base` of the step above.
    """

    step: Step
    matrix: Matrix
    builder: TaskBuilder
    picks: tuple[Entry, ...] | None
    count: int = 0
    base: int = 0
    above_base: int = 0
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

    def tasks(self, above: Task | None, without: Sequence[int] = ()) -> Iterator[Task]:
        """The tasks that need `above`, except those whose `without[index]` is 1. Raises CellError."""
        slots = self.slots(above)
        if without:
            slots = ((index, cell) for index, cell in slots if not without[index])
        return (self.builder.build(index, cell, above) for index, cell in slots)

    def goes_on(self, task: Task) -> bool:
        """Whether further steps may use `task`, one of this step."""
        return self._picked is None or self._picked.any_matches(_pickable(task))

    def picks_of(self, task: Task) -> list[int]:
        """The numbers of the entries of `pick` that mean `task`, one of this step."""
        return [] if self._picked is None else self._picked.matching(_pickable(task))


@dataclass(frozen=True, slots=True)
class Stages:
    """All steps of a plan, each after the one that it needs."""

    by_step: Mapping[str, Stage]
    _below: Mapping[str, tuple[Stage, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        below: dict[str, list[Stage]] = {}
        for stage in self:
            below.setdefault(stage.step.needs, []).append(stage)
        object.__setattr__(self, "_below", {name: tuple(stages) for name, stages in below.items()})

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.by_step.values())

    @property
    def roots(self) -> tuple[Stage, ...]:
        return self._below.get("", ())

    def below(self, stage: Stage) -> tuple[Stage, ...]:
        """The stages that need this one."""
        return self._below.get(stage.step.name, ()) if stage.step.name else ()

    def tasks(self) -> Iterator[Task]:
        """All tasks, depth first: each one, then those that need it."""
        for stage in self.roots:
            yield from self._tasks(stage, None)

    def _tasks(self, stage: Stage, above: Task | None) -> Iterator[Task]:
        below = self.below(stage)
        for task in stage.tasks(above):
            yield task
            if below and stage.goes_on(task):
                for child in below:
                    yield from self._tasks(child, task)

    def children(self, task: Task) -> Iterator[Task]:
        """The tasks that need `task`; none where `pick` leaves it out."""
        stage = self.by_step[task.step]
        if stage.goes_on(task):
            for child in self.below(stage):
                yield from child.tasks(task)

    def is_needed(self, task: Task) -> bool:
        """Whether any step needs that of `task`."""
        return bool(self.below(self.by_step[task.step]))

    def waits_for(self, task: Task) -> str:
        """What to write so that the steps below use `task`, where `pick: []` says: none yet.

        Empty where nobody is asked: the step picks already, or no step needs it.
        """
        stage = self.by_step[task.step]
        if stage.picks != () or not self.below(stage):
            return ""
        pattern = self._pattern(task.step, task.cell)
        if task.upstream is not None:
            above = {step: self._pattern(step, cell) for step, cell in task.upstream.cells.items()}
            pattern[NEEDS] = {step: cell for step, cell in reversed(above.items()) if cell}
            pattern = {name: value for name, value in pattern.items() if value != {}}
        if not pattern:
            pattern = {MODEL: task.model}
        place = show_path(stage.step.pick_place.path)
        return f"{place}: write `pick: [{flow_yaml(pattern)}]` to go on with {task.name}"

    def _pattern(self, step: str, cell: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """What tells the cell from others of its step."""
        with_model = len(self.by_step[step].step.models) > 1
        return {name: telling_part(value) for name, value in cell.items() if name != MODEL or with_model}


def _pickable(task: Task) -> Cell:
    """What a pattern of `pick` can name: the task's own values and, under `needs`, those above it."""
    return _with_above(task.cell, task.upstream.cells if task.upstream is not None else {})


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
