"""What runs beside what: a plan's tasks as there is room for them, each after those that it builds on."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar, TypeVarTuple

import anyio

from runner.errors import ExitCode
from runner.job.expressions import LAST_FRAME
from runner.lane.submit import Submitter
from runner.ledger.read import BATCH, LedgerReader
from runner.ledger.rows import AttemptRow
from runner.ledger.states import Reason, TaskState
from runner.plan.task import Task
from runner.providers.base import RemoteFileKind
from runner.run.dating import DateCheck
from runner.run.finish import Lost
from runner.run.followed import Followed
from runner.run.prepare import Prepared
from runner.run.progress import Progress, needs_of, progress_of
from runner.run.relocate import put_in_place
from runner.run.session import Session
from runner.run.task import TaskLife

_CLAIMED_LATER = frozenset({TaskState.PLANNED, TaskState.WAITING, TaskState.SKIPPED, TaskState.DONE})
"""States of a task that claims its path with its intent, or once its files are in place."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(slots=True)
class Scheduler:
    """Starts the tasks of a run beside what is `followed` of earlier ones."""

    session: Session
    prepared: Prepared
    followed: Followed
    lost: Lost
    _submitter: Submitter = field(init=False)
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
        self._submitter = Submitter(
            self.session.lane,
            slots=anyio.Semaphore(self.session.policy.submit_slots, fast_acquire=True),
            run_id=self.prepared.run.id,
            job_file=self.prepared.run.job_file,
            caps=self.prepared.caps,
        )
        self._date = DateCheck(self.prepared.clock_date, anyio.current_time())

    async def start(self) -> None:
        """Returns when each task that needs no other has its place; the rest runs beside `followed`."""
        if (edits := self.prepared.left_edits) is not None:
            self._left = edits.identities
            self.session.control.condition(ExitCode.REFUSED, edits.refusal(self.session.policy.on_edit))
        roots = self.prepared.roots
        if cached := len(self.prepared.plan.roots) - len(roots):
            self.session.tools.observe("run.cached", {"tasks": cached})
        with self.session.control.contained("the tasks still to be started"):
            await self._start_all(roots)

    async def _start_all(self, tasks: Sequence[Task]) -> None:
        tools = self.session.tools
        waiting = progress_of(tasks, tools.commits.ledger.read, tools.project.base)
        while batch := await tools.commits.read(lambda _: list(itertools.islice(waiting, BATCH))):
            if cached := sum(progress.state is TaskState.DONE for progress in batch):
                tools.observe("run.cached", {"tasks": cached})
            for progress in batch:
                with self.session.control.contained(progress.task.name, progress.task.identity):
                    await self._start(progress)

    async def _start(self, progress: Progress) -> None:
        task, asked = progress.task, self.prepared.resubmit
        if progress.is_displaced and progress.state not in _CLAIMED_LATER:
            # an edit was undone while this one was on its way: what it makes goes to its path
            await self.session.tools.commits.write(lambda ledger: ledger.claim(task.output, task.identity))
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
                self.session.control.condition(
                    ExitCode.TRY_AGAIN, "retry submits what failed; run goes on with the rest"
                )
            case TaskState.PLANNED:
                if asked is not None:
                    self._resubmitted.add(task.identity)
                await self._buy(task, progress.attempt, Reason.RUN)
            case TaskState.ABSENT:
                life = await self._life(task)
                self._beside(task.name, self._lived, task, partial(self._fetch_again, life, progress))
            case TaskState.DONE:
                if progress.elsewhere:
                    await put_in_place(self.session, progress)
                if await self._awaits_frame(task):
                    self._beside(task.name, self._descend, task)
                else:
                    await self._go_on_after(task)
            case _ if task.identity in self.followed:
                self._beside(task.name, self._catch_up, task)
            case _:
                await self._catch_up(task)

    async def _buy(self, task: Task, latest: AttemptRow | None, reason: Reason) -> None:
        """Returns when the task has its place at the service."""
        only, control = self.prepared.only, self.session.control
        if not control.may_submit or not (only is None or only.names(task)):
            return
        if task.identity in self._left:
            return
        if not await self.session.lane.answers():
            return
        if doubt := self._date.doubt(self.session.lane.clock.heard(), anyio.current_time()):
            control.stop_submitting(ExitCode.REFUSED, f"{self.session.lane.origin}: {doubt}")
            return
        story = partial((await self._life(task)).buy, self._submitter, task, latest, reason)
        self._beside(task.name, self._lived, task, story)

    async def _life(self, task: Task) -> TaskLife:
        """Waits until there is a place for one more task at the service."""
        place = await self.session.lane.in_flight.place(is_paid=False)
        return TaskLife(self.session, task.name, task.identity, place)

    async def _lived(self, task: Task, story: Callable[[], Awaitable[None]]) -> None:
        await story()
        await self._descend(task)

    def _beside(self, name: str, step: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
        """Runs it beside the rest; what it raises is its own trouble."""

        async def contained() -> None:
            with self.session.control.contained(name):
                await step(*args)

        self.followed.work.start_soon(contained)

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
        life = TaskLife(self.session, task.name, task.identity)
        if RemoteFileKind.LAST_FRAME not in await life.fetch_again(attempt.id):
            return
        self.lost.frameless.add(task.identity)
        self.session.control.condition(
            ExitCode.TASK_FAILED,
            f"{task.name}: its last frame never came, and what begins with it cannot be made;"
            " hint: `callsheet run JOB --again NAME` makes a new take, which is paid for",
        )

    async def _fetch_again(self, life: TaskLife, progress: Progress) -> None:
        assert progress.attempt is not None
        if await life.fetch_again(progress.attempt.id) & progress.published:
            task = progress.task
            self.lost.absent.add(task.identity)
            self.session.tools.observe("task.absent", {"task": task.name, "identity": task.identity})

    async def _fetch_given_up(self, task: Task, attempt: AttemptRow) -> None:
        """Bought again only where the service no longer has it."""
        match await TaskLife(self.session, task.name, task.identity).fetch_given_up(attempt):
            case True:
                await self._descend(task)
            case False:
                await self._buy(task, attempt, Reason.RETRY)
            case None:
                self.session.control.condition(
                    ExitCode.TRY_AGAIN,
                    f"{task.name}: not bought again while the service may still have it; hint: `callsheet run"
                    f" JOB --again {task.name}` buys it all the same",
                )

    async def _catch_up(self, task: Task) -> None:
        """For a task that was in flight or in doubt when its batch was read."""
        await self.followed.ended(task.identity)
        latest = await self._latest(task)
        if latest is not None and latest.state is TaskState.PLANNED:
            await self._buy(task, latest, Reason.RECONCILE)
            return
        if latest is not None and latest.state is TaskState.DONE:
            # the job may have another path for it by now
            base = self.session.tools.project.base
            for progress in await self._read(lambda reader: list(progress_of([task], reader, base))):
                if progress.state is TaskState.DONE and progress.elsewhere:
                    await put_in_place(self.session, progress)
        await self._descend(task)

    async def _latest(self, task: Task) -> AttemptRow | None:
        return (await self._read(lambda reader: reader.latest([task.identity]))).get(task.identity)

    async def _read(self, query: Callable[[LedgerReader], T]) -> T:
        return await self.session.tools.commits.read(query)
