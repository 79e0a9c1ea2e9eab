"""The tasks of a step that joins several steps, or makes a chain: which tasks above meet which cell of it.

A list of `needs` joins: tasks of the steps above, and the cells of the step itself, meet where they have
the same value of each axis of `matrix` that they share, and the same task of each step above that they
share. Models, seeds and samples are never shared: they multiply. A value that is an object is known by
its `id`, else its `name` or `title`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from runner.job.model import BUILT_IN, Step
from runner.job.problems import Checked
from runner.json_value import canonical_json
from runner.plan.matrix import Cell, Matrix
from runner.plan.names import cell_label, identifying_part
from runner.plan.picks import Lineage
from runner.plural import count

MOST_COMBINATIONS = 1_000_000
"""Of one step, without any `pick`: each is looked at."""
_MOST_NAMES = 3

_Key: TypeAlias = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Above:
    """A task of a step above: its cell and those above it; whether `pick` lets it go on."""

    lineage: Lineage
    goes_on: bool


@dataclass(frozen=True, slots=True)
class Combination:
    """One task to be: `index` is that of the job without any `pick`, `above` has a lineage for each step that
    the step needs. `previous` is the index of the one before it in its chain.
    """

    index: int
    cell: Cell
    above: tuple[Lineage, ...]
    is_made: bool
    previous: int | None = None

    def lineage(self, step: str) -> Lineage:
        """The cells of this task of `step` and of all above it, by step, the nearest first."""
        nearest = {next(iter(each)): next(iter(each.values())) for each in reversed(self.above)}
        further = {name: cell for each in reversed(self.above) for name, cell in each.items()}
        return {step: self.cell, **nearest, **further}


@dataclass(frozen=True, slots=True)
class Combined:
    """The tasks of a step: those that are made come in an order in which each follows the one before it.

    `factors` are (what, how many) of all that was combined, `joined_on` the axes that they share.
    """

    combinations: tuple[Combination, ...]
    factors: tuple[tuple[str, int], ...]
    joined_on: tuple[str, ...]
    chains: int = 0

    @property
    def made(self) -> tuple[Combination, ...]:
        return tuple(each for each in self.combinations if each.is_made)


def combine(
    step: Step, matrix: Matrix, above: Mapping[str, Sequence[Above]], *, base: int
) -> Checked[Combined | None]:
    """The tasks of `step`, counted from `base`; None where there would be too many.

    `above` has the tasks of each step that it needs, picked or not.
    """
    cells = list(matrix.cells())
    sides = [
        *(_Side(name, [(each.lineage, each.goes_on) for each in tasks]) for name, tasks in above.items()),
        _Side("", [({step.name: cell}, True) for cell in cells]),
    ]
    joined: list[tuple[int, ...]] = [()]
    axes: frozenset[str] = frozenset()
    joined_on: dict[str, None] = {}
    merged: list[Lineage] = [{}]
    for side in sides:
        shared_axes = tuple(sorted(axes & side.axes)) if step.joins else ()
        shared_steps = tuple(sorted(merged[0].keys() & side.steps)) if merged else ()
        joined_on |= dict.fromkeys(shared_axes)
        groups: dict[_Key, list[int]] = {}
        for number, (lineage, _) in enumerate(side.tasks):
            groups.setdefault(_key(lineage, shared_axes, shared_steps), []).append(number)
        keys = [_key(lineage, shared_axes, shared_steps) for lineage in merged]
        total = sum(len(groups.get(each, ())) for each in keys)
        if total > MOST_COMBINATIONS:
            message = f"{total:,} combinations of what it needs; at most {MOST_COMBINATIONS:,}"
            yield step.takes_location.error(message, "split the job file")
            return None
        pairs = [(place, number) for place, each in enumerate(keys) for number in groups.get(each, ())]
        joined = [(*joined[place], number) for place, number in pairs]
        merged = [{**side.tasks[number][0], **merged[place]} for place, number in pairs]
        axes |= side.axes
    combinations = [
        Combination(
            index=base + position,
            cell=cells[numbers[-1]],
            above=tuple(side.tasks[number][0] for side, number in zip(sides[:-1], numbers, strict=False)),
            is_made=all(side.tasks[number][1] for side, number in zip(sides, numbers, strict=True)),
        )
        for position, numbers in enumerate(joined)
    ]
    if step.joins:
        yield from _left_over(step, sides, joined, [each.is_made for each in combinations])
    factors = [(side.name, side.going_on) for side in sides[:-1]]
    if len(cells) > 1:
        factors.append(("its own cells", len(cells)))
    return Combined(tuple(combinations), tuple(factors), tuple(joined_on))


def _key(lineage: Lineage, axes: tuple[str, ...], steps: tuple[str, ...]) -> _Key:
    """Equal for two lineages that meet."""
    own = axes_of(lineage)
    return (
        *(canonical_json(identifying_part(own.get(name))) for name in axes),
        *(canonical_json(dict(lineage[step])) for step in steps),
    )


@dataclass(frozen=True, slots=True)
class _Side:
    """One step that is joined; its own cells are nameless. `tasks` are (lineage, whether it goes on)."""

    name: str
    tasks: Sequence[tuple[Lineage, bool]]
    axes: frozenset[str] = field(init=False)
    steps: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        axes = frozenset(name for lineage, _ in self.tasks for name in axes_of(lineage))
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "steps", frozenset(step for lineage, _ in self.tasks for step in lineage))

    @property
    def going_on(self) -> int:
        return sum(goes_on for _, goes_on in self.tasks)


def axes_of(lineage: Lineage) -> Cell:
    """The axes of a task and of those above it, without models, seeds and samples; the nearest counts."""
    axes: Cell = {}
    for cell in lineage.values():
        for name, value in cell.items():
            if name not in BUILT_IN:
                axes.setdefault(name, value)
    return axes


def _left_over(
    step: Step, sides: Sequence[_Side], joined: Sequence[tuple[int, ...]], made: Sequence[bool]
) -> Checked[None]:
    """Tells which tasks above, and which cells, meet nothing: they are paid for, or expected, in vain."""
    if any(not side.going_on for side in sides):
        return  # nothing goes on yet, so nothing can meet
    needs = " and ".join(f"`{name}`" for name in step.needs)
    if not any(made):
        message = f"no task of {needs} meets another, or a cell of this step: no axis value is shared by all"
        yield step.location.error(message, "give the axes that they share equal values, or other names")
        return
    for place, side in enumerate(sides):
        used = {numbers[place] for numbers, is_made in zip(joined, made, strict=True) if is_made}
        left = [
            cell_label(next(iter(lineage.values())), with_model=False)
            for number, (lineage, goes_on) in enumerate(side.tasks)
            if goes_on and number not in used
        ]
        if left:
            what = f"{count(len(left), 'task')} of `{side.name}`" if side.name else count(len(left), "cell")
            names = ", ".join(filter(None, left[:_MOST_NAMES])) + (", ..." if len(left) > _MOST_NAMES else "")
            others = " and ".join(f"`{each.name}`" for each in sides if each is not side and each.name)
            yield step.location.warning(
                f"{what} {'meet' if len(left) > 1 else 'meets'} nothing of {others or 'this step'}: {names}",
                "add the value there, or leave it out here with `exclude`",
            )


def sum_words(step: Step, combined: Combined) -> str:
    """`film: 4 x 4 = 16 (first x last)`, with the axes on which they were joined."""
    factors = " x ".join(f"{number:,}" for _, number in combined.factors)
    names = " x ".join(name for name, _ in combined.factors)
    on = f", joined on {', '.join(combined.joined_on)}" if combined.joined_on else ""
    return f"{step.name}: {factors}{on} = {len(combined.made):,} ({names})"
