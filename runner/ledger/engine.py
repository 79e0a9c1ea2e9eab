"""What `Ledger` and `LedgerReader` ask of a database: `sqlite.py` and `postgres.py` give it.

Their statements are written once, in SQL that SQLite 3.37 and PostgreSQL 15 understand alike: `?` and `?1`
for values (first beside a column, which tells its type), no function of one of them, no order that depends on
where NULL stands, and `rowid` in the tables whose order has no other name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Value = str | float | None
"""Of a column, or of a mark in a statement."""


class ConflictError(Exception):
    """A statement against a rule of the schema: nothing of it was done."""


def storable(value: Value) -> Value:
    """As each database can hold it: PostgreSQL has no NUL in a text, which SQLite takes."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value


class Rows(Protocol):
    """What a statement has found."""

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Engine(Protocol):
    """One connection to a ledger. It is used by one thread at a time."""

    @property
    def is_remote(self) -> bool:
        """Whether each statement waits for another process: then it belongs in a worker thread."""
        ...

    def execute(self, statement: str, values: Sequence[Value] = (), /) -> Rows:
        """Raises ConflictError; a database that is gone raises StateError here or in `transaction`."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """All of it or nothing, after every other writer's; durable at the end. Raises StateError."""
        ...

    def savepoint(self) -> AbstractContextManager[None]:
        """One step of a transaction: undone alone when it raises. Raises StateError."""
        ...

    def replacing_all(self) -> AbstractContextManager[None]:
        """Within a transaction: attempts may be deleted, for others take their place."""
        ...

    def close(self) -> None: ...
