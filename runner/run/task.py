"""One task's life, from intent to files; the one place where exceptions become results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from runner.errors import ExitCode, NothingSentError
from runner.job.task import Task
from runner.lane.control import Control
from runner.lane.costs import settle
from runner.lane.pace import Gauge
from runner.lane.reconcile import Reconciler
from runner.lane.submit import Submitter
from runner.lane.world import Doubt, Paid, World, paid_of
from runner.ledger.ledger import Ledger
from runner.ledger.rows import GONE, AttemptRow, OutputRow
from runner.ledger.states import Resolution
from runner.providers.base import Generation, GenerationStatus, RemoteFileKind
from runner.run.deliver import Collector, GoneError, LeftForLater


@dataclass(slots=True)
class Lifecycle:
    """Runs tasks one by one; what happens to them stands in the ledger, not in return values."""

    world: World
    control: Control
    submitter: Submitter | None
    collector: Collector
    reconciler: Reconciler
    in_flight: Gauge
    concurrency: int

    async def buy(self, task: Task, latest: AttemptRow | None, reason: str) -> None:
        """Submits a task and brings in what it makes. The caller has entered `in_flight`.

        A submit in doubt gives its place in flight to others until it is clarified.
        """
        while True:
            submitted = await self._submit(task, latest, reason)
            if isinstance(submitted, Paid):
                await self.bring_in(submitted)
                return
            self.in_flight.leave()
            if submitted is None:
                return
            resolution = await self.reconciler.clarify(submitted.attempt_id)
            attempt = await self.world.commits.read(lambda reader: reader.latest([task.identity]))
            latest = attempt[task.identity]
            if resolution is Resolution.ADOPTED:
                adopted = await self._adopted(latest)
                self.in_flight.enter()
                await self.bring_in(adopted)
                return
            if resolution is not Resolution.ABSENT or not self.control.may_submit:
                return
            await self.in_flight.below(self.concurrency)
            self.in_flight.enter()
            reason = "reconcile"

    async def _adopted(self, attempt: AttemptRow) -> Paid:
        return await self.world.commits.read(lambda reader: paid_of(reader, attempt, self.world.seams))

    async def _submit(self, task: Task, latest: AttemptRow | None, reason: str) -> Paid | Doubt | None:
        assert self.submitter is not None
        submitter = self.submitter
        submitted: Paid | Doubt | None = None

        async def submit() -> None:
            nonlocal submitted
            submitted = await submitter.submit(task, latest, reason)

        await self._guard(task.name, submit)
        return submitted

    async def bring_in(self, paid: Paid) -> None:
        """Waits for an accepted task and fetches its files. The caller has entered `in_flight`."""
        generation: Generation | None = None

        async def wait() -> None:
            nonlocal generation
            generation = await self.collector.wait(paid)

        try:
            await self._guard(paid.name, wait, paid)
        finally:
            self.in_flight.leave()
            if self.world.hints is not None:
                self.world.hints.forget(paid.attempt_id)
        if generation is not None:
            ended = generation
            await self._guard(paid.name, lambda: self._end(paid, ended), paid)

    async def fetch_again(self, paid: Paid) -> frozenset[RemoteFileKind]:
        """Fetches the missing files of a done task; gives the kinds that the service has no more."""
        missing: frozenset[RemoteFileKind] = frozenset()

        async def fetch() -> None:
            nonlocal missing
            try:
                home = await self.collector.bring_home(paid, await self.collector.refresh(paid))
            except GoneError:
                missing = await self.collector.missing(paid)
                return
            missing = home.missing
            self._observe_done(paid, home.rows)

        await self._guard(paid.name, fetch, paid)
        return missing

    async def is_there(self, paid: Paid) -> bool | None:
        """Whether the service still has a task that was given up; None where nobody can say.

        A 404 says so only once its record's life is over.
        """
        found: bool | None = None

        async def look() -> None:
            nonlocal found
            try:
                await self.collector.look(paid)
                found = True
            except GoneError:
                found = False

        await self._guard(paid.name, look, paid)
        return found

    async def _end(self, paid: Paid, generation: Generation) -> None:
        if generation.status is GenerationStatus.SUCCEEDED:
            await self._collect(paid, generation)
            return
        if paid.is_collecting:
            # the service took back a success: the paid result stays wanted (row 35)
            raise LeftForLater(f"{paid.name}: succeeded before, and now says {generation.raw_status}")
        expired = generation.status is GenerationStatus.EXPIRED
        code = generation.error_code or generation.raw_status
        message = generation.error_message or f"the service says {generation.raw_status}"
        provider = self.world.provider
        await self.world.commits.write(lambda ledger: settle(ledger, provider, paid.attempt_id, generation))
        await self._fail(paid, code, message, expired=expired)
        self.control.provider_failed(paid.identity)

    async def _collect(self, paid: Paid, generation: Generation) -> None:
        if not paid.is_collecting:
            await self.world.commits.write(self._collecting(paid, generation))
        if not any(file.kind is RemoteFileKind.VIDEO for file in generation.files):
            generation = await self.collector.refresh(paid)
        home = await self.collector.bring_home(paid, generation)
        if home.missing:
            # the video is what was paid for, and it is here
            names = " and ".join(sorted(home.missing))
            reason = (
                f"{paid.name}: the video is here, but the service has no {names} for it, which was asked for"
            )
            self.control.condition(ExitCode.TASK_FAILED, reason, identity=paid.identity)
        at = self.world.seams.wall()
        await self.world.commits.write(lambda ledger: ledger.finish(paid.attempt_id, (), at))
        self._observe_done(paid, home.rows)

    def _collecting(self, paid: Paid, generation: Generation) -> Callable[[Ledger], None]:
        at = self.world.seams.wall()

        def step(ledger: Ledger) -> None:
            settle(ledger, self.world.provider, paid.attempt_id, generation)
            ledger.collect(paid.attempt_id, at)

        return step

    async def _fail(self, paid: Paid, code: str, message: str, *, expired: bool) -> None:
        at = self.world.seams.wall()
        await self.world.commits.write(
            lambda ledger: ledger.fail(paid.attempt_id, code, message, at, expired=expired)
        )
        self.world.observe(
            "task.expired" if expired else "task.failed",
            {"task": paid.name, "identity": paid.identity, "code": code, "error": message},
        )

    async def _guard(self, name: str, step: Callable[[], Awaitable[None]], paid: Paid | None = None) -> None:
        """Runs one step of a task's life; whatever it raises becomes a condition of the run."""
        with self.control.contained(name):
            await self._judged(name, step, paid)

    async def _judged(self, name: str, step: Callable[[], Awaitable[None]], paid: Paid | None) -> None:
        try:
            await step()
        except LeftForLater as left:
            self.control.condition(left.code, left.reason, identity=paid.identity if paid else "")
            self.world.observe("task.left", {"task": name, "reason": left.reason})
        except GoneError as gone:
            assert paid is not None
            said = f"{gone}: its result can no longer be fetched"
            # published, and killed before the ledger knew: nothing proves now whose file it is
            if await self.world.seams.threads.run(self._stands_at, paid.output):
                said += f"; a file stands at {paid.output}, which may be its video"
            await self._fail(paid, GONE, said, expired=True)
        except NothingSentError as error:
            self.control.condition(error.exit_code, str(error))
            self.world.observe("task.left", {"task": name, "reason": str(error)})

    def _stands_at(self, output: str) -> bool:
        return self.world.files.stat(self.world.project.base / output) is not None

    def _observe_done(self, paid: Paid, rows: tuple[OutputRow, ...]) -> None:
        video = next((row.path for row in rows if row.kind == RemoteFileKind.VIDEO), paid.output)
        if video != paid.output:
            self.world.observe(
                "task.renamed",
                {"task": paid.name, "identity": paid.identity, "path": video, "taken": paid.output},
            )
        self.world.observe("task.done", {"task": paid.name, "identity": paid.identity})
