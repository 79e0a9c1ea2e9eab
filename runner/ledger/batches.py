"""Rows as many at a time as one query takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

BATCH = 200


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Lazy; each of at most `BATCH`."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, BATCH)):
        yield batch
