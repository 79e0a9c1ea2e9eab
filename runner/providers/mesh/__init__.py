"""Mesh API, /v1/video/generations: the Seedance models of ByteDance, billed by tokens.

It lists its tasks and repeats what was asked for, so a submit whose outcome is unclear is found
again: by a tag in `execution_expires_after`, which comes back and changes nothing, or by its seed.
Results: one video and, where asked for, its last frame. Pages: docs/reference/provider.md, wire/mesh-api.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from runner.providers.dialect import Dialect
from runner.providers.failures import SEEDANCE, Cause
from runner.providers.provider import Echo, Listing, Provider, ServiceLimits, TagField, client_of

TAG: Final = TagField("execution_expires_after", default=172_800, count=65_536, most_open=60_000)
"""Seconds until a task expires that nobody rendered. With more open tags than that the search for a free one
takes long, and nobody has so many submits in doubt."""


MESH: Final = Provider(
    name="mesh",
    origin="https://api.meshapi.ai",
    key_variables=("MESHAPI_API_KEY", "MESHAPI_TOKEN"),
    url_variable="MESHAPI_BASE_URL",
    folder=Path(__file__).parent,
    dialect=Dialect(
        path="/v1/video/generations", flex_field="service_tier", last_frame_field="return_last_frame"
    ),
    make_client=client_of("runner.providers.mesh.client:MeshClient"),
    # the guide says 64 MB, and at a later date 32 MiB; of one file, the models' documentation
    limits=ServiceLimits(
        body=64_000_000,
        large_body=33_554_432,
        files={"image_url": 30_000_000, "video_url": 50_000_000, "audio_url": 15_000_000},
    ),
    # the guide says "about 7 days"; a result's URL lives 24 h, and a GET renews it
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
        "safety_identifier": Echo.NOTED,
        "priority": Echo.NOTED,
        "draft": Echo.FORBIDS,
        "service_tier": Echo.FORBIDS,
        TAG.field: Echo.TAG,
    },
    chosen_by_service=frozenset({"adaptive", -1}),
    tag=TAG,
    listing=Listing(scope_field="service_tier"),
    callback_field="callback_url",
    publishes_models=True,
    usual_seconds=(83.0, 105.0, 253.0),
    causes={
        "content_policy_violation": Cause.PROMPT,
        "invalid_input": Cause.REQUEST,
        "bad_request": Cause.REQUEST,
        "invalid_request": Cause.REQUEST,
        "validation_error": Cause.REQUEST,
        "unprocessable_entity": Cause.REQUEST,
        "model_excluded": Cause.ACCESS,
        "model_not_found": Cause.ACCESS,
        "internal_error": Cause.PASSING,
        "provider_job_failed": Cause.PASSING,
        "provider_timeout": Cause.PASSING,
        "provider_not_available": Cause.PASSING,
        "upstream_error": Cause.PASSING,
        "gateway_timeout": Cause.PASSING,
        **SEEDANCE,
    },
)
