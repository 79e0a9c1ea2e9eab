"""What only Ark's answers say (wire/ark.md); the rules for every service are in runner/http/outcomes.py."""

from __future__ import annotations

from runner.http.outcomes import AGAIN, MONEY_STOPS, AnswerRule, TroubleRule
from runner.http.verdicts import Trouble

_PASSING = (
    "RateLimitExceeded.EndpointRPMExceeded",
    "ModelAccountRpmRateLimitExceeded",
    "APIAccountRpmRateLimitExceeded",
    "AccountRateLimitExceeded",
    "RequestBurstTooFast",
    "ServerOverloaded",
    "InflightBatchsizeExceeded",
)
_OVERDUE = ("AccountOverdueError", "OperationDenied.ServiceOverdue")
_USED_UP = ("SetLimitExceeded", "QuotaExceeded")

SUBMITS = (
    *(AnswerRule(85, "429: a limit that passes by itself", (429,), *AGAIN, code=code) for code in _PASSING),
    # four quotas share this code; only the one on queued tasks frees itself
    AnswerRule(85, "429: too many tasks are queued", (429,), *AGAIN, code="QuotaExceeded", message="queu"),
    *(AnswerRule(86, "429: a quota is used up", (429,), *MONEY_STOPS, code=code) for code in _USED_UP),
    *(AnswerRule(87, "403: the account is overdue", (403,), *MONEY_STOPS, code=code) for code in _OVERDUE),
)

READS = (
    *(TroubleRule(Trouble.RATE_LIMITED, (429,), code=code) for code in _PASSING),
    *(TroubleRule(Trouble.USED_UP, (403,), code=code) for code in _OVERDUE),
)
