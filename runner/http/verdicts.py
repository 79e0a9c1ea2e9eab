"""What a request came to: of a paid POST, and of a free request that failed."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.errors import CallsheetError, KeyRefusedError, OutOfMoneyError, ServiceUnreachableError


class Verdict(enum.StrEnum):
    """The outcome of one POST: these four, and nothing between them."""

    NOT_SENT = "not_sent"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    AMBIGUOUS = "ambiguous"


class Reaction(enum.StrEnum):
    """The next step after a POST that was not accepted."""

    NONE = "none"
    BACK_OFF = "back_off"
    """The same intent again, after `retry_after` or a backoff; not a used attempt."""
    FAIL_TASK = "fail_task"
    STOP_KEY = "stop_key"
    """Stop submitting, keep collecting, exit 77."""
    STOP_MONEY = "stop_money"
    """Stop submitting, keep collecting, exit 4."""
    STOP_CONFIGURATION = "stop_configuration"
    """Stop, exit 69: a bad certificate will not heal by itself."""
    RECONCILE = "reconcile"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a POST got its verdict; recorded with the attempt.

    `row` is the number in docs/reference/faults.md (0: an ordinary acceptance).
    `headers_begun` is None where no transport testified. `error` is the exception in words,
    without URLs or keys. `status` and what follows are from the HTTP answer, if one came.
    """

    row: int
    headers_begun: bool | None
    reason: str
    error: str = ""
    status: int | None = None
    code: str = ""
    message: str = ""
    provider_code: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class SubmitOutcome:
    """`server_time` is the answer's Date header in Unix seconds; `retry_after` is seconds, clamped.

    `handle` is what else the service gave beside the id and wants back in a GET, such as URLs, by name.
    """

    verdict: Verdict
    reaction: Reaction
    evidence: Evidence
    remote_id: str = ""
    retry_after: float | None = None
    server_time: float | None = None
    handle: Mapping[str, str] = field(default_factory=dict, repr=False)


class Trouble(enum.StrEnum):
    """Why a free request gave no answer that can be used."""

    UNREACHABLE = "unreachable"
    """No connection, or it broke: try again."""
    UNAVAILABLE = "unavailable"
    """5xx, garbage, or a body past the limit: try again."""
    RATE_LIMITED = "rate_limited"
    USED_UP = "used_up"
    """429 that says that a quota is gone: waiting for it does not help."""
    NOT_FOUND = "not_found"
    KEY_REFUSED = "key_refused"
    WRONG_REQUEST = "wrong_request"
    CERTIFICATE = "certificate"


class ProviderError(Exception):
    """A free request (get, list) failed; the text holds neither key nor signed URL."""

    def __init__(
        self,
        trouble: Trouble,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.message = message
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered a little later."""
        return self.trouble in (Trouble.UNREACHABLE, Trouble.UNAVAILABLE, Trouble.RATE_LIMITED)

    @property
    def refusal(self) -> CallsheetError | None:
        """What a person has to mend before this key is served again; None where another try may help."""
        match self.trouble:
            case Trouble.KEY_REFUSED:
                return KeyRefusedError.by_service(self.message)
            case Trouble.USED_UP:
                return OutOfMoneyError.used_up(self.message)
            case Trouble.CERTIFICATE:
                return ServiceUnreachableError.untrusted(self.message)
            case _:
                return None
