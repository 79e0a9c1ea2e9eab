"""Replicate's client, version 1: its service is the one of examples/provider-plugin."""

from __future__ import annotations

from pathlib import Path

from tests.support.clients import PostingClient


def _create(url: str, timeout: float, directory: Path) -> str:
    # imported when it is measured, as the others are
    import replicate

    client = replicate.Client(api_token="test", base_url=url, timeout=timeout)
    asked = {"prompt": "A teapot spins", "duration": 4, "resolution": "480p"}
    with client._client:  # it has no way to close its connections
        return client.predictions.create(model="bytedance/seedance-2.0", input=asked).id


CLIENT = PostingClient("replicate", "replicate", _create)
