"""SQLite as the engine of a ledger: one file, one process."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from runner.errors import StateError
from runner.ledger.engine import ConflictError, Value

RECOVER = (
    "`callsheet recover` makes it again from runs/, and moves this one aside; delete nothing. If there is a"
    " backup, move ledger.db and its -wal and -shm files aside together, and put it there first"
)


class SqliteEngine(sqlite3.Connection):
    """The connection itself, so that a statement costs what it does without us."""

    is_remote: Final = False
    path: Path | None = None
    """The ledger's file; None in memory."""

    def execute(self, statement: str, values: Sequence[Value] = (), /) -> sqlite3.Cursor:  # type: ignore[override]
        try:
            return super().execute(statement, values)
        except sqlite3.IntegrityError as error:
            raise ConflictError(str(error)) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with translate_errors(self.path):
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self.in_transaction:
                    self.execute("ROLLBACK")
                raise
            try:
                self.execute("COMMIT")
            except (sqlite3.Error, ConflictError):
                # a full disk leaves the transaction open: a later one must not carry this half
                if self.in_transaction:
                    self.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        with translate_errors(self.path):
            if not self.in_transaction:
                # a full disk takes back the whole transaction; a savepoint alone would commit itself
                raise sqlite3.OperationalError("an earlier step found the disk full")
            self.execute("SAVEPOINT step")
            try:
                yield
            except BaseException:
                if self.in_transaction:
                    self.execute("ROLLBACK TO step")
                    self.execute("RELEASE step")
                raise
            self.execute("RELEASE step")

    @contextlib.contextmanager
    def replacing_all(self) -> Iterator[None]:
        (trigger,) = self.execute("SELECT sql FROM sqlite_master WHERE name = 'attempts_are_kept'").fetchone()
        self.execute("DROP TRIGGER attempts_are_kept")
        yield
        self.execute(trigger)


@contextlib.contextmanager
def translate_errors(path: Path | None) -> Iterator[None]:
    """What SQLite raises, as the sentence that a person reads (rows 27 to 29 and 31)."""
    try:
        yield
    except sqlite3.OperationalError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_FULL" or "disk is full" in str(error):
            raise StateError(f"{path}: the disk is full", hint="free some space, then run again") from error
        raise StateError(
            f"{path}: cannot use the ledger: {error}",
            hint="check the permissions and the free space of this directory",
        ) from error
    except sqlite3.DatabaseError as error:
        raise StateError(
            f"{path}: the ledger is corrupt ({error}); nothing was sent", hint=RECOVER
        ) from error
