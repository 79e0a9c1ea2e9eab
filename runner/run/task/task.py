"""One task's life, from intent to files; the one place where exceptions become results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

import anyio

from runner.errors import ExitCode, NothingSentError
from runner.lane.costs import note_cost
from runner.lane.paid import InDoubt, Paid, paid_of
from runner.lane.submit import Submission, Submitter
from runner.ledger.caps import Overshoot
from runner.ledger.ledger import Ledger
from runner.ledger.rows import GONE, AttemptRow, OutputRow
from runner.ledger.states import Reason, Resolution, TaskState
from runner.plan.task import Task
from runner.providers.base import Generation, GenerationStatus, RemoteFileKind
from runner.run.task.body import make_body, put_inputs
from runner.run.task.deliver import Delivery
from runner.run.task.session import Session
from runner.run.task.watch import GoneError, LeftForLater, Watch


@dataclass(frozen=True, slots=True)
class Ended:
    """A task that has succeeded at the service, whose files are still to be fetched."""

    watch: Watch
    generation: Generation


@dataclass(slots=True)
class TaskLife:
    """One task on its way; what becomes of it stands in the ledger.

    A life is one of `buy`, `follow`, `fetch_again` and `fetch_given_up`. `name` is what a person is told
    until the task's own name is read.
    """

    session: Session
    name: str
    identity: str
    place: AbstractContextManager[None] | None = None
    """In flight, where it was given one; it takes its own where it needs another."""
    _paid: Paid | None = None
    _gone: frozenset[RemoteFileKind] = frozenset()

    async def buy(
        self,
        submitter: Submitter,
        task: Task,
        latest: AttemptRow | None,
        reason: Reason,
    ) -> None:
        """Submits a task and fetches what it makes.

        A submit in doubt gives its place in flight to others until it is clarified.
        """
        body = partial(make_body, self.session, task)
        submission = Submission(submitter, task, body, latest, reason)
        try:
            end = await self._at_the_service(partial(self._submit, submission), is_paid=False)
            while isinstance(end, InDoubt):
                match await self._clarify(end.attempt_id):
                    case Resolution.ADOPTED:
                        end = await self._at_the_service(partial(self._read, end.attempt_id), is_paid=True)
                    case Resolution.ABSENT if self.session.may_submit:
                        absent = await self._attempt(end.attempt_id)
                        submission = replace(submission, latest=absent, reason=Reason.RECONCILE)
                        end = await self._at_the_service(submission.submit, is_paid=False)
                    case _:
                        end = None
            await self._fetch(end)
        finally:
            self._forget(submission.attempt_id)

    def leave(self) -> None:
        """Gives back a place in flight that it was given and never took: it broke before."""
        place, self.place = self.place, None
        if place is not None:
            with place:
                pass

    async def follow(self, attempt: AttemptRow) -> None:
        """Goes on with what an earlier session has left in flight or in doubt."""
        try:
            is_unclear = attempt.state is TaskState.AMBIGUOUS
            if is_unclear and await self._clarify(attempt.id) is not Resolution.ADOPTED:
                return
            await self._fetch(await self._at_the_service(partial(self._read, attempt.id), is_paid=True))
        finally:
            self._forget(attempt.id)

    async def fetch_again(self, attempt_id: str) -> frozenset[RemoteFileKind]:
        """Fetches the missing files of a done task; gives the kinds that the service has no more."""
        await self._fetch(await self._at_the_service(partial(self._read, attempt_id), is_paid=False))
        return self._gone

    async def fetch_given_up(self, attempt: AttemptRow) -> bool | None:
        """Fetches a paid task that was given up. False where the service no longer has it, which a 404 says
        only once its record's life is over; None where nobody can say.
        """
        is_there = await self._is_there(await self._read(attempt.id))
        if is_there:
            tools, at = self.session.tools, self.session.tools.machine.wall()
            await tools.commits.write(lambda ledger: ledger.reopen(attempt.id, at))
            who = {"task": self.name, "identity": attempt.identity, "attempt": attempt.id}
            tools.observe("task.reopened", who)
            await self.follow(await self._attempt(attempt.id))
        return is_there

    async def _submit(self, submission: Submission) -> Paid | InDoubt | None:
        if not self.session.may_submit:
            return None
        # here a stop may cut it; a submit is shielded
        await put_inputs(self.session, submission.task)
        return await submission.submit()

    async def _clarify(self, attempt_id: str) -> Resolution | None:
        with self.session.lane.gate.work():
            return await self.session.work.reconciler.clarify(attempt_id, self.session.control)
        return None  # the lane was closed

    async def _at_the_service(
        self, begin: Callable[[], Awaitable[Paid | InDoubt | None]], *, is_paid: bool
    ) -> Ended | InDoubt | None:
        """Holds a place in flight from the first submit, or the first look, until the task has ended.

        `begin` submits the task, or takes up one that was submitted before.
        """
        with self.place or await self.session.lane.in_flight.place(is_paid=is_paid):
            self.place = None
            async with self._contained():
                with self.session.lane.gate.work():
                    return await self._to_its_end(begin)
        return None  # what was raised is a condition now, or the lane was closed

    async def _to_its_end(
        self, begin: Callable[[], Awaitable[Paid | InDoubt | None]]
    ) -> Ended | InDoubt | None:
        begun = await begin()
        if not isinstance(begun, Paid):
            return begun
        self._paid = begun
        watch = Watch(self.session, begun)
        generation = await watch.until_ended()
        if generation.status is GenerationStatus.SUCCEEDED:
            return Ended(watch, generation)
        # before its place is another's: `run.max_failures` counts it before the next submit
        await self._end_without_video(begun, generation)
        return None

    async def _fetch(self, end: Ended | InDoubt | None) -> None:
        """Makes the success of a task durable, and brings its files."""
        if isinstance(end, Ended):
            async with self._contained():
                await self._deliver(end)

    async def _end_without_video(self, paid: Paid, generation: Generation) -> None:
        if paid.is_collecting:
            # the service took back a success: the paid result stays wanted (row 35)
            raise LeftForLater(f"{paid.name}: succeeded before, and now says {generation.raw_status}")
        expired = generation.status is GenerationStatus.EXPIRED
        code = generation.error_code or generation.raw_status
        message = generation.error_message or f"the service says {generation.raw_status}"
        passed = await self.session.tools.commits.write(
            lambda ledger: note_cost(ledger, self.session.lane.provider, paid.attempt_id, generation)
        )
        self.session.control.exceeded(self.session.lane.gate.account, passed)
        await self._fail(paid, code, message, expired=expired)
        self.session.control.count_failure(paid.identity)

    async def _deliver(self, end: Ended) -> None:
        paid, generation, at = end.watch.paid, end.generation, self.session.tools.machine.wall()

        def collect(ledger: Ledger) -> tuple[Overshoot, ...]:
            ledger.collect(paid.attempt_id, at)
            return note_cost(ledger, self.session.lane.provider, paid.attempt_id, generation)

        if not paid.is_collecting:
            passed = await self.session.tools.commits.write(collect)
            self.session.control.exceeded(self.session.lane.gate.account, passed)
        if not any(file.kind is RemoteFileKind.VIDEO for file in generation.files):
            generation = await end.watch.refresh()
        delivered = await Delivery(end.watch).deliver(generation)
        if paid.is_done:
            self._gone = delivered.missing
        else:
            if delivered.missing:
                # the video is what was paid for, and it is here
                names = " and ".join(sorted(delivered.missing))
                self.session.control.condition(
                    ExitCode.TASK_FAILED,
                    f"{paid.name}: the video is here, but the service has no {names} for it, which was asked"
                    " for",
                    identity=paid.identity,
                )
            at = self.session.tools.machine.wall()
            await self.session.tools.commits.write(lambda ledger: ledger.finish(paid.attempt_id, (), at))
        self._tell_done(paid, delivered.rows)

    async def _is_there(self, paid: Paid) -> bool | None:
        async with self._contained():
            with self.session.lane.gate.work():
                try:
                    await Watch(self.session, paid).look()
                except GoneError:
                    return False
                return True
        return None  # what was raised is a condition now, or the lane was closed

    @asynccontextmanager
    async def _contained(self) -> AsyncIterator[None]:
        """Whatever is raised in here becomes a condition of the run."""
        control = self.session.control
        try:
            try:
                yield
            except LeftForLater as left:
                control.condition(left.code, str(left), identity=self.identity)
                control.left(self.name, str(left), self.identity)
            except GoneError as gone:
                await self._lose(gone)
            except NothingSentError as error:
                control.condition(error.exit_code, str(error))
                control.left(self.name, str(error), self.identity)
        except Exception:
            with control.contained(
                self.name, self.identity
            ):  # only now: the name may have been read meanwhile
                raise

    async def _lose(self, gone: GoneError) -> None:
        """The service no longer has what was paid for; of a done task only some files are missing then."""
        paid, tools = self._paid, self.session.tools
        assert paid is not None
        if paid.is_done:
            self._gone = await Delivery(Watch(self.session, paid)).missing()
            return
        said = f"{gone}: its result can no longer be fetched"
        # published, and killed before the ledger knew: nothing proves now whose file it is
        is_known = await tools.commits.read(lambda reader: reader.owners([paid.output]))
        there = tools.project.base / paid.output
        if not is_known and await tools.machine.threads.run(tools.files.stat, there) is not None:
            said += f"; a file stands at {paid.output}, which may be its video"
        await self._fail(paid, GONE, said, expired=True)

    async def _fail(self, paid: Paid, code: str, message: str, *, expired: bool) -> None:
        tools, at = self.session.tools, self.session.tools.machine.wall()
        await tools.commits.write(
            lambda ledger: ledger.fail(paid.attempt_id, code, message, at, expired=expired)
        )
        tools.observe(
            "task.expired" if expired else "task.failed",
            {**paid.words, "code": code, "error": message},
        )

    def _tell_done(self, paid: Paid, rows: tuple[OutputRow, ...]) -> None:
        observe = self.session.tools.observe
        video = next((row.path for row in rows if row.kind is RemoteFileKind.VIDEO), paid.output)
        # a WebM at `s1.webm` has the name that was asked for
        if PurePosixPath(video).with_suffix("") != PurePosixPath(paid.output).with_suffix(""):
            observe(
                "task.renamed",
                {"task": paid.name, "identity": paid.identity, "path": video, "taken": paid.output},
            )
        observe("task.done", paid.words)

    async def _read(self, attempt_id: str) -> Paid:
        """An attempt that the service has accepted, as the ledger has it now."""
        tools = self.session.tools
        now = anyio.current_time()
        paid = await tools.commits.read(lambda reader: paid_of(reader, attempt_id, tools.machine, now))
        self.name, self._paid = paid.name, paid
        return paid

    async def _attempt(self, attempt_id: str) -> AttemptRow:
        attempt = await self.session.tools.commits.read(lambda reader: reader.attempt(attempt_id))
        assert attempt is not None
        return attempt

    def _forget(self, attempt_id: str) -> None:
        if self.session.tools.hints is not None:
            self.session.tools.hints.forget(attempt_id)
