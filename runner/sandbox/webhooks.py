"""Calls the callback URL when a task ends: once, not signed, never again (wire/mesh-api.md). A service that
calls more often, or says it otherwise, has a voice of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from runner.sandbox.answers import encode
from runner.sandbox.faults import FaultPlan, Kind, Struck, Where
from runner.sandbox.service import Service
from runner.sandbox.store import AcceptedTask

_TIMEOUT = 10.0
_ANNOUNCED = frozenset({"succeeded", "failed", "expired"})


def is_loopback(url: str) -> bool:
    """Whether a callback stays on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Sealed = tuple[bytes, dict[str, str]]
"""The body of a call, and the headers that it has of its own."""


def _unsigned(_: AcceptedTask, document: dict[str, Any]) -> Sealed:
    return encode(document), {}


@dataclass(frozen=True, slots=True)
class Voice:
    """How a service calls back: what it tells of a task, and of which of its states. A call of the end that
    gets no answer is made `repeats` times more. `seal` makes the call of what is told, and may sign it.
    """

    view: Callable[[AcceptedTask], dict[str, Any]]
    announced: frozenset[str] = _ANNOUNCED
    repeats: int = 0
    seal: Callable[[AcceptedTask, dict[str, Any]], Sealed] = _unsigned


class Webhooks:
    """Sends on loopback only: a rehearsal must not tell a real receiver of videos that do not exist.

    `sent` counts the calls that got an answer, `dropped` those that got none, and the URLs elsewhere.
    `voices` are those of services by what the ids of their tasks begin with.
    """

    def __init__(self, service: Service, faults: FaultPlan) -> None:
        self._service = service
        self._faults = faults
        self._calls: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None
        self.voices: dict[str, Voice] = {}
        self.sent = 0
        self.dropped = 0

    def follow(self, task: AcceptedTask, callback_url: str | None) -> None:
        """Calls back when this task ends."""
        if callback_url is None or not is_loopback(callback_url):
            self.dropped += callback_url is not None
            return
        call = asyncio.ensure_future(self._follow(task, callback_url))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    def resume(self) -> None:
        """Follows the tasks that an earlier process accepted and that have not ended yet."""
        for task in self._service.store.unfinished(time.time()):
            self.follow(task, task.request.get("callback_url"))

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def _voice(self, task: AcceptedTask) -> Voice:
        own = (voice for prefix, voice in self.voices.items() if task.id.startswith(prefix))
        return next(own, Voice(self._service.view))

    async def _follow(self, task: AcceptedTask, url: str) -> None:
        voice, struck = self._voice(task), self._faults.take(Where.WEBHOOK, task.id)
        if struck.of(Kind.EARLY) is not None or "queued" in voice.announced:
            await self._call(url, voice.seal(task, voice.view(task)))
        if struck.of(Kind.FORGE) is not None:
            forged = {"video_url": "http://127.0.0.1:9/forged.mp4", "last_frame_url": None}
            told = {**voice.view(task), "status": "succeeded", "content": forged}
            await self._call(url, voice.seal(task, told))
        if "running" in voice.announced:
            await asyncio.sleep(max(0.0, task.running_at - time.time()))
            now = self._service.store.find(task.id)
            if now is not None and now.status_at(time.time()) == "running":
                await self._call(url, voice.seal(now, voice.view(self._service.refresh(now))))
        await asyncio.sleep(max(0.0, task.finished_at - time.time()))
        ended = self._service.store.find(task.id) or task
        if ended.outcome not in voice.announced or struck.of(Kind.DROP) is not None:
            self.dropped += 1
            return
        repeat = struck.of(Kind.REPEAT)
        for _ in range(1 + (repeat.count if repeat is not None else 0)):
            await self._tell_end(url, ended, voice, struck)

    async def _tell_end(self, url: str, task: AcceptedTask, voice: Voice, struck: Struck) -> None:
        document = voice.view(self._service.refresh(task))
        huge = struck.of(Kind.HUGE)
        if huge is not None:
            document["padding"] = "x" * huge.count
        for _ in range(1 + voice.repeats):
            if await self._call(url, voice.seal(task, document)):
                return

    async def _call(self, url: str, sealed: Sealed) -> bool:
        """One call; whether it got an answer."""
        body, headers = sealed
        if self._client is None:
            # Only loopback is called, where certificates are home-made.
            self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, verify=False)  # noqa: S501
        try:
            await self._client.post(
                url, content=body, headers={"content-type": "application/json", **headers}
            )
        except (httpx.HTTPError, httpx.InvalidURL):
            self.dropped += 1
            return False
        self.sent += 1
        return True
