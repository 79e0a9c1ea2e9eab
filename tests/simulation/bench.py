"""What outlives processes, and the pieces that each of them starts from."""

from __future__ import annotations

import multiprocessing.util
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from runner.http.access import ApiKey
from runner.job.files.sources import JobCopy
from runner.job.load import LoadOptions, load_job
from runner.job.model import Job
from runner.ledger.database import open_for_writing, prepare
from runner.ledger.ledger import Ledger
from runner.ledger.sqlite import SqliteEngine
from runner.project import Project, init_project
from tests.simulation.disk import Platter
from tests.simulation.life import Killed
from tests.simulation.schedule import JobSpec, Schedule
from tests.simulation.service import Row, Said, Service
from tests.simulation.trace import Trace

UNBOUNDED = 1 << 30
"""Pages of a ledger whose disk has room."""
EARLIER = "20260921T000000Z-000000"
"""The run of what was done before the schedule began."""

KEY = ApiKey.load("rsk_simulation_key", source="test")


@dataclass(frozen=True, slots=True)
class Absence:
    """What the service had of an attempt at the moment when it was taken for absent, `at` seconds.

    `was_listed`: the list had its row already, so that no limit excuses it.
    """

    at: float
    was_listed: bool


@dataclass(slots=True)
class Bench:
    """What outlives processes: the services, the disk, the ledger's image, and all that was said."""

    schedule: Schedule
    services: tuple[Service, ...]
    """By lane."""
    platter: Platter
    random: random.Random
    ledger: LedgerFile
    trace: Trace
    submitted: dict[str, str] = field(default_factory=dict)
    """Attempts of which a process said `task.submitted`, with their remote ids."""
    violations: list[str] = field(default_factory=list)
    consents: Counter[Said] = field(default_factory=Counter)
    """How often a person asked for a further POST of a prompt and seed."""
    absences: dict[str, Absence] = field(default_factory=dict)
    """Attempts that were taken for never accepted."""
    given_up: set[str] = field(default_factory=set)
    """Attempts that a person has settled without adopting anything."""
    beyond: set[str] = field(default_factory=set)
    """Attempts whose row the list showed later than a limit of docs/explanation/reliability.md promises."""
    called: set[str] = field(default_factory=set)
    """Generations whose webhook has been called, or was lost."""
    earlier: Counter[Said] = field(default_factory=Counter)
    """What was paid for before the schedule began."""
    intended: dict[str, float] = field(default_factory=dict)
    """When an intent was told."""
    calm_began: list[float] = field(default_factory=list)
    """When processes began that nothing went wrong in."""
    alive: int = 0

    @property
    def project(self) -> Project:
        return Project(root=self.platter.root, base=self.platter.root)

    @property
    def service(self) -> Service:
        """That of the first lane."""
        return self.services[0]

    def at(self, origin: str) -> Service:
        return next(service for service in self.services if service.origin == origin)

    def accepted(self) -> list[Row]:
        """What the services took from us."""
        return [row for service in self.services for row in service.accepted()]

    def row(self, remote_id: str | None) -> Row | None:
        """No two services give the same id."""
        return next((row for each in self.services for row in each.rows if row.id == remote_id), None)

    def violate(self, kind: str, said: str) -> None:
        self.violations.append(f"{kind}: {said}")
        self.trace.note("violation", kind=kind, said=said)

    def open_ledger(self) -> LedgerFile:
        """As the product opens its file, checks included."""
        self.ledger.is_gone = False
        self.ledger.execute(f"PRAGMA max_page_count = {UNBOUNDED}")
        self.ledger.execute("PRAGMA foreign_keys = ON")
        prepare(self.ledger, None)
        return self.ledger

    def crash(self, image: bytes) -> None:
        """The process that has the ledger is gone; `image` is what is left of the file."""
        if image == self.ledger.serialize():
            self.ledger.is_gone = True
        else:
            self.ledger = ledger_of(image)

    def reader(self) -> Ledger:
        """The ledger between two processes."""
        return Ledger(self.ledger)


class LedgerFile(SqliteEngine):
    """The ledger's file throughout a schedule, for a connection has to compile its statements anew,
    which took a sixth of the time. A dead process changes nothing in it: `is_gone` until the next one."""

    is_gone = False

    def execute(self, *args: Any) -> sqlite3.Cursor:
        if self.is_gone:
            raise Killed
        return super().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        if self.is_gone:
            raise Killed
        return super().executemany(*args)


def ledger_of(image: bytes) -> LedgerFile:
    connection = sqlite3.connect(
        ":memory:", isolation_level=None, check_same_thread=False, factory=LedgerFile
    )
    connection.deserialize(image)
    return connection


@cache
def empty_image() -> bytes:
    """A new ledger with a salt that is the same in every process."""
    connection = open_for_writing(None)
    connection.execute("INSERT INTO meta VALUES ('salt', ?)", ("5a" * 16,))
    image: bytes = connection.serialize()
    connection.close()
    return image


@cache
def folder() -> Path:
    """This worker's directory, in memory where the system has such a place: manifests are real files."""
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(prefix="callsheet-simulation-", dir=memory if memory.is_dir() else None)
    # atexit does not run in a worker of a pool
    multiprocessing.util.Finalize(None, shutil.rmtree, (made, True), exitpriority=0)
    return Path(made).resolve()


@cache
def job_of(spec: JobSpec) -> Job:
    return replace(_read(spec.text()), run=spec.policy(), budget=spec.budget())


@cache
def _read(text: str) -> Job:
    return load_job(
        folder() / "job.yaml", root=folder(), options=LoadOptions(environ={}), copy=JobCopy(text.encode())
    )


def clean_folder() -> Path:
    for path in folder().iterdir():
        if path.name != ".callsheet":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    init_project(folder())
    return folder()
