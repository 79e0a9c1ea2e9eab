"""Replicate, /v1/predictions: Seedance and other models, billed by the second of output.

It has no field for a tag, and repeats the whole input: a submit whose outcome is unclear is found again in
the list by what it asked for. An hour after a prediction has ended its input is wiped, and its result gone;
what was not found by then is held for a person.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from callsheet_replicate.dialect import PLAIN, ReplicateDialect
from runner.providers.base import GenerationStatus
from runner.providers.failures import SEEDANCE, Cause
from runner.providers.provider import Echo, Listing, ListKind, Provider, ServiceLimits, client_of

RESULT_LIFE: Final = 3600.0
"""Seconds after its end that a prediction keeps its input, its output and its files."""


REPLICATE: Final = Provider(
    name="replicate",
    origin="https://api.replicate.com",
    base_path="/v1",
    key_variables=("REPLICATE_API_TOKEN",),
    url_variable="REPLICATE_BASE_URL",
    folder=Path(__file__).parent,
    dialect=ReplicateDialect(
        words={"ratio": "aspect_ratio"}, items_field="reference_images", text_fields=("prompt",)
    ),
    make_client=client_of("callsheet_replicate.client:ReplicateClient"),
    # no limit of a body is documented, and files go by uploads, which end below 100 MB
    limits=ServiceLimits(
        body=2_000_000_000,
        large_body=2_000_000_000,
        files=dict.fromkeys(("image_url", "video_url", "audio_url"), 99_999_999),
    ),
    # the pages name no life of a record; looking for longer than needed costs nothing
    record_life=7 * 86_400.0,
    url_life=RESULT_LIFE,
    content_fields={
        "prompt": "text",
        "image": "image_url",
        "last_frame_image": "image_url",
        "reference_images": "image_url",
        "reference_videos": "video_url",
        "reference_audios": "audio_url",
    },
    not_in_identity=frozenset({"webhook", "webhook_events_filter", "cancel_after"}),
    # addresses of files may come back changed, so they tell no prediction from another
    echoes=dict.fromkeys(PLAIN, Echo.INPUT),
    listing=Listing(kind=ListKind.CURSOR, page=100, is_ordered=True),
    callback_field="webhook",
    # it ended before it began
    free_ends=frozenset({GenerationStatus.EXPIRED}),
    publishes_models=True,
    # at replicate.delivery they lie open; the pages say that the key is for files of the API too
    keyed_files=True,
    takes_uploads=True,
    upload_paths=frozenset({"/files"}),
    signs_callbacks=True,
    causes={
        # "flagged as sensitive", the input or the output, and often without reason
        "e005": Cause.RESULT,
        "e1001": Cause.PASSING,
        "e4875": Cause.REQUEST,
        "e6716": Cause.PASSING,
        "invalid version or not permitted": Cause.ACCESS,
        **SEEDANCE,
    },
)
