"""The free requests and the downloads, answered by the modelled service and spoilt by the weather."""

from __future__ import annotations

import contextlib
import json
import math
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

import anyio
import httpx

from runner.http.fetch import BrokenOffError
from runner.lane.machine import Threads
from runner.store.download import DownloadRequest, FileRecord, download
from runner.store.files import FileStore
from tests.simulation.kinds import Kind
from tests.simulation.life import Life
from tests.simulation.service import ListFault, Row, Service, within
from tests.simulation.submits import ODD, edge_json
from tests.simulation.trace import Trace
from tests.simulation.weather import DOWNLOAD_FAULTS, FREE_FAULTS, Outage, Weather, pick

_NOT_FOUND = b'{"error": {"code": "not_found", "message": "no such task"}}'


class _Cut(httpx.AsyncByteStream):
    """A body that breaks off."""

    def __init__(self, content: bytes, life: Life) -> None:
        self._content = content
        self._life = life

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content
        await self._life.sleep(0.01)
        raise httpx.ReadError("cut")


class _Whole(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content


Parts: TypeAlias = tuple[Life, Weather, random.Random, Trace]
"""What all that answers is made of."""


class _Weathered:
    def __init__(self, life: Life, weather: Weather, source: random.Random, trace: Trace) -> None:
        self.life = life
        self.weather = weather
        self.random = source
        self.trace = trace
        self._started = anyio.current_time()

    async def _arrive(self, faults: dict[str, int], chance: float) -> str:
        """The way there; gives the fault that strikes, or an empty string."""
        await self.life.sleep(self.random.uniform(0.01, 0.1))
        match self.weather.outage(anyio.current_time() - self._started):
            case Outage.REFUSED:
                return "refused"
            case Outage.SILENT:
                return "stall"
            case Outage.PAGES:
                return "502-page"
        return pick(faults, self.random) if self.random.random() < chance else ""


class FreeTransport(_Weathered, httpx.AsyncBaseTransport):
    def __init__(self, *parts: *Parts, service: Service) -> None:
        super().__init__(*parts)
        self.service = service

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fault = await self._arrive(dict(FREE_FAULTS), self.weather.free)
        self.life.count_get()
        if not fault and within(self.service.habits.limited, anyio.current_time()):
            fault = "429"
        self.trace.note("get", path=request.url.raw_path.decode(), fault=fault)
        match fault:
            case "refused":
                raise httpx.ConnectError("refused")
            case "reset":
                raise httpx.ReadError("reset")
            case "stall":
                await self.life.sleep(30.0)
                raise httpx.ReadTimeout("read")
            case "500":
                return self._answer(500, b'{"error": {"code": "internal_error", "message": "x"}}')
            case "502-page":
                return self._answer(502, b"<html></html>")
            case "404-page":
                return self._answer(404, b"<html></html>", fault=self.random.choice(("odd-date", "")))
            case "404-envelope":
                return self._answer(404, _NOT_FOUND)
            case "404-edge-json":
                return self._answer(404, edge_json(404))
            case "junk":
                return self._answer(200, b"<html>welcome</html>")
            case "429":
                return self._answer(429, b"{}", {"retry-after": "5"})
        answer = self._list(request, fault) if self._is_list(request) else self._get(request, fault)
        if fault == "cut":
            assert isinstance(answer.stream, _Whole)
            half = answer.stream.content[: len(answer.stream.content) // 2]
            return httpx.Response(answer.status_code, stream=_Cut(half, self.life))
        return answer

    def _answer(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, *, fault: str = ""
    ) -> httpx.Response:
        odd = self.random.choice((-ODD, ODD)) if fault == "odd-date" else 0.0
        date = self.service.date(anyio.current_time(), self.random, odd)
        # a stream, not `content`: httpx takes the latter for read already
        whole = httpx.Response(status, headers={"date": date, **(headers or {})}, stream=_Whole(content))
        if fault == "no-date":
            del whole.headers["date"]
        return whole

    def _is_list(self, request: httpx.Request) -> bool:
        return request.url.path.endswith("/generations")

    def _get(self, request: httpx.Request, fault: str) -> httpx.Response:
        now = anyio.current_time()
        row = self.service.find(request.url.path.rpartition("/")[2], now)
        if row is None or not self.service.shows(row, now):
            return self._answer(404, _NOT_FOUND)
        shown = self.service.task_object(row, now, in_list=False)
        if fault == "unknown-status":
            shown["status"] = "polishing"
        if fault == "odd-numbers":
            shown |= {"usage": {"total_tokens": 10**40, "cost": math.inf}, "updated_at": -(2**70)}
        return self._answer(200, json.dumps(shown).encode(), fault=fault)

    def _list(self, request: httpx.Request, fault: str) -> httpx.Response:
        now = anyio.current_time()
        query = request.url.params
        after = query.get("created_after")
        limit = min(int(query["limit"]), self.service.habits.page)
        offset = int(query["offset"])
        rows = self.service.listed(now, datetime.fromisoformat(after).timestamp() if after else None)
        total, has_more = len(rows), None
        if within(self.service.habits.list_fault_in, now):
            match self.service.habits.list_fault:
                case ListFault.ENDLESS if self.service.kind is Kind.PAGES:
                    offset, has_more = 0, True
                case ListFault.ENDLESS_PAGES:
                    has_more = True
                case ListFault.REPEATS:
                    rows = [*rows[:1], *rows]
                    total = len(rows)
                case ListFault.TOO_MANY:
                    total += 1
                case ListFault.TOO_FEW:
                    total = max(0, total - 1)
        page = rows[offset : offset + limit]
        if self.service.kind is not Kind.PAGES:
            return self._by_cursor(rows, page, offset, has_more, now, fault)
        if fault == "shifted" and len(rows) > 1 and page:
            page = [*page[1:], rows[0]]
        answer = {
            "object": "list",
            "data": [self.service.task_object(row, now, in_list=True) for row in page],
            "has_more": offset + len(page) < len(rows) if has_more is None else has_more,
            "total": total,
            "limit": limit,
            "offset": offset,
        }
        return self._answer(200, json.dumps(answer).encode(), fault=fault)

    def _by_cursor(
        self, rows: list[Row], page: list[Row], offset: int, has_more: bool | None, now: float, fault: str
    ) -> httpx.Response:
        if fault == "shifted" and len(rows) > 1 and page:
            page = [*page[1:], rows[0]]
        after = offset + len(page)
        if has_more is None:
            has_more = after < len(rows)
        following = None if not has_more else after
        if within(self.service.habits.list_fault_in, now):
            match self.service.habits.list_fault:
                case ListFault.ENDLESS:
                    # each page leads back to the first one, which has the oldest rows
                    page, following = rows[::-1][: len(page)], 0
                case ListFault.TOO_MANY:
                    following = len(rows) + 1
        data = [self.service.task_object(row, now, in_list=True) for row in page]
        return self._answer(200, json.dumps({"data": data, "next": following}).encode(), fault=fault)


class ApiTransport(httpx.AsyncBaseTransport):
    """POSTs as they are really sent, over a simulated network; free requests answered at once."""

    def __init__(self, paid: httpx.AsyncBaseTransport, free: httpx.AsyncBaseTransport) -> None:
        self._paid = paid
        self._free = free

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        transport = self._paid if request.method == "POST" else self._free
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        await self._paid.aclose()


class Files(_Weathered):
    """Downloads as a run makes them, on the simulated disk; the network alone is modelled."""

    def __init__(
        self, *parts: *Parts, services: Sequence[Service], disk: FileStore, threads: Threads
    ) -> None:
        super().__init__(*parts)
        self._services = services
        self._disk = disk
        self._threads = threads

    async def __call__(self, request: DownloadRequest) -> FileRecord:
        fault = await self._arrive(dict(DOWNLOAD_FAULTS), self.weather.downloads)
        if fault == "stall":
            await self.life.sleep(request.limits.patience.rate_window)
        buffer = bytearray(request.limits.batch)
        return await self._threads.run(download, request, _Answers(self, fault), self._disk, buffer)

    def answer(self, url: httpx.URL, headers: Mapping[str, str], fault: str) -> _Sent:
        _, remote_id, name = url.path.split("/")
        self.trace.note("file", id=remote_id, kind=name, fault=fault, range=headers.get("Range"))
        match fault:
            case "refused":
                raise BrokenOffError("refused")
            case "403" | "404" | "429" | "500":
                return _Sent(int(fault), b"no")
            case "502-page":
                return _Sent(502, b"<html></html>")
            case "html":
                return _Sent(200, b"<html>sorry</html>", {"content-type": "text/html"})
            case "junk":
                return _Sent(200, b"not a video at all", {"etag": '"junk"'})
            case "encoded":
                return _Sent(200, b"\x1f\x8b", {"content-encoding": "gzip"})
        now = anyio.current_time()
        for service in self._services:
            row = service.find(remote_id, now)
            if row is not None and now <= float(url.params["until"]):
                return self._send(headers, fault, *service.file(row, name))
        return _Sent(403, b"expired")

    def _send(self, asked: Mapping[str, str], fault: str, content: bytes, etag: str) -> _Sent:
        start, status = 0, 200
        headers = {"etag": etag, "content-type": "application/octet-stream"}
        wanted = asked.get("Range")
        if wanted and asked.get("If-Range") == etag and fault != "whole":
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            headers["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        rest = content[start:]
        if fault not in ("cut", "short", "stall"):
            return _Sent(status, rest, headers)
        part = rest[: self.random.randrange(len(rest))]
        if fault == "short":
            # a store that says less than there is, consistently: only the container tells
            return _Sent(200, content[: len(part)], headers | {"etag": '"short"'})
        return _Sent(status, part, headers, length=len(rest))


class _Answers:
    """What one download is told; the fault strikes its first request."""

    def __init__(self, files: Files, fault: str) -> None:
        self._files = files
        self._fault = fault

    @contextlib.contextmanager
    def get(self, url: httpx.URL, headers: Mapping[str, str]) -> Iterator[_Sent]:
        fault, self._fault = self._fault, ""
        yield self._files.answer(url, headers, fault)


class _Sent:
    """An answer; a body shorter than its `length` breaks off there."""

    def __init__(
        self,
        status: int,
        content: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        length: int | None = None,
    ) -> None:
        self.status = status
        self.length = len(content) if length is None else length
        self._headers = headers or {}
        self._rest = content
        self._is_cut = len(content) < self.length

    def header(self, name: str) -> str:
        return self._headers.get(name, "")

    def read_into(self, buffer: memoryview) -> int:
        if not self._rest and self._is_cut:
            raise BrokenOffError("cut")
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)
