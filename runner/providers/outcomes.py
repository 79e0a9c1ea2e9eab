"""What a POST's end means for the money: rows 1 to 21 and 72 of docs/reference/faults.md, as data.

Read it beside that table: each rule names its row, and the first rule that matches decides. What
no rule names is ambiguous. Row 12, an id that another task holds, is for the ledger to find.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from runner.providers.answers import Answer, ErrorBody, is_used_up, read_error, retry_after, usable_id
from runner.providers.base import Evidence, Reaction, SubmitOutcome, Verdict
from runner.providers.submit import Failure, FailureKind

_ANY_FAILURE = frozenset(FailureKind)
_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)
_SERVER_ERROR = range(500, 600)
_ANY_STATUS = range(1000)


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
    """For an HTTP answer. Whatever is left at its default does not matter.

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


_BEGUN_AND_LOST = (Verdict.AMBIGUOUS, Reaction.RECONCILE)
_NEVER_BEGUN = (Verdict.NOT_SENT, Reaction.BACK_OFF)
_STOP = (Verdict.NOT_SENT, Reaction.STOP_CONFIGURATION)

FAILURE_RULES: tuple[FailureRule, ...] = (
    FailureRule(1, "the host name did not resolve", False, {FailureKind.DNS}, *_NEVER_BEGUN),
    FailureRule(3, "no connection in time", False, {FailureKind.CONNECT_TIMEOUT}, *_NEVER_BEGUN),
    FailureRule(4, "the server's certificate is not trusted", False, {FailureKind.CERTIFICATE}, *_STOP),
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
_UNCLEAR = (Verdict.AMBIGUOUS, Reaction.RECONCILE)
_AGAIN = (Verdict.REJECTED, Reaction.BACK_OFF)
_TASK_FAILS = (Verdict.REJECTED, Reaction.FAIL_TASK)
_KEY_STOPS = (Verdict.REJECTED, Reaction.STOP_KEY)
_MONEY_STOPS = (Verdict.REJECTED, Reaction.STOP_MONEY)

_ACCEPTANCE = (
    AnswerRule(0, "accepted", _SUCCESS, *_ACCEPTED, with_id=True),
    AnswerRule(11, "a success without a usable id", _SUCCESS, *_UNCLEAR),
)
_COMMON = (
    AnswerRule(13, "500: the outcome could not be confirmed", (500,), *_UNCLEAR),
    AnswerRule(72, "429: a quota is used up", (429,), *_MONEY_STOPS, used_up=True),
    AnswerRule(16, "429: too many requests", (429,), *_AGAIN),
    AnswerRule(17, "the key was refused", (401, 403), *_KEY_STOPS),
    AnswerRule(18, "402: out of money, or at the spend limit", (402,), *_MONEY_STOPS),
    AnswerRule(20, "the request was refused", (400, 404, 413, 422), *_TASK_FAILS),
    AnswerRule(21, "a redirect, which is never followed", _REDIRECT, *_UNCLEAR),
    AnswerRule(15, "an answer that does not say what became of the request", _ANY_STATUS, *_UNCLEAR),
)

MESH_RULES: tuple[AnswerRule, ...] = (
    *_ACCEPTANCE,
    # two codes that the service documents as "may have started", under whatever 5xx they come
    AnswerRule(13, "the service could not confirm", _SERVER_ERROR, *_UNCLEAR, code="provider_job_failed"),
    AnswerRule(15, "upstream timed out", _SERVER_ERROR, *_UNCLEAR, provider_code="provider_timeout"),
    AnswerRule(14, "upstream trouble, documented as safe to repeat", (502, 503), *_AGAIN, enveloped=True),
    AnswerRule(
        14,
        "the generation never started, documented as safe to repeat",
        (504,),
        *_AGAIN,
        enveloped=True,
        provider_code="asset_registration_timeout",
    ),
    AnswerRule(17, "the model is not open to this key", (403,), *_TASK_FAILS, code="model_excluded"),
    AnswerRule(19, "a reference is still being prepared", (422,), *_AGAIN, message="still being prepared"),
    *_COMMON,
)

GETIMG_RULES: tuple[AnswerRule, ...] = (*_ACCEPTANCE, *_COMMON)


def judge(rules: tuple[AnswerRule, ...], end: Answer | Failure, *, wall: float) -> SubmitOutcome:
    """The outcome of one POST by a provider's rules; `wall` is now, in Unix seconds. Pure."""
    if isinstance(end, Failure):
        return _judge_failure(end)
    try:
        document = end.document()
    except ValueError:
        document = None
    remote_id = usable_id(document.get("id")) if isinstance(document, dict) else ""
    error = read_error(end)
    used_up = is_used_up(end, error, wall=wall)
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


def _judge_failure(failure: Failure) -> SubmitOutcome:
    rule = next(rule for rule in FAILURE_RULES if rule.matches(failure))
    evidence = Evidence(
        rule.row, failure.headers_begun, rule.says, error=failure.error, status=failure.status
    )
    return SubmitOutcome(rule.verdict, rule.reaction, evidence)
