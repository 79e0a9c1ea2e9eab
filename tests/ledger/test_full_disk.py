"""A disk that is full in the middle of a group commit: SQLite itself says so."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from runner.errors import ExitCode, StateError
from runner.ledger.database import open_for_writing
from runner.ledger.ledger import Ledger


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = open_for_writing(None)
    yield connection
    connection.close()


def fill(db: sqlite3.Connection) -> None:
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")


def write_much(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO meta VALUES ('much', ?)", ("x" * 100_000,))


@pytest.mark.fault(27)
def test_a_step_that_finds_the_disk_full_says_so(db: sqlite3.Connection) -> None:
    """It is the disk's fault, with its own exit code, and no defect of ours."""
    ledger = Ledger(db)
    fill(db)
    with (
        pytest.raises(StateError, match="the disk is full") as caught,
        ledger.transaction(),
        ledger.savepoint(),
    ):
        write_much(db)
    assert caught.value.exit_code is ExitCode.CANNOT_WRITE


def test_no_step_is_saved_behind_a_transaction_that_was_taken_back(db: sqlite3.Connection) -> None:
    ledger = Ledger(db)

    def commit() -> None:
        with ledger.transaction():
            db.execute("ROLLBACK")
            with ledger.savepoint():
                db.execute("INSERT INTO meta VALUES ('saved', '1')")

    with pytest.raises(StateError):
        commit()
    assert ledger.read.meta("saved") is None
