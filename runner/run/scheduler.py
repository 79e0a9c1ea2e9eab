"""What runs beside what: a plan's tasks as there is room for them in their lanes, each after those that it
builds on.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

import anyio
from anyio.abc import TaskGroup

from runner.errors import ExitCode
from runner.job.expressions.expressions import LAST_FRAME
from runner.lane.lane import Lane
from runner.lane.submit import Submitter
from runner.ledger.columns import BATCH
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow
from runner.ledger.states import Reason, TaskState
from runner.plan.task import Task
from runner.providers.base import RemoteFileKind
from runner.run.dating import DateCheck
from runner.run.finish import Lost
from runner.run.prepare import Prepared
from runner.run.task.progress import Progress, needs_of, progress_of
from runner.run.task.relocate import put_in_place
from runner.run.task.session import JobWork, Session, UnderWay
from runner.run.task.task import TaskLife

_CLAIMED_LATER = frozenset({TaskState.PLANNED, TaskState.WAITING, TaskState.SKIPPED, TaskState.DONE})
"""States of a task that claims its path with its intent, or once its files are in place."""

_TO_START = "the tasks still to be started"

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(slots=True)
class Scheduler:
    """Starts the tasks of a run in `work`, beside what earlier ones have left."""

    job: JobWork
    prepared: Prepared
    work: TaskGroup
    lost: Lost
    _date: DateCheck = field(init=False)
    _resubmitted: set[str] = field(default_factory=set)
    """Identities that a person asked for again, and those submitted along with them."""
    _passed: set[str] = field(default_factory=set)
    """Identities of tasks that are done and here, after which others may start."""
    _joined: set[str] = field(default_factory=set)
    """Identities of tasks that build on several others and have started: each of those may be the last."""
    _left: frozenset[str] = frozenset()
    """Identities of edits that nobody agreed to."""

    def __post_init__(self) -> None:
        self._date = DateCheck(self.prepared.clock_date, anyio.current_time())

    async def start(self) -> None:
        """Returns when each task that needs no other has its place; the rest runs beside `followed`."""
        if (edits := self.prepared.left_edits) is not None:
            self._left = edits.identities
            self.job.control.condition(ExitCode.REFUSED, edits.refusal(self.prepared.plan.job.run.on_edit))
        roots = self.prepared.roots
        if cached := len(self.prepared.plan.roots) - len(roots):
            self.job.control.observe("run.cached", {"tasks": cached})
        with self.job.control.contained(_TO_START):
            await self._start_all(roots)

    @property
    def _under_way(self) -> UnderWay:
        return next(iter(self.job.sessions.values())).shared.under_way

    def _session(self, task: Task) -> Session:
        return self.job.sessions[task.account]

    async def _start_all(self, tasks: Sequence[Task]) -> None:
        """In plan order, lane by lane: no lane waits for a place in another."""
        by_lane: dict[Lane, list[Task]] = {}
        for task in tasks:
            by_lane.setdefault(self._session(task).lane, []).append(task)
        if len(by_lane) == 1:
            await self._start_each(tasks)
        else:
            for there in by_lane.values():
                self._beside(_TO_START, self._start_each, there)

    async def _start_each(self, tasks: Sequence[Task]) -> None:
        tools, control = self.job.tools, self.job.control
        waiting = progress_of(tasks, tools.commits.ledger.read, tools.project.base)
        while batch := await tools.commits.read(lambda _: list(itertools.islice(waiting, BATCH))):
            if cached := sum(progress.state is TaskState.DONE for progress in batch):
                control.observe("run.cached", {"tasks": cached})
            for progress in batch:
                with control.contained(progress.task.name, progress.task.identity):
                    await self._start(progress)

    async def _start(self, progress: Progress) -> None:
        task, asked, session = progress.task, self.prepared.resubmit, self._session(progress.task)
        if session.lane.is_anothers and not (progress.state is TaskState.DONE and not progress.elsewhere):
            session.lane.gate.join(session.control)
            return
        if progress.is_displaced and progress.state not in _CLAIMED_LATER:
            # an edit was undone while this one was on its way: what it makes goes to its path
            await session.tools.commits.write(lambda ledger: ledger.claim(task.output, task.identity))
        match progress.state:
            case state if (
                asked is not None and asked.allows(state) and task.identity in self.prepared.asked_again
            ):
                self._resubmitted.add(task.identity)
                latest = await self._latest(task)
                if asked.reason is Reason.RETRY and latest is not None and latest.is_given_up:
                    self._beside(task.name, self._fetch_given_up, task, latest)
                else:
                    await self._buy(task, latest, asked.reason)
            case TaskState.PLANNED if asked is not None and not asked.takes_along(
                progress, self._resubmitted
            ):
                self.job.control.condition(
                    ExitCode.TRY_AGAIN, "retry submits what failed; run goes on with the rest"
                )
            case TaskState.PLANNED:
                if asked is not None:
                    self._resubmitted.add(task.identity)
                await self._buy(task, progress.attempt, Reason.RUN)
            case TaskState.ABSENT:
                await self._live(task, lambda life: self._fetch_again(life, progress))
            case TaskState.DONE:
                if progress.elsewhere:
                    await put_in_place(self._session(task), progress)
                if await self._awaits_frame(task):
                    self._beside(task.name, self._descend, task)
                else:
                    await self._go_on_after(task)
            case _ if task.identity in self._under_way:
                self._beside(task.name, self._catch_up, task)
            case _:
                await self._catch_up(task)

    async def _buy(self, task: Task, latest: AttemptRow | None, reason: Reason) -> None:
        """Returns when the task has its place at the service."""
        only, session = self.prepared.only, self._session(task)
        if task.identity in self._left or not (only is None or only.names(task)):
            return
        session.lane.gate.join(session.control)
        if not session.work.is_looked_over.is_set():  # no checkpoint: as in `Lane.answers`
            await session.work.is_looked_over.wait()
        run = self.prepared.run
        submitter = Submitter(
            session.lane,
            session.control,
            session.tools.observe,
            self.prepared.plan.job.accounts[task.account],
            run.id,
            run.job_file,
            self.prepared.caps,
        )
        if not session.may_submit or not await session.lane.answers(submitter.may_submit):
            return
        if doubt := self._date.doubt(session.lane.clock.heard(), anyio.current_time()):
            session.control.stop_submitting(ExitCode.REFUSED, f"{session.lane.origin}: {doubt}")
            return
        await self._live(task, lambda life: life.buy(submitter, task, latest, reason))

    async def _live(self, task: Task, story: Callable[[TaskLife], Awaitable[None]]) -> None:
        """Returns when there is a place for one more task at the service, and the task has it."""
        session = self._session(task)
        session.lane.gate.join(session.control)
        place = await session.lane.in_flight.place(is_paid=False)
        if task.identity in self._under_way:
            # another job has begun with the same task meanwhile
            with place:
                self._beside(task.name, self._after_another, task)
            return
        life = TaskLife(session, task.name, task.identity, place)
        claim = self._under_way.begin(task.identity)
        self._beside(task.name, self._lived, task, life, story, claim)

    async def _lived(
        self,
        task: Task,
        life: TaskLife,
        story: Callable[[TaskLife], Awaitable[None]],
        claim: AbstractContextManager[None],
    ) -> None:
        with claim:
            try:
                await story(life)
            finally:
                life.leave()
        # where the lane was lost meanwhile, the files of this task may be on the way to another machine
        if not life.session.lane.is_anothers:
            await self._descend(task)

    async def _after_another(self, task: Task) -> None:
        await self._under_way.ended(task.identity)
        await self._start_each([task])

    def _beside(self, name: str, step: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
        """Runs it beside the rest; what it raises is its own trouble."""

        async def contained() -> None:
            with self.job.control.contained(name):
                await step(*args)

        self.work.start_soon(contained)

    async def _descend(self, task: Task) -> None:
        """Goes on with the tasks that need this one, where it is done."""
        if not self.prepared.plan.children(task):
            return
        found = await self._read(lambda reader: reader.standing_attempts([task.identity]))
        attempt = found.get(task.identity)
        if attempt is not None and attempt.state is TaskState.DONE:
            if await self._awaits_frame(task):
                await self._ask_for_frame(task, attempt)
            await self._go_on_after(task)

    async def _go_on_after(self, task: Task) -> None:
        """Starts the tasks that build on this one: one that builds on several after the last of them."""
        self._passed.add(task.identity)
        ready: list[Task] = []
        for child in self.prepared.plan.children(task):
            if len(child.upstreams) > 1:
                is_early = any(upstream.identity not in self._passed for upstream in child.upstreams)
                if is_early or child.identity in self._joined:
                    continue
                self._joined.add(child.identity)
            ready.append(child)
        if ready:
            await self._start_all(ready)

    async def _awaits_frame(self, task: Task) -> bool:
        """Whether a task of the plan begins with the last frame of this one, and it never came."""
        first = next(
            (
                child
                for child in self.prepared.plan.children(task)
                for upstream in child.upstreams
                if upstream.identity == task.identity and LAST_FRAME in upstream.uses
            ),
            None,
        )
        if first is None:
            return False
        return task.identity in (await self._read(lambda reader: needs_of([first], reader))).frameless

    async def _ask_for_frame(self, task: Task, attempt: AttemptRow) -> None:
        """A done task whose last frame never came: the service may have it by now."""
        life = TaskLife(self._session(task), task.name, task.identity)
        if RemoteFileKind.LAST_FRAME not in await life.fetch_again(attempt.id):
            return
        self.lost.frameless.add(task.identity)
        self.job.control.condition(
            ExitCode.TASK_FAILED,
            f"{task.name}: its last frame never came, and what begins with it cannot be made;"
            " hint: `callsheet run JOB --again NAME` makes a new take, which is paid for",
        )

    async def _fetch_again(self, life: TaskLife, progress: Progress) -> None:
        assert progress.attempt is not None
        if await life.fetch_again(progress.attempt.id) & progress.published:
            task = progress.task
            self.lost.absent.add(task.identity)
            life.session.tools.observe("task.absent", {"task": task.name, "identity": task.identity})

    async def _fetch_given_up(self, task: Task, attempt: AttemptRow) -> None:
        """Bought again only where the service no longer has it."""
        match await TaskLife(self._session(task), task.name, task.identity).fetch_given_up(attempt):
            case True:
                await self._descend(task)
            case False:
                await self._buy(task, attempt, Reason.RETRY)
            case None:
                self.job.control.condition(
                    ExitCode.TRY_AGAIN,
                    f"{task.name}: not bought again while the service may still have it; hint: `callsheet run"
                    f" JOB --again {task.name}` buys it all the same",
                )

    async def _catch_up(self, task: Task) -> None:
        """For a task that was in flight or in doubt when its batch was read."""
        await self._under_way.ended(task.identity)
        latest = await self._latest(task)
        if latest is not None and latest.state is TaskState.PLANNED:
            await self._buy(task, latest, Reason.RECONCILE)
            return
        if latest is not None and latest.state is TaskState.DONE:
            # the job may have another path for it by now
            base = self.job.tools.project.base
            for progress in await self._read(lambda reader: list(progress_of([task], reader, base))):
                if progress.state is TaskState.DONE and progress.elsewhere:
                    await put_in_place(self._session(task), progress)
        await self._descend(task)

    async def _latest(self, task: Task) -> AttemptRow | None:
        return (await self._read(lambda reader: reader.latest([task.identity]))).get(task.identity)

    async def _read(self, query: Callable[[LedgerReader], T]) -> T:
        return await self.job.tools.commits.read(query)
