"""Moves a ledger from one database into another: all of it in one transaction, and only one of them is live.

First the source is closed for good: it says where it went, and every later write there is refused. Then the
target gets all rows, once. Cut off in between, neither is live, and the same move can be done again.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import BusyError, NoProjectError, StateError
from runner.ledger.columns import BATCH
from runner.ledger.database import open_for_writing
from runner.ledger.engine import Engine, Value, storable
from runner.ledger.leases import rows_of
from runner.ledger.open import ARRIVES, MOVED
from runner.ledger.read import LedgerReader

_MOVE = "move"
"""The key of `meta` that names a move in both ledgers."""

_STAYS = frozenset({"schema", "system_identifier", "timeline", "tables", MOVED, _MOVE, ARRIVES})
"""Keys of `meta` that say something of one place."""

_ATTEMPTS = (
    "seq id identity run_id reason origin key_hash model seed tag body_sha256 server_time intended_at state"
    " verdict evidence resolution resolution_evidence remote_id accepted_at echoed_tag echoed_seed"
    " echoed_input generation error_code error_message price taken estimate_micros cost_micros account"
    " labels handle day decision"
)
TABLES: Mapping[str, tuple[int, tuple[str, ...]]] = {
    name: (key, tuple(columns.split()))
    for name, key, columns in (
        (
            "runs",
            1,
            "id job_file job_name job_digest edition run_date provider origin started_at finished_at",
        ),
        ("sessions", 1, "rowid run_id started_at ended_at facts exit_code"),
        (
            "tasks",
            1,
            "identity name step job_file provider origin model seed sample edition cell request output",
        ),
        ("attempts", 1, _ATTEMPTS),
        ("history", 1, "rowid attempt_id at state status"),
        ("claims", 1, "path identity"),
        ("outputs", 1, "seq path identity attempt_id kind ordinal bytes sha256 media created_at"),
        ("archived", 2, "sha256 store key bytes archived_at"),
        ("spends", 3, "span account labels tasks micros unknown"),
    )
}
"""By name, how many of the first columns make a row's key, and the columns; what a row needs comes before it.
`month` is made of `day`.
"""


@dataclass(frozen=True, slots=True)
class Moved:
    """How many rows each table has; `was_done`: this very move had come to its end before."""

    rows: Mapping[str, int]
    was_done: bool


def move(source: Engine, target: Engine, *, to: str) -> Moved:
    """Makes `target` the ledger, and closes `source`, which says then that it went `to`.

    Raises BusyError where a lane of one of them is driven, NoProjectError where `target` is another ledger or
    is live itself, or where `source` went elsewhere, and StateError where a row did not arrive as it was.
    """
    if not _is_closed(source):
        with source.transaction():
            for each in (source, target):
                _check_is_idle(each)
            _check_may_arrive(source, target)
            made = secrets.token_hex(16)
            # the target first: once the source is closed, no other target may take its rows
            with target.transaction():
                _note(target, ARRIVES, made)
            _note(source, MOVED, to)
            _note(source, _MOVE, made)
    name = LedgerReader(source).meta(_MOVE)
    if name is None or LedgerReader(target).meta(_MOVE) == name:
        return Moved(_counts(target), was_done=True)
    with target.transaction():
        _check_is_awaited(source, target, name)
        _check_may_arrive(source, target)
        _fill(source, target)
        _note(target, _MOVE, name)
        target.execute("DELETE FROM meta WHERE key IN (?, ?)", (MOVED, ARRIVES))
        for table in TABLES:
            if _digest(source, table) != _digest(target, table):
                raise StateError(
                    f"{table}: did not arrive as it was; nothing was changed there",
                    hint="run the same command again",
                )
    return Moved(_counts(target), was_done=False)


def copy_to_file(source: Engine, path: Path, zone: datetime.tzinfo | None) -> None:
    """Copies a shared ledger into a new file, to see there what a change would come to. Raises StateError."""
    target = open_for_writing(path, zone)
    # while it is read, another machine may add a task with its attempt
    target.execute("PRAGMA foreign_keys = OFF")
    with contextlib.closing(target), target.transaction():
        _fill(source, target)


def is_live(engine: Engine) -> bool:
    """Whether a ledger has runs and was not moved away."""
    return not _is_closed(engine) and LedgerReader(engine).latest_run() is not None


def _is_closed(engine: Engine) -> bool:
    return LedgerReader(engine).meta(MOVED) is not None


def _check_is_idle(engine: Engine) -> None:
    driven = [row for row in rows_of(engine) if not row.is_free] if engine.is_remote else []
    if driven:
        raise BusyError(
            f"{driven[0].words}; nothing was copied",
            hint="wait until it has ended; after a crash: callsheet lease sign-off HOST",
        )


def _check_is_awaited(source: Engine, target: Engine, name: str) -> None:
    if LedgerReader(target).meta(ARRIVES) != name:
        raise NoProjectError(
            f"the ledger was moved to {LedgerReader(source).meta(MOVED)}, and not here; nothing was copied",
            hint="use it there, or move it from there",
        )


def _check_may_arrive(source: Engine, target: Engine) -> None:
    here, there = LedgerReader(source), LedgerReader(target)
    if there.latest_run() is None or (
        there.meta(_MOVE) is not None and there.meta(_MOVE) == here.meta(_MOVE)
    ):
        return
    if there.meta("ledger_id") != here.meta("ledger_id"):
        project = there.project or "without a name"
        raise NoProjectError(
            f"the ledger there is another one (project {project}); nothing was copied",
            hint="name an empty database",
        )
    if not _is_closed(target):
        raise NoProjectError(
            "the ledger there is in use already, and this one is a copy of it; nothing was copied",
            hint="move the one aside that is the older",
        )


def _fill(source: Engine, target: Engine) -> None:
    """Puts all that `source` says in place of what stands in `target`, in a transaction of the caller's."""
    with target.replacing_all():
        for table in reversed([*TABLES]):
            target.execute(f"DELETE FROM {table}")
        for table in TABLES:
            _copy(source, target, table)
    for key, value in source.execute("SELECT key, value FROM meta").fetchall():
        if key not in _STAYS:
            _note(target, key, value)


def _copy(source: Engine, target: Engine, table: str) -> None:
    _, columns = TABLES[table]
    if table == "spends":  # the triggers have kept it beside; sums that came to 0 are not told to them
        target.execute("DELETE FROM spends")
    row_marks = f"({', '.join('?' * len(columns))})"
    for page in _pages(source, table):
        target.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row_marks] * len(page))}",
            [value for row in page for value in row],
        )


def _pages(engine: Engine, table: str) -> Iterator[Sequence[Sequence[Any]]]:
    """All rows of a table in the order of its key."""
    size, columns = TABLES[table]
    key = ", ".join(columns[:size])
    behind: Sequence[Value] = ()
    while True:
        where = f"WHERE ({key}) > ({', '.join('?' * size)})" if behind else ""
        page = engine.execute(
            f"SELECT {', '.join(columns)} FROM {table} {where} ORDER BY {key} LIMIT {BATCH}", behind
        ).fetchall()
        if page:
            yield page
        if len(page) < BATCH:
            return
        behind = page[-1][:size]


def _digest(engine: Engine, table: str) -> str:
    """Of all values, as both databases can hold them."""
    digest = hashlib.sha256()
    for page in _pages(engine, table):
        for row in page:
            digest.update(repr([storable(value) for value in row]).encode())
    return digest.hexdigest()


def _counts(engine: Engine) -> dict[str, int]:
    return {table: engine.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


def _note(engine: Engine, key: str, value: str) -> None:
    engine.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
    )
