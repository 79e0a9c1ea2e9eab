"""An accepted task, looked at until it has ended."""

from __future__ import annotations

from dataclasses import dataclass, replace

import anyio

from runner.errors import ExitCode, OutOfMoneyError
from runner.http.verdicts import ProviderError, Trouble
from runner.lane.evidence import repeats_input
from runner.lane.pace import Retry, StillLimitedError
from runner.lane.paid import Paid
from runner.providers.base import Generation, GenerationStatus, RemoteFileKind
from runner.run.task.session import Session
from runner.run.task.wait import look_after_call, next_look
from runner.run.task.webhook import signed_by
from runner.times import iso_time

LOOK_FAILURES = 10
"""Looks that may fail in a row before a task is left for the next run."""

LIMITED_LOOKS = 60
"""429s in a row to one look; `run.timeout` ends them earlier where the waits between them are long."""

MISSING_LOOKS = 3
"""So many 404s in a row are told: a record may only lag behind its acceptance. After the life of the
record, they mean that the service has forgotten the task."""

SAFETY_NET = 10.0
"""With a webhook, looks are this many times `run.poll.max` apart."""


class LeftForLater(Exception):  # noqa: N818  not an error: a paid task that the next run goes on with
    """This process gives up on a task that stays resumable; says why."""

    def __init__(self, reason: str, code: ExitCode = ExitCode.TRY_AGAIN) -> None:
        super().__init__(reason)
        self.code = code


class GoneError(Exception):
    """The service no longer has what was paid for."""


@dataclass(slots=True)
class Watch:
    session: Session
    paid: Paid
    _seen: tuple[str, int | None] | None = None
    """Status and tag last seen while it was under way: only a change is noted and told."""

    async def until_ended(self) -> Generation:
        """Looks until the service's status is terminal. Raises LeftForLater and GoneError.

        A task that waits longer than `run.timeout` is left, never failed: it goes on at the service.
        """
        if self.paid.is_done:
            return await self.refresh()
        policy = self.session.policy
        waited = self.age
        first = await self._until_next_look(0.0)
        if not self.paid.is_taken_over and policy.poll.first is None:
            first = self._spaced(first)
        pause = max(0.0, min(first, policy.timeout) - waited)
        while True:
            is_hinted = await self._pause(pause)
            generation = await self.look()
            if generation.status is not None and generation.status.is_terminal:
                self.session.work.durations.learn(self.paid.kind, generation, known=self.age)
                return generation
            waited = self.age
            if waited >= policy.timeout:
                raise LeftForLater(
                    f"{self.paid.name}: not ready after {waited:.0f} s (run.timeout); it goes on at the"
                    " service"
                )
            if is_hinted:
                following = look_after_call(policy.poll, waited)
            else:
                following = self._spaced(await self._until_next_look(waited))
            pause = min(following, max(0.0, policy.timeout - waited))

    @property
    def age(self) -> float:
        """Seconds since the task was accepted, by our monotonic clock."""
        return anyio.current_time() - self.paid.since

    async def _until_next_look(self, waited: float) -> float:
        session, poll = self.session, self.session.policy.poll
        expected = await session.work.durations.expected(self.paid.kind)
        return next_look(
            expected, poll, waited, session.tools.machine.random, queue=session.lane.requests.queue
        )

    def _spaced(self, seconds: float) -> float:
        """With a webhook, polling is only the safety net for calls that do not come."""
        if self.session.tools.hints is None:
            return seconds
        return max(seconds, SAFETY_NET * self.session.policy.poll.maximum)

    async def _pause(self, seconds: float) -> bool:
        """Sleeps, or less where a webhook says that there is something to see; whether one did.

        However often it calls, the looks stay `run.poll.min` apart.
        """
        hints = self.session.tools.hints
        if hints is None:
            await anyio.sleep(seconds)
            return False
        started = anyio.current_time()
        is_hinted = await hints.wait(self.paid.attempt_id, seconds, signed_by(self.session.lane))
        if self._seen is not None:
            least = self.session.policy.poll.minimum
            await anyio.sleep(max(0.0, started + least - anyio.current_time()))
        return is_hinted

    async def refresh(self) -> Generation:
        """A succeeded generation with fresh URLs. Raises LeftForLater, GoneError."""
        generation = await self.look()
        if generation.status is not GenerationStatus.SUCCEEDED or not any(
            file.kind is RemoteFileKind.VIDEO for file in generation.files
        ):
            raise LeftForLater(f"{self.paid.name}: the service shows no result at the moment")
        return generation

    async def look(self) -> Generation:
        """One answer of the service, through whatever passes. Raises LeftForLater, GoneError."""
        lane = self.session.lane
        retry = Retry(lane.machine.random, LOOK_FAILURES, base=1.0)
        missing = limited = 0
        while True:
            try:
                await lane.requests.acquire()
                generation = await lane.client.get(self.paid.remote)
            except StillLimitedError as error:
                raise LeftForLater(error.message) from None
            except ProviderError as error:
                if error.trouble is not Trouble.NOT_FOUND:
                    lane.gate.trouble(error)
                if error.trouble is Trouble.RATE_LIMITED and limited < LIMITED_LOOKS:
                    limited += 1
                    lane.requests.refused(error)
                    continue
                lane.requests.answered()
                is_last = retry.failed()
                missing = missing + 1 if error.trouble is Trouble.NOT_FOUND else 0
                is_gone = missing >= MISSING_LOOKS and self._may_be_forgotten()
                self._judge(error, is_last=is_last, is_gone=is_gone)
                if missing == MISSING_LOOKS:
                    self._tell_missing(error)
                pause = error.retry_after or retry.pause()
                await anyio.sleep(min(pause, self.session.policy.poll.maximum))
                continue
            lane.requests.answered()
            lane.clock.hear(generation.server_time)
            await self._check_own(generation)
            self._note(generation)
            return generation

    async def _check_own(self, generation: Generation) -> None:
        """A service that has lost its database gives an id away twice; the tag of another attempt of ours
        shows it. Raises LeftForLater.
        """
        paid, lane, shown = self.paid, self.session.lane, generation.final_tag
        if shown is None or shown == paid.tag:
            return
        owner = await lane.commits.read(lambda reader: reader.tag_holder(lane.origin, shown))
        if owner is not None and owner.id != paid.attempt_id:
            raise LeftForLater(
                f"{paid.name}: {paid.remote_id} shows the tag of another task: the service has given this id"
                " away twice, and its video is not taken for this task's; hint: ask the service, then"
                f" `callsheet collect --give-up {paid.name}`",
                ExitCode.PERSON_NEEDED,
            )

    def _may_be_forgotten(self) -> bool:
        """Whether the service's record has outlived its life, by the slower of its clock and ours.

        A done task loses nothing by it: the ledger says what was fetched.
        """
        lane, paid = self.session.lane, self.paid
        passed = lane.clock.passed(paid.server_time, paid.accepted_at)
        return paid.is_done or passed.least >= lane.provider.record_life

    def _judge(self, error: ProviderError, *, is_last: bool, is_gone: bool) -> None:
        """Returns where another look is due; raises or stops the run where none is."""
        paid, gate = self.paid, self.session.lane.gate
        if (refusal := error.refusal) is not None:
            if isinstance(refusal, OutOfMoneyError):
                gate.refuse(refusal)
            else:
                gate.close(refusal)
            raise LeftForLater(str(refusal), refusal.exit_code)
        match error.trouble:
            case Trouble.NOT_FOUND if paid.key_hash != self.session.lane.key_hash:
                raise LeftForLater(
                    f"{paid.name}: {paid.remote_id} was submitted under another API key, and this one does"
                    " not see it; hint: run `callsheet collect` with the key used then",
                    ExitCode.PERSON_NEEDED,
                )
            case Trouble.NOT_FOUND if is_gone:
                raise GoneError(f"the service no longer knows {paid.remote_id}")
            case Trouble.RATE_LIMITED:
                raise LeftForLater(
                    f"{paid.name}: {LIMITED_LOOKS} looks were refused in a row: {error.message}"
                )
            case Trouble.WRONG_REQUEST:
                raise LeftForLater(f"{paid.name}: {error.message}")
        if is_last:
            ends = iso_time(paid.accepted_at + self.session.lane.provider.record_life)
            kept = f"; looked for until {ends}" if error.trouble is Trouble.NOT_FOUND else ""
            raise LeftForLater(
                f"{paid.name}: {LOOK_FAILURES} looks failed in a row, last: {error.message}{kept}",
                ExitCode.UNREACHABLE if error.trouble is Trouble.UNREACHABLE else ExitCode.TRY_AGAIN,
            )

    def _tell_missing(self, error: ProviderError) -> None:
        fields = {
            "task": self.paid.name,
            "identity": self.paid.identity,
            "status": error.status,
            "code": error.code,
            "message": error.message,
        }
        self.session.tools.observe("task.not_shown", fields)

    def _note(self, generation: Generation) -> None:
        said = (generation.raw_status, generation.tag)
        if self._seen == said:
            return
        is_terminal = generation.status is not None and generation.status.is_terminal
        self._seen = None if is_terminal else said
        tools, paid = self.session.tools, self.paid
        at = tools.machine.wall()
        provider = self.session.lane.provider
        is_same_input = repeats_input(provider, paid.model, paid.request, generation)
        told = generation if paid.tag in provider.own_tags else replace(generation, tag=None)
        tools.commits.note(
            lambda ledger: ledger.observe(paid.attempt_id, told, at, is_same_input=is_same_input)
        )
        name = "task.status" if generation.status is not None else "task.status_unknown"
        tools.observe(name, {**paid.words, "status": generation.raw_status})
