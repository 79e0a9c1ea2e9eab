"""One process of callsheet: the real engine, ledger and provider on top of the modelled world."""

from __future__ import annotations

import contextlib
import multiprocessing.util
import random
import shutil
import sqlite3
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import trio
import trio.lowlevel

from runner.engine.commits import Commits
from runner.engine.download_client import client_over
from runner.engine.lock import project_lock
from runner.engine.prepare import find_run, prepare_run
from runner.engine.run import collect_all, run_prepared
from runner.engine.seams import Seams
from runner.engine.world import World
from runner.errors import BusyError, ExitCode, StateError, UsageError
from runner.job.load import LoadOptions, load_job
from runner.job.model import Job, RunPolicy
from runner.ledger.database import open_for_writing, prepare
from runner.ledger.ledger import Ledger
from runner.project import Project, init_project
from runner.providers.access import Access, ApiKey
from runner.providers.http import FreeRequests, free_client
from runner.providers.mesh import MeshProvider
from runner.providers.submit import SubmitLimits, SubmitTransport
from runner.record.folder import RunFolder
from runner.record.redact import Redactor
from tests.simulation.answers import FileTransport, FreeTransport
from tests.simulation.disk import Platter, SimulatedDisk
from tests.simulation.life import InlineThreads, Life
from tests.simulation.schedule import ProcessSpec, Schedule, Verb
from tests.simulation.service import START, Service
from tests.simulation.submits import SubmitNetwork
from tests.simulation.trace import Trace

ORIGIN = "https://api.sim.test"
KEY = ApiKey.load("rsk_simulation_key", source="test")
LONGEST = 6 * 3600.0
"""Simulated seconds in which every process must have ended: far more than any of its own bounds."""

_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


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
    alive: int = 0
    db: sqlite3.Connection | None = None
    """The ledger's connection in the process that lives; a second one without a lock shares it."""

    @property
    def project(self) -> Project:
        return Project(root=self.platter.root, base=self.platter.root)

    def violate(self, kind: str, said: str) -> None:
        self.violations.append(f"{kind}: {said}")
        self.trace.note("violation", kind=kind, said=said)

    @contextlib.contextmanager
    def reader(self) -> Iterator[Ledger]:
        """The ledger between two processes."""
        ledger = Ledger(_connect(self.image))
        try:
            yield ledger
        finally:
            ledger.close()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: by its exit code, or dead (None)."""

    exit_code: ExitCode | None
    steps: int
    reasons: tuple[str, ...] = ()


def crash_image(db: sqlite3.Connection) -> bytes:
    """What a power cut leaves of the ledger: every commit, for each is synced, and nothing half-way."""
    if db.in_transaction:
        db.rollback()
    return db.serialize()


def random_of(bench: Bench) -> random.Random:
    """The random source of a new process."""
    return bench.random


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
def job_of(text: str) -> Job:
    return load_job(folder() / "job.yaml", root=folder(), options=LoadOptions(environ={}), text=text.encode())


def clean_folder() -> Path:
    for path in folder().iterdir():
        if path.name != ".callsheet":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    init_project(folder())
    return folder()


def _open_image(image: bytes) -> sqlite3.Connection:
    """As the product opens its file, checks included."""
    connection = _connect(image)
    connection.execute("PRAGMA foreign_keys = ON")
    prepare(connection, None)
    return connection


def _connect(image: bytes) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.deserialize(image)
    return connection


async def live(bench: Bench, spec: ProcessSpec) -> Ended:
    """Runs one process to its end, or to its death; then `bench` holds what is left of it."""
    life: Life

    def keep_what_a_crash_leaves() -> None:
        if db is not None:
            bench.image = crash_image(db)
        bench.platter.crash(bench.random)

    life = Life(spec.dies_at, keep_what_a_crash_leaves)
    db: sqlite3.Connection | None = None
    exit_code: ExitCode | None = None
    reasons: tuple[str, ...] = ()
    bench.trace.note("process", verb=spec.verb, dies_at=spec.dies_at)
    trio.lowlevel.add_instrument(life)
    try:
        with life.scope, trio.move_on_after(LONGEST) as bound:
            try:
                with project_lock(bench.project):
                    is_second = bench.alive > 0
                    db = bench.db if is_second and bench.db else _open_image(bench.image)
                    bench.alive += 1
                    bench.db = db
                    if is_second:
                        bench.violate("lock", "two processes work at once")
                    try:
                        exit_code, reasons = await _work(bench, spec, life, db)
                    finally:
                        bench.alive -= 1
                        if not life.is_dead:
                            bench.image = db.serialize()
                        if not is_second:
                            bench.db = None
                            db.close()
            except BusyError:
                exit_code = ExitCode.TRY_AGAIN
            except BaseException as error:
                if not life.is_dead:
                    if isinstance(error, (trio.Cancelled, KeyboardInterrupt)):
                        raise
                    exit_code = _say(bench, error)
        if bound.cancelled_caught:
            bench.violate("stuck", f"a process did not end in {LONGEST:.0f} s")
            exit_code = ExitCode.BUG
    finally:
        trio.lowlevel.remove_instrument(life)
    if life.is_dead:
        exit_code = None
    bench.trace.note("ended", exit_code=exit_code, steps=life.steps)
    return Ended(exit_code, life.steps, reasons)


def _say(bench: Bench, error: BaseException) -> ExitCode:
    """What the command line makes of an exception that leaves the engine."""
    if isinstance(error, BaseExceptionGroup):
        return max(_say(bench, one) for one in error.exceptions)
    if isinstance(error, StateError):
        return ExitCode.CANNOT_WRITE
    if isinstance(error, UsageError):
        return ExitCode.USAGE
    bench.violate("bug", f"{type(error).__name__}: {error}")
    return ExitCode.BUG


async def _work(
    bench: Bench, spec: ProcessSpec, life: Life, db: sqlite3.Connection
) -> tuple[ExitCode, tuple[str, ...]]:
    ledger = Ledger(db)
    weather, started = spec.weather, trio.current_time()

    def wall() -> float:
        now = trio.current_time()
        return START + now + weather.wall_shift(now - started)

    def observe(name: str, fields: object) -> None:
        if life.is_dead:
            return
        assert isinstance(fields, dict)
        bench.trace.note(
            name, **{key: fields[key] for key in ("task", "remote_id", "reason", "error") if key in fields}
        )
        if name == "task.submitted":
            holder = ledger.read.holder(ORIGIN, fields["remote_id"])
            assert holder is not None
            bench.submitted[holder.id] = fields["remote_id"]

    threads = InlineThreads(life)
    seams = Seams(wall=wall, random=random_of(bench), threads=threads)
    parts = (life, bench.service, weather, bench.random, bench.trace)
    access = Access(ORIGIN, KEY)
    disk = SimulatedDisk(
        bench.platter,
        lambda: (life.step(), life.check())[0],
        lambda: weather.full_disk is not None and weather.full_disk.holds(trio.current_time() - started),
    )
    async with (
        SubmitTransport(access, SubmitLimits(), network_backend=SubmitNetwork(*parts), tls=_TLS) as submits,
        free_client(tls=_TLS, transport=FreeTransport(*parts)) as free,
        client_over(FileTransport(*parts)) as downloads,
        trio.open_nursery() as nursery,
    ):
        world = World(
            project=bench.project,
            origin=ORIGIN,
            provider=MeshProvider(submits, FreeRequests(access, free, wall=wall), wall=wall),
            commits=Commits(ledger, threads),
            downloads=downloads,
            files=disk,
            seams=seams,
            observe=observe,
            key_hash=KEY.fingerprint(ledger.salt),
            is_loopback=False,
        )
        if weather.full_ledger is not None:
            nursery.start_soon(_fill_ledger, db, weather.full_ledger.start, weather.full_ledger.end)
        if spec.rival_after is not None:
            nursery.start_soon(_rival, bench, spec.rival_after)
        try:
            return await _do(bench, spec, world, ledger)
        finally:
            nursery.cancel_scope.cancel()


async def _do(
    bench: Bench, spec: ProcessSpec, world: World, ledger: Ledger
) -> tuple[ExitCode, tuple[str, ...]]:
    if spec.verb is Verb.COLLECT:
        result = await collect_all(world, RunPolicy(), deadline=spec.deadline)
        return result.exit_code, result.reasons
    job = job_of(bench.schedule.job.text())
    prepared = prepare_run(
        job,
        project=world.project,
        reader=ledger.read,
        origin=ORIGIN,
        date=None,
        run=find_run(ledger.read, "latest") if spec.verb is Verb.RESUME else None,
        now=world.seams.wall(),
        source=world.seams.random,
    )
    RunFolder(world.project, prepared.run.id).make(job.text)
    result = await run_prepared(
        prepared, world, facts={}, redactor=Redactor([KEY.value]), deadline=spec.deadline
    )
    return result.exit_code, result.reasons


async def _fill_ledger(db: sqlite3.Connection, start: float, end: float) -> None:
    """The ledger's disk is full for a while; SQLite itself says so."""
    await trio.sleep(start)
    (before,) = db.execute("PRAGMA max_page_count").fetchone()
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    try:
        await trio.sleep(end - start)
    finally:
        with contextlib.suppress(sqlite3.ProgrammingError):
            db.execute(f"PRAGMA max_page_count = {before}")


async def _rival(bench: Bench, after: float) -> None:
    """Another process in the same project: it must go away without having done anything."""
    await trio.sleep(after)
    ended = await live(bench, ProcessSpec())
    if ended.exit_code is not ExitCode.TRY_AGAIN:
        bench.violate("lock", f"a second process ended with {ended.exit_code}")
