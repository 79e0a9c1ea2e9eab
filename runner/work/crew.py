"""Many files through one pure function: in order, with bounded memory, whoever does it.

A function takes what all calls share and one item, both plain values that can be pickled, and gives a plain
value. It sends nothing to a service: a worker may run on any machine, and has no key.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from runner.errors import CallsheetError
from runner.redact import printable

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Found = TypeVar("Found")

_CALLS_A_SLOT = 4
"""Calls that wait for each slot, done ones included: a long file holds up those behind it no sooner."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What there is instead of a result: `why` nobody knows it."""

    why: str


class WorkerDiedError(Exception):
    """The text says how."""


class Crew(Protocol):
    """Who does the work. Leaving it ends all that runs."""

    @property
    def slots(self) -> int:
        """How many calls run at once."""

    @property
    def most_items(self) -> int:
        """Items of one call at most."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """A future of the crew's own kind, for `result`."""

    def result(self, future: Any, /) -> Any:
        """Blocking. Raises WorkerDiedError where a process died over the call, a CallsheetError where no
        call can be made any more.
        """


def work(
    crew: Crew,
    function: Callable[[Shared, Item], Found],
    shared: Shared,
    items: Iterable[Item],
    *,
    expected: int,
) -> Iterator[tuple[Item, Found | Lost]]:
    """A result for each item, in their order; `expected` is about how many there are.

    Items are taken as the work goes on. One over which a process dies, or the function raises, is `Lost`; a
    CallsheetError of the function ends all.
    """
    size = max(1, min(crew.most_items, expected // (_CALLS_A_SLOT * crew.slots)))
    stream = iter(items)
    waiting: deque[tuple[tuple[Item, ...], Any]] = deque()
    while True:
        while len(waiting) < _CALLS_A_SLOT * crew.slots:
            taken = tuple(itertools.islice(stream, size))
            if not taken:
                break
            waiting.append((taken, crew.submit(call, function, shared, taken)))
        if not waiting:
            return
        taken, future = waiting.popleft()
        try:
            found = crew.result(future)
        except WorkerDiedError:
            found = [_alone(crew, function, shared, item) for item in taken]
        yield from zip(taken, found, strict=True)


def _alone(crew: Crew, function: Callable[[Shared, Item], Found], shared: Shared, item: Item) -> Found | Lost:
    why = ""
    for _ in range(2):  # another item may have killed the first worker
        try:
            (found,) = crew.result(crew.submit(call, function, shared, (item,)))
        except WorkerDiedError as error:
            why = str(error)
        else:
            return found  # type: ignore[no-any-return]
    return Lost(why)


def call(
    function: Callable[[Shared, Item], Found], shared: Shared, items: Sequence[Item]
) -> list[Found | Lost]:
    """What a worker runs."""
    return [_one(function, shared, item) for item in items]


def _one(function: Callable[[Shared, Item], Found], shared: Shared, item: Item) -> Found | Lost:
    try:
        return function(shared, item)
    except CallsheetError:
        raise
    except Exception as error:  # whatever one file does, all others are looked at
        return Lost(printable(f"{type(error).__name__}: {error}"))
