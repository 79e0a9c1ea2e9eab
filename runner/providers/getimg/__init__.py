"""getimg.ai, /v2/videos/generations: Seedance and other models, billed in dollars that it names itself.

It has no list, echoes no field of ours and calls nobody: results are polled for, and a submit whose
outcome is unclear is held for a person. Pages: docs/reference/provider.md, tests/wire/getimg.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from runner.providers.failures import SEEDANCE, Cause
from runner.providers.getimg.dialect import GetimgDialect
from runner.providers.provider import Provider, ServiceLimits, client_of

GETIMG: Final = Provider(
    name="getimg",
    origin="https://api.getimg.ai",
    key_variables=("GETIMG_API_KEY",),
    url_variable="GETIMG_AI_BASE_URL",
    folder=Path(__file__).parent,
    dialect=GetimgDialect(
        text_fields=("prompt",),
        path="/v2/videos/generations",
        words={"ratio": "aspect_ratio", "generate_audio": "sound"},
        items_field="images",
    ),
    make_client=client_of("runner.providers.getimg.client:GetimgClient"),
    # of one image, decoded, by default
    limits=ServiceLimits(
        body=26_214_400, large_body=26_214_400, prompt=4096, images=8, files={"image_url": 10 * 2**20}
    ),
    # the service names no life of a record; looking for longer than needed costs nothing
    record_life=7 * 86_400.0,
    url_life=24 * 3600.0,
    content_fields={"prompt": "text", "images": "image_url"},
    publishes_models=True,
    tells_costs=True,
    usual_seconds=(83.0, 105.0, 253.0),
    # the service documents no codes; this one is in its example of a failure
    causes={"content_policy*": Cause.PROMPT, **SEEDANCE},
)
