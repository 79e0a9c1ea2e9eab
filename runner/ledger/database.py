"""Opening the ledger's SQLite file: private, durable, checked."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import shlex
import sqlite3
from importlib.resources import files
from pathlib import Path

from runner.errors import StateError
from runner.ledger.sqlite import RECOVER, SqliteEngine, translate_errors
from runner.times import local_day

SCHEMA_VERSION = "10"
_UPGRADES = {
    "6": ("upgrade_7.sql",),
    "7": ("upgrade_8.sql",),
    "8": ("upgrade_9.sql", "spends.sql"),
    "9": ("upgrade_10.sql",),
}
"""By the version that they begin with, the scripts that lead to the next one."""


def script(name: str) -> str:
    """One of the SQL files here."""
    return files("runner.ledger").joinpath(name).read_text(encoding="utf-8")


def open_for_writing(path: Path | None, zone: datetime.tzinfo | None = None) -> SqliteEngine:
    """The one writing connection (None: in memory, for simulation). Raises StateError.

    The attempts of an older ledger get the days of `zone` (None: this machine's).

    WAL with synchronous=FULL: a commit is on the disk when it returns. On macOS only fullfsync takes it
    past the drive's cache (https://sqlite.org/pragma.html#pragma_fullfsync); it does nothing elsewhere.
    The file is made 0600 first, so that its companions inherit that.
    """
    name = ":memory:"
    if path is not None:
        _make_private_file(path)
        name = str(path)
    with translate_errors(path):
        connection = sqlite3.connect(
            name, isolation_level=None, check_same_thread=False, factory=SqliteEngine
        )
        connection.path = path
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        prepare(connection, path, zone)
    return connection


def prepare(connection: sqlite3.Connection, path: Path | None, zone: datetime.tzinfo | None = None) -> None:
    """Checks the file, and makes the tables in a new one. Raises StateError."""
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise StateError(f"{path}: the ledger is corrupt ({verdict}); nothing was sent", hint=RECOVER)
    has_tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone()
    if not has_tables:
        schema = script("schema.sql") + script("spends.sql")
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{schema}\nINSERT INTO meta VALUES ('schema', '{SCHEMA_VERSION}');\nCOMMIT;"
        )
    _upgrade(connection, zone)
    found = _version(connection)
    if found != SCHEMA_VERSION:
        raise unknown_version(path, found)


def _upgrade(connection: sqlite3.Connection, zone: datetime.tzinfo | None) -> None:
    """All steps or none: between two of them the sums of `spends` are not kept."""
    version = _version(connection)
    scripts: list[str] = []
    while version in _UPGRADES:
        scripts += map(script, _UPGRADES[version])
        version = str(int(version) + 1)
    if scripts:
        connection.create_function("day_of", 1, functools.partial(local_day, zone=zone), deterministic=True)
        connection.executescript(
            "BEGIN IMMEDIATE;\n" + "".join(scripts) + f"\nUPDATE meta SET value = '{version}'"
            " WHERE key = 'schema';\nCOMMIT;"
        )


def unknown_version(ledger: object, found: str, known: str = SCHEMA_VERSION) -> StateError:
    """That a ledger, named by its place, is of a version that this callsheet does not know."""
    return StateError(
        f"{ledger}: the ledger has version {found or 'none'}, this callsheet knows {known}",
        hint="use the callsheet that wrote it, or a newer one",
    )


def _version(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    return str(row[0]) if row else ""


def open_for_reading(path: Path, zone: datetime.tzinfo | None = None) -> SqliteEngine:
    """A read-only connection beside a running writer. Raises StateError.

    Never `immutable`: the file changes under it. An older ledger is read from a copy in memory, which is
    brought up to date, with the days of `zone`: whoever writes next does the same to the file.
    """
    with translate_errors(path):
        address = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(address, uri=True, isolation_level=None, factory=SqliteEngine)
        if _version(connection) in _UPGRADES:
            with contextlib.closing(connection) as older:
                connection = sqlite3.connect(":memory:", isolation_level=None, factory=SqliteEngine)
                older.backup(connection)
            _upgrade(connection, zone)
            connection.execute("PRAGMA query_only = ON")
        found = _version(connection)
    if found != SCHEMA_VERSION:
        connection.close()
        raise unknown_version(path, found)
    connection.path = path
    return connection


def _make_private_file(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            names = os.fstat(descriptor).st_nlink
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StateError(
            f"{path}: cannot write the ledger: {error.strerror}",
            hint="it must be a plain file of this user; remove a link that stands in its place",
        ) from error
    if names > 1:
        # each name has a -wal of its own, in which a killed process leaves what it has committed
        raise StateError(
            f"{path}: the ledger has a second name (a hard link, as `cp -al` makes), and may lack what was"
            " paid for under the other; nothing was sent",
            hint="remove the copy of the project; this finds it: find / -xdev -samefile"
            f" {shlex.quote(str(path))}",
        )
