"""What only the servers of /v1/videos say; the rules for every service are in runner/http/outcomes.py."""

from __future__ import annotations

from runner.http.outcomes import TASK_FAILS, AnswerRule

SUBMITS = (AnswerRule(89, "the request's form was refused", (415,), *TASK_FAILS),)
