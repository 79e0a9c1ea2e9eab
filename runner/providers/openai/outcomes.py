"""What only the servers of /v1/videos say; the rules for every service are in runner/http/outcomes.py."""

from __future__ import annotations

from runner.http.outcomes import TASK_FAILS, UNCLEAR, AnswerRule

_REFUSALS = (400, 401, 402, 403, 404, 413, 415, 422, 429)

SUBMITS = (
    # a failed job may be told under its failure's own status: then there is a job
    AnswerRule(90, "a refusal that names a job", _REFUSALS, *UNCLEAR, with_id=True),
    AnswerRule(89, "the request's form was refused", (415,), *TASK_FAILS),
)
