"""Local files where a service can fetch them, put there before a submit, once for each run of a lane: at the
service itself, or in the project's own object storage.

Their addresses are secrets, and are kept nowhere but here.
"""

from __future__ import annotations

import datetime
import functools
import io
import math
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from runner.http.verdicts import ProviderError, Trouble
from runner.lane.pace import Retry
from runner.objects.address import digest_key
from runner.objects.store import ObjectError, ObjectStore
from runner.providers.base import InputFile
from runner.times import duration_words

TRIES = 4

KEPT = 6 * 3600.0
"""Seconds after which a file is put up again: services keep an upload for a while."""


@dataclass(frozen=True, slots=True)
class _Upload:
    url: str = field(repr=False)
    at: float


Put = Callable[[InputFile, bytes], Awaitable[str]]
"""Puts a file up and gives its address; done again it costs nothing. Raises ProviderError."""


@dataclass(slots=True)
class Uploads:
    """By digest, so that tasks that share an input share its upload too. An address is given again for `kept`
    seconds.
    """

    put: Put
    random: random.Random
    kept: float = KEPT
    patience: float = math.inf
    """Seconds: a service that asks for a longer wait is asked no more."""
    _done: dict[str, _Upload] = field(default_factory=dict)
    _turns: dict[str, anyio.Lock] = field(default_factory=dict)

    async def url(self, file: InputFile, read: Callable[[InputFile], Awaitable[bytes]]) -> str:
        """The address of a file at the service. Raises ProviderError, and what `read` raises."""
        async with self._turns.setdefault(file.sha256, anyio.Lock()):
            known = self._done.get(file.sha256)
            if known is None or anyio.current_time() - known.at > self.kept:
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
                return await self.put(file, content)
            except ProviderError as error:
                wait = error.retry_after or 0.0
                if retry.failed() or not error.may_pass or retry.seconds + wait > self.patience:
                    raise
                await anyio.sleep(max(retry.pause(), wait))


LONGEST = 7 * 86_400.0
"""Seconds for which an address can be signed at most: S3's and Google's limit, and Azure's for most keys."""


@dataclass(slots=True)
class ObjectUploads:
    """Inputs in a bucket of the owner's, by digest, with addresses that end by themselves.

    `store` is that of `uploads` in callsheet.yaml. Each address is signed anew: it has to live for as long as
    a task may wait before the service reads it.
    """

    store: ObjectStore
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    wall: Callable[[], float] = time.time
    _there: set[str] = field(default_factory=set)
    _limiter: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(math.inf))
    """Storage that hangs must take no thread from a commit: who asks has bounds."""

    async def put(self, life: float, file: InputFile, content: bytes) -> str:
        """Raises ProviderError, also where the address would end before `life` seconds have passed."""
        key = digest_key(file.sha256, file.path.name)
        try:
            if file.sha256 not in self._there:
                create = functools.partial(
                    self.store.create, key, lambda: io.BytesIO(content), sha256=file.sha256, size=len(content)
                )
                await anyio.to_thread.run_sync(create, limiter=self._limiter)
                self._there.add(file.sha256)
            sign = functools.partial(signed, self.store, key, life, self.environment, self.wall)
            return await anyio.to_thread.run_sync(sign, limiter=self._limiter)
        except ObjectError as error:
            raise ProviderError(Trouble.WRONG_REQUEST, str(error)) from error


def signed(
    store: ObjectStore,
    key: str,
    life: float,
    environment: Mapping[str, str] = os.environ,
    wall: Callable[[], float] = time.time,
) -> str:
    """The address of an object, which lives for `life` seconds. Raises ProviderError where it would end
    before, and ObjectError.
    """
    if life > LONGEST:
        raise ProviderError(
            Trouble.WRONG_REQUEST,
            f"the service may read it up to {duration_words(life)} from now, and an address can be signed"
            f" for {duration_words(LONGEST)} at most",
        )
    url = store.signed(key, life)
    if _is_temporary(url) and (left := _credentials_end(environment) - wall()) < life:
        known = f"in {duration_words(left)}" if math.isfinite(left) else "at a time that is not known"
        raise ProviderError(
            Trouble.WRONG_REQUEST,
            f"the storage's credentials are temporary and end {known}, and an address ends with them; the"
            f" service may read it up to {duration_words(life)} from now. Sign with a long-lived key"
            " (AWS_ACCESS_KEY_ID without AWS_SESSION_TOKEN)",
        )
    return url


def _credentials_end(environment: Mapping[str, str]) -> float:
    """In Unix seconds; minus infinity where nobody says it."""
    try:
        return datetime.datetime.fromisoformat(environment.get("AWS_CREDENTIAL_EXPIRATION", "")).timestamp()
    except ValueError:
        return -math.inf


def _is_temporary(url: str) -> bool:
    return "x-amz-security-token=" in url.casefold()


async def rehearsed(file: InputFile, _content: bytes) -> str:
    """The address of an upload that is not made."""
    return f"https://uploads.invalid/{digest_key(file.sha256, file.path.name)}"
