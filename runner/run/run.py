"""A run from its first line to its last; read it top to bottom."""

from __future__ import annotations

import functools
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import anyio

from runner.errors import CallsheetError, ExitCode, OutOfMoneyError
from runner.http.verdicts import ProviderError, Trouble
from runner.job.model import RunPolicy
from runner.json_value import JsonValue
from runner.lane.control import Control
from runner.lane.late import Lookback
from runner.lane.pace import Breaker, Gauge, PrioritySlots, RequestBudget
from runner.lane.reconcile import Reconciler
from runner.lane.scan import Scanner
from runner.lane.submit import Submitter
from runner.lane.under_way import OPEN
from runner.lane.world import ServerClock, World
from runner.ledger.states import TaskState
from runner.plan.plan import Plan
from runner.redact import Redactor
from runner.run.deliver import Collector
from runner.run.ends import RunResult, begin, tell_beginning, tell_end
from runner.run.finish import conclude
from runner.run.prepare import Prepared
from runner.run.scheduler import Scheduler
from runner.run.task import Lifecycle
from runner.store.inputs import InputStore

AN_ANSWER = "the service to answer a free request, before anything more is submitted"


async def run_prepared(
    prepared: Prepared,
    world: World,
    *,
    facts: Mapping[str, JsonValue],
    redactor: Redactor,
    deadline: float | None = None,
) -> RunResult:
    """Brings a prepared run to done, or as far as it gets; `deadline` is seconds from now.

    What the network, the service and a task do is in the result, never raised. Raises StateError
    where the ledger or the manifest cannot be written.
    """
    job, run, plan = prepared.plan.job, prepared.run, prepared.plan
    session = await world.commits.write(lambda ledger: begin(ledger, prepared, world.seams.wall(), facts))
    control = Control(world.observe, job.run.max_failures, world.seams.wall)
    scheduler = _assemble(world, control, job.run, prepared)
    tell_beginning(world.observe, prepared)
    async with _signals_heard(control):
        await _work(scheduler, control, plan, deadline if deadline is not None else job.run.deadline)
        await world.commits.flush()
        ended = await world.seams.threads.run(
            functools.partial(
                conclude,
                world.commits.ledger,
                world.project,
                plan,
                run_id=run.id,
                session=session,
                at=world.seams.wall(),
                redactor=redactor,
                conditions=frozenset(control.conditions),
                passing=frozenset(control.passing),
                absent=frozenset(scheduler.absent),
                frameless=frozenset(scheduler.frameless),
            )
        )
    if ended.is_finished:
        control.forgive()
    drift = await world.commits.read(lambda reader: reader.drift(run.id))
    tell_end(world.observe, run.id, drift, ended.exit_code, control.reasons)
    return RunResult(
        ended.exit_code, control.reasons, ended.counts, run.id, ended.manifest, ended.waits, control.notes
    )


async def collect_all(
    world: World,
    policy: RunPolicy,
    *,
    deadline: float | None = None,
    attempts: frozenset[str] | None = None,
) -> RunResult:
    """Polls and downloads all that is in flight, whatever run it is from; never submits.

    `attempts` are the ids of those that this world's key is for, and that the exit code speaks of; None
    is all of them.
    """
    await world.commits.write(lambda ledger: ledger.recover(world.seams.wall()))
    control = Control(world.observe, wall=world.seams.wall)
    scheduler = _assemble(world, control, policy, None)
    scheduler.attempts = attempts
    world.observe("collect.started", {})
    async with _signals_heard(control):
        await _work(scheduler, control, None, deadline)
        await world.commits.flush()
    place = (world.origin, world.provider.name)
    counts = Counter(await world.commits.read(lambda reader: reader.count_states(*place)))
    spoken_of = counts
    if attempts is not None:
        spoken_of = Counter(await world.commits.read(lambda reader: reader.states_of(attempts)))
    conditions = set(control.conditions)
    if any(spoken_of[state] for state in OPEN):
        conditions.add(ExitCode.TRY_AGAIN)
    if spoken_of[TaskState.HELD]:
        conditions.add(ExitCode.PERSON_NEEDED)
    exit_code = ExitCode.first(conditions)
    world.observe("collect.finished", {"exit_code": int(exit_code), "reasons": control.reasons})
    return RunResult(exit_code, control.reasons, counts)


def _assemble(world: World, control: Control, policy: RunPolicy, prepared: Prepared | None) -> Scheduler:
    """The parts of a run, put together; without `prepared` there is nothing that could submit."""
    if world.is_loopback:
        policy = replace(policy, poll=policy.poll.on_loopback())
    budget = RequestBudget(
        policy.rate,
        patience=policy.timeout,
        give_up=functools.partial(control.stop_submitting, ExitCode.TRY_AGAIN),
        waiting=lambda what, seconds: control.waiting(what, seconds, in_flight.count),
    )
    in_flight = Gauge(lambda: budget.most_in_flight)
    clock = ServerClock(world.seams)

    async def ping() -> None:
        await budget.acquire()
        try:
            clock.hear(await world.client.ping())
        except ProviderError as error:
            if error.trouble is Trouble.RATE_LIMITED:
                budget.refused(error)
            raise
        budget.answered()
        control.waited(AN_ANSWER)

    def still_down(error: Exception, seconds: float) -> None:
        control.waiting(AN_ANSWER, policy.timeout - seconds, in_flight.count)
        if not isinstance(error, ProviderError):
            control.defect("the look whether the service answers", error)
        elif error.trouble is Trouble.KEY_REFUSED:
            control.stop_submitting(ExitCode.KEY_REFUSED, f"the service refused the API key: {error}")
        elif error.trouble is Trouble.USED_UP:
            control.refuse(OutOfMoneyError.used_up(error.message))
        if seconds > policy.timeout:
            control.stop_submitting(
                ExitCode.TRY_AGAIN, f"the service has not answered for {seconds:.0f} s: {error}; run again"
            )

    breaker = Breaker(ping, world.seams.random, still_down)
    control.when_stopped.append(breaker.release)
    # tasks that end together leave the service at once: their places are filled before their files are here
    downloads = PrioritySlots(policy.downloads, line=policy.concurrency)
    submitter: Submitter | None = None
    if prepared is not None:
        submitter = Submitter(
            world=world,
            control=control,
            budget=budget,
            breaker=breaker,
            clock=clock,
            inputs=InputStore(world.project.inputs_dir),
            slots=anyio.Semaphore(policy.submit_slots, fast_acquire=True),
            in_flight=in_flight,
            run_id=prepared.run.id,
            job_file=prepared.run.job_file,
            caps=prepared.caps,
            patience=policy.timeout,
        )
    collector = Collector(world, control, budget, clock, policy, downloads)
    scanner = Scanner(world, budget, clock)
    reconciler = Reconciler(
        world=world,
        control=control,
        budget=budget,
        clock=clock,
        scanner=scanner,
        policy=policy,
        may_submit=prepared is not None,
        is_quiet=lambda: in_flight.count == 0 and downloads.is_idle,
    )
    lifecycle = Lifecycle(world, control, submitter, collector, reconciler, in_flight, policy.concurrency)
    return Scheduler(
        world=world,
        control=control,
        lifecycle=lifecycle,
        ping=ping,
        breaker=breaker,
        clock=clock,
        downloads=downloads,
        in_flight=in_flight,
        reconciler=reconciler,
        lookback=Lookback(world, control, scanner, clock),
        concurrency=policy.concurrency,
        run_id=prepared.run.id if prepared else None,
        resubmit=prepared.resubmit if prepared else None,
        asked_again=prepared.asked_again if prepared else frozenset(),
        roots=prepared.roots if prepared else (),
        only=prepared.only if prepared else None,
        clock_date=prepared.clock_date if prepared else None,
    )


async def _work(scheduler: Scheduler, control: Control, plan: Plan | None, deadline: float | None) -> None:
    """All that takes time; returns when everything is done or the run was told to stop."""
    async with anyio.create_task_group() as watchers:
        if deadline is not None:
            watchers.start_soon(_watch_deadline, control, deadline)
        with control.working():
            await scheduler.run(plan)
        watchers.cancel_scope.cancel()


@asynccontextmanager
async def _signals_heard(control: Control) -> AsyncIterator[None]:
    """Signals stop the run in order for as long as this is open, the writing of the manifest included.

    Only a process's main thread can hear them; a run in another one is stopped by cancelling it.
    """
    with _ungrouped():
        async with anyio.create_task_group() as watchers:
            if threading.current_thread() is threading.main_thread():
                watchers.start_soon(_watch_signals, control)
            yield
            watchers.cancel_scope.cancel()


@contextmanager
def _ungrouped() -> Iterator[None]:
    """A CallsheetError that task groups have wrapped, as itself: who called tells it and goes on."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours, others = group.split(CallsheetError)
        if ours is None or others is not None:
            raise
        error: BaseException = ours
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _watch_deadline(control: Control, seconds: float) -> None:
    await anyio.sleep(seconds)
    control.stop(
        ExitCode.TRY_AGAIN, f"the deadline of {round(seconds, 1):g} s has passed; run again to go on"
    )


async def _watch_signals(control: Control) -> None:
    """The first signal stops with the state kept, the second leaves at once (row 47)."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        is_stopping = False
        async for signum in signals:
            code = ExitCode.INTERRUPTED if signum == signal.SIGINT else ExitCode.TERMINATED
            if is_stopping:
                control.leave(code)
            is_stopping = True
            control.stop(code, f"interrupted by {signal.Signals(signum).name}; run again to go on")
