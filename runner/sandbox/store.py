"""The tasks that the sandbox accepted, in SQLite: in memory, or in a file that outlives the process."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    ordinal INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    model TEXT NOT NULL,
    digest TEXT NOT NULL,
    take INTEGER NOT NULL,
    echo TEXT NOT NULL,
    created_at REAL NOT NULL,
    running_at REAL NOT NULL,
    finished_at REAL NOT NULL,
    outcome TEXT NOT NULL,
    error_code TEXT NOT NULL,
    error_message TEXT NOT NULL,
    shown_status TEXT NOT NULL,
    shown_at REAL NOT NULL,
    body BLOB NOT NULL -- last: SQLite reads through all columns before the one it wants
);
CREATE INDEX IF NOT EXISTS tasks_by_time ON tasks (owner, created_at, ordinal, shown_status, model);
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedTask:
    """One accepted POST. Times are Unix seconds by the wall clock.

    `body` is the request as it came. `owner` is a digest of the key. `take` is the seed that the
    picture was made with, `digest` names the rest of what decides it. `echo` holds the echoed
    fields. `outcome` is the terminal status that comes at `finished_at`. `shown_status` is what the
    service's own database says: a GET by id refreshes it, a list never does.
    """

    ordinal: int
    id: str
    owner: str
    model: str
    digest: str
    take: int
    echo: Mapping[str, Any]
    created_at: float
    running_at: float
    finished_at: float
    outcome: str
    error_code: str = ""
    error_message: str = ""
    shown_status: str = "queued"
    shown_at: float
    body: bytes = field(repr=False)

    @property
    def request(self) -> dict[str, Any]:
        """The request's body, parsed."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    def status_at(self, now: float) -> str:
        if now >= self.finished_at:
            return self.outcome
        return "running" if now >= self.running_at else "queued"

    @property
    def status(self) -> str:
        """The status that the last GET by id saw."""
        return self.shown_status

    def changed_at(self, status: str) -> float:
        """When the task came into this status."""
        return {"queued": self.created_at, "running": self.running_at}.get(status, self.finished_at)


_COLUMNS = tuple(column.name for column in fields(AcceptedTask))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM tasks"  # noqa: S608 - constants
_INSERT = f"INSERT INTO tasks ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"  # noqa: S608


NEWEST_FIRST = "ORDER BY created_at DESC, ordinal DESC"


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list asks for; `before` and `after` bound `created_at` in whole seconds, inclusively.

    `created_before` is exact: what is younger has not come into the list yet.
    """

    owner: str | None = None
    statuses: Sequence[str] = ()
    models: Sequence[str] = ()
    after: float | None = None
    before: float | None = None
    created_before: float | None = None

    def where(self) -> tuple[str, list[Any]]:
        clauses: list[str] = []
        values: list[Any] = []
        if self.owner is not None:
            clauses.append("owner = ?")
            values.append(self.owner)
        for column, wanted in (("shown_status", self.statuses), ("model", self.models)):
            if wanted:
                clauses.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values.extend(wanted)
        if self.after is not None:
            clauses.append("created_at >= ?")
            values.append(math.ceil(self.after))
        if self.before is not None:
            clauses.append("created_at < ?")
            values.append(math.floor(self.before) + 1)
        if self.created_before is not None:
            clauses.append("created_at <= ?")
            values.append(self.created_before)
        return (" WHERE " + " AND ".join(clauses) if clauses else ""), values


class Store:
    """Safe from several threads. A commit survives a kill of the process, though not a power cut."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(_SCHEMA)
        self._count: int
        self._last: int
        self._count, self._last = self._database.execute(
            "SELECT count(*), coalesce(max(ordinal), 0) FROM tasks"
        ).fetchone()
        self._owned: dict[str, int] = dict(
            self._database.execute("SELECT owner, count(*) FROM tasks GROUP BY owner")
        )
        self._takes: dict[str, int] = dict(
            self._database.execute("SELECT digest, count(*) FROM tasks GROUP BY digest")
        )

    def close(self) -> None:
        with self._lock:
            self._database.close()

    @property
    def count(self) -> int:
        return self._count

    @property
    def next_ordinal(self) -> int:
        """The place of the next task in the order of acceptance; counts from 1."""
        return self._last + 1

    def taken(self, digest: str) -> int:
        """How many tasks of this digest were accepted before."""
        return self._takes.get(digest, 0)

    def secret(self, name: str) -> bytes:
        """A random value that stays the same for the life of the store."""
        with self._lock:
            self._database.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, os.urandom(32)))
            row = self._database.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
        return bytes(row[0])

    def add(self, task: AcceptedTask) -> None:
        with self._lock:
            values = {name: getattr(task, name) for name in _COLUMNS}
            self._database.execute(_INSERT, {**values, "echo": json.dumps(dict(task.echo))})
            self._count += 1
            self._last = task.ordinal
            self._owned[task.owner] = self._owned.get(task.owner, 0) + 1
            self._takes[task.digest] = self._takes.get(task.digest, 0) + 1

    def show(self, task_id: str, status: str, at: float) -> None:
        """Refreshes what lists say of this task."""
        with self._lock:
            self._database.execute(
                "UPDATE tasks SET shown_status = ?, shown_at = ? WHERE id = ?", (status, at, task_id)
            )

    def end(self, task_id: str, outcome: str, at: float) -> None:
        """The task ends now, before its time."""
        with self._lock:
            self._database.execute(
                "UPDATE tasks SET outcome = ?, finished_at = ? WHERE id = ?", (outcome, at, task_id)
            )

    def find(self, task_id: str) -> AcceptedTask | None:
        return next(iter(self._read(" WHERE id = ?", [task_id])), None)

    def newest(self) -> AcceptedTask | None:
        return next(iter(self._read(" ORDER BY ordinal DESC LIMIT 1", [])), None)

    def all(self) -> tuple[AcceptedTask, ...]:
        """Every task in the order of acceptance."""
        return tuple(self._read(" ORDER BY ordinal", []))

    def unfinished(self, now: float) -> tuple[AcceptedTask, ...]:
        return tuple(self._read(" WHERE finished_at > ? ORDER BY ordinal", [now]))

    def page(self, selection: Selection, limit: int, offset: int) -> tuple[AcceptedTask, ...]:
        """Newest first."""
        where, values = selection.where()
        return tuple(self._read(f"{where} {NEWEST_FIRST} LIMIT ? OFFSET ?", [*values, limit, offset]))

    def total(self, selection: Selection) -> int:
        """How many tasks match; without filters this reads a counter, no rows."""
        where, values = selection.where()
        if selection == Selection(owner=selection.owner):
            return self._count if selection.owner is None else self._owned.get(selection.owner, 0)
        with self._lock:
            row = self._database.execute(f"SELECT count(*) FROM tasks{where}", values).fetchone()  # noqa: S608
        return int(row[0])

    def _read(self, clause: str, values: Iterable[Any]) -> list[AcceptedTask]:
        with self._lock:
            rows = self._database.execute(_SELECT + clause, tuple(values)).fetchall()
        named = (dict(zip(_COLUMNS, row, strict=True)) for row in rows)
        return [AcceptedTask(**{**columns, "echo": json.loads(columns["echo"])}) for columns in named]
