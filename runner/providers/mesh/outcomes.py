"""What only Mesh's answers say; the rules for every service are in runner/http/outcomes.py."""

from __future__ import annotations

from runner.http.outcomes import (
    AGAIN,
    ANY_STATUS,
    SERVER_ERROR,
    TASK_FAILS,
    UNCLEAR,
    AnswerRule,
    TroubleRule,
)
from runner.http.verdicts import Trouble

SUBMITS = (
    # two codes that the service documents as "may have started", under whatever 5xx they come
    AnswerRule(13, "the service could not confirm", SERVER_ERROR, *UNCLEAR, code="provider_job_failed"),
    AnswerRule(15, "upstream timed out", SERVER_ERROR, *UNCLEAR, provider_code="provider_timeout"),
    AnswerRule(14, "upstream trouble, documented as safe to repeat", (502, 503), *AGAIN, enveloped=True),
    AnswerRule(
        14,
        "the generation never started, documented as safe to repeat",
        (504,),
        *AGAIN,
        enveloped=True,
        provider_code="asset_registration_timeout",
    ),
    AnswerRule(17, "the model is not open to this key", (403,), *TASK_FAILS, code="model_excluded"),
    AnswerRule(19, "a reference is still being prepared", (422,), *AGAIN, message="still being prepared"),
)

READS = (
    # the record expired upstream before it was collected, under whatever status that is told
    TroubleRule(Trouble.NOT_FOUND, ANY_STATUS, code="provider_resource_not_found"),
)
