"""The one place that spends money: intent, POST, outcome."""

from __future__ import annotations

import functools
import hashlib
import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import anyio

from runner.errors import (
    CallsheetError,
    ExitCode,
    KeyRefusedError,
    OutOfMoneyError,
    ServiceUnreachableError,
    StateError,
)
from runner.http.verdicts import Evidence, Reaction, SubmitOutcome, Verdict
from runner.json_value import JsonValue
from runner.lane.control import Control
from runner.lane.lane import Lane
from runner.lane.pace import Retry
from runner.lane.paid import InDoubt, Paid, paid_of
from runner.ledger.caps import CapReachedError, Caps
from runner.ledger.leases import LaneHeldError
from runner.ledger.ledger import Ledger, RemoteIdTakenError
from runner.ledger.rows import AttemptRow, Intent
from runner.ledger.states import Reason
from runner.ledger.succession import goes_on, reason_after
from runner.plan.task import Task
from runner.providers.account import Account
from runner.providers.base import Body
from runner.record.events import Observer, Own
from runner.record.intents import logged_intent
from runner.typed_json import members

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

GUARDED = 129
"""The fault row of a POST that the guard of the lease did not let begin."""

OUR_DEFECT = Evidence(row=56, headers_begun=None, reason="callsheet failed while it read the answer")

TOLD_TO_STOP = Evidence(row=161, headers_begun=False, reason="the run was told to stop before it was sent")

CUT_BY_US = Evidence(row=7, headers_begun=None, reason="we stopped waiting for the answer")


@dataclass(frozen=True, slots=True)
class MadeBody:
    """A POST; `taken` says what of the task before it went in, None where nothing did."""

    body: Body
    taken: Mapping[str, JsonValue] | None = None


MakeBody = Callable[[int | None, str], Awaitable[MadeBody]]
"""Makes the body from a tag and the attempt's id. Raises CallsheetError where an input is not as it was."""


@dataclass(frozen=True, slots=True)
class Submitter:
    """What all submits of one job in one lane have in common."""

    lane: Lane
    control: Control
    observe: Observer
    account: Account
    run_id: str
    job_file: str
    caps: Caps

    def may_submit(self) -> bool:
        return self.control.may_submit and self.lane.gate.may_submit


@dataclass(slots=True)
class Submission:
    """One decision to pay for a task, until its POST is accepted, in doubt or given up.

    `latest` is the task's newest attempt: an intent that was proved unsent goes again.
    """

    submitter: Submitter
    task: Task
    make_body: MakeBody
    latest: AttemptRow | None
    reason: Reason
    attempt_id: str = ""
    tag: int | None = None

    @property
    def lane(self) -> Lane:
        return self.submitter.lane

    async def submit(self) -> Paid | InDoubt | None:
        """One accepted POST, or one in doubt; None where it was refused or not sent.

        Only what is proved not accepted goes again, under the same intent. Raises CallsheetError
        where an input changed or the disk does not take the intent: nothing was sent then.
        """
        retry = Retry(self.lane.machine.random)
        not_sent = 0
        while True:
            outcome = None if self._is_too_dear() else await self._take_turn()
            if outcome is None:
                return None
            if outcome.verdict is Verdict.ACCEPTED:
                return await self._paid()
            if outcome.reaction is Reaction.RECONCILE:
                return InDoubt(self.attempt_id)
            if outcome.reaction is not Reaction.BACK_OFF:
                return None
            self.latest = await self.lane.commits.read(lambda reader: reader.attempt(self.attempt_id))
            retry.failed()
            is_guarded = outcome.evidence.row == GUARDED
            not_sent = not_sent + 1 if outcome.verdict is Verdict.NOT_SENT and not is_guarded else 0
            if not_sent >= NOT_SENT_TRIES:
                problem = f"the API cannot be reached: {outcome.evidence.error or outcome.evidence.reason}"
                self.lane.gate.stop_submitting(ExitCode.UNREACHABLE, problem)
                return None
            if retry.seconds + (outcome.retry_after or 0.0) > self.lane.patience:
                self._lose_patience(outcome.evidence)
                return None
            # a service that says "at once" each time is asked less and less all the same
            least = retry.pause()
            if outcome.evidence.status == 429 and outcome.retry_after is not None:
                await anyio.sleep(min(least, MOST_AFTER_429))
            else:
                await anyio.sleep(max(least, outcome.retry_after or 0.0))

    def _is_too_dear(self) -> bool:
        """Whether a budget in dollars keeps it back, as its price is not known; tasks with a price go on."""
        cap = self.lane.gate.unpriced
        if cap is None or self.task.estimate_micros is not None:
            return False
        model = self.task.model
        hint = (
            f"add its price to callsheet.yaml, `prices: {{{model}: {{usd_per_task: 0.5}}}}`, or ask the"
            " service for it: callsheet models --refresh"
        )
        self.submitter.control.condition(cap.exit_code, f"{model}: {cap}; hint: {hint}")
        return True

    def _lose_patience(self, evidence: Evidence) -> None:
        if evidence.row == GUARDED:
            self.lane.gate.stop_submitting(
                ExitCode.TRY_AGAIN, "the shared ledger has not renewed the account's lease; run again later"
            )
        elif evidence.row == STILL_PREPARING:
            # of this task's inputs alone: the others go on
            problem = f"{self.task.name}: {evidence.reason}; run again later"
            self.submitter.control.condition(ExitCode.TRY_AGAIN, problem)
            self.submitter.control.left(self.task.name, problem, self.task.identity)
        elif self.lane.gate.may_submit:  # or the pace has told it
            self.lane.gate.stop_submitting(
                ExitCode.TRY_AGAIN, f"the service keeps refusing: {evidence.reason}"
            )

    async def _take_turn(self) -> SubmitOutcome | None:
        """Waits for the breaker, a slot and the request budget, then posts; None where submitting stopped."""
        breaker, may_submit = self.lane.breaker, self.submitter.may_submit
        while True:
            await breaker.closed(may_submit)
            async with self.lane.slots:
                await self.lane.requests.acquire(is_submit=True)
                if not may_submit():
                    return None
                if breaker.is_open:
                    continue
                with self.submitter.control.shielded_post():
                    return await self._post()
                return None  # a stop has cut the POST

    async def _post(self) -> SubmitOutcome | None:
        """Durable intent, POST, durable outcome; None where a cap refuses the intent."""
        lane = self.lane
        reused = self.latest if goes_on(self.latest, self.submitter.run_id) else None
        self.tag = await self._pick_tag(reused)
        self.attempt_id = reused.id if reused else f"{lane.machine.random.getrandbits(128):032x}"
        try:
            made = await self.make_body(self.tag, self.attempt_id)
            intent = self._make_intent(made)
            self.attempt_id, at = await lane.commits.write(functools.partial(self._write_intent, intent))
        except CapReachedError as cap:
            if cap.where is None:
                self.submitter.control.refuse(cap)
            else:
                lane.gate.reach(cap)
                self._is_too_dear()
            return None
        finally:
            lane.tags.discard(-1 if self.tag is None else self.tag)
        logged = logged_intent(self.task, intent, reason_after(self.latest, self.reason), at)
        self._tell("task.intended", intent=Own(members(logged)))
        if self.submitter.control.is_ending:  # the commit may have taken seconds
            return await self._record(SubmitOutcome(Verdict.NOT_SENT, Reaction.NONE, TOLD_TO_STOP))
        try:
            try:
                outcome = await lane.client.submit(made.body)
            except anyio.get_cancelled_exc_class():
                await self._leave_unclear(CUT_BY_US)
                raise
            lane.clock.hear(outcome.server_time)
            outcome = await self._record(outcome)
        except CallsheetError:
            raise
        except Exception as error:
            # what went wrong with one answer may go wrong with each: nothing more is paid for
            self.submitter.control.defect(f"{self.task.name}: reading the answer to its submit", error)
            lane.gate.stop_submitting(ExitCode.BUG, "nothing more is submitted after such a defect")
            await self._leave_unclear(OUR_DEFECT)
            outcome = SubmitOutcome(Verdict.AMBIGUOUS, Reaction.RECONCILE, OUR_DEFECT)
        self._count_doubts(outcome)
        return outcome

    def _count_doubts(self, outcome: SubmitOutcome) -> None:
        """An acceptance or a final refusal ends the row; what was put off or not sent says nothing."""
        lane = self.lane
        if outcome.verdict is Verdict.AMBIGUOUS:
            lane.doubts += 1
        elif outcome.verdict is Verdict.ACCEPTED or outcome.reaction is Reaction.FAIL_TASK:
            lane.doubts = 0
        if lane.doubts == MOST_DOUBTS and outcome.verdict is Verdict.AMBIGUOUS:
            lane.gate.stop_submitting(
                ExitCode.TRY_AGAIN,
                f"the outcome of {lane.doubts} submits in a row is unknown ({outcome.evidence.reason});"
                " what became of them is looked up, now and by each later run",
            )

    def _make_intent(self, made: MadeBody) -> Intent:
        return Intent(
            attempt_id=self.attempt_id,
            reason=self.reason,
            key_hash=self.lane.key_hash,
            tag=self.tag,
            body_sha256=hashlib.sha256(made.body.content).hexdigest(),
            server_time=self.lane.clock.earliest(),
            estimate_micros=self.task.estimate_micros,
            price=self.task.price,
            taken=made.taken,
            account=self.submitter.account.name,
            labels=self.submitter.account.labels,
        )

    def _write_intent(self, intent: Intent, ledger: Ledger) -> tuple[str, float]:
        """The attempt's id, and when it was written."""
        shared, at = self.submitter, self.lane.machine.wall()
        return ledger.intend(self.task, shared.job_file, shared.run_id, intent, shared.caps, at), at

    async def _pick_tag(self, reused: AttemptRow | None) -> int | None:
        """The tag of the intent that is used again, else a random one that no unresolved attempt carries.

        None where the job sets the field itself: it may have begun to since the intent was made. None too
        where nearly all are taken.
        """
        tags = self.lane.provider.tag
        if tags is None or tags.field in self.task.request:
            return None
        if reused is not None and reused.tag in tags.tags:
            return reused.tag
        picked = self.lane.tags
        taken = picked | await self.lane.commits.read(lambda reader: reader.open_tags(self.task.origin))
        if len(taken) > tags.most_open:
            return None
        while True:
            tag = self.lane.machine.random.choice(tags.tags)
            if tag not in taken:
                picked.add(tag)
                return tag

    async def _record(self, outcome: SubmitOutcome) -> SubmitOutcome:
        """Makes the outcome durable; gives it back, or what it turned into."""
        evidence, attempt_id = outcome.evidence, self.attempt_id
        fields: dict[str, object] = {
            "verdict": outcome.verdict,
            "status": evidence.status,
            "code": evidence.code,
            "message": evidence.message,
            "reason": evidence.reason,
            "row": evidence.row,
        }
        match outcome.verdict:
            case Verdict.ACCEPTED:
                return await self._accept(outcome)
            case Verdict.AMBIGUOUS:
                self.lane.breaker.trip()
                await self._leave_unclear(evidence)
            case _ if outcome.reaction is Reaction.FAIL_TASK:
                await self._write(lambda ledger, at: ledger.reject(attempt_id, evidence, at))
                self._tell("task.failed", **fields, error=evidence.message or evidence.reason)
                self.submitter.control.count_failure()
            case verdict:
                await self._write(lambda ledger, at: ledger.withdraw(attempt_id, verdict, evidence, at))
                self._tell("task.refused", **fields, again=outcome.reaction is Reaction.BACK_OFF)
                self._react(outcome)
        return outcome

    def _react(self, outcome: SubmitOutcome) -> None:
        evidence, gate = outcome.evidence, self.lane.gate
        said = evidence.message or evidence.reason
        match outcome.reaction:
            case Reaction.STOP_KEY:
                gate.refuse(KeyRefusedError.by_service(said))
            case Reaction.STOP_MONEY:
                is_quota = evidence.status == 429
                gate.refuse(OutOfMoneyError.used_up(said) if is_quota else OutOfMoneyError.no_credit(said))
            case Reaction.STOP_CONFIGURATION:
                gate.close(ServiceUnreachableError.untrusted(said))
            case Reaction.BACK_OFF if evidence.status == 429:
                in_flight = self.lane.in_flight.count - 1
                self.lane.requests.throttled(outcome.retry_after, said, in_flight=in_flight)
            case Reaction.BACK_OFF if evidence.status is not None and evidence.status >= 500:
                self.lane.breaker.trip()
            case _:
                pass

    async def _accept(self, outcome: SubmitOutcome) -> SubmitOutcome:
        """The remote id is on the disk before anything else happens to it (invariant 3)."""
        retry = Retry(self.lane.machine.random, ID_TRIES, base=0.2, most=2.0)
        while True:
            try:
                await self._write(
                    lambda ledger, at: ledger.accept(
                        self.attempt_id, outcome.remote_id, outcome.evidence, at, outcome.handle
                    )
                )
            except RemoteIdTakenError:
                evidence = Evidence(
                    row=12,
                    headers_begun=True,
                    reason=f"the service answered with {outcome.remote_id}, which another task holds",
                    status=outcome.evidence.status,
                    request_id=outcome.evidence.request_id,
                )
                await self._leave_unclear(evidence, hold=True)
                return SubmitOutcome(Verdict.AMBIGUOUS, Reaction.NONE, evidence)
            except LaneHeldError:
                name, remote_id = self.task.name, outcome.remote_id
                self.submitter.control.condition(
                    ExitCode.TRY_AGAIN,
                    f"{name}: was accepted as {remote_id}, and another machine has taken the account over,"
                    " which looks for it; hint: where it cannot tell, say it there: callsheet reconcile"
                    f" {shlex.quote(name)} --adopt {shlex.quote(remote_id)}",
                )
                raise
            except StateError as error:
                if retry.failed():
                    self.submitter.control.stop(
                        ExitCode.CANNOT_WRITE,
                        f"{self.task.name}: was accepted as {outcome.remote_id}, and that could not be saved:"
                        f" {error}; the next run finds it again",
                    )
                    raise
                await anyio.sleep(retry.pause())
            else:
                break
        self._tell(
            "task.submitted", remote_id=outcome.remote_id, request_id=outcome.evidence.request_id or None
        )
        return outcome

    async def _leave_unclear(self, evidence: Evidence, *, hold: bool = False) -> None:
        await self._write(lambda ledger, at: ledger.leave_unclear(self.attempt_id, evidence, at, hold=hold))
        self._tell(
            "task.held" if hold else "task.ambiguous",
            reason=evidence.reason,
            row=evidence.row,
            status=evidence.status,
        )

    async def _write(self, step: LedgerStep) -> None:
        at = self.lane.machine.wall()
        await self.lane.commits.write(lambda ledger: step(ledger, at))

    def _tell(self, event: str, **fields: object) -> None:
        who = {"task": self.task.name, "identity": self.task.identity, "attempt": self.attempt_id}
        self.submitter.observe(event, {**who, **fields})

    async def _paid(self) -> Paid:
        # by the monotonic clock, for the wall clock may just have jumped (row 38)
        now, lane = anyio.current_time(), self.lane
        return await lane.commits.read(
            lambda reader: paid_of(reader, self.attempt_id, lane.machine, now, is_new=True)
        )
