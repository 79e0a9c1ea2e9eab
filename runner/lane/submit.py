"""The one place that spends money: intent, POST, outcome."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from runner.errors import CallsheetError, ExitCode, OutOfMoneyError, StateError
from runner.http.verdicts import Evidence, Reaction, SubmitOutcome, Verdict
from runner.job.task import Task
from runner.lane.control import Control
from runner.lane.pace import Breaker, Gauge, RequestBudget
from runner.lane.retry import Retry
from runner.lane.upstream import Resolved, resolve
from runner.lane.world import Doubt, Paid, ServerClock, World
from runner.ledger.following import goes_on
from runner.ledger.ledger import Ledger, RemoteIdTakenError
from runner.ledger.rows import AttemptRow, CapReachedError, Caps, Intent, Kind
from runner.store.inputs import InputStore

MOST_AFTER_429 = 5.0
"""Seconds of our own before the same intent goes again; how long all wait, the request budget knows."""

MOST_DOUBTS = 3
"""So many submits in a row whose outcome is unknown end the submitting: each may be paid for."""

NOT_SENT_TRIES = 8
"""So many tries in a row that never carried the POST mean that the API cannot be reached."""

ID_TRIES = 5
"""How often a remote id is offered to a full disk before the run ends and prints it (row 28)."""

LedgerStep = Callable[[Ledger, float], object]
"""One durable step, given the wall clock's time."""

STILL_PREPARING = 19
"""The fault row of a refusal that passes once the service has read the task's inputs."""

OUR_DEFECT = Evidence(row=56, headers_begun=None, reason="callsheet failed while it read the answer")

CUT_BY_US = Evidence(row=7, headers_begun=None, reason="we stopped waiting for the answer")


@dataclass(frozen=True, slots=True)
class Posted:
    """One POST that was made, and what is known of it."""

    attempt_id: str
    outcome: SubmitOutcome
    tag: int | None


@dataclass(slots=True)
class Submitter:
    """Brings tasks to an accepted POST; at most `slots` are between intent and outcome."""

    world: World
    control: Control
    budget: RequestBudget
    breaker: Breaker
    clock: ServerClock
    inputs: InputStore
    slots: anyio.Semaphore
    in_flight: Gauge
    run_id: str
    job_file: str
    caps: Caps
    patience: float
    """Seconds of refusals that pass (429, 503) after which submitting stops; the run can be resumed."""
    _tags: set[int] = field(default_factory=set)
    _doubts: int = 0

    async def submit(self, task: Task, latest: AttemptRow | None, reason: str) -> Paid | Doubt | None:
        """One accepted POST for `task`, or one in doubt; None where it was refused or not sent.

        Only what is proved not accepted goes again, under the same intent. Raises CallsheetError
        where an input changed or the disk does not take the intent: nothing was sent then.
        """
        retry = Retry(self.world.seams.random)
        not_sent = 0
        while True:
            posted = await self._take_turn(task, latest, reason)
            if posted is None:
                return None
            outcome = posted.outcome
            if outcome.verdict is Verdict.ACCEPTED:
                return self._paid(task, posted)
            if outcome.reaction is Reaction.RECONCILE:
                return Doubt(posted.attempt_id)
            if outcome.reaction is not Reaction.BACK_OFF:
                return None
            latest = await self._attempt(posted.attempt_id)
            retry.failed()
            not_sent = not_sent + 1 if outcome.verdict is Verdict.NOT_SENT else 0
            if not_sent >= NOT_SENT_TRIES:
                problem = f"the API cannot be reached: {outcome.evidence.error or outcome.evidence.reason}"
                self.control.stop_submitting(ExitCode.UNREACHABLE, problem)
                return None
            if retry.seconds > self.patience:
                self._lose_patience(task, outcome)
                return None
            # a service that says "at once" each time is asked less and less all the same
            least = retry.pause()
            if outcome.evidence.status == 429 and outcome.retry_after is not None:
                await anyio.sleep(min(least, MOST_AFTER_429))
            else:
                await anyio.sleep(max(least, outcome.retry_after or 0.0))

    def _lose_patience(self, task: Task, outcome: SubmitOutcome) -> None:
        evidence = outcome.evidence
        if evidence.row == STILL_PREPARING:
            # of this task's inputs alone: the others go on
            problem = f"{task.name}: {evidence.reason}; run again later"
            self.control.condition(ExitCode.TRY_AGAIN, problem)
            self.world.observe("task.left", {"task": task.name, "reason": problem})
        else:
            self.control.stop_submitting(ExitCode.TRY_AGAIN, f"the service keeps refusing: {evidence.reason}")

    async def _take_turn(self, task: Task, latest: AttemptRow | None, reason: str) -> Posted | None:
        """Waits for the breaker, a slot and the request budget, then posts; None where submitting stopped."""
        while True:
            await self.breaker.closed()
            async with self.slots:
                await self.budget.acquire(is_submit=True)
                if not self.control.may_submit:
                    return None
                if self.breaker.is_open:
                    continue
                posted: Posted | None = None
                with self.control.shielded_post():
                    posted = await self._post(task, latest, reason)
                return posted

    async def _post(self, task: Task, latest: AttemptRow | None, reason: str) -> Posted | None:
        """Durable intent, POST, durable outcome; None where a cap refuses the intent."""
        world = self.world
        reused = latest if goes_on(latest, self.run_id) else None
        tag = await self._pick_tag(task, reused)
        attempt_id = reused.id if reused else f"{world.seams.random.getrandbits(128):032x}"
        try:
            resolved = Resolved(task)
            if task.upstream is not None:
                resolved = await world.commits.read(lambda reader: resolve(task, reader, world.project.base))
            body = await self._body(resolved.task, tag, attempt_id)
            intent = Intent(
                attempt_id=attempt_id,
                reason=reason,
                key_hash=world.key_hash,
                tag=tag,
                body_sha256=hashlib.sha256(body).hexdigest(),
                server_time=self.clock.earliest(),
                estimate_micros=task.estimate_micros,
                price=task.price,
                taken=resolved.taken,
            )
            attempt_id = await world.commits.write(functools.partial(self._intend, task=task, intent=intent))
        except CapReachedError as cap:
            self.control.refuse(cap)
            return None
        finally:
            self._tags.discard(-1 if tag is None else tag)
        world.observe("task.intended", {"task": task.name, "identity": task.identity, "attempt": attempt_id})
        try:
            try:
                outcome = await world.client.submit(body)
            except anyio.get_cancelled_exc_class():
                await self._leave_unclear(task, attempt_id, CUT_BY_US)
                raise
            self.clock.hear(outcome.server_time)
            outcome = await self._settle(task, attempt_id, outcome)
        except CallsheetError:
            raise
        except Exception as error:
            # what went wrong with one answer may go wrong with each: nothing more is paid for
            self.control.defect(f"{task.name}: reading the answer to its submit", error)
            self.control.stop_submitting(ExitCode.BUG, "nothing more is submitted after such a defect")
            await self._leave_unclear(task, attempt_id, OUR_DEFECT)
            outcome = SubmitOutcome(Verdict.AMBIGUOUS, Reaction.RECONCILE, OUR_DEFECT)
        self._count_doubts(outcome)
        return Posted(attempt_id, outcome, tag)

    def _count_doubts(self, outcome: SubmitOutcome) -> None:
        """An acceptance or a final refusal ends the row; what was put off or not sent says nothing."""
        if outcome.verdict is Verdict.AMBIGUOUS:
            self._doubts += 1
        elif outcome.verdict is Verdict.ACCEPTED or outcome.reaction is Reaction.FAIL_TASK:
            self._doubts = 0
        if self._doubts == MOST_DOUBTS and outcome.verdict is Verdict.AMBIGUOUS:
            self.control.stop_submitting(
                ExitCode.TRY_AGAIN,
                f"the outcome of {self._doubts} submits in a row is unknown ({outcome.evidence.reason});"
                " what became of them is looked up, now and by each later run",
            )

    def _intend(self, ledger: Ledger, *, task: Task, intent: Intent) -> str:
        return ledger.intend(task, self.job_file, self.run_id, intent, self.caps, self.world.seams.wall())

    async def _body(self, task: Task, tag: int | None, attempt_id: str) -> bytes:
        if not task.inputs:
            return self._encode(task, tag, attempt_id)
        return await self.world.seams.threads.run(self._encode, task, tag, attempt_id)

    def _encode(self, task: Task, tag: int | None, attempt_id: str) -> bytes:
        hints = self.world.hints
        callback_url = hints.callback_url(attempt_id) if hints else None
        encode = self.world.client.encode
        return encode(task.request, task.inputs, self.inputs.read, tag=tag, callback_url=callback_url)

    async def _pick_tag(self, task: Task, reused: AttemptRow | None) -> int | None:
        """The tag of the intent that is used again, else a random one that no unresolved attempt carries.

        None where the job sets the field itself: it may have begun to since the intent was made. None too
        where nearly all are taken.
        """
        field = self.world.provider.tag
        if field is None or field.field in task.request:
            return None
        if reused is not None and reused.tag is not None:
            return reused.tag
        taken = self._tags | await self.world.commits.read(lambda reader: reader.open_tags(task.origin))
        if len(taken) > field.most_open:
            return None
        while True:
            tag = self.world.seams.random.randrange(1, field.count)
            if tag not in taken:
                self._tags.add(tag)
                return tag

    async def _settle(self, task: Task, attempt_id: str, outcome: SubmitOutcome) -> SubmitOutcome:
        """Makes the outcome durable; gives it back, or what it turned into."""
        evidence = outcome.evidence
        fields: dict[str, object] = {
            "task": task.name,
            "identity": task.identity,
            "verdict": outcome.verdict,
            "status": evidence.status,
            "reason": evidence.reason,
            "row": evidence.row,
        }
        match outcome.verdict:
            case Verdict.ACCEPTED:
                return await self._accept(task, attempt_id, outcome)
            case Verdict.AMBIGUOUS:
                self.breaker.trip()
                await self._leave_unclear(task, attempt_id, evidence)
            case _ if outcome.reaction is Reaction.FAIL_TASK:
                await self._write(lambda ledger, at: ledger.reject(attempt_id, evidence, at))
                if self.world.hints is not None:
                    self.world.hints.forget(attempt_id)
                self.world.observe("task.failed", fields | {"error": evidence.message or evidence.reason})
                self.control.provider_failed()
            case _:
                await self._write(
                    lambda ledger, at: ledger.withdraw(attempt_id, outcome.verdict, evidence, at)
                )
                self.world.observe("task.refused", fields)
                self._react(outcome)
        return outcome

    def _react(self, outcome: SubmitOutcome) -> None:
        evidence = outcome.evidence
        said = evidence.message or evidence.reason
        match outcome.reaction:
            case Reaction.STOP_KEY:
                self.control.stop_submitting(ExitCode.KEY_REFUSED, f"the service refused the API key: {said}")
            case Reaction.STOP_MONEY:
                is_quota = evidence.status == 429
                self.control.refuse(
                    OutOfMoneyError.used_up(said) if is_quota else OutOfMoneyError.no_credit(said)
                )
            case Reaction.STOP_CONFIGURATION:
                self.control.stop(ExitCode.UNREACHABLE, f"cannot trust the API's certificate: {said}")
            case Reaction.BACK_OFF if evidence.status == 429:
                self.budget.throttled(outcome.retry_after, in_flight=self.in_flight.count - 1)
            case Reaction.BACK_OFF if evidence.status is not None and evidence.status >= 500:
                self.breaker.trip()
            case _:
                pass

    async def _accept(self, task: Task, attempt_id: str, outcome: SubmitOutcome) -> SubmitOutcome:
        """The remote id is on the disk before anything else happens to it (invariant 3)."""
        retry = Retry(self.world.seams.random, ID_TRIES, base=0.2, most=2.0)
        while True:
            try:
                await self._write(
                    lambda ledger, at: ledger.accept(attempt_id, outcome.remote_id, outcome.evidence, at)
                )
            except RemoteIdTakenError:
                evidence = Evidence(
                    row=12,
                    headers_begun=True,
                    reason=f"the service answered with {outcome.remote_id}, which another task holds",
                    status=outcome.evidence.status,
                    request_id=outcome.evidence.request_id,
                )
                await self._leave_unclear(task, attempt_id, evidence, hold=True)
                return SubmitOutcome(Verdict.AMBIGUOUS, Reaction.NONE, evidence)
            except StateError as error:
                if retry.failed():
                    self.control.stop(
                        ExitCode.CANNOT_WRITE,
                        f"{task.name}: was accepted as {outcome.remote_id}, and that could not be saved:"
                        f" {error}; the next run finds it again",
                    )
                    raise
                await anyio.sleep(retry.pause())
            else:
                break
        self.world.observe(
            "task.submitted",
            {"task": task.name, "identity": task.identity, "remote_id": outcome.remote_id},
        )
        return outcome

    async def _leave_unclear(
        self, task: Task, attempt_id: str, evidence: Evidence, *, hold: bool = False
    ) -> None:
        await self._write(lambda ledger, at: ledger.leave_unclear(attempt_id, evidence, at, hold=hold))
        self.world.observe(
            "task.held" if hold else "task.ambiguous",
            {"task": task.name, "identity": task.identity, "reason": evidence.reason, "row": evidence.row},
        )

    async def _attempt(self, attempt_id: str) -> AttemptRow | None:
        return await self.world.commits.read(lambda reader: reader.attempt(attempt_id))

    async def _write(self, step: LedgerStep) -> None:
        at = self.world.seams.wall()
        await self.world.commits.write(lambda ledger: step(ledger, at))

    def _paid(self, task: Task, posted: Posted) -> Paid:
        return Paid(
            attempt_id=posted.attempt_id,
            identity=task.identity,
            name=task.name,
            output=task.output,
            remote_id=posted.outcome.remote_id,
            key_hash=self.world.key_hash,
            since=anyio.current_time(),
            server_time=self.clock.earliest(),
            accepted_at=self.world.seams.wall(),
            model=task.model,
            kind=Kind.of(task.origin, task.request),
            tag=posted.tag,
        )
