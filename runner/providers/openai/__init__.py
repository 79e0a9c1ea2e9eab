"""Servers of one's own, and gateways, that speak the OpenAI-shaped /v1/videos.

OpenAI itself switched that off on 2026-09-24, so there is no address but the one that an account gives, with
the dialect of what answers there. Where its list shows prompts, an unclear submit can be found again; where
it has no such list, it is held for a person. Pages: docs/reference/provider.md, wire/openai-videos.md.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from runner.providers.failures import SEEDANCE, Cause
from runner.providers.openai.dialect import FIRST, VideosDialect
from runner.providers.openai.servers import SERVERS, UNNAMED, Server
from runner.providers.provider import Listing, ListKind, Provider, ServiceLimits, client_of


def _speaking(server: Server) -> Provider:
    return Provider(
        name="openai",
        origin="",
        base_path="/v1",
        # names of their own: what OPENAI_API_KEY holds is for another server, and goes to none unasked
        key_variables=("OPENAI_VIDEOS_API_KEY",),
        url_variable="OPENAI_VIDEOS_BASE_URL",
        needs_key=False,
        keyed_files=True,
        folder=Path(__file__).parent,
        dialect=VideosDialect(
            text_fields=("prompt", "negative_prompt"),
            path="/videos",
            words={"duration": "seconds", **server.words},
            items_field=FIRST,
            composed=frozenset({"resolution", "ratio"}),
            server=server,
            every_field=UNNAMED.fields,
        ),
        make_client=client_of("runner.providers.openai.client:VideosClient", server=server),
        # one picture as a file; what a server takes at most is its owner's matter
        limits=ServiceLimits(
            body=64_000_000, large_body=64_000_000, prompt=32_000, images=1, files={"image_url": 20_971_520}
        ),
        record_life=server.record_life,
        url_life=server.url_life,
        content_fields={"prompt": "text", FIRST: "image_url"},
        not_in_identity=frozenset({"user"}),
        echoes=server.echoes,
        listing=Listing(kind=ListKind.CURSOR, page=100) if server.lists else None,
        is_own_server=server.is_own,
        causes={
            "content_policy*": Cause.PROMPT,
            "moderation*": Cause.PROMPT,
            "invalid_request*": Cause.REQUEST,
            "model_not_found": Cause.ACCESS,
            # the number of a failure's own status, where the server names no code
            "400": Cause.REQUEST,
            "422": Cause.REQUEST,
            "500": Cause.PASSING,
            "503": Cause.PASSING,
            **SEEDANCE,
        },
    )


OPENAI: Final = replace(
    _speaking(UNNAMED), dialects={name: _speaking(server) for name, server in SERVERS.items()}
)
