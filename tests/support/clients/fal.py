"""fal's client, whose hosts are set where it keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from tests.support.clients import PostingClient

if TYPE_CHECKING:
    from fal_client import SyncClient

MODEL = "bytedance/seedance-2.0/text-to-video"


@contextmanager
def connected(url: str, timeout: float = 5.0) -> Iterator[SyncClient]:
    """A client for which all hosts are the sandbox."""
    import fal_client.client

    hosts = {"QUEUE_URL_FORMAT": f"{url}/", "RUN_URL_FORMAT": f"{url}/", "REST_URL": url, "CDN_URL": url}
    with patch.multiple(fal_client.client, **hosts):
        client = fal_client.SyncClient(key="test", default_timeout=timeout)
        try:
            yield client
        finally:
            client._client.close()  # it has no way to be closed


def _create(url: str, timeout: float, _: Path) -> str:
    with connected(url, timeout) as client:
        return client.submit(MODEL, arguments={"prompt": "A teapot spins", "duration": "4"}).request_id


CLIENT = PostingClient("fal-client", "fal", _create)
