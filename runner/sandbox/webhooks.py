"""Calls the callback URL when a task ends: once, not signed, never again (wire/mesh-api.md)."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx

from runner.sandbox.answers import encode
from runner.sandbox.faults import FaultPlan, Kind, Struck, Where
from runner.sandbox.service import Service
from runner.sandbox.store import AcceptedTask

MakeCall = Callable[[AcceptedTask, dict[str, Any]], tuple[bytes, dict[str, str]]]
"""The body and the headers of a call about a task, out of the Task object that Mesh would send."""

_TIMEOUT = 10.0
_ANNOUNCED = frozenset({"succeeded", "failed", "expired"})


def is_loopback(url: str) -> bool:
    """Whether a callback stays on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Webhooks:
    """Sends on loopback only: a rehearsal must not tell a real receiver of videos that do not exist.

    `sent` counts the calls that got an answer, `dropped` those that got none, and the URLs elsewhere.
    """

    def __init__(self, service: Service, faults: FaultPlan) -> None:
        self._service = service
        self._faults = faults
        self._calls: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None
        self._words: dict[str, MakeCall] = {}
        self.sent = 0
        self.dropped = 0

    def speak(self, id_prefix: str, make: MakeCall) -> None:
        """Calls about tasks whose id begins so are made by `make`."""
        self._words[id_prefix] = make

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

    async def _follow(self, task: AcceptedTask, url: str) -> None:
        struck = self._faults.take(Where.WEBHOOK, task.id)
        if struck.of(Kind.EARLY) is not None:
            await self._call(url, task, self._service.view(task))
        if struck.of(Kind.FORGE) is not None:
            forged = {"video_url": "http://127.0.0.1:9/forged.mp4", "last_frame_url": None}
            await self._call(
                url, task, {**self._service.view(task), "status": "succeeded", "content": forged}
            )
        await asyncio.sleep(max(0.0, task.finished_at - time.time()))
        task = self._service.store.find(task.id) or task
        if task.outcome not in _ANNOUNCED or struck.of(Kind.DROP) is not None:
            self.dropped += 1
            return
        repeat = struck.of(Kind.REPEAT)
        for _ in range(1 + (repeat.count if repeat is not None else 0)):
            await self._call(url, task, self._ended(task, struck))

    def _ended(self, task: AcceptedTask, struck: Struck) -> dict[str, Any]:
        document = self._service.view(self._service.refresh(task))
        huge = struck.of(Kind.HUGE)
        if huge is not None:
            document["padding"] = "x" * huge.count
        return document

    async def _call(self, url: str, task: AcceptedTask, document: dict[str, Any]) -> None:
        body, headers = encode(document), dict[str, str]()
        for id_prefix, make in self._words.items():
            if task.id.startswith(id_prefix):
                body, headers = make(task, document)
        if self._client is None:
            # Only loopback is called, where certificates are home-made.
            self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, verify=False)  # noqa: S501
        try:
            await self._client.post(
                url, content=body, headers={"content-type": "application/json", **headers}
            )
        except (httpx.HTTPError, httpx.InvalidURL):
            self.dropped += 1
        else:
            self.sent += 1
