"""What only Clipworks' answers say; the rules for every service are in runner/http/outcomes.py."""

from __future__ import annotations

from runner.http.outcomes import AGAIN, AnswerRule

SUBMITS = (
    # documented: with this code nothing was begun or charged. Any other 5xx stays unclear.
    AnswerRule(14, "the studio is full, documented as safe to repeat", (503,), *AGAIN, code="studio_full"),
)
