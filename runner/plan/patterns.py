"""Which of many patterns a cell matches, without trying each: 20,000 excludes of 900,000 cells."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from runner.json_value import JsonValue


class _Shape(enum.Enum):
    """What a path may ask of the value that it leads to, besides its parts."""

    LENGTH = "length"
    OBJECT = "object"
    NOTHING = "nothing"
    """Not a single value, or no value at all: it equals no pattern's."""


_Path: TypeAlias = tuple[str | int | _Shape, ...]
_Key: TypeAlias = tuple[bool, JsonValue] | _Shape
"""A single value with whether it is a boolean: `true` is not 1."""


class Patterns:
    """Patterns by the paths of their single values: one look-up for all that have the same paths.

    A pattern means what `matrix.matches` says.
    """

    def __init__(self, patterns: Iterable[Mapping[str, JsonValue]]) -> None:
        self._groups: dict[tuple[_Path, ...], dict[tuple[_Key, ...], list[int]]] = {}
        for number, pattern in enumerate(patterns):
            leaves = sorted(_leaves(pattern, ()), key=lambda leaf: repr(leaf[0]))
            paths = tuple(path for path, _ in leaves)
            keys = tuple(key for _, key in leaves)
            self._groups.setdefault(paths, {}).setdefault(keys, []).append(number)

    @property
    def kinds(self) -> int:
        """How many look-ups a cell takes: as many as the patterns have different sets of paths."""
        return len(self._groups)

    def matching(self, cell: Mapping[str, JsonValue]) -> list[int]:
        """The numbers of the patterns that the cell matches, in order."""
        return sorted(number for numbers in self._found(cell) for number in numbers)

    def any_matches(self, cell: Mapping[str, JsonValue]) -> bool:
        """Whether the cell matches one of them."""
        return next(self._found(cell), None) is not None

    def _found(self, cell: Mapping[str, JsonValue]) -> Iterator[list[int]]:
        for paths, by_keys in self._groups.items():
            numbers = by_keys.get(tuple(_key_at(cell, path) for path in paths))
            if numbers:
                yield numbers


def _leaves(pattern: JsonValue | Mapping[str, JsonValue], path: _Path) -> Iterator[tuple[_Path, _Key]]:
    if isinstance(pattern, Mapping):
        if not pattern and path:
            yield (*path, _Shape.OBJECT), (True, True)
        for name, part in pattern.items():
            yield from _leaves(part, (*path, name))
    elif isinstance(pattern, (list, tuple)):
        yield (*path, _Shape.LENGTH), (False, len(pattern))
        for index, part in enumerate(pattern):
            yield from _leaves(part, (*path, index))
    else:
        yield path, (isinstance(pattern, bool), pattern)


def _key_at(cell: Mapping[str, JsonValue], path: _Path) -> _Key:
    value: object = cell
    for part in path:
        match part:
            case str():
                value = value.get(part, _Shape.NOTHING) if isinstance(value, dict) else _Shape.NOTHING
            case int():
                is_there = isinstance(value, (list, tuple)) and part < len(value)
                value = value[part] if is_there else _Shape.NOTHING  # type: ignore[index]
            case _Shape.LENGTH:
                value = len(value) if isinstance(value, (list, tuple)) else _Shape.NOTHING
            case _:
                value = True if isinstance(value, dict) else _Shape.NOTHING
    if value is _Shape.NOTHING or isinstance(value, (dict, list, tuple)):
        return _Shape.NOTHING
    return isinstance(value, bool), value  # type: ignore[return-value]
