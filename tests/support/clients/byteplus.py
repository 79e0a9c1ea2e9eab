"""Ark's client."""

from __future__ import annotations

from pathlib import Path

from tests.support.clients import PostingClient


def _create(url: str, timeout: float, _: Path) -> str:
    # it takes 0.7 s to import
    from byteplussdkarkruntime import Ark

    client = Ark(api_key="test", base_url=f"{url}/api/v3", timeout=timeout)
    try:
        return client.content_generation.tasks.create(
            model="dreamina-seedance-2-0-260128", content=[{"type": "text", "text": "A teapot spins"}]
        ).id
    finally:
        client.close()


CLIENT = PostingClient("byteplus-python-sdk-v2", "ark", _create)
