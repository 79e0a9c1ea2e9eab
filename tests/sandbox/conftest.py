"""A sandbox whose tasks end at once, and a client that holds its key."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from runner.sandbox import SandboxConfig, SandboxServer
from tests.support.sandbox_requests import connect


@pytest.fixture
def pictures_are_encoded_once() -> None:
    """Here encoding is what is tested."""


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.05)) as server:
        yield server


@pytest.fixture
def client(server: SandboxServer) -> Iterator[httpx.Client]:
    with connect(server) as client:
        yield client
