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

from runner.job.load import LoadOptions, load_job
from runner.job.model import Job
from runner.ledger.database import open_for_writing, prepare
from runner.ledger.ledger import Ledger
from runner.project import Project, init_project
from runner.providers.access import ApiKey
from tests.simulation.disk import Platter
from tests.simulation.schedule import JobSpec, Schedule
from tests.simulation.service import Service
from tests.simulation.trace import Trace

ORIGIN = "https://api.sim.test"
KEY = ApiKey.load("rsk_simulation_key", source="test")


@dataclass(slots=True)
class Bench:
    """What outlives processes: the service, the disk, the ledger's image, and all that was said."""

    schedule: Schedule
    service: Service
    platter: Platter
    random: random.Random
    image: bytes
    trace: Trace = field(default_factory=Trace)
    submitted: dict[str, str] = field(default_factory=dict)
    """Attempts of which a process said `task.submitted`, with their remote ids."""
    violations: list[str] = field(default_factory=list)
    consents: Counter[tuple[str, int | None]] = field(default_factory=Counter)
    """How often a person asked for a further POST of a prompt and seed."""
    given_up: set[str] = field(default_factory=set)
    """Attempts that a person has settled without adopting anything."""
    called: set[str] = field(default_factory=set)
    """Generations whose webhook has been called, or was lost."""
    alive: int = 0
    db: sqlite3.Connection | None = None
    """The ledger's connection in the process that lives; a second one without a lock shares it."""
    _looked_at: tuple[bytes, sqlite3.Connection] | None = None
    """An image with a connection to it: opening one costs a millisecond."""

    @property
    def project(self) -> Project:
        return Project(root=self.platter.root, base=self.platter.root)

    def violate(self, kind: str, said: str) -> None:
        self.violations.append(f"{kind}: {said}")
        self.trace.note("violation", kind=kind, said=said)

    def keep(self, db: sqlite3.Connection) -> None:
        """Takes over the connection of a process that has ended, for those who look at its ledger."""
        self.image = db.serialize()
        self._replace_looked_at(db)

    def reader(self) -> Ledger:
        """The ledger between two processes."""
        if self._looked_at is None or self._looked_at[0] is not self.image:
            self._replace_looked_at(_connect(self.image))
        assert self._looked_at is not None
        return Ledger(self._looked_at[1])

    def close(self) -> None:
        self._replace_looked_at(None)

    def _replace_looked_at(self, db: sqlite3.Connection | None) -> None:
        if self._looked_at is not None:
            self._looked_at[1].close()
        self._looked_at = None if db is None else (self.image, db)


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
    return load_job(folder() / "job.yaml", root=folder(), options=LoadOptions(environ={}), text=text.encode())


def clean_folder() -> Path:
    for path in folder().iterdir():
        if path.name != ".callsheet":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    init_project(folder())
    return folder()


def open_image(image: bytes) -> sqlite3.Connection:
    """As the product opens its file, checks included."""
    connection = _connect(image)
    connection.execute("PRAGMA foreign_keys = ON")
    prepare(connection, None)
    return connection


def _connect(image: bytes) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.deserialize(image)
    return connection
