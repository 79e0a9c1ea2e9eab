"""Mesh API's client."""

from __future__ import annotations

from pathlib import Path

from runner.sandbox import SANDBOX_KEY
from tests.support.clients import PostingClient


def _create(url: str, timeout: float, _: Path) -> str:
    # imported when it is measured: six clients take seconds to import
    from meshapi import MeshAPI, VideoContentItem, VideoGenerationParams

    with MeshAPI(base_url=url, token=SANDBOX_KEY, timeout=timeout) as client:
        asked = VideoGenerationParams(
            model="byteplus/seedance-1-0-pro", content=[VideoContentItem(type="text", text="A teapot spins")]
        )
        return client.videos.generate(asked).id


CLIENT = PostingClient("meshapi", "mesh", _create)
