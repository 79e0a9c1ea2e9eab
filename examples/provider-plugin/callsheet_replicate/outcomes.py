"""What only Replicate's answers say; the rules for every service are in runner/http/outcomes.py.

Its errors are problem documents (`title`, `detail`, `status`), sometimes with a `detail` alone. Nothing
documents a 5xx as safe to repeat, so each leaves a submit unclear.
"""

from __future__ import annotations

import re

from runner.http.answers import LONGEST_WAIT
from runner.http.outcomes import TASK_FAILS, AnswerRule, TroubleRule
from runner.http.verdicts import Trouble

SUBMITS = (
    AnswerRule(
        20,
        "no such version, or not open to this account, which may need a card",
        (400, 422),
        *TASK_FAILS,
        code="Invalid version or not permitted",
    ),
)

READS = (
    # a problem document is the service's own: an edge's page has none
    TroubleRule(Trouble.NOT_FOUND, (404,), problem=True),
)

_RESETS_IN = re.compile(r"resets in ~?\s*(\d{1,6}(?:\.\d+)?)\s*(s|m)")
_SECONDS = {"s": 1.0, "m": 60.0}


def told_wait(message: str) -> float | None:
    """The seconds of `Your rate limit resets in ~30s.`: a 429 names them in its text alone."""
    found = _RESETS_IN.search(message)
    return min(float(found[1]) * _SECONDS[found[2]], LONGEST_WAIT) if found else None
