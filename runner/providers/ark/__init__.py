"""Ark, /api/v3/contents/generations/tasks: the Seedance models from their maker, billed by tokens.

BytePlus ModelArk; an account's `base_url` leads to Volcengine Ark. It lists its tasks and repeats what was
asked for, so a submit whose outcome is unclear is found again by a tag: in `execution_expires_after`, or,
where the account says so, in `safety_identifier`. Results: one video and, where asked for, its last frame.
A DELETE is never sent: it also deletes the record of a video that is paid for, and the one link to it.
Pages: docs/reference/provider.md, docs/how-to/ark.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from runner.providers.ark.dialect import ArkDialect
from runner.providers.base import GenerationStatus
from runner.providers.failures import SEEDANCE, Cause
from runner.providers.provider import Echo, Listing, Provider, ServiceLimits, TagField, client_of

TAG: Final = TagField("execution_expires_after", default=172_800, count=65_536, most_open=60_000)
"""Seconds until a task expires that nobody rendered."""

TEXT_TAG: Final = TagField(
    "safety_identifier", default=0, count=2**48, most_open=2**20, prefix="cs-", least=TAG.count
)
"""Meant for a hash of an end user; whether another use has a side effect is not documented."""


ARK: Final = Provider(
    name="ark",
    origin="https://ark.ap-southeast.bytepluses.com",
    base_path="/api/v3",
    key_variables=("ARK_API_KEY",),
    url_variable="ARK_BASE_URL",
    folder=Path(__file__).parent,
    dialect=ArkDialect(
        path="/contents/generations/tasks", flex_field="service_tier", last_frame_field="return_last_frame"
    ),
    make_client=client_of("runner.providers.ark.client:ArkClient"),
    # an image is smaller than 30 MB; a video goes by its URL
    limits=ServiceLimits(
        body=64_000_000, large_body=64_000_000, files={"image_url": 29_999_999, "audio_url": 15_000_000}
    ),
    # a cancelled task's ends after 24 h, but nothing cancels here; a GET renews a result's URL
    record_life=7 * 86_400.0,
    url_life=24 * 3600.0,
    longest_wait=172_800.0,
    wait_field=TAG.field,
    not_in_identity=frozenset(
        {"callback_url", "priority", "safety_identifier", "service_tier", "execution_expires_after"}
    ),
    makes={"last_frame": "return_last_frame", "task_id": "draft"},
    echoes={
        "seed": Echo.SEED,
        "resolution": Echo.FORBIDS,
        "ratio": Echo.FORBIDS,
        "duration": Echo.FORBIDS,
        "frames": Echo.FORBIDS,
        "generate_audio": Echo.FORBIDS,
        "output_format": Echo.FORBIDS,
        "draft": Echo.FORBIDS,
        "service_tier": Echo.FORBIDS,
        # the echo may differ from the request
        "priority": Echo.NOTED,
        TEXT_TAG.field: Echo.NOTED,
        TAG.field: Echo.TAG,
    },
    chosen_by_service=frozenset({"adaptive", -1}),
    tag=TAG,
    tags={TEXT_TAG.field: TEXT_TAG},
    # of no documented order, and without a filter by time
    listing=Listing(scope_field="service_tier", by_model=True, window=7 * 86_400.0, interval=1.0),
    callback_field="callback_url",
    usual_seconds=(83.0, 105.0, 253.0),
    free_ends=frozenset({GenerationStatus.FAILED, GenerationStatus.CANCELLED, GenerationStatus.EXPIRED}),
    causes={
        "accessdenied*": Cause.ACCESS,
        "operationdenied*": Cause.ACCESS,
        "notfound*": Cause.ACCESS,
        "inflightbatchsizeexceeded*": Cause.PASSING,
        "requestbursttoofast*": Cause.PASSING,
        **SEEDANCE,
    },
)
