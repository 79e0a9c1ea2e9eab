"""OpenAI's client, at any server that has its /v1/videos."""

from __future__ import annotations

import warnings
from pathlib import Path

from tests.support.clients import PostingClient


def _create(url: str, timeout: float, _: Path) -> str:
    # imported when it is measured: it takes a second
    from openai import OpenAI

    with OpenAI(api_key="test", base_url=f"{url}/v1", timeout=timeout) as client, warnings.catch_warnings():
        # each call says that OpenAI itself switched its videos off
        warnings.simplefilter("ignore", DeprecationWarning)
        return client.videos.create(model="wan", prompt="A teapot spins", seconds="4").id


CLIENT = PostingClient("openai", "openai", _create)
