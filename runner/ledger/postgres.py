"""PostgreSQL as the engine of a ledger that several machines share."""

from __future__ import annotations

import contextlib
import functools
import re
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import psycopg
from psycopg import Connection, Cursor, RawCursor
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.numeric import IntLoader

from runner.errors import StateError
from runner.ledger.engine import ConflictError, Value, storable

T = TypeVar("T")

CONNECT_SECONDS = 10
LOCK_SECONDS = 20
"""For the write transactions of other machines, which go one after another."""
IDLE_SECONDS = 5
"""A machine that stands still within a transaction holds up all others for no longer."""
STATEMENT_SECONDS = 30
ANSWER_SECONDS = 45.0
"""More than the server takes to give a statement up: then the answer itself was lost."""

OLDEST = 150_000
_INTERVAL = 0.1
"""Seconds after which a waiting thread looks at the clock."""

_MARK = re.compile(r"\?(\d*)")

_SESSION = f"""
SET default_transaction_read_only = on;
SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s';
SET lock_timeout = '{LOCK_SECONDS}s';
SET statement_timeout = '{STATEMENT_SECONDS}s';
SET client_min_messages = warning;
SET row_security = off;
""".encode()
"""Nothing is written but in a transaction that says so, and a row that a policy would hide is an error."""
_SESSION_TAKEN = """
SELECT set_config('callsheet.session', '{}', false)
WHERE coalesce(current_setting('callsheet.session', true), '') = '';
"""
_SESSION_KEPT = "SELECT 1 / (current_setting('callsheet.session', true) IS NOT DISTINCT FROM '{}')::int; "
"""A pooler may hand out another session for each transaction: what was set and checked in ours is not true
there, and it may be another server's."""

_SERVER = b"""
SELECT current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding,
    current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commits,
    pg_is_in_recovery() AS standby
"""
_HOME = b"""
SELECT system_identifier::text, left(pg_walfile_name(pg_current_wal_lsn()), 8),
    pg_database.oid || '.' || 'meta'::regclass::oid
FROM pg_control_system(), pg_database WHERE datname = current_database()
"""
_MAY_WRITE = b"""
SELECT has_table_privilege(oid, 'INSERT') FROM pg_class
WHERE relname = 'attempts' AND pg_table_is_visible(oid)
"""
_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
_LOCK = b"SELECT 1 FROM meta WHERE key = 'ledger_id' FOR UPDATE"
"""All machines' writes go one after another, as SQLite's do: no cap is passed, and nothing deadlocks."""

_MAKING = (
    b"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock(7166103)"
)


_LONG = b"SET LOCAL idle_in_transaction_session_timeout = '1h'; SET LOCAL statement_timeout = 0; "
_BRIEF = b"SET LOCAL statement_timeout = '4s'; SET LOCAL lock_timeout = '4s'"


class _Cut(psycopg.OperationalError):
    """No answer came within `ANSWER_SECONDS`."""


class _Connection(Connection[tuple[Any, ...]]):
    """One that does not wait for ever: a proxy may swallow an answer."""

    def wait(self, gen: PQGen[T], interval: float = _INTERVAL, timeout: float | None = None) -> T:
        try:
            return super().wait(_bounded(gen, time.monotonic() + ANSWER_SECONDS), _INTERVAL)
        except _Cut:
            self.pgconn.finish()
            raise


def _bounded(steps: PQGen[T], ends: float) -> Generator[Any, Any, T]:
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > ends:
                raise _Cut
            wanted = steps.send(ready)
    except StopIteration as ended:
        result: T = ended.value
        return result


@dataclass(frozen=True, slots=True)
class Address:
    """Where a shared ledger is. Only `words` are for people: a URL may hold a password."""

    url: str = field(repr=False)
    words: str
    secrets: tuple[str, ...] = field(repr=False)
    """What of it is taken out of a server's own words."""
    is_in_plain_text: bool
    """Whether it may lead to another machine without TLS."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises ValueError, without any of the URL, for one that is not PostgreSQL's."""
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("is not a URL such as postgresql://user:password@host/database")
        # libpq takes the first of these for the end of the password, and its rest for a host or a database
        _, *behind = re.split("[@/]", url.partition("://")[2], maxsplit=1)
        if any("@" in each.partition("?")[0] for each in behind):
            raise ValueError("has an `@` or `/` in its user or password: write it as %40 or %2F")
        try:
            parts = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
        except psycopg.Error:
            raise ValueError("is not a URL that PostgreSQL's own tools understand") from None
        host = parts.get("host") or parts.get("hostaddr") or "this machine"
        name = parts.get("dbname") or parts.get("user") or "its default one"
        mode = parts.get("sslmode", "prefer")
        is_near = all(_is_near(each) for each in host.split(","))
        return cls(
            url,
            f"the shared ledger (host {host}, database {name})",
            tuple(parts[part] for part in ("password", "user") if parts.get(part)),
            mode in ("disable", "allow", "prefer") and not is_near,
        )


def _is_near(host: str) -> bool:
    return host in ("localhost", "this machine", "::1") or host.startswith(("127.", "/", "@"))


@dataclass(frozen=True, slots=True)
class Home:
    """One server's one history: a restored backup and a promoted standby are others."""

    system: str
    timeline: str
    tables: str
    """The numbers of the database and of a table: a dump that is restored on the same server makes another
    table, and a copy by `CREATE DATABASE ... TEMPLATE` another database.
    """


class PostgresEngine:
    """A connection that is made anew when it was lost; never within a transaction."""

    is_remote: Final = True

    def __init__(self, address: Address, *, is_writer: bool, seconds: int = CONNECT_SECONDS) -> None:
        """A server is waited for so many seconds, at each connection."""
        self.address = address
        self._seconds = seconds
        self._is_writer = is_writer
        self._writer = secrets.token_hex(16)
        self._is_registered = False
        self._is_inside = False
        self._has_step = False
        self.writes_where_moved = False
        """For the ledger's way back."""
        self.takes_its_time = False
        """For a move and a recovery, between whose statements files are read: nobody else is at work then."""
        self._connection: _Connection | None = None
        self._session = ""
        self._check: Callable[[PostgresEngine], None] | None = None

    def connect(self, check: Callable[[PostgresEngine], None]) -> None:
        """Connects; `check` looks at each new connection's tables. Raises StateError."""
        self._check = check
        self._connected()

    def execute(self, statement: str, values: Sequence[Value] = (), /) -> Cursor[tuple[Any, ...]]:
        query, given = _native(statement), [storable(value) for value in values]
        if self._is_inside:
            return self._within(lambda connection: connection.execute(query, given))
        # it only reads: asked once more over a new connection, it does no harm
        return self._again(lambda connection: connection.execute(query, given))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        batch = secrets.token_hex(16)
        self._begin(batch)
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        self._commit(batch)

    @contextlib.contextmanager
    def making(self) -> Iterator[None]:
        """A transaction for tables, which takes its time; one machine after another. Raises StateError."""
        with self._unnumbered(_MAKING):
            yield

    @contextlib.contextmanager
    def brief(self) -> Iterator[None]:
        """A transaction that waits for no other writer, and gives up within seconds. Raises StateError, also
        where it was saved and nobody heard.
        """
        with self._unnumbered(_BRIEF):
            yield

    def another(self) -> PostgresEngine:
        """A second connection, made when it is first used; for `brief` and for reading."""
        other = PostgresEngine(self.address, is_writer=False)
        other._check = self._check
        return other

    @contextlib.contextmanager
    def _unnumbered(self, first: bytes) -> Iterator[None]:
        """A transaction of which nobody asks later whether it was saved."""
        self._again(lambda connection: connection.execute(self._begin_here + first))
        self._is_inside, self._has_step = True, False
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        try:
            self._within(lambda connection: connection.execute(b"COMMIT"))
        finally:
            self._is_inside = False

    def run_script(self, script: str) -> None:
        """Statements without values, within a transaction."""
        self._within(lambda connection: connection.execute(script.encode()))

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        if not self._is_inside:
            raise self._trouble("an earlier step lost the connection; nothing was saved")
        # what stands behind a step is the next one, or COMMIT: neither needs a statement of its own here
        release = b"RELEASE step; " if self._has_step else b""
        self._within(lambda connection: connection.execute(release + b"SAVEPOINT step"))
        self._has_step = True
        try:
            yield
        except BaseException:
            if self._is_inside:
                self._within(lambda connection: connection.execute(b"ROLLBACK TO step"))
            raise

    @contextlib.contextmanager
    def replacing_all(self) -> Iterator[None]:
        self.execute("ALTER TABLE attempts DISABLE TRIGGER USER")
        yield
        self.execute("ALTER TABLE attempts ENABLE TRIGGER USER")

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(psycopg.Error), connection:
            if self._is_registered and not self._is_inside:
                connection.execute(
                    _BEGIN + f"DELETE FROM writers WHERE id = '{self._writer}'; COMMIT".encode()
                )

    def home(self) -> Home:
        """Raises StateError."""
        return Home(*self._again(_home_of))

    # what is done once for a connection

    def _connected(self) -> _Connection:
        if self._connection is not None and not _is_lost(self._connection):
            return self._connection
        with self._told():
            connection = _Connection.connect(
                make_conninfo(self.address.url, connect_timeout=self._seconds, client_encoding="utf8"),
                autocommit=True,
                cursor_factory=RawCursor,
                fallback_application_name="callsheet",
            )
        try:
            # sums come as numeric, and all of them are whole
            connection.adapters.register_loader("numeric", IntLoader)
            with self._told():
                self._take_session(connection)
                self._check_server(connection)
            self._connection = connection
            if self._check is not None:
                # its own statements are not repeated: a connection that fails at once is not made again
                check, self._check = self._check, None
                try:
                    check(self)
                finally:
                    self._check = check
            if self._is_writer:
                self._register(connection)
        except BaseException:
            self._connection = None
            connection.close()
            raise
        return connection

    def _take_session(self, connection: _Connection) -> None:
        self._session = secrets.token_hex(16)
        taken = connection.execute(_SESSION_TAKEN.format(self._session).encode() + _SESSION).fetchone()
        if taken is None:
            raise self._trouble(_REASONS[_POOLED], _HINTS[_POOLED])

    @property
    def _begin_here(self) -> bytes:
        """Asked for anew with each connection."""
        return _BEGIN + _SESSION_KEPT.format(self._session).encode()

    def look(self) -> str:
        """What runs there, such as `PostgreSQL 15.14`. Raises StateError where a writer would be refused."""
        version, _ = self._again(lambda connection: self._looked(connection, writes=True))
        may_write = self._again(lambda connection: connection.execute(_MAY_WRITE).fetchone())
        if may_write == (False,):
            raise self._refused(
                "lets this user read, and not write",
                "for runs, put the user who made the tables into the URL",
            )
        return f"PostgreSQL {version // 10_000}.{version % 10_000}"

    def _check_server(self, connection: _Connection) -> None:
        _, commits = self._looked(connection, writes=self._is_writer)
        if self._is_writer:
            # a change of the server's configuration does not reach a session that says it itself
            connection.execute(f"SET synchronous_commit = {commits}".encode())

    def _looked(self, connection: _Connection, *, writes: bool) -> tuple[int, str]:
        """Its version and `synchronous_commit`. Raises StateError for a server that may not hold a ledger."""
        row = connection.execute(_SERVER).fetchone()
        assert row is not None
        version, encoding, fsync, commits, is_standby = row
        if version < OLDEST:
            raise self._refused(f"runs PostgreSQL {version // 10_000}", "use PostgreSQL 15 or later")
        if encoding != "UTF8":
            raise self._refused(f"has the encoding {encoding}", "make a database with `ENCODING 'UTF8'`")
        if is_standby:
            raise self._refused("is a standby, which may lack the newest rows", "name the primary")
        if writes and fsync != "on":
            raise self._refused(
                "has `fsync` off: a power cut there would lose what was paid for", "turn `fsync` on"
            )
        if writes and commits == "off":
            raise self._refused(
                "has `synchronous_commit` off for this user or database: a crash there would lose what was"
                " paid for",
                "turn `synchronous_commit` on",
            )
        return version, commits

    def _register(self, connection: _Connection) -> None:
        """The row exists before the first transaction, so that its lock tells when that one has ended."""
        if not self._is_registered:
            with self._told():
                connection.execute(
                    self._begin_here
                    + f"INSERT INTO writers VALUES ('{self._writer}', '') ON CONFLICT DO NOTHING;"
                    " COMMIT".encode()
                )
            self._is_registered = True

    # a transaction

    def _begin(self, batch: str) -> None:
        # a statement behind the lock: it sees what the transactions before have left
        is_live = "NOT EXISTS (SELECT 1 FROM meta WHERE key = 'moved')"
        note = (
            f"UPDATE writers SET batch = '{batch}' WHERE id = '{self._writer}'"
            f" AND {'true' if self.writes_where_moved else is_live}"
        ).encode()

        first = (_LONG if self.takes_its_time else b"") + _LOCK + b"; "

        def begin(connection: _Connection) -> int:
            cursor = connection.execute(self._begin_here + first + note)
            while cursor.nextset():
                pass
            return cursor.rowcount

        # before the first step nothing is lost with a connection
        noted = self._again(begin)
        self._is_inside, self._has_step = True, False
        if not noted:
            self._roll_back()
            raise self._trouble("the ledger was moved away; nothing was saved", "callsheet doctor")

    def _roll_back(self) -> None:
        is_inside, self._is_inside = self._is_inside, False
        connection = self._connection
        if is_inside and connection is not None:
            try:
                connection.execute(b"ROLLBACK")
            except psycopg.Error:
                self._drop()

    def _commit(self, batch: str) -> None:
        if not self._is_inside or self._connection is None:
            raise self._trouble("the connection was lost; nothing was saved")
        self._is_inside = False
        try:
            said = self._connection.execute(b"COMMIT").statusmessage
        except psycopg.IntegrityError as error:
            raise ConflictError(error.diag.message_primary or "a rule of the schema") from None
        except psycopg.Error as error:
            if not _is_lost(self._connection):
                raise self._trouble(self._reason(error)) from None
            self._settle(batch)
            return
        if said != "COMMIT":
            raise self._trouble("a step failed, so nothing was saved")

    def _settle(self, batch: str) -> None:
        """Returns where the COMMIT without an answer was made. Raises StateError where it was not, and where
        nobody can say.

        The row is locked until the old transaction has ended, for good or ill: then it tells.
        """
        self._drop()
        ask = f"SELECT batch FROM writers WHERE id = '{self._writer}' FOR UPDATE".encode()
        try:
            connection = self._connected()
            with self._told():
                connection.execute(self._begin_here)
                row = connection.execute(ask).fetchone()
                connection.execute(b"COMMIT")
        except StateError as error:
            self._drop()
            raise self._trouble(
                "the connection was lost at the commit, and nobody can say whether it was saved"
                f" ({error.message.removeprefix(self.address.words + ': ')})"
            ) from None
        if row is None:
            raise self._trouble("the connection was lost at the commit, and its note is gone")
        if row[0] != batch:
            raise self._trouble("the connection was lost at the commit; nothing was saved")

    # what goes wrong

    def _again(self, ask: Callable[[_Connection], T]) -> T:
        """Asks, and once more over a new connection where the old one was lost."""
        connection = self._connection
        if connection is not None and not _is_lost(connection):
            try:
                with self._conflicts():
                    return ask(connection)
            except psycopg.Error as error:
                if not _is_lost(connection):
                    self._abandon(connection)
                    raise self._trouble(self._reason(error), self._hint(error)) from None
                self._drop()
        connection = self._connected()
        try:
            with self._told():
                return ask(connection)
        except StateError:
            self._abandon(connection)
            raise

    def _abandon(self, connection: _Connection) -> None:
        """A transaction that began and came no further."""
        try:
            if not _is_lost(connection):
                connection.execute(b"ROLLBACK")
        except psycopg.Error:
            self._drop()

    def _within(self, ask: Callable[[_Connection], T]) -> T:
        """Asks within a transaction, which a lost connection ends."""
        connection = self._connection
        if connection is None:
            raise self._trouble("an earlier step lost the connection; nothing was saved")
        try:
            with self._told():
                return ask(connection)
        finally:
            if _is_lost(connection):
                self._is_inside = False
                self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    @contextlib.contextmanager
    def _conflicts(self) -> Iterator[None]:
        try:
            yield
        except psycopg.IntegrityError as error:
            raise ConflictError(error.diag.message_primary or "a rule of the schema") from None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """psycopg's own words may quote the URL, and its exceptions hold it: none of them leaves."""
        try:
            with self._conflicts():
                yield
        except psycopg.Error as error:
            raise self._trouble(self._reason(error), self._hint(error)) from None

    def _reason(self, error: psycopg.Error) -> str:
        if isinstance(error, _Cut):
            return f"no answer within {ANSWER_SECONDS:g} seconds"
        state = error.sqlstate or ""
        for begins, reason in _REASONS.items():
            if state.startswith(begins):
                return reason
        said = error.diag.message_primary
        if said:
            for secret in self.address.secrets:
                said = said.replace(secret, "...")
            return f"{said} ({state})"
        text = str(error)
        return next((reason for part, reason in _LOST.items() if part in text), "the connection was lost")

    def _hint(self, error: psycopg.Error) -> str:
        return _HINTS.get(error.sqlstate or "", "")

    def _trouble(self, reason: str, hint: str = "") -> StateError:
        return StateError(
            f"{self.address.words}: {reason}",
            hint=hint or "see that the server runs and can be reached from here, then run again",
        )

    def _refused(self, fault: str, hint: str) -> StateError:
        return StateError(f"{self.address.words}: the server {fault}; nothing was sent", hint=hint)


def _home_of(connection: _Connection) -> Sequence[str]:
    row = connection.execute(_HOME).fetchone()
    assert row is not None
    return row


def _is_lost(connection: _Connection) -> bool:
    return connection.closed or connection.broken


_POOLED = "22012"
"""The division in `_SESSION_KEPT`; the ledger's own statements divide by nothing."""

_REASONS: Mapping[str, str] = {
    _POOLED: "a pooler gives each transaction another session; nothing was saved",
    "28": "the server refuses this user or password",
    "3D000": "there is no such database",
    "53100": "the disk is full",
    "53300": "the server takes no more connections",
    "57P03": "the server is starting up, or shutting down",
    "57P": "the server was shut down",
    "25P03": f"this machine stood still within a transaction for {IDLE_SECONDS} seconds; nothing was saved",
    "55P03": f"another machine held the ledger for {LOCK_SECONDS} seconds",
    "42703": "its tables are those of a callsheet that was never released",
    "57014": f"the server took more than {STATEMENT_SECONDS} seconds",
    "25006": "the server takes no writes",
}
"""By how a SQLSTATE begins, the words for it: the server's own name the user."""

_HINTS: Mapping[str, str] = {
    _POOLED: "put the server's direct address into the URL, or let the pooler keep a session (pool_mode ="
    " session)",
    "53100": "free some space on the server, then run again",
    "42703": "with that one: callsheet ledger copy --to local; with this one, to an empty database: callsheet"
    " ledger copy --to shared",
    "42501": "give this user the rights that docs/how-to/shared-ledger.md names",
}

_LOST: Mapping[str, str] = {
    "refused": "nothing listens there",
    "No such file": "nothing listens there",
    "translate host name": "the host's name is not known",
    "resolve host": "the host's name is not known",
    "invalid": "a value in its URL is not one that PostgreSQL knows",
    "timeout": f"no answer within {CONNECT_SECONDS} seconds",
    "certificate": "its certificate is not trusted",
    "SSL": "TLS is refused, by it or by the URL's sslmode",
    "password": "the server refuses this user or password",
    "pg_hba": "the server refuses this user or machine",
    "does not exist": "there is no such database or user",
    "starting up": "the server is starting up, or shutting down",
    "shutting down": "the server is starting up, or shutting down",
    "too many": "the server takes no more connections",
}
"""By a part of libpq's words for a connection that was not made, which have no SQLSTATE."""


@functools.lru_cache(maxsize=1024)
def _native(statement: str) -> bytes:
    """With PostgreSQL's marks. A bare `?` counts one further than the largest before it, as in SQLite."""
    largest = 0

    def mark(found: re.Match[str]) -> str:
        nonlocal largest
        number = int(found[1]) if found[1] else largest + 1
        largest = max(largest, number)
        return f"${number}"

    return _MARK.sub(mark, statement).encode()
