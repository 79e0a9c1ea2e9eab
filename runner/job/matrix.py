"""Axes to cells: the cross product, then `exclude`, then `include`, as GitHub Actions has them.

`exclude` drops each combination that holds all of an entry's pairs, objects matched in part.
`include` adds an entry's further keys to each original combination whose axis values it does not
contradict, where a later entry may replace what an earlier one added; an entry that fits none
becomes a combination of its own. Such a combination takes each model, seed and sample that it
does not name. Without a matrix, entries that name no model, seed or sample are the combinations.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TypeAlias

from runner.job.node import JsonValue
from runner.job.seeds import Seeds
from runner.job.values import Place

Cell: TypeAlias = dict[str, JsonValue]

MODEL = "model"
SEED = "seed"
SAMPLE = "sample"
BUILT_IN = frozenset({MODEL, SEED, SAMPLE})


@dataclass(frozen=True, slots=True)
class Axis:
    """A matrix axis with its values computed."""

    name: str
    values: tuple[JsonValue, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of `exclude` or `include` with its values computed."""

    place: Place
    pairs: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Matrix:
    """All cells of a step. Seeds and samples vary slowest, then models, the last axis fastest."""

    models: tuple[str, ...]
    seeds: Seeds | None
    samples: int | None
    axes: tuple[Axis, ...]
    exclude: tuple[Entry, ...] = ()
    include: tuple[Entry, ...] = ()

    @property
    def upper_bound(self) -> int:
        """No more cells than this, without expanding them."""
        takes = self._count_takes()
        combinations = len(self.models)
        for axis in self.axes:
            combinations *= len(axis.values)
        return takes * (combinations + len(self.include) * len(self.models))

    def cells(self) -> Iterator[Cell]:
        """Each cell, in the same order each time; nothing is kept."""
        additions, own = self._split_include()
        bound_to_take = tuple(entry for entry in own if entry.pairs.keys() & {SEED, SAMPLE})
        names = self._names
        free = tuple(entry for entry in own if entry not in bound_to_take)
        for take in self._takes():
            for cell in self._original(take):
                yield _extended(cell, additions, names)
            for entry in free:
                yield from self._own_combinations(entry, take)
        for entry in bound_to_take:
            named = entry.pairs.keys() & {SEED, SAMPLE}
            for take in self._takes() if not named & self._take_names else iter(({},)):
                yield from self._own_combinations(entry, take)

    def idle_excludes(self) -> tuple[Entry, ...]:
        """The entries of `exclude` that match no combination: probably misspelt, and so not saved."""
        waiting = list(self.exclude)
        for take in self._takes() if self._names_takes(self.exclude) else self._first_take():
            for cell in self._product(take):
                waiting = [entry for entry in waiting if not matches(entry.pairs, cell)]
                if not waiting:
                    return ()
        return tuple(waiting)

    @property
    def _names(self) -> frozenset[str]:
        return frozenset({MODEL, *(axis.name for axis in self.axes)}) | self._take_names

    @property
    def _take_names(self) -> frozenset[str]:
        if self.seeds is not None:
            return frozenset({SEED})
        return frozenset() if self.samples is None else frozenset({SAMPLE})

    def _count_takes(self) -> int:
        if self.seeds is not None:
            return len(self.seeds)
        return 1 if self.samples is None else self.samples

    def _takes(self) -> Iterator[Cell]:
        if self.seeds is not None:
            return ({SEED: seed} for seed in self.seeds)
        if self.samples is not None:
            return ({SAMPLE: sample} for sample in range(1, self.samples + 1))
        return iter(({},))

    def _first_take(self) -> Iterator[Cell]:
        return itertools.islice(self._takes(), 1)

    def _product(self, take: Cell) -> Iterator[Cell]:
        names = (MODEL, *(axis.name for axis in self.axes))
        for values in itertools.product(self.models, *(axis.values for axis in self.axes)):
            yield {**dict(zip(names, values, strict=True)), **take}

    def _original(self, take: Cell) -> Iterator[Cell]:
        """The combinations that `exclude` leaves."""
        if not self.axes and self.include and not self._names_built_in(self.include):
            return
        for cell in self._product(take):
            if not any(matches(entry.pairs, cell) for entry in self.exclude):
                yield cell

    def _split_include(self) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
        """(entries that fit an original combination, entries that become combinations)."""
        waiting, names = list(self.include), self._names
        for take in self._takes() if self._names_takes(self.include + self.exclude) else self._first_take():
            if not waiting:
                break
            for cell in self._original(take):
                waiting = [entry for entry in waiting if not _fits(entry, cell, names)]
                if not waiting:
                    break
        own = tuple(waiting)
        return tuple(entry for entry in self.include if entry not in own), own

    def _own_combinations(self, entry: Entry, take: Cell) -> Iterator[Cell]:
        for model in self.models if MODEL not in entry.pairs else (entry.pairs[MODEL],):
            yield {MODEL: model, **entry.pairs, **take}

    @staticmethod
    def _names_takes(entries: tuple[Entry, ...]) -> bool:
        return any(entry.pairs.keys() & {SEED, SAMPLE} for entry in entries)

    @staticmethod
    def _names_built_in(entries: tuple[Entry, ...]) -> bool:
        return any(entry.pairs.keys() & BUILT_IN for entry in entries)


def matches(pattern: JsonValue | Mapping[str, JsonValue], value: JsonValue) -> bool:
    """Whether `value` holds all of `pattern`: objects in part, everything else equal."""
    if isinstance(pattern, Mapping):
        return isinstance(value, dict) and all(
            name in value and matches(wanted, value[name]) for name, wanted in pattern.items()
        )
    if isinstance(pattern, list | tuple):
        return (
            isinstance(value, list | tuple)
            and len(pattern) == len(value)
            and all(map(matches, pattern, value))
        )
    return isinstance(pattern, bool) == isinstance(value, bool) and pattern == value


def _fits(entry: Entry, cell: Cell, axes: Set[str]) -> bool:
    return all(matches(wanted, cell[name]) for name, wanted in entry.pairs.items() if name in axes)


def _extended(cell: Cell, additions: tuple[Entry, ...], axes: Set[str]) -> Cell:
    """The cell with what the entries that fit it add; axis values stay as they are."""
    if not additions:
        return cell
    added: Cell = {}
    for entry in additions:
        if _fits(entry, cell, axes):
            added.update((name, value) for name, value in entry.pairs.items() if name not in axes)
    return {**cell, **added}
