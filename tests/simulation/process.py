"""One process of callsheet: the real engine, ledger and provider on top of the modelled world."""

from __future__ import annotations

import contextlib
import math
import random
import sqlite3
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace

import anyio

from runner.errors import BusyError, CallsheetError, ExitCode, StateError, UsageError
from runner.http.access import Access
from runner.http.free import FreeRequests
from runner.http.paid import PaidRequests
from runner.http.transport import Transport, open_client
from runner.lane.commits import Commits
from runner.lane.lane import LaneTools
from runner.lane.machine import Machine
from runner.ledger.ledger import Ledger
from runner.ledger.states import TaskState
from runner.record.folder import RunFolder
from runner.redact import Redactor
from runner.run.finish import RunResult
from runner.run.lock import project_lock
from runner.run.prepare import Prepared, prepare_run
from runner.run.run import Order, collect_all, run_jobs
from runner.run.task.session import Tools
from runner.run.task.webhook import Hints
from tests.simulation.absence import check_absence
from tests.simulation.answers import ApiTransport, Files, FreeTransport
from tests.simulation.bench import KEY, UNBOUNDED, Bench, job_of
from tests.simulation.disk import SimulatedDisk
from tests.simulation.hands import asked
from tests.simulation.kinds import CLIENTS, PROVIDERS
from tests.simulation.life import MOST_GETS, InlineThreads, Life
from tests.simulation.loops import cancelled_after, watched
from tests.simulation.schedule import ProcessSpec, Verb
from tests.simulation.service import START
from tests.simulation.submits import SubmitNetwork
from tests.simulation.weather import CALM

LONGEST = 14 * 3600.0
"""Simulated seconds in which every process must have ended: far more than any of its own bounds."""

_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


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


async def live(bench: Bench, spec: ProcessSpec) -> Ended:
    """Runs one process to its end, or to its death; then `bench` holds what is left of it."""
    life: Life

    def keep_what_a_crash_leaves() -> None:
        if has_ledger:
            bench.crash(crash_image(bench.ledger))
        bench.platter.crash(bench.random)

    life = Life(spec.dies_at, keep_what_a_crash_leaves)
    has_ledger = False
    exit_code: ExitCode | None = None
    reasons: tuple[str, ...] = ()
    if spec.weather is CALM:
        bench.calm_began.append(anyio.current_time())
    bench.trace.note("process", verb=spec.verb, dies_at=spec.dies_at)
    try:
        with (
            watched(life.step),
            life.scope,
            anyio.move_on_after(LONGEST) as bound,
            cancelled_after(spec.cut_at) as is_cut,
        ):
            try:
                with project_lock(bench.project):
                    if bench.alive:
                        bench.violate("lock", "two processes work at once")
                    else:
                        bench.open_ledger()
                    has_ledger = True
                    bench.alive += 1
                    try:
                        exit_code, reasons = await _work(bench, spec, life)
                        if exit_code is ExitCode.BUG and not life.is_dead:
                            # contained, so that all else went on; still a defect
                            bench.violate("bug", "; ".join(reasons))
                    finally:
                        bench.alive -= 1
            except BusyError:
                exit_code = ExitCode.TRY_AGAIN
            except BaseException as error:
                if not life.is_dead:
                    if isinstance(error, (anyio.get_cancelled_exc_class(), KeyboardInterrupt)):
                        raise
                    exit_code = _say(bench, error)
        if is_cut():
            exit_code = None
        if bound.cancelled_caught:
            bench.violate("stuck", f"a process did not end in {LONGEST:.0f} s")
            exit_code = ExitCode.BUG
    finally:
        if has_ledger:
            bench.ledger.is_gone = False
    if life.is_blind:
        bench.violate("doubts", "submits went out one after the other, and none was answered")
    if exit_code is ExitCode.BUG and reasons:
        bench.violate("bug", "; ".join(reasons))
    if life.gets > MOST_GETS:
        bench.violate("endless", f"a process made {MOST_GETS} free requests, and went on")
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


async def _work(bench: Bench, spec: ProcessSpec, life: Life) -> tuple[ExitCode, tuple[str, ...]]:
    ledger = Ledger(bench.ledger, budgets=bench.schedule.budgets)
    weather, started = spec.weather, anyio.current_time()

    def wall() -> float:
        now = anyio.current_time()
        return START + now + weather.wall_shift(now - started)

    def observe(name: str, fields: object) -> None:
        if life.is_dead:
            return
        assert isinstance(fields, dict)
        bench.trace.note(
            name, **{key: fields[key] for key in ("task", "remote_id", "reason", "error") if key in fields}
        )
        if name == "task.intended":
            bench.intended[str(fields["attempt"])] = anyio.current_time()
        if name == "task.never_accepted":
            for attempt in ledger.read.in_state(TaskState.PLANNED):
                if attempt.resolution in ("absent", "confirmed") and attempt.id not in bench.absences:
                    check_absence(bench, ledger, attempt)
        if name == "task.submitted":
            row = bench.row(fields["remote_id"])
            assert row is not None
            holder = ledger.read.holder(row.origin, row.id)
            assert holder is not None
            bench.submitted[holder.id] = row.id
            bench.at(row.origin).told.append(row.id)

    hints = Hints("https://hooks.sim.test", b"simulated") if bench.schedule.job.webhook else None
    threads = InlineThreads(life)
    machine = Machine(wall=wall, random=random_of(bench), threads=threads)
    parts = (life, weather, bench.random, bench.trace)
    disk = SimulatedDisk(
        bench.platter,
        lambda: (life.step(), life.check())[0],
        lambda: weather.full_disk is not None and weather.full_disk.holds(anyio.current_time() - started),
    )
    async with contextlib.AsyncExitStack() as stack, anyio.create_task_group() as nursery:
        lanes: dict[str, LaneTools] = {}
        for service in bench.services:
            network = SubmitNetwork(*parts, service=service)
            # httpcore measures how long a connection was idle in real seconds
            paid = Transport(tls=_TLS, keepalive=math.inf, network_backend=network)
            client = await stack.enter_async_context(
                open_client(ApiTransport(paid, FreeTransport(*parts, service=service)))
            )
            access = Access(service.origin, KEY)
            lanes[service.kind] = LaneTools(
                account=service.kind,
                origin=service.origin,
                key_hash=KEY.fingerprint(ledger.salt),
                provider=PROVIDERS[service.kind],
                client=CLIENTS[service.kind](
                    PaidRequests(access, client), FreeRequests(access, client, wall=wall), wall=wall
                ),
                is_loopback=False,
            )
        tools = Tools(
            project=bench.project,
            commits=Commits(ledger, threads),
            fetch=Files(*parts, services=bench.services, disk=disk, threads=threads),
            files=disk,
            machine=machine,
            observe=observe,
            redactor=Redactor([KEY.value]),
            hints=hints,
        )
        if hints is not None:
            nursery.start_soon(_call_back, bench, hints)
        if weather.full_ledger is not None:
            nursery.start_soon(_fill_ledger, bench.ledger, weather.full_ledger.start, weather.full_ledger.end)
        if spec.rival_after is not None:
            nursery.start_soon(_rival, bench, spec.rival_after)
        try:
            return await _do(bench, spec, Order(tools, lanes, deadline=spec.deadline), ledger)
        finally:
            nursery.cancel_scope.cancel()


async def _do(
    bench: Bench, spec: ProcessSpec, order: Order, ledger: Ledger
) -> tuple[ExitCode, tuple[str, ...]]:
    tools = order.tools
    if spec.verb is Verb.COLLECT:
        # as the command does: each lane by itself
        lanes = [replace(order, lanes={account: lane}) for account, lane in order.lanes.items()]
        return _ending(await collect_all(lanes))
    resubmit = asked(bench, spec.verb, ledger)
    prepared: list[Prepared] = []
    for job in map(job_of, bench.schedule.jobs_of(spec)):
        ready = prepare_run(
            job,
            project=tools.project,
            reader=ledger.read,
            origins=bench.schedule.origins,
            date=None,
            run=ledger.read.latest_run() if spec.verb in (Verb.RESUME, Verb.RETRY) else None,
            now=tools.machine.wall(),
            source=tools.machine.random,
            resubmit=resubmit,
            agree=lambda _edits: spec.accepts_edits,
        )
        RunFolder(tools.project, ready.run.id).make(job.copy)
        prepared.append(ready)
    orders = [replace(order, prepared=ready.beside(prepared)) for ready in prepared]
    return _ending(await run_jobs(orders))


def _ending(results: Sequence[RunResult | CallsheetError]) -> tuple[ExitCode, tuple[str, ...]]:
    """One exit code for all, as the command line gives, and the reasons."""
    for result in results:
        if isinstance(result, CallsheetError):
            raise result
    ended = [result for result in results if isinstance(result, RunResult)]
    reasons = tuple(reason for result in ended for reason in result.reasons)
    return ExitCode.first([result.exit_code for result in ended]), reasons


async def _call_back(bench: Bench, hints: Hints) -> None:
    """The service's webhooks, some of them lost; and calls of somebody else: early, twice, to nobody."""
    while True:
        await anyio.sleep(bench.random.uniform(1, 5))
        now = anyio.current_time()
        waiting = [row for row in bench.accepted() if row.id not in bench.called]
        for row in waiting:
            if now >= row.done_at:
                bench.called.add(row.id)
                if bench.random.random() < 0.8:
                    hints.hint(str(row.request["callback_url"]))
        if not waiting:
            await anyio.sleep(60)
        elif bench.random.random() < 0.3:
            hints.hint(str(bench.random.choice(waiting).request["callback_url"]))
            hints.hint("https://hooks.sim.test/0123456789abcdef0123456789abcdef")


async def _fill_ledger(db: sqlite3.Connection, start: float, end: float) -> None:
    """The ledger's disk is full for a while; SQLite itself says so."""
    await anyio.sleep(start)
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    await anyio.sleep(end - start)
    db.execute(f"PRAGMA max_page_count = {UNBOUNDED}")


async def _rival(bench: Bench, after: float) -> None:
    """Another process in the same project: it must go away without having done anything."""
    await anyio.sleep(after)
    ended = await live(bench, ProcessSpec())
    if ended.exit_code is not ExitCode.TRY_AGAIN:
        bench.violate("lock", f"a second process ended with {ended.exit_code}")
