"""What only fal's answers say; the rules for every service are in runner/http/outcomes.py.

A submit's 408, 499 and every 5xx are ambiguous by those: the request may stand in the queue.
"""

from __future__ import annotations

from runner.http.outcomes import MONEY_STOPS, AnswerRule

SUBMITS = (
    AnswerRule(
        93, "403: the account is locked, perhaps without balance", (403,), *MONEY_STOPS, message="balance"
    ),
    AnswerRule(
        93, "403: the account is locked, perhaps without balance", (403,), *MONEY_STOPS, message="locked"
    ),
)

ENDED = frozenset({400, 422, 500, 502, 503, 504})
"""Statuses of a result that are those of the task, where fal itself says so. The others are of the GET."""

FREE_FROM = 500
"""A task that ended with this status or a higher one is not billed. With 422 it may be."""
