"""The route of results: signed, ranged, and faulty on demand."""

from __future__ import annotations

import gzip
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from runner.sandbox.answers import injected
from runner.sandbox.connection import Connection
from runner.sandbox.faults import Fault, Kind, Struck, Where
from runner.sandbox.mesh import GONE
from runner.sandbox.results.files import (
    MEDIA_TYPES,
    RangeNotSatisfiable,
    file_headers,
    read_chunks,
    wanted_range,
)
from runner.sandbox.results.render import Rendered
from runner.sandbox.state import State
from runner.sandbox.store import AcceptedTask

_HTML = "<html><body>Sign in to continue</body></html>"


def download_routes(state: State) -> list[Route]:
    async def download(request: Request) -> Response:
        state.stats.downloads += 1
        name = request.path_params["name"]
        return await _download(request, state, name, signed=name)

    async def download_by_number(request: Request) -> Response:
        """getimg's form of the address: results are numbered from 0."""
        state.stats.downloads += 1
        number = request.path_params["number"]
        return await _download(request, state, "video.mp4", signed=str(number), number=number)

    # Starlette adds HEAD to GET.
    return [
        Route("/files/{task_id}/{name}", download, methods=["GET"]),
        Route("/v2/downloads/{task_id}/{number:int}", download_by_number, methods=["GET"]),
    ]


async def _download(request: Request, state: State, name: str, *, signed: str, number: int = 0) -> Response:
    """The file `name` of the task's result `number`; the signature is over `signed`."""
    task_id = request.path_params["task_id"]
    query = request.query_params
    expires, signature = query.get("exp", ""), query.get("sig", "")
    if not state.service.signer.is_valid(task_id, signed, expires, signature, state.now()):
        return Response("Request has expired or its signature does not match\n", 403, media_type="text/plain")
    task = state.service.store.find(task_id)
    if task is None or name not in MEDIA_TYPES:
        return Response("no such file\n", 404, media_type="text/plain")
    return await send_file(request, state, task, name, number=number)


async def send_file(
    request: Request, state: State, task: AcceptedTask, name: str, *, number: int = 0, ranges: bool = True
) -> Response:
    """The file `name` of the task's result `number`, whole where the service knows no `ranges`."""
    state.stats.of(task.id).downloads += 1
    struck = state.faults.take(Where.DOWNLOAD, task.id)
    fault = struck.general
    connection = Connection(request, state.stopping)
    if fault is not None and fault.kind is Kind.ANSWER:
        return injected(fault)
    if struck.of(Kind.HTML) is not None:
        return Response(_HTML, 200, media_type="text/html")
    if fault is not None and fault.kind is not Kind.CUT and await connection.strike(fault, b""):
        return GONE
    other = struck.of(Kind.CONTAINER)
    kept_as = f"video.{other.text}" if other is not None and name == "video.mp4" else name
    rendered = await state.renderer.file(
        state.service.file_key(task, number), kept_as, lambda: state.service.picture(task, number)
    )
    is_whole = not ranges or struck.of(Kind.IGNORE_RANGE) is not None
    return _answer(request, name, rendered, struck, connection, is_whole=is_whole)


def _answer(
    request: Request, name: str, rendered: Rendered, struck: Struck, connection: Connection, *, is_whole: bool
) -> Response:
    etag = f'"changed-{rendered.etag[1:9]}"' if struck.of(Kind.ETAG) is not None else rendered.etag
    headers = file_headers(name, etag)
    asked = None if is_whole else request.headers.get("range")
    if request.method == "HEAD":
        return Response(status_code=200, headers={**headers, "content-length": str(rendered.size)})
    try:
        part = wanted_range(asked, request.headers.get("if-range"), etag, rendered.size)
    except RangeNotSatisfiable:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{rendered.size}"})
    first, end = part if part is not None else (0, rendered.size)
    if part is not None:
        headers["content-range"] = f"bytes {first}-{end - 1}/{rendered.size}"
    body = _Body(rendered, first, end, struck, connection)
    return _FileAnswer(206 if part is not None else 200, headers, body)


@dataclass(frozen=True, slots=True)
class _Body:
    rendered: Rendered
    first: int
    end: int
    struck: Struck
    connection: Connection

    def chunks(self, drip: Fault | None) -> Generator[bytes, None, None]:
        path = self.rendered.path
        if self.struck.of(Kind.GZIP) is not None:
            yield gzip.compress(b"".join(read_chunks(path, self.first, self.end)), mtime=0)
            return
        long = self.struck.of(Kind.LONG)
        sizes = {"chunk": drip.count} if drip is not None else {}
        yield from chain(
            read_chunks(path, self.first, self.end - self.missing, **sizes),
            [b"\0" * long.count] if long is not None else [],
        )

    @property
    def missing(self) -> int:
        short = self.struck.of(Kind.SHORT)
        return min(short.count, self.end - self.first) if short is not None else 0

    @property
    def length(self) -> int:
        long = self.struck.of(Kind.LONG)
        return self.end - self.first - self.missing + (long.count if long is not None else 0)


class _FileAnswer(Response):
    """Streams a part of a file; a CUT fault ends the connection at byte `at` of the whole file."""

    def __init__(self, status: int, headers: dict[str, str], body: _Body) -> None:
        self._content = body
        self._gzip = body.struck.of(Kind.GZIP) is not None
        own = {"content-encoding": "gzip"} if self._gzip else {"content-length": str(body.length)}
        if body.struck.of(Kind.NO_LENGTH) is not None:
            own = {"transfer-encoding": "chunked"}
        super().__init__(status_code=status, headers={**headers, **own})
        # Response counted its own empty body.
        self.raw_headers = [
            pair for pair in self.raw_headers if pair != (b"content-length", b"0") or body.length == 0
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cut = self._content.struck.general
        drip = self._content.struck.of(Kind.DRIP)
        left = cut.at - self._content.first if cut is not None and cut.kind is Kind.CUT else None
        with closing(self._content.chunks(drip)) as chunks:
            first = next(chunks, b"")
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            for chunk in chain([first], chunks):
                sent = chunk if left is None else chunk[: max(0, left)]
                await send({"type": "http.response.body", "body": sent, "more_body": True})
                if left is not None:
                    left -= len(chunk)
                    if left <= 0 and cut is not None:
                        await self._content.connection.cut(reset=cut.reset)
                        return
                if drip is not None:
                    await self._content.connection.pause(drip.seconds)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
