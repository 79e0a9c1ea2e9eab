"""Who drives a lane of a shared ledger: one row for each lane, and the few statements over it.

The statements are PostgreSQL's alone: a ledger of one machine has no leases.
"""

from __future__ import annotations

import os
import secrets
import shlex
import socket
import sys
import time
from collections.abc import Container, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from runner.errors import BusyError
from runner.json_value import JsonValue
from runner.ledger.columns import columns, to_rows
from runner.ledger.engine import Engine
from runner.redact import Redactor, printable
from runner.times import duration_words, iso_time

HOST_VARIABLE = "CALLSHEET_HOST"

HOST = "host"
"""The fact of a session that names its machine, in a ledger that several share; never in a manifest."""


@runtime_checkable
class SharedEngine(Engine, Protocol):
    """A connection to a ledger that several machines write."""

    def another(self) -> SharedEngine:
        """A second connection to the same ledger, made when it is first used."""
        ...

    def brief(self) -> AbstractContextManager[None]:
        """A transaction that waits for no other writer, and gives up within seconds. Raises StateError, also
        where it was saved and nobody heard.
        """
        ...


class LaneHeldError(BusyError):
    """Another process drives this lane: nothing is sent or written there."""


def host_name(environ: Mapping[str, str] = os.environ) -> str:
    """What people call this machine: CALLSHEET_HOST, else the host's own name."""
    return environ.get(HOST_VARIABLE) or socket.gethostname()


@dataclass(frozen=True, slots=True)
class LaneKey:
    """A lane as the ledger names it: a service's origin under one key, known by its salted hash alone."""

    provider: str
    origin: str
    key_hash: str

    @property
    def text(self) -> str:
        return f"{self.provider} {self.origin} {self.key_hash}"


@dataclass(frozen=True, slots=True)
class Driver:
    """A process that drives lanes; `since` is in Unix seconds, by its own clock."""

    host: str
    process: int
    command: str
    since: float
    lock: str = ""
    """What it holds until its end (DriverLock); empty where it has nothing that would prove it."""

    @classmethod
    def this(cls, at: float, lock: str = "") -> Driver:
        """This process; `at` is now."""
        program, *arguments = sys.argv or [""]
        shown = [Path(program).name, *(Redactor([]).foreign_text(word) for word in arguments)]
        return cls(host_name(), os.getpid(), shlex.join(shown), at, lock)

    @property
    def is_this(self) -> bool:
        """Whether it is this very process."""
        return (self.host, self.process) == (host_name(), os.getpid())

    @property
    def words(self) -> str:
        """`ci-7 (callsheet run jobs/a.yaml, process 42) since 2026-11-26 23:59 (3 min 12 s)`."""
        since = datetime.fromtimestamp(self.since)
        ago = duration_words(max(0.0, time.time() - self.since))
        command = printable(self.command) or "callsheet"
        return (
            f"{printable(self.host)} ({command}, process {self.process}) since {since:%Y-%m-%d %H:%M} ({ago})"
        )


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """`fence` grows with each change of the driver, `counter` with each of its heartbeats. `is_free`: the
    last driver has signed off.
    """

    lane: str
    ledger_id: str
    fence: int
    counter: int
    is_free: int
    account: str
    provider: str
    origin: str
    key_hash: str
    host: str
    process: int
    command: str
    since: float
    lock: str

    @property
    def key(self) -> LaneKey:
        return LaneKey(self.provider, self.origin, self.key_hash)

    @property
    def beat(self) -> tuple[int, int]:
        """Changes with each sign of life."""
        return self.fence, self.counter

    @property
    def driver(self) -> Driver:
        return Driver(self.host, self.process, self.command, self.since, self.lock)

    def as_json(self) -> dict[str, JsonValue]:
        """For programs; the key's hash is nobody's business."""
        return {
            "account": self.account,
            "origin": self.origin,
            "host": self.host,
            "process": self.process,
            "command": self.command,
            "since": iso_time(self.since),
        }

    @property
    def words(self) -> str:
        """Which account is driven, by whom and since when."""
        return f"{printable(self.account)} at {printable(self.origin)}: driven by {self.driver.words}"


@dataclass(frozen=True, slots=True)
class Taken:
    """A lease that is this process's now. `was_signed_off`: no earlier driver can still send anything, by its
    own word or a person's, or as its lock proves.
    """

    fence: int
    was_signed_off: bool


_SELECT = f"SELECT {columns(LeaseRow)} FROM leases"
_MINE = "lane = ? AND fence = ? AND ledger_id = ?"
_INTENDED = (
    "EXISTS (SELECT 1 FROM attempts JOIN tasks ON tasks.identity = attempts.identity"
    " WHERE attempts.state = 'intended' AND tasks.provider = leases.provider"
    " AND attempts.origin = leases.origin AND attempts.key_hash = leases.key_hash)"
)


def rows_of(engine: Engine) -> list[LeaseRow]:
    """All leases of a shared ledger."""
    return [*to_rows(LeaseRow, engine.execute(f"{_SELECT} ORDER BY account, lane"))]


@dataclass(frozen=True, slots=True)
class LeaseTable:
    """The leases of the ledger `ledger_id`, over one connection. Each method raises StateError where the
    database is gone.
    """

    engine: SharedEngine
    ledger_id: str

    def another(self) -> LeaseTable:
        """The same over a connection of its own."""
        return LeaseTable(self.engine.another(), self.ledger_id)

    def close(self) -> None:
        self.engine.close()

    def rows(self) -> list[LeaseRow]:
        """All lanes that were ever driven."""
        return rows_of(self.engine)

    def row(self, key: LaneKey) -> LeaseRow | None:
        found = self.engine.execute(f"{_SELECT} WHERE lane = ?", (key.text,))
        return next(iter(to_rows(LeaseRow, found)), None)

    def take(
        self,
        key: LaneKey,
        account: str,
        driver: Driver,
        seen: tuple[int, int] | None = None,
        ended: Container[str] = (),
    ) -> Taken | None:
        """Makes a lane this process's, in the caller's transaction; None where another one drives it.

        `seen` is the fence and the counter that have stood still for the whole wait: only a lease that still
        has them is taken over. `ended` are locks that are known to be let go: a lease that names one of them
        counts as signed off.
        """
        self.engine.execute(
            f"INSERT INTO leases ({columns(LeaseRow)}) VALUES (?, ?, ?, 0, 1, ?, ?, ?, ?, '', 0, '', 0, '')"
            " ON CONFLICT (lane) DO NOTHING",
            # a driver may still have the fence of a row that a person deleted
            (
                key.text,
                self.ledger_id,
                secrets.randbelow(1 << 40),
                account,
                key.provider,
                key.origin,
                key.key_hash,
            ),
        )
        fence, counter, is_free, lock = self._locked(key)
        is_over = bool(is_free) or lock in ended
        if not is_over and (fence, counter) != seen:
            return None
        self.engine.execute(
            "UPDATE leases SET fence = ?, counter = 0, is_free = 0, ledger_id = ?, account = ?, host = ?,"
            " process = ?, command = ?, since = ?, lock = ? WHERE lane = ?",
            (
                fence + 1,
                self.ledger_id,
                account,
                driver.host,
                driver.process,
                driver.command,
                driver.since,
                driver.lock,
                key.text,
            ),
        )
        return Taken(fence + 1, is_over)

    def is_held(self, key: LaneKey, fence: int) -> bool:
        """The first statement of each write in a lane: nobody takes it over before the transaction's end."""
        found = self.engine.execute(
            f"SELECT 1 FROM leases WHERE {_MINE} FOR KEY SHARE", (key.text, fence, self.ledger_id)
        )
        return found.fetchone() is not None

    def renew(self, key: LaneKey, fence: int, counter: int) -> bool:
        """One heartbeat, in a transaction of its own; False where fence or counter are not these."""
        with self.engine.brief():
            found = self.engine.execute(
                f"UPDATE leases SET counter = counter + 1 WHERE {_MINE} AND counter = ? RETURNING 1",
                (key.text, fence, self.ledger_id, counter),
            ).fetchone()
        return found is not None

    def sign_off(self, key: LaneKey, fence: int) -> bool:
        """The driver's own word that nothing more comes of it, in the caller's transaction; False where the
        lane is another's by now, or an intent stands there whose outcome nobody knows.
        """
        self._locked(key)
        found = self.engine.execute(
            f"UPDATE leases SET fence = fence + 1, is_free = 1 WHERE {_MINE} AND NOT {_INTENDED} RETURNING 1",
            (key.text, fence, self.ledger_id),
        )
        return found.fetchone() is not None

    def sign_off_for(self, row: LeaseRow) -> bool:
        """A person's word that the driver has ended, in the caller's transaction; False where it has given a
        sign of life since `row`. The fence rises, so that it can neither write nor renew if it wakes.
        """
        fence, counter, is_free, _ = self._locked(row.key)
        if is_free or (fence, counter) != row.beat:
            return False
        self.engine.execute("UPDATE leases SET fence = fence + 1, is_free = 1 WHERE lane = ?", (row.lane,))
        return True

    def _locked(self, key: LaneKey) -> tuple[int, int, int, str]:
        """Fence, counter, whether it is free, and the driver's lock, once no write of it is under way."""
        row = self.engine.execute(
            "SELECT fence, counter, is_free, lock FROM leases WHERE lane = ? FOR UPDATE", (key.text,)
        ).fetchone()
        return int(row[0]), int(row[1]), int(row[2]), str(row[3])
