"""Axes to cells: the cross product, then `exclude`, then `include`, as GitHub Actions has them.

`exclude` drops each combination that holds all of an entry's pairs, objects matched in part.
`include` adds an entry's further keys to each original combination whose axis values it does not
contradict, where a later entry may replace what an earlier one added; an entry that fits none
becomes a combination of its own. Such a combination takes each model, seed and sample that it
does not name. Without a matrix, entries that name no model, seed or sample are the combinations.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeAlias

from runner.job.model import BUILT_IN, MODEL, SAMPLE, SEED
from runner.job.seeds import Seeds
from runner.job.yaml.nodes import Location
from runner.json_value import JsonValue
from runner.plan.patterns import Patterns

Cell: TypeAlias = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Axis:
    """A matrix axis with its values computed."""

    name: str
    values: tuple[JsonValue, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of `exclude` or `include` with its values computed."""

    location: Location
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
    _excluded: Patterns = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_excluded", Patterns(entry.pairs for entry in self.exclude))

    @property
    def upper_bound(self) -> int:
        """At most this many cells, without expanding them."""
        takes = len(self.seeds) if self.seeds is not None else 1 if self.samples is None else self.samples
        combinations = len(self.models)
        for axis in self.axes:
            combinations *= len(axis.values)
        return takes * (combinations + len(self.include) * len(self.models))

    @property
    def lookups(self) -> int:
        """How many look-ups in `exclude` and `include` it takes to expand all cells."""
        return self.upper_bound * (self._excluded.kinds + _fits(self.include, self._names).kinds)

    def count(self) -> int:
        """How many cells; they are visited only if an entry of `exclude` or `include` changes the product."""
        return sum(1 for _ in self.cells()) if self.exclude or self.include else self.upper_bound

    def cells(self) -> Iterator[Cell]:
        """Each cell, in the same order each time; nothing is kept."""
        additions, own = self._split_include()
        bound_to_take = [entry for entry in own if entry.pairs.keys() & {SEED, SAMPLE}]
        free = [entry for entry in own if not entry.pairs.keys() & {SEED, SAMPLE}]
        names = self._names
        fitting = _fits(additions, names)
        for take in self._takes():
            for cell in self._original(take):
                yield _extended(cell, additions, fitting, names)
            for entry in free:
                yield from self._own_combinations(entry, take)
        for entry in bound_to_take:
            named = entry.pairs.keys() & {SEED, SAMPLE}
            for take in self._takes() if not named & self._take_names else iter(({},)):
                yield from self._own_combinations(entry, take)

    def idle_excludes(self) -> tuple[Entry, ...]:
        """The entries of `exclude` that match no combination: probably misspelt, so they save nothing."""
        # each value of an axis meets each of the others, so an entry is idle by one of its values alone
        idle = {number for number, entry in enumerate(self.exclude) if not entry.pairs.keys() <= self._names}
        for name, values in self._values():
            named = [number for number, entry in enumerate(self.exclude) if name in entry.pairs]
            patterns = Patterns({name: self.exclude[number].pairs[name]} for number in named)
            waiting = set(range(len(named)))
            for value in values if named else ():
                waiting.difference_update(patterns.matching({name: value}))
                if not waiting:
                    break
            idle.update(named[number] for number in waiting)
        return tuple(self.exclude[number] for number in sorted(idle))

    def _values(self) -> Iterator[tuple[str, Iterable[JsonValue]]]:
        """Each name of a combination, with the values that it takes."""
        yield MODEL, self.models
        if self.seeds is not None:
            yield SEED, self.seeds
        elif self.samples is not None:
            yield SAMPLE, range(1, self.samples + 1)
        yield from ((axis.name, axis.values) for axis in self.axes)

    @property
    def _names(self) -> frozenset[str]:
        return frozenset({MODEL, *(axis.name for axis in self.axes)}) | self._take_names

    @property
    def _take_names(self) -> frozenset[str]:
        if self.seeds is not None:
            return frozenset({SEED})
        return frozenset() if self.samples is None else frozenset({SAMPLE})

    def _takes(self) -> Iterator[Cell]:
        if self.seeds is not None:
            return ({SEED: seed} for seed in self.seeds)
        if self.samples is not None:
            return ({SAMPLE: sample} for sample in range(1, self.samples + 1))
        return iter(({},))

    def _original(self, take: Cell) -> Iterator[Cell]:
        """The combinations that `exclude` leaves."""
        if not self.axes and self.include and not _name_any(self.include, BUILT_IN):
            return
        names = (MODEL, *(axis.name for axis in self.axes))
        for values in itertools.product(self.models, *(axis.values for axis in self.axes)):
            cell = {**dict(zip(names, values, strict=True)), **take}
            if not self._excluded.any_matches(cell):
                yield cell

    def _split_include(self) -> tuple[list[Entry], list[Entry]]:
        """(entries that fit an original combination, entries that become combinations)."""
        waiting, fitting = set(range(len(self.include))), _fits(self.include, self._names)
        are_takes_named = _name_any(self.include + self.exclude, {SEED, SAMPLE})
        for take in itertools.islice(self._takes(), None if are_takes_named else 1):
            if not waiting:
                break
            for cell in self._original(take):
                waiting.difference_update(fitting.matching(cell))
                if not waiting:
                    break
        numbered = list(enumerate(self.include))
        return (
            [entry for number, entry in numbered if number not in waiting],
            [entry for number, entry in numbered if number in waiting],
        )

    def _own_combinations(self, entry: Entry, take: Cell) -> Iterator[Cell]:
        for model in self.models if MODEL not in entry.pairs else (entry.pairs[MODEL],):
            yield {MODEL: model, **entry.pairs, **take}


def _name_any(entries: tuple[Entry, ...], names: Set[str]) -> bool:
    return any(entry.pairs.keys() & names for entry in entries)


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


def _fits(entries: Sequence[Entry], axes: Set[str]) -> Patterns:
    """Which of the entries fit a combination: their axis values are its own."""
    return Patterns(
        {name: wanted for name, wanted in entry.pairs.items() if name in axes} for entry in entries
    )


def _extended(cell: Cell, additions: Sequence[Entry], fitting: Patterns, axes: Set[str]) -> Cell:
    """The cell with what the entries that fit it add; axis values stay as they are."""
    if not additions:
        return cell
    added: Cell = {}
    for number in fitting.matching(cell):
        pairs = additions[number].pairs
        added.update((name, value) for name, value in pairs.items() if name not in axes)
    return {**cell, **added}
