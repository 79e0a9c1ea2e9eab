"""Between a statement and typed rows: columns, marks, batches."""

from __future__ import annotations

import enum
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from runner.ledger.rows import Grounds
from runner.money import Price, PriceUnit
from runner.typed_json import reader

T = TypeVar("T")

BATCH = 200
"""Rows of one query."""


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Splits rows into batches that fit one query."""
    remaining = iter(items)
    while batch := [*itertools.islice(remaining, BATCH)]:
        yield batch


def marks(values: Sequence[object]) -> str:
    """The marks of a batch, for IN; an empty one is in no row."""
    return ",".join("?" * len(values)) or "NULL"


def columns(kind: type) -> str:
    """The names of a row type's columns, for SELECT."""
    return ", ".join(field.name for field in fields(kind))


def to_rows(kind: type[T], found: Iterable[Sequence[Any]]) -> Iterator[T]:
    """What a query has found, the values of each row in the order of `columns`."""
    known: Any = kind
    changes = _changes(known)
    for row in found:
        values = [*row]
        for number, change in changes:
            if values[number] is not None:
                values[number] = change(values[number])
        yield cast(T, known(*values))


@functools.cache
def _changes(kind: Any) -> list[tuple[int, Callable[[Any], Any]]]:
    """The places of the columns that are not taken as they are, and what reads each."""
    types = get_type_hints(kind)
    changes: list[tuple[int, Callable[[Any], Any]]] = []
    for number, field in enumerate(fields(kind)):
        wanted = types[field.name]
        if get_origin(wanted) is UnionType:
            [wanted] = (each for each in get_args(wanted) if each is not NoneType)
        if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
            changes.append((number, wanted))
        elif wanted not in (str, int, float):
            changes.append((number, _from_text(_FROM_JSON.get(wanted) or reader(wanted))))
    return changes


def _from_text(read: Callable[[Any], Any]) -> Callable[[str], Any]:
    return lambda text: read(json.loads(text))


def _price(told: Mapping[str, str]) -> Price:
    ((unit, usd),) = told.items()
    return Price(PriceUnit(unit), Decimal(usd))


_FROM_JSON: Mapping[type, Callable[[Any], Any]] = {Grounds: Grounds, Price: _price}
