"""Opening a ledger in PostgreSQL: its tables, its version, and the server that it was made on."""

from __future__ import annotations

import contextlib
import secrets

from runner.errors import StateError
from runner.ledger.database import SCHEMA_VERSION, script, unknown_version
from runner.ledger.postgres import CONNECT_SECONDS, Address, Home, PostgresEngine

_UPGRADES: dict[str, str] = {}
"""By the version that they begin with, the scripts that lead to the next one; 10 was the first."""

_HOME_KEYS = ("system_identifier", "timeline", "tables")


def open_shared(address: Address) -> PostgresEngine:
    """For writing; the tables are made where there are none. Raises StateError."""
    return _open(address, is_writer=True)


def open_shared_for_reading(address: Address, *, seconds: int | None = None) -> PostgresEngine | None:
    """None where nothing was ever written there. It needs no right to write. Raises StateError."""
    engine = _open(address, is_writer=False, seconds=seconds)
    if _version(engine) is None:
        engine.close()
        return None
    return engine


def open_on_any_server(address: Address) -> PostgresEngine:
    """For writing, also where the server is not the one that the ledger remembers: to `remember_home` then.

    Raises StateError.
    """

    def check(engine: PostgresEngine) -> None:
        _prepare(engine)
        _check_version(engine)

    engine = PostgresEngine(address, is_writer=True)
    engine.connect(check)
    return engine


def look_at_server(address: Address) -> str:
    """What runs there, for a person. Raises StateError where a writer would be refused."""
    with contextlib.closing(PostgresEngine(address, is_writer=False)) as engine:
        return engine.look()


def remember_home(engine: PostgresEngine) -> None:
    """The ledger belongs to this server and its history from now on; in a transaction of the caller's."""
    for key, value in _home_values(engine).items():
        engine.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )


def _open(address: Address, *, is_writer: bool, seconds: int | None = None) -> PostgresEngine:
    def check(engine: PostgresEngine) -> None:
        if is_writer:
            _prepare(engine)
        if _check_version(engine):
            check_home(engine)

    engine = PostgresEngine(address, is_writer=is_writer, seconds=seconds or CONNECT_SECONDS)
    engine.connect(check)
    return engine


def _check_version(engine: PostgresEngine) -> bool:
    """Whether there are tables. Raises StateError where they are of another callsheet."""
    version = _version(engine)
    if version not in (None, SCHEMA_VERSION):
        raise unknown_version(engine.address.words, version or "", SCHEMA_VERSION)
    return version is not None


def _prepare(engine: PostgresEngine) -> None:
    """Makes the tables, or brings them up to date: all of it or nothing, one machine at a time."""
    version = _version(engine)
    if version is not None and version not in _UPGRADES:
        return
    with engine.making():
        version = _version(engine)
        if version is None:
            engine.run_script(script("postgres.sql"))
            for key, value in {
                "schema": SCHEMA_VERSION,
                "ledger_id": secrets.token_hex(16),
                **_home_values(engine),
            }.items():
                engine.execute("INSERT INTO meta VALUES (?, ?)", (key, value))
        while version in _UPGRADES:
            engine.run_script(script(_UPGRADES[version]))
            version = str(int(version) + 1)
            engine.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (version,))


def is_moved(engine: PostgresEngine) -> bool:
    """Whether the ledger was made on another server, or before a backup was restored. Raises StateError."""
    return {key: _meta(engine, key) for key in _HOME_KEYS} != _home_values(engine)


def check_home(engine: PostgresEngine) -> None:
    """Raises StateError where the ledger was made on another server, or before a backup was restored."""
    known = tuple(_meta(engine, key) for key in _HOME_KEYS)
    home = engine.home()
    if known != (home.system, home.timeline, home.tables):
        found = "has other tables (a backup)"
        if known[1] != home.timeline:
            found = "has begun another history (a standby, or a backup)"
        if known[0] != home.system:
            found = "is another server"
        raise StateError(
            f"{engine.address.words}: {found} than the ledger was written on, so it may lack what was paid"
            " for last; nothing was sent",
            hint="callsheet recover",
        )


def _home_values(engine: PostgresEngine) -> dict[str, str]:
    home: Home = engine.home()
    return dict(zip(_HOME_KEYS, (home.system, home.timeline, home.tables), strict=True))


def _version(engine: PostgresEngine) -> str | None:
    """None where there are no tables yet."""
    # not to_regclass: what it remembers of a catalog may be older than the lock that was waited for
    found = engine.execute(
        "SELECT 1 FROM pg_tables WHERE tablename = 'meta' AND schemaname = ANY (current_schemas(false))"
    )
    return (_meta(engine, "schema") or "") if found.fetchone() else None


def _meta(engine: PostgresEngine, key: str) -> str | None:
    row = engine.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else None
