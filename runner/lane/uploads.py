"""Local files at a service that wants them there before a submit: put up once for each run of a lane.

Their addresses are secrets, and are kept nowhere but here.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from runner.http.verdicts import ProviderError, Trouble
from runner.lane.pace import Retry
from runner.providers.base import Client, InputFile

TRIES = 4

KEPT = 6 * 3600.0
"""Seconds after which a file is put up again: services keep an upload for a while."""


@dataclass(frozen=True, slots=True)
class _Upload:
    url: str = field(repr=False)
    at: float


@dataclass(slots=True)
class Uploads:
    """By digest, so that tasks that share an input share its upload too."""

    client: Client
    random: random.Random
    _done: dict[str, _Upload] = field(default_factory=dict)
    _turns: dict[str, anyio.Lock] = field(default_factory=dict)

    async def url(self, file: InputFile, read: Callable[[InputFile], Awaitable[bytes]]) -> str:
        """The address of a file at the service. Raises ProviderError, and what `read` raises."""
        async with self._turns.setdefault(file.sha256, anyio.Lock()):
            known = self._done.get(file.sha256)
            if known is None or anyio.current_time() - known.at > KEPT:
                at = anyio.current_time()
                known = _Upload(await self._put(file, await read(file)), at)
                if not known.url:
                    raise ProviderError(Trouble.UNAVAILABLE, "the service gave no address for it")
                self._done[file.sha256] = known
            return known.url

    async def _put(self, file: InputFile, content: bytes) -> str:
        retry = Retry(self.random, TRIES)
        while True:
            try:
                return await self.client.upload(file, content)
            except ProviderError as error:
                if retry.failed() or not error.may_pass:
                    raise
                await anyio.sleep(max(retry.pause(), error.retry_after or 0.0))
