"""What runs beside what: everything in flight at once, new tasks as there is room for them."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVarTuple

import anyio
from anyio.abc import TaskGroup

from runner.errors import ExitCode, OutOfMoneyError, StateError
from runner.http.verdicts import ProviderError, Trouble
from runner.job.task import LAST_FRAME, Task
from runner.lane.control import Control
from runner.lane.late import Lookback
from runner.lane.pace import Breaker, Gauge, PrioritySlots
from runner.lane.reconcile import Reconciler
from runner.lane.retry import Retry
from runner.lane.standing import BATCH, Standing, above, aside, standings
from runner.lane.world import Paid, ServerClock, World, paid_of
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow, OutputRow
from runner.ledger.states import Resolution, TaskState
from runner.plan.plan import Plan
from runner.providers.base import RemoteFileKind
from runner.run.dating import ClockDate
from runner.run.only import Only
from runner.run.prepare import Resubmit
from runner.run.task import Lifecycle
from runner.store.files import place_copy

Ts = TypeVarTuple("Ts")

HELLO_TRIES = 4

LIMITED_TRIES = 60
"""So many 429s in a row to the first GET are enough, however short the waits between them are."""


@dataclass(slots=True)
class _Followed:
    """`attempts` of one identity are still taken care of; `task` is known once the plan named it."""

    attempts: int = 0
    task: Task | None = None


@dataclass(slots=True)
class Scheduler:
    """Feeds the lifecycle. `absent` collects the identities whose files are gone for good."""

    world: World
    control: Control
    lifecycle: Lifecycle
    ping: Callable[[], Awaitable[None]]
    """One free GET, which tells `clock` the service's time. Raises ProviderError."""
    breaker: Breaker
    clock: ServerClock
    downloads: PrioritySlots
    in_flight: Gauge
    reconciler: Reconciler
    lookback: Lookback
    concurrency: int
    run_id: str | None = None
    """None where nothing is submitted, and every task counts."""
    attempts: frozenset[str] | None = None
    """The ids of what is followed of earlier sessions; None: all that is in flight or in doubt."""
    resubmit: Resubmit | None = None
    asked_again: frozenset[str] = frozenset()
    """The identities that `resubmit` means."""
    roots: tuple[Task, ...] = ()
    """The tasks to begin with."""
    only: Only | None = None
    clock_date: ClockDate | None = None
    """The run's date as long as the service's clock has not confirmed it."""
    absent: set[str] = field(default_factory=set)
    frameless: set[str] = field(default_factory=set)
    """Identities whose last frame never came, and the service has it no more."""
    _followed: dict[str, _Followed] = field(default_factory=dict)
    """By identity, what is in flight or in doubt since an earlier session."""
    _began: float = field(default_factory=anyio.current_time)
    _has_answered: bool = False
    """Whether the first GET was answered, with or without the service's time."""
    _resubmitted: set[str] = field(default_factory=set)
    """Identities that a person asked for again, and those submitted along with them."""

    async def run(self, plan: Plan | None) -> None:
        """Collects all that is in flight, whatever run it is from, and submits the plan's new tasks."""
        async with anyio.create_task_group() as background:
            background.start_soon(self.breaker.heal)
            background.start_soon(self.reconciler.run)
            async with anyio.create_task_group() as work:
                await self._follow(work, plan)
                # before anything is submitted: what is found now is not bought again
                for attempt in await self.lookback.find():
                    self._take_up(work, plan, attempt)
                if plan is not None:
                    if cached := len(plan.roots) - len(self.roots):
                        self.world.observe("run.cached", {"tasks": cached})
                    with self.control.contained("the tasks still to be started"):
                        await self._feed(work, plan, self.roots)
            found = await self.lookback.find()
            async with anyio.create_task_group() as work:
                for attempt in found:
                    self._take_up(work, plan, attempt)
            background.cancel_scope.cancel()

    async def _follow(self, work: TaskGroup, plan: Plan | None) -> None:
        """Takes up what earlier sessions left in flight or in doubt, whatever run it is from."""
        origin, provider = self.world.origin, self.world.provider.name

        def left(*states: TaskState) -> Callable[[LedgerReader], list[AttemptRow]]:
            return lambda reader: [
                attempt
                for attempt in reader.in_state(*states, origin=origin, provider=provider)
                if self.attempts is None or attempt.id in self.attempts
            ]

        in_flight = await self.world.commits.read(left(TaskState.SUBMITTED, TaskState.COLLECTING))
        in_doubt = await self.world.commits.read(left(TaskState.AMBIGUOUS))
        if in_doubt:
            self.world.observe(
                "run.unclear", {"tasks": len(in_doubt), "settle": self.reconciler.policy.settle}
            )
        if plan is not None:
            self.control.strangers = self._strangers(plan, (*in_flight, *in_doubt))
        for attempt in (*in_flight, *in_doubt):
            self._take_up(work, plan, attempt)

    def _take_up(self, work: TaskGroup, plan: Plan | None, attempt: AttemptRow) -> None:
        self._followed.setdefault(attempt.identity, _Followed()).attempts += 1
        if attempt.state is TaskState.AMBIGUOUS:
            self._begin(work, _short(attempt), self._clarify, work, plan, attempt)
        else:
            self.in_flight.enter()
            self._begin(work, _short(attempt), self._bring_in, work, plan, attempt)

    def _leave_off(self, attempt: AttemptRow) -> Task | None:
        """The plan's task of an attempt that is taken care of; None where the plan has not named it, or
        another attempt of it is still under way.
        """
        followed = self._followed[attempt.identity]
        followed.attempts -= 1
        if followed.attempts:
            return None
        del self._followed[attempt.identity]
        return followed.task

    def _strangers(self, plan: Plan, attempts: Sequence[AttemptRow]) -> frozenset[str]:
        """The identities among these attempts that neither this run nor its plan knows."""
        others = frozenset(attempt.identity for attempt in attempts if attempt.run_id != self.run_id)
        return others.difference(task.identity for task in plan.tasks) if others else others

    def _begin(
        self, work: TaskGroup, name: str, function: Callable[[*Ts], Awaitable[None]], *args: *Ts
    ) -> None:
        """Runs it beside the rest; what it raises is its own trouble."""

        async def contained() -> None:
            with self.control.contained(name):
                await function(*args)

        work.start_soon(contained)

    async def _bring_in(self, work: TaskGroup, plan: Plan | None, attempt: AttemptRow) -> None:
        try:
            paid = await self._paid(attempt.id)
        except BaseException:
            self.in_flight.leave()
            raise
        await self.lifecycle.bring_in(paid)
        task = self._leave_off(attempt)
        if plan is None or task is None:
            return
        if task.output != paid.output:
            # the job has another path for it by now
            base = self.world.project.base
            found = await self.world.commits.read(lambda reader: list(standings([task], reader, base)))
            for standing in found:
                if standing.state is TaskState.DONE and standing.elsewhere:
                    await self._place(standing)
        await self._descend(work, plan, task)

    async def _clarify(self, work: TaskGroup, plan: Plan | None, attempt: AttemptRow) -> None:
        resolution = await self.reconciler.clarify(attempt.id)
        if resolution is Resolution.ADOPTED:
            self.in_flight.enter()
            await self._bring_in(work, plan, attempt)
            return
        task = self._leave_off(attempt)
        if resolution is Resolution.ABSENT and plan is not None and task is not None:
            await self._start_new(work, plan, task, await self._latest(task), "reconcile")

    async def _buy(
        self, work: TaskGroup, plan: Plan, task: Task, latest: AttemptRow | None, reason: str
    ) -> None:
        await self.lifecycle.buy(task, latest, reason)
        await self._descend(work, plan, task)

    async def _descend(self, work: TaskGroup, plan: Plan, task: Task) -> None:
        """Goes on with the tasks that need this one, where it is done."""
        if not plan.children(task):
            return
        found = await self.world.commits.read(lambda reader: reader.standing_attempts([task.identity]))
        if task.identity in found and found[task.identity].state is TaskState.DONE:
            if await self._awaits_frame(plan, task):
                await self._ask_for_frame(task, found[task.identity])
            await self._feed(work, plan, plan.children(task))

    async def _awaits_frame(self, plan: Plan, task: Task) -> bool:
        """Whether a task of the plan begins with the last frame of this one, and it never came."""
        first = next((child for child in plan.children(task) if _begins_with_frame(child)), None)
        if first is None:
            return False
        found = await self.world.commits.read(lambda reader: above([first], reader))
        return task.identity in found.frameless

    async def _ask_for_frame(self, task: Task, attempt: AttemptRow) -> None:
        """A done task whose last frame never came: the service may have it by now."""
        if RemoteFileKind.LAST_FRAME not in await self.lifecycle.fetch_again(await self._paid(attempt.id)):
            return
        self.frameless.add(task.identity)
        self.control.condition(
            ExitCode.TASK_FAILED,
            f"{task.name}: its last frame never came, and what begins with it cannot be made;"
            " hint: `callsheet run JOB --again NAME` makes a new take, which is paid for",
        )

    async def _paid(self, attempt_id: str) -> Paid:
        def query(reader: LedgerReader) -> Paid:
            attempt = reader.attempt(attempt_id)
            assert attempt is not None
            return paid_of(reader, attempt, self.world.seams)

        return await self.world.commits.read(query)

    async def _latest(self, task: Task) -> AttemptRow | None:
        found = await self.world.commits.read(lambda reader: reader.latest([task.identity]))
        return found.get(task.identity)

    async def _feed(self, work: TaskGroup, plan: Plan, tasks: Sequence[Task]) -> None:
        waiting = standings(tasks, self.world.commits.ledger.read, self.world.project.base)
        while batch := await self.world.commits.read(lambda _: list(itertools.islice(waiting, BATCH))):
            cached = sum(standing.state is TaskState.DONE for standing in batch)
            if cached:
                self.world.observe("run.cached", {"tasks": cached})
            for standing in batch:
                with self.control.contained(standing.task.name):
                    await self._start(work, plan, standing)

    async def _start(self, work: TaskGroup, plan: Plan, standing: Standing) -> None:
        task, asked = standing.task, self.resubmit
        match standing.state:
            case state if asked is not None and asked.allows(state) and task.identity in self.asked_again:
                self._resubmitted.add(task.identity)
                latest = await self._latest(task)
                if asked.reason == "retry" and latest is not None and latest.is_given_up:
                    self._begin(work, task.name, self._look_again, work, plan, task, latest, asked.reason)
                else:
                    await self._start_new(work, plan, task, latest, asked.reason)
            case TaskState.PLANNED if asked is not None and not asked.takes_along(
                standing, self._resubmitted
            ):
                self.control.condition(
                    ExitCode.TRY_AGAIN, "retry submits what failed; run goes on with the rest"
                )
            case TaskState.PLANNED:
                if asked is not None:
                    self._resubmitted.add(task.identity)
                await self._start_new(work, plan, task, standing.attempt, "run", standing.gives_way)
            case TaskState.ABSENT:
                await self._in_turn()
                self.in_flight.enter()
                self._begin(work, task.name, self._fetch_again, work, plan, standing)
            case TaskState.DONE:
                if standing.elsewhere:
                    await self._place(standing)
                if await self._awaits_frame(plan, task):
                    self._begin(work, task.name, self._descend, work, plan, task)
                elif plan.children(task):
                    await self._feed(work, plan, plan.children(task))
            case _ if task.identity in self._followed:
                self._followed[task.identity].task = task
            case _:
                await self._catch_up(work, plan, task)

    async def _catch_up(self, work: TaskGroup, plan: Plan, task: Task) -> None:
        """For a task that was in flight or in doubt when its batch was read, and is not any more."""
        latest = await self._latest(task)
        if latest is not None and latest.state is TaskState.PLANNED:
            await self._start_new(work, plan, task, latest, "reconcile")
        else:
            await self._descend(work, plan, task)

    def _may_start(self, task: Task) -> bool:
        return self.control.may_submit and (self.only is None or self.only.names(task))

    async def _start_new(
        self,
        work: TaskGroup,
        plan: Plan,
        task: Task,
        attempt: AttemptRow | None,
        reason: str,
        gives_way: Sequence[OutputRow] = (),
    ) -> None:
        if not self._may_start(task):
            return
        if not self.clock.is_known and not await self._hello():
            return
        if not self._may_use_its_date():
            return
        await self._in_turn()
        if self.control.may_submit and await self._make_way(task, gives_way):
            self.in_flight.enter()
            self._begin(work, task.name, self._buy, work, plan, task, attempt, reason)

    async def _in_turn(self) -> None:
        """Waits for a place at the service; downloads that do not keep up come before new work."""
        await self.in_flight.below(self.concurrency)
        await self.downloads.room()

    async def _hello(self) -> bool:
        """One free GET before the first POST: the key, the service's time, and whether it answers at all."""
        if self._has_answered:
            return True
        retry = Retry(self.world.seams.random)
        while True:
            try:
                await self.ping()
            except ProviderError as error:
                retry.failed()
                if self._stops_at_hello(error, retry.failures) or not self.control.may_submit:
                    return False
                pause = retry.pause()
                self.control.waiting(f"the service, before the first submit ({error.message})", pause, 0)
                await anyio.sleep(pause)
            except Exception as error:  # once, and not again for each task that would be started
                self.control.defect("the first look at the service", error)
                self.control.stop_submitting(ExitCode.BUG, "nothing was sent")
                return False
            else:
                self._has_answered = True
                return True

    def _may_use_its_date(self) -> bool:
        """Whether the service's clock does not speak against the run's date, or no answer had a Date."""
        heard = self.clock.heard()
        if self.clock_date is None or not heard:
            return True
        elapsed = anyio.current_time() - self._began
        # one of the readings may be that of an edge with a clock of its own
        doubt = min((self.clock_date.doubt(reading - elapsed) for reading in heard), key=len)
        if doubt:
            self.control.stop_submitting(ExitCode.REFUSED, f"{self.world.origin}: {doubt}")
            return False
        self.clock_date = None
        return True

    async def _look_again(
        self, work: TaskGroup, plan: Plan, task: Task, attempt: AttemptRow, reason: str
    ) -> None:
        """A paid task that was given up: fetched where the service still has it, bought again where not."""
        is_there = await self.lifecycle.is_there(await self._paid(attempt.id))
        if is_there is False:
            await self._start_new(work, plan, task, attempt, reason)
        if is_there is None:
            said = f"{task.name}: not bought again while the service may still have it; hint: `callsheet run"
            self.control.condition(
                ExitCode.TRY_AGAIN, f"{said} JOB --again {task.name}` buys it all the same"
            )
        if not is_there:
            return
        at = self.world.seams.wall()
        await self.world.commits.write(lambda ledger: ledger.reopen(attempt.id, at))
        self.world.observe("task.reopened", {"task": task.name, "identity": task.identity})
        self.in_flight.enter()
        await self.lifecycle.bring_in(await self._paid(attempt.id))
        await self._descend(work, plan, task)

    def _stops_at_hello(self, error: ProviderError, failures: int) -> bool:
        """Whether nothing will be submitted because of `error`, which has been told then."""
        match error.trouble:
            case Trouble.KEY_REFUSED:
                code, said = ExitCode.KEY_REFUSED, f"the service refused the API key: {error.message}"
            case Trouble.USED_UP:
                self.control.refuse(OutOfMoneyError.used_up(f"{error.message}; nothing was sent"))
                return True
            case Trouble.RATE_LIMITED:
                if failures < LIMITED_TRIES:
                    return False
                code, said = ExitCode.TRY_AGAIN, error.message
            case _ if failures >= HELLO_TRIES or error.trouble is Trouble.CERTIFICATE:
                code, said = (
                    ExitCode.UNREACHABLE,
                    f"{self.world.origin}: the API cannot be used: {error.message}",
                )
            case _:
                return False
        hint = "; hint: check the network and the base URL" if code is ExitCode.UNREACHABLE else ""
        self.control.stop_submitting(code, f"{said}; nothing was sent{hint}")
        return True

    async def _fetch_again(self, work: TaskGroup, plan: Plan, standing: Standing) -> None:
        assert standing.attempt is not None
        try:
            paid = await self._paid(standing.attempt.id)
            missing = await self.lifecycle.fetch_again(paid)
        finally:
            self.in_flight.leave()
        if missing & standing.published:
            self.absent.add(standing.task.identity)
            self.world.observe(
                "task.absent", {"task": standing.task.name, "identity": standing.task.identity}
            )
        await self._descend(work, plan, standing.task)

    async def _make_way(self, task: Task, rows: Sequence[OutputRow]) -> bool:
        """Moves aside what a rehearsal at another server left where this one's files will stand.

        A kill on the way leaves a file under both names, and a row in the ledger for each that it has.
        """
        if not rows:
            return True
        base = self.world.project.base
        moved = await self.world.seams.threads.run(aside, rows, base)
        try:
            for row, to in zip(rows, moved, strict=True):
                await self.world.seams.threads.run(self._copy, row.path, to.path)
        except (OSError, StateError) as error:
            reason = f"{task.name}: {row.path} cannot be moved aside: {error}"
            self.control.condition(ExitCode.CANNOT_WRITE, reason)
            self.world.observe("task.left", {"task": task.name, "reason": reason})
            return False
        await self.world.commits.write(lambda ledger: ledger.add_outputs(moved))
        for row, to in zip(rows, moved, strict=True):
            await self.world.seams.threads.run(self.world.files.remove, base / row.path)
            self.world.observe("task.moved_aside", {"task": task.name, "path": row.path, "to": to.path})
        return True

    async def _place(self, standing: Standing) -> None:
        """A known identity under a new path: linked or copied, never bought again."""
        stem = standing.task.output.removesuffix(".mp4")
        taken: set[str] = set()
        rows: list[OutputRow] = []
        for row in standing.elsewhere:
            suffix = "" if row.ordinal == 1 else f"-{row.ordinal}"
            path = f"{stem}{suffix}{'.last.png' if row.path.endswith('.png') else '.mp4'}"
            if path in taken:
                continue
            taken.add(path)
            try:
                await self.world.seams.threads.run(self._copy, row.path, path)
            except (OSError, StateError) as error:
                reason = f"{path}: cannot place {row.path} there: {error}"
                self.control.condition(ExitCode.CANNOT_WRITE, reason)
                self.world.observe("task.left", {"task": standing.task.name, "reason": reason})
                return
            rows.append(
                OutputRow(
                    path=path,
                    identity=row.identity,
                    attempt_id=row.attempt_id,
                    kind=row.kind,
                    ordinal=row.ordinal,
                    bytes=row.bytes,
                    sha256=row.sha256,
                    media=row.media,
                    created_at=self.world.seams.wall(),
                )
            )
        await self.world.commits.write(lambda ledger: ledger.add_outputs(rows))
        self.world.observe("task.placed", {"task": standing.task.name, "path": standing.task.output})

    def _copy(self, source: str, target: str) -> None:
        base = self.world.project.base
        place_copy(self.world.files, base / source, base / target)


def _begins_with_frame(task: Task) -> bool:
    return task.upstream is not None and LAST_FRAME in task.upstream.uses


def _short(attempt: AttemptRow) -> str:
    return f"task {attempt.identity[:12]}"
