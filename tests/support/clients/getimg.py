"""getimg's client."""

from __future__ import annotations

from pathlib import Path

from tests.support.clients import PostingClient


def _create(url: str, timeout: float, _: Path) -> str:
    from getimg import GetimgAI

    with GetimgAI(api_key="test", base_url=url, timeout=timeout) as client:
        return client.videos.generations.create(model="seedance-v1-pro", prompt="A teapot spins").id


CLIENT = PostingClient("getimg", "getimg", _create)
