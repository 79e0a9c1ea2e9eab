"""A FalClient on real connections, for the tests of fal."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from runner.http.access import Access
from runner.http.free import FreeRequests
from runner.http.paid import PaidRequests
from runner.http.transport import Transport, open_client
from runner.providers.fal import FAL
from runner.providers.fal.client import FalClient
from tests.support.provider_clients import KEY, NOW, PATIENT, PATIENT_FREE, trusts_nothing


@contextlib.asynccontextmanager
async def fal_at(origin: str, wall: Callable[[], float] = lambda: NOW) -> AsyncIterator[FalClient]:
    """All of its hosts are at `origin`."""
    access = Access(origin, KEY, FAL.key_scheme)
    async with open_client(Transport(tls=trusts_nothing())) as client:
        free = FreeRequests(access, client, PATIENT_FREE, wall=wall, uploads=FAL.upload_paths)
        yield FalClient(PaidRequests(access, client, PATIENT), free, wall, dict.fromkeys(FAL.hosts, free))
