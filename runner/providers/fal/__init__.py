"""fal.ai, queue.fal.run: Seedance and many other models, billed by the second of video.

The path of a submit is the model's id, and its body the model's input. A submit whose outcome is unclear is
found again by its input in the history of the platform API, which shows only what has ended: a request that
is not there may be at work, so nothing is ever taken for absent. Pages: docs/reference/provider.md,
docs/how-to/fal.md, wire/fal.md.

fal.run, which answers the same models in one blocking call, and the backup hosts of the official client are
never asked: a cut connection would lose a paid video there, or pay for a second one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from runner.providers.failures import SEEDANCE, Cause
from runner.providers.fal.dialect import ADAPTIVE, AUTO, FalDialect
from runner.providers.provider import Echo, Listing, ListKind, Provider, ServiceLimits, client_of

HISTORY_LIFE: Final = 30 * 86_400.0
"""Seconds for which payloads are kept, and so the inputs and outputs of the history."""

TOKEN_PATH: Final = "/storage/auth/token"  # noqa: S105 - a path
UPLOAD_PATH: Final = "/files/upload"

FAL: Final = Provider(
    name="fal",
    origin="https://queue.fal.run",
    hosts={"rest": "https://rest.fal.ai", "platform": "https://api.fal.ai", "files": "https://v3.fal.media"},
    key_scheme="Key",
    key_variables=("FAL_KEY",),
    url_variable="FAL_BASE_URL",
    folder=Path(__file__).parent,
    dialect=FalDialect(
        text_fields=("prompt",),
        words={"ratio": "aspect_ratio", "safety_identifier": "end_user_id", "callback_url": "fal_webhook"},
        forms={"aspect_ratio": ADAPTIVE, "duration": AUTO},
        items_field="image_urls",
    ),
    make_client=client_of("runner.providers.fal.client:FalClient"),
    # of a body no limit is documented, and files go by uploads; of files, the models' documentation
    limits=ServiceLimits(
        body=64_000_000,
        large_body=64_000_000,
        files={"image_url": 30_000_000, "video_url": 50_000_000, "audio_url": 15_000_000},
    ),
    record_life=HISTORY_LIFE,
    # a file is kept until told otherwise; its address is asked for again at least so often
    url_life=24 * 3600.0,
    content_fields={
        "prompt": "text",
        "image_url": "image_url",
        "end_image_url": "image_url",
        "image_urls": "image_url",
        "video_urls": "video_url",
        "audio_urls": "audio_url",
    },
    not_in_identity=frozenset({"fal_webhook", "fal_max_queue_length", "end_user_id"}),
    echoes={
        "prompt": Echo.INPUT,
        "resolution": Echo.INPUT,
        "duration": Echo.INPUT,
        "aspect_ratio": Echo.INPUT,
        "generate_audio": Echo.INPUT,
        "seed": Echo.INPUT,
        "camera_fixed": Echo.INPUT,
        "task": Echo.INPUT,
        "bitrate_mode": Echo.INPUT,
    },
    chosen_by_service=frozenset({"auto", -1}),
    listing=Listing(kind=ListKind.HISTORY, by_model=True, page=100, window=HISTORY_LIFE),
    callback_field="fal_webhook",
    publishes_models=True,
    tells_costs=True,
    takes_uploads=True,
    upload_paths=frozenset({TOKEN_PATH, UPLOAD_PATH}),
    signs_callbacks=True,
    usual_seconds=(83.0, 105.0, 253.0),
    causes={
        "content_policy_violation": Cause.PROMPT,
        "*face*": Cause.PROMPT,
        "no_media_generated": Cause.RESULT,
        "missing": Cause.REQUEST,
        "bad_request": Cause.REQUEST,
        "value_error*": Cause.REQUEST,
        "*_type": Cause.REQUEST,
        "*_parsing": Cause.REQUEST,
        "literal_error": Cause.REQUEST,
        "enum": Cause.REQUEST,
        "greater_than*": Cause.REQUEST,
        "less_than*": Cause.REQUEST,
        "file_*": Cause.REQUEST,
        "image_*": Cause.REQUEST,
        "video_*": Cause.REQUEST,
        "audio_*": Cause.REQUEST,
        "unsupported_*": Cause.REQUEST,
        "internal_*error": Cause.PASSING,
        "downstream_service_*": Cause.PASSING,
        "*_timeout": Cause.PASSING,
        "runner_*": Cause.PASSING,
        "concurrent_requests_limit": Cause.PASSING,
        **SEEDANCE,
    },
)
