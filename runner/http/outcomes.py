"""What the end of a request means, as rows of data; the first rule that matches decides.

Read those for submits beside docs/reference/faults.md: each rule names its row there (1 to 21 and 72). What
no rule names is ambiguous. Row 12, an id that another task holds, is for the ledger to find.

A provider has rules of its own for what only its answers say. Those of a submit come after ACCEPTANCE and
before COMMON, so no provider can miss an acceptance or forget a status.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from runner.http.answers import LONGEST_ID, Answer, ErrorBody, is_used_up, read_error, retry_after, usable_id
from runner.http.paid import Failure, FailureKind
from runner.http.verdicts import Evidence, ProviderError, Reaction, SubmitOutcome, Trouble, Verdict
from runner.json_value import JsonValue

_ANY_FAILURE = frozenset(FailureKind)
_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)
SERVER_ERROR = range(500, 600)
ANY_STATUS = range(1000)


@dataclass(frozen=True, slots=True)
class FailureRule:
    """For a POST without a whole answer. `begun` is whether request headers may have been sent."""

    row: int
    says: str
    begun: bool
    kinds: Collection[FailureKind]
    verdict: Verdict
    reaction: Reaction

    def matches(self, failure: Failure) -> bool:
        # no testimony at all counts as begun: only a proven absence is NOT_SENT
        return self.begun is (failure.headers_begun is not False) and failure.kind in self.kinds


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """For the HTTP answer to a submit. Whatever is left at its default does not matter.

    `with_id`: the body holds a usable id. `enveloped`: the body is the service's error envelope.
    `message` is contained in the error's message, in any case. `used_up`: it says that a quota is gone.
    """

    row: int
    says: str
    statuses: Collection[int]
    verdict: Verdict
    reaction: Reaction
    with_id: bool = False
    enveloped: bool = False
    code: str = ""
    provider_code: str = ""
    message: str = ""
    used_up: bool = False

    def matches(self, status: int, remote_id: str, error: ErrorBody, *, used_up: bool = False) -> bool:
        return (
            status in self.statuses
            and (not self.with_id or bool(remote_id))
            and (not self.enveloped or (error.is_envelope and error.is_signed))
            and self.code in ("", error.code)
            and self.provider_code in ("", error.provider_code)
            and self.message in error.message.lower()
            and (not self.used_up or used_up)
        )


@dataclass(frozen=True, slots=True)
class TroubleRule:
    """For the HTTP answer to a free request that cannot be used. Defaults as in AnswerRule.

    `code` is the error's own or the one it hands on from upstream. `problem`: the body is a problem document,
    by which a service without an envelope shows that no edge wrote it.
    """

    trouble: Trouble
    statuses: Collection[int]
    enveloped: bool = False
    problem: bool = False
    code: str = ""
    used_up: bool = False

    def matches(self, status: int, error: ErrorBody, *, used_up: bool) -> bool:
        return (
            status in self.statuses
            and (not self.enveloped or error.is_envelope)
            and (not self.problem or error.is_problem)
            and self.code in ("", error.code, error.provider_code)
            and (not self.used_up or used_up)
        )


_BEGUN_AND_LOST = (Verdict.AMBIGUOUS, Reaction.RECONCILE)
_NEVER_BEGUN = (Verdict.NOT_SENT, Reaction.BACK_OFF)
_STOP = (Verdict.NOT_SENT, Reaction.STOP_CONFIGURATION)

FAILURE_RULES: tuple[FailureRule, ...] = (
    FailureRule(1, "the host name did not resolve", False, {FailureKind.DNS}, *_NEVER_BEGUN),
    FailureRule(3, "no connection in time", False, {FailureKind.CONNECT_TIMEOUT}, *_NEVER_BEGUN),
    FailureRule(4, "the server's certificate is not trusted", False, {FailureKind.CERTIFICATE}, *_STOP),
    FailureRule(
        129, "this machine's lease had to be renewed first", False, {FailureKind.GUARDED}, *_NEVER_BEGUN
    ),
    FailureRule(2, "no connection", False, _ANY_FAILURE, *_NEVER_BEGUN),
    FailureRule(
        5, "the connection broke while the request was written", True, {FailureKind.WRITE}, *_BEGUN_AND_LOST
    ),
    FailureRule(
        6, "the server stopped reading the request", True, {FailureKind.WRITE_TIMEOUT}, *_BEGUN_AND_LOST
    ),
    FailureRule(7, "no answer in time", True, {FailureKind.READ_TIMEOUT}, *_BEGUN_AND_LOST),
    FailureRule(9, "the answer was cut", True, {FailureKind.CUT}, *_BEGUN_AND_LOST),
    FailureRule(10, "the answer is not HTTP", True, {FailureKind.NOT_HTTP}, *_BEGUN_AND_LOST),
    FailureRule(8, "the connection ended before a whole answer head", True, _ANY_FAILURE, *_BEGUN_AND_LOST),
)
"""For every provider. A cut inside the answer's head is told as row 8: the outcome is the same."""

_ACCEPTED = (Verdict.ACCEPTED, Reaction.NONE)
UNCLEAR = (Verdict.AMBIGUOUS, Reaction.RECONCILE)
AGAIN = (Verdict.REJECTED, Reaction.BACK_OFF)
TASK_FAILS = (Verdict.REJECTED, Reaction.FAIL_TASK)
_KEY_STOPS = (Verdict.REJECTED, Reaction.STOP_KEY)
MONEY_STOPS = (Verdict.REJECTED, Reaction.STOP_MONEY)

ACCEPTANCE = (
    AnswerRule(0, "accepted", _SUCCESS, *_ACCEPTED, with_id=True),
    AnswerRule(11, "a success without a usable id", _SUCCESS, *UNCLEAR),
    # a generation that has failed may be told under its failure's own status: then there is one
    AnswerRule(164, "a refusal that names a generation", range(300, 1000), *UNCLEAR, with_id=True),
)
COMMON = (
    AnswerRule(13, "500: the outcome could not be confirmed", (500,), *UNCLEAR),
    AnswerRule(72, "429: a quota is used up", (429,), *MONEY_STOPS, used_up=True),
    AnswerRule(16, "429: too many requests", (429,), *AGAIN),
    AnswerRule(17, "the key was refused", (401, 403), *_KEY_STOPS),
    AnswerRule(18, "402: out of money, or at the spend limit", (402,), *MONEY_STOPS),
    AnswerRule(20, "the request was refused", (400, 404, 413, 422), *TASK_FAILS),
    AnswerRule(21, "a redirect, which is never followed", _REDIRECT, *UNCLEAR),
    AnswerRule(15, "an answer that does not say what became of the request", ANY_STATUS, *UNCLEAR),
)

TROUBLES = (
    TroubleRule(Trouble.KEY_REFUSED, (401, 403)),
    TroubleRule(Trouble.NOT_FOUND, (404,), enveloped=True),
    # 404 of an edge's page says nothing of the task
    TroubleRule(Trouble.UNAVAILABLE, (404, 408, 425)),
    TroubleRule(Trouble.USED_UP, (429,), used_up=True),
    TroubleRule(Trouble.RATE_LIMITED, (429,)),
    TroubleRule(Trouble.WRONG_REQUEST, range(400, 500)),
    TroubleRule(Trouble.UNAVAILABLE, ANY_STATUS),
)
"""For every provider: rows 32 and 33 of docs/reference/faults.md."""


def judge_submit(
    own: Sequence[AnswerRule],
    end: Answer | Failure,
    *,
    wall: float,
    id_at: Sequence[str] = ("id",),
    with_slash: bool = False,
    longest_id: int = LONGEST_ID,
) -> SubmitOutcome:
    """The outcome of one POST by a provider's own rules; `wall` is now, in Unix seconds. Pure.

    `id_at` are the keys that lead to the generation's id in the answer: ("data", "id"). `with_slash`
    and `longest_id` are as `usable_id` has them.
    """
    if isinstance(end, Failure):
        return _judge_failure(end)
    remote_id = usable_id(_find(end, id_at), with_slash=with_slash, longest=longest_id)
    error = read_error(end)
    used_up = is_used_up(end, error, wall=wall)
    rules = (*ACCEPTANCE, *own, *COMMON)
    rule = next(rule for rule in rules if rule.matches(end.status, remote_id, error, used_up=used_up))
    is_accepted = rule.verdict is Verdict.ACCEPTED
    evidence = Evidence(
        row=rule.row,
        headers_begun=True,
        reason=rule.says,
        status=end.status,
        code=error.code,
        message="" if is_accepted else error.message,
        provider_code=error.provider_code,
        request_id=error.request_id,
    )
    return SubmitOutcome(
        rule.verdict,
        rule.reaction,
        evidence,
        remote_id=remote_id if is_accepted else "",
        retry_after=retry_after(end, error, wall=wall) if rule.reaction is Reaction.BACK_OFF else None,
        server_time=end.server_time,
    )


def _find(answer: Answer, keys: Sequence[str]) -> JsonValue:
    try:
        found = answer.document()
    except ValueError:
        return None
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _judge_failure(failure: Failure) -> SubmitOutcome:
    rule = next(rule for rule in FAILURE_RULES if rule.matches(failure))
    evidence = Evidence(
        rule.row, failure.headers_begun, rule.says, error=failure.error, status=failure.status
    )
    return SubmitOutcome(rule.verdict, rule.reaction, evidence)


def judge_refusal(own: Sequence[TroubleRule], answer: Answer, *, wall: float) -> ProviderError:
    """The trouble with a free request's answer that cannot be used, by a provider's own rules first. Pure."""
    error = read_error(answer)
    used_up = is_used_up(answer, error, wall=wall)
    rule = next(rule for rule in (*own, *TROUBLES) if rule.matches(answer.status, error, used_up=used_up))
    said = ": ".join(part for part in (error.code, error.message) if part)
    return ProviderError(
        rule.trouble,
        f"HTTP {answer.status}: {said}" if said else f"HTTP {answer.status}",
        status=answer.status,
        code=error.code,
        request_id=error.request_id,
        retry_after=retry_after(answer, error, wall=wall),
    )
