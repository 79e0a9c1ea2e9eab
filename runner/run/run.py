"""Jobs side by side from their first line to their last; read it top to bottom."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from runner.errors import CallsheetError, ExitCode, StateError
from runner.job.model import RunPolicy
from runner.json_value import JsonValue
from runner.lane.control import Control
from runner.lane.lane import Lane, LaneTools
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow
from runner.ledger.states import AWAITED, IN_FLIGHT, TaskState
from runner.plan.task import Task
from runner.run.finish import Lost, RunResult, begin, conclude, tell_beginning, tell_end
from runner.run.followed import Followed
from runner.run.prepare import Prepared
from runner.run.scheduler import Scheduler
from runner.run.stop import signals_heard, stoppable
from runner.run.task.session import JobWork, LaneWork, Session, Shared, Tools, agreed


@dataclass(frozen=True, slots=True)
class Order:
    """One job for this process: its tools, and what leads to the lane of each of its accounts.

    `prepared` is None for a `collect`, which submits nothing; `attempts` are the ids of those that it is for,
    None for all that are in its lanes. `deadline` is in seconds, and the job's own counts too.
    """

    tools: Tools
    lanes: Mapping[str, LaneTools]
    prepared: Prepared | None = None
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    deadline: float | None = None
    attempts: frozenset[str] | None = None

    @property
    def limit(self) -> float | None:
        """Seconds after which it stops: the deadline of all, or its own."""
        own = self.policy.deadline
        return min((each for each in (self.deadline, own) if each is not None), default=None)

    def after(self, seconds: float) -> Order:
        """The same, begun so much later."""
        return self if self.deadline is None else replace(self, deadline=max(0.0, self.deadline - seconds))

    @property
    def policy(self) -> RunPolicy:
        return RunPolicy() if self.prepared is None else self.prepared.plan.job.run

    @property
    def tasks(self) -> tuple[Task, ...]:
        return () if self.prepared is None else self.prepared.plan.tasks


@dataclass(slots=True, eq=False)
class _Job:
    """An order while it is worked on. `session` is its number in the ledger."""

    order: Order
    work: JobWork
    session: int = 0
    left: list[tuple[Session, AttemptRow]] = field(default_factory=list)
    """What earlier sessions have left at the service, with where to ask for it."""
    followed: Followed | None = None
    """None before it begins, and when it has ended."""
    lost: Lost = field(default_factory=Lost)

    @property
    def prepared(self) -> Prepared:
        """Of a run."""
        assert self.order.prepared is not None
        return self.order.prepared

    def has_work_at(self, account: str) -> bool:
        """Whether it has something to submit or to fetch there."""
        prepared = self.order.prepared
        return prepared is None or any(task.account == account for task in prepared.unsettled)

    def is_its_own(self, attempt: AttemptRow, wanted: Container[str]) -> bool:
        """Whether the attempt is of this job, which has a task in `wanted` where its plan has that."""
        prepared = self.order.prepared
        return prepared is None or attempt.run_id == prepared.run.id or attempt.identity in wanted


class Crew:
    """The jobs of a process, and the lanes that they share."""

    def __init__(self, orders: Sequence[Order]) -> None:
        policies: dict[LaneTools, list[RunPolicy]] = {}
        for order in orders:
            for tools in dict.fromkeys(order.lanes.values()):
                policies.setdefault(tools, []).append(order.policy)
        self.shared = Shared()
        self.lanes: dict[LaneTools, LaneWork] = {}
        self.jobs: list[_Job] = []
        peers: list[Control] = []
        for order in orders:
            control = Control(
                order.tools.observe,
                order.tools.redactor,
                order.policy.max_failures,
                names_accounts=len(order.lanes) > 1,
                peers=peers,
            )
            sessions: dict[str, Session] = {}
            for account, tools in order.lanes.items():
                work = self.lanes.get(tools) or self._open(tools, order, agreed(policies[tools]))
                self.lanes[tools] = work
                sessions[account] = Session.of(account, order.tools, control, order.policy, work, self.shared)
            self.jobs.append(_Job(order, JobWork(order.tools, control, sessions)))
        gates = [work.lane.gate for work in self.lanes.values()]
        for gate in gates:
            gate.peers = gates
        for job in self.jobs:
            for session in job.work.lanes.values():
                session.work.enter(job.work.control)
            for account, session in job.work.sessions.items():
                if session.lane.gate.is_closed and job.has_work_at(account):
                    session.lane.gate.join(job.work.control)

    def _open(self, tools: LaneTools, order: Order, policy: RunPolicy) -> LaneWork:
        commits, machine = order.tools.commits, order.tools.machine
        downloads = self.shared.open_downloads(policy)
        lane = Lane(tools, commits, machine, policy, downloads.room)
        is_run = order.prepared is not None
        control_of = functools.partial(self._control_of, tools.provider.name)
        return LaneWork(lane, policy, downloads, self.shared, control_of, is_run=is_run)

    def _control_of(self, provider: str, attempt: AttemptRow) -> Control:
        found = self._share_out(provider, [attempt])
        return (found[0][0] if found else self.jobs[0]).work.control

    def find_left(self, reader: LedgerReader) -> None:
        """Gives each attempt in flight or in doubt, whatever run it is from, to a job."""
        services = dict.fromkeys((work.lane.provider.name, work.lane.origin) for work in self.lanes.values())
        for provider, origin in services:
            found = reader.in_state(*IN_FLIGHT, TaskState.AMBIGUOUS, origin=origin, provider=provider)
            for job, session, attempt in self._share_out(provider, list(found)):
                job.left.append((session, attempt))
        for job in self.jobs:
            if unclear := sum(attempt.state is TaskState.AMBIGUOUS for _, attempt in job.left):
                fields = {"tasks": unclear, "settle": job.order.policy.settle}
                job.work.control.observe("run.unclear", fields)

    def _share_out(
        self, provider: str, attempts: Sequence[AttemptRow]
    ) -> list[tuple[_Job, Session, AttemptRow]]:
        """A job and a lane for each of these attempts at a service: the lane of its key, else that of its
        account, else that of a job which wants its task. What none of them has is left as it is.
        """
        identities = {attempt.identity for attempt in attempts}
        wanted = [
            {task.identity for task in job.order.tasks if task.identity in identities} if identities else ()
            for job in self.jobs
        ]
        found: list[tuple[_Job, Session, AttemptRow]] = []
        for attempt in attempts:
            best, chosen = (False, False, False), None
            for job, its in zip(self.jobs, wanted, strict=True):
                if job.order.attempts is not None and attempt.id not in job.order.attempts:
                    continue
                for account, session in job.work.sessions.items():
                    lane = session.lane
                    if (lane.provider.name, lane.origin) != (provider, attempt.origin):
                        continue
                    if lane.lease is not None and not lane.lease.covers(attempt.key_hash):
                        continue  # another machine goes on with it
                    is_exact = lane.key_hash == attempt.key_hash
                    is_account = account == attempt.account
                    fit = (is_exact, is_account, job.is_its_own(attempt, its))
                    if fit > best:
                        best, chosen = fit, (job, session, attempt)
            if chosen is None:
                continue
            found.append(chosen)
            if not best[-1]:
                chosen[0].work.control.strangers.add(attempt.identity)
        return found

    async def look_over(self, work: LaneWork) -> None:
        """Takes up what turns up late in a lane's list, before anything is submitted there."""
        try:
            for job, session, attempt in self._share_out(work.lane.provider.name, await work.lookback.find()):
                if job.followed is not None:
                    await job.followed.take_up([(session, attempt)])
        finally:
            work.is_looked_over.set()

    async def look_over_again(self, work: LaneWork, followed: Followed) -> None:
        """The same when all is done; whichever job is the last takes it up."""
        found = self._share_out(work.lane.provider.name, await work.lookback.find())
        await followed.take_up([(session, attempt) for _, session, attempt in found])

    async def work_on(self, job: _Job) -> None:
        """Brings one job as far as it gets."""
        lanes = [session.work for session in job.work.lanes.values()]
        async with stoppable(job.work.control, job.order.limit):
            try:
                async with anyio.create_task_group() as group:
                    job.followed = Followed(group)
                    await job.followed.take_up(job.left)
                    if job.order.prepared is not None:
                        await Scheduler(job.work, job.order.prepared, group, job.lost).start()
                    for work in lanes:
                        await work.is_looked_over.wait()
            finally:
                job.followed = None
                last = [work for work in lanes if work.leave()]
            async with anyio.create_task_group() as group:
                for work in last:
                    group.start_soon(self.look_over_again, work, Followed(group))

    async def work(self) -> None:
        """Works on all jobs side by side."""
        await self.jobs[0].work.tools.commits.read(self.find_left)
        async with self.archiving(), self.at_work(), anyio.create_task_group() as jobs:
            for job in self.jobs:
                jobs.start_soon(self.work_on, job)

    @asynccontextmanager
    async def archiving(self) -> AsyncIterator[None]:
        """Beside what is done in here, and a while after it, files go into the project's store.

        A signal ends that too, and so does the deadline of the process.
        """
        archive, order = self.jobs[0].order.tools.archive, self.jobs[0].order
        controls = [job.work.control for job in self.jobs]
        if archive is None:
            yield
            if refusal := order.tools.archive_refusal:
                for control in controls:
                    control.condition(ExitCode.TRY_AGAIN, f"nothing was archived: {refusal}")
            return
        archive.observe = self.jobs[0].work.tools.observe

        def cut() -> None:
            if all(control.work.cancel_called for control in controls):
                archive.cut()

        async with archive.beside(order.deadline):
            yield
            for control in controls:
                control.when_ended.append(cut)
            cut()
        for control in controls if archive.left() else ():
            control.condition(ExitCode.TRY_AGAIN, archive.words())

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Beside what is done in here, unclear submits are reconciled in each lane, and a service that failed
        is asked whether it answers again.
        """
        async with anyio.create_task_group() as background:
            for work in self.lanes.values():
                background.start_soon(work.lane.breaker.heal)
                background.start_soon(work.reconciler.run)
                background.start_soon(self.look_over, work)
            yield
            background.cancel_scope.cancel()


async def run_jobs(orders: Sequence[Order]) -> list[RunResult | CallsheetError]:
    """Brings prepared runs to done side by side, or as far as they get; their results in the same order.

    What the network, the services and tasks do is in a result, never raised. In place of one stands the
    StateError of a job whose manifest cannot be written. Raises StateError where the ledger cannot be.
    """
    crew = Crew(orders)
    commits, machine = orders[0].tools.commits, orders[0].tools.machine
    for job in crew.jobs:
        begun = functools.partial(begin, prepared=job.prepared, at=machine.wall(), facts=job.order.facts)
        job.session = await commits.write(begun)
        tell_beginning(job.work.tools.observe, job.prepared)
    async with signals_heard(crew.jobs[0].work.control):
        async with leased(orders[0].tools):
            await crew.work()
            await commits.flush()
        return [await _conclude(job) for job in crew.jobs]


async def _conclude(job: _Job) -> RunResult | CallsheetError:
    tools, control, prepared = job.work.tools, job.work.control, job.prepared
    try:
        ended = await tools.machine.threads.run(
            functools.partial(
                conclude,
                tools.commits.ledger,
                tools.project,
                prepared.plan,
                run_id=prepared.run.id,
                session=job.session,
                at=tools.machine.wall(),
                redactor=tools.redactor,
                conditions=frozenset(control.conditions),
                passing=frozenset(control.passing),
                asked_again=prepared.asked_again,
                lost=job.lost,
            )
        )
    except StateError as error:
        return error
    if ended.is_forgiven:
        control.forgive()
    drift = await tools.commits.read(lambda reader: reader.drift(prepared.run.id))
    tell_end(tools.observe, prepared.run.id, drift, ended.exit_code, control.reasons)
    return RunResult(
        ended.exit_code,
        control.reasons,
        ended.counts,
        prepared.run.id,
        ended.manifest,
        ended.waits,
        control.notes,
        ended.troubles,
        ended.conditions,
    )


async def collect_all(orders: Sequence[Order]) -> list[RunResult]:
    """Polls and downloads all that is in flight, whatever run it is from; never submits.

    Each order has one lane, and its exit code speaks of its own `attempts`; those of None are all there.
    """
    for order in orders:
        order.tools.observe("collect.started", {})
    crew = Crew(orders)
    commits, machine = orders[0].tools.commits, orders[0].tools.machine
    await commits.write(lambda ledger: ledger.recover(machine.wall()))
    async with signals_heard(crew.jobs[0].work.control), leased(orders[0].tools):
        await crew.work()
        await commits.flush()
    return [await _count(job) for job in crew.jobs]


@asynccontextmanager
async def leased(tools: Tools) -> AsyncIterator[None]:
    """The lanes stay this process's for as long as this is open, where machines share the ledger."""
    if tools.leases is None:
        yield
        return
    async with tools.leases.kept():
        yield


async def _count(job: _Job) -> RunResult:
    control, attempts, read = job.work.control, job.order.attempts, job.work.tools.commits.read
    ((_, tools),) = job.order.lanes.items()
    counts = Counter(await read(lambda reader: reader.count_states(tools.origin, tools.provider.name)))
    spoken_of = counts
    if attempts is not None:
        spoken_of = Counter(await read(lambda reader: reader.states_of(attempts)))
    conditions = set(control.conditions)
    if any(spoken_of[state] for state in AWAITED):
        conditions.add(ExitCode.TRY_AGAIN)
    if spoken_of[TaskState.HELD]:
        conditions.add(ExitCode.PERSON_NEEDED)
    exit_code = ExitCode.first(conditions)
    job.work.tools.observe("collect.finished", {"exit_code": int(exit_code), "reasons": control.reasons})
    return RunResult(exit_code, control.reasons, counts)
