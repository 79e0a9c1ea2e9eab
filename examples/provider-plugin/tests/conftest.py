"""A sandbox that speaks as Replicate, and a client of the plug-in's at it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from callsheet_replicate import REPLICATE
from callsheet_replicate.client import ReplicateClient

from runner import providers
from runner.http.access import Access, ApiKey
from runner.sandbox import SandboxConfig, SandboxServer

Connect = Callable[[], contextlib.AbstractAsyncContextManager[ReplicateClient]]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture(scope="module")
def shared() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(provider="replicate", latency=(0.0, 0.0), scale=0.05)) as server:
        yield server


@pytest.fixture
def server(shared: SandboxServer) -> Iterator[SandboxServer]:
    yield shared
    shared.faults.clear()


@pytest.fixture
def connect(server: SandboxServer) -> Connect:
    @contextlib.asynccontextmanager
    async def connected() -> AsyncIterator[ReplicateClient]:
        access = Access(server.url + REPLICATE.base_path, ApiKey("r8_0123456789"))
        async with providers.connect(REPLICATE, access) as client:
            assert isinstance(client, ReplicateClient)
            yield client

    return connected
