"""One paid POST, over the transport that can testify.

httpcore's trace extension says whether a request's headers were begun; no exception's type says
that reliably (a client library may report a connection that was closed after the POST was read as
a connect timeout, and httpcore itself swallows write errors). So a POST counts as not sent only
where that event is missing.
"""

from __future__ import annotations

import enum
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import anyio
import h11
import httpcore

from runner.providers.access import Access
from runner.providers.answers import MOST_BODY, Answer, clean

_CHUNK = 65_536
_SLOWEST_UPLOAD = 32_768.0
"""Bytes per second; the total deadline grows with the body by this rate (32 MiB: 17 minutes)."""


@dataclass(frozen=True, slots=True)
class SubmitLimits:
    """Seconds to connect, to write one chunk of 64 KiB, and to wait for a part of the answer.

    `total` bounds the whole POST, to which comes the time for the upload. `connections` should be
    at least the number of submit slots. A connection that was idle for `keepalive` seconds is not
    used again, for a stale one looks begun; 0 is never.
    """

    connect: float = 15.0
    write: float = 30.0
    read: float = 120.0
    total: float = 180.0
    connections: int = 16
    keepalive: float = 1.0


class FailureKind(enum.StrEnum):
    """What broke a POST that got no whole answer; by itself no proof of anything."""

    DNS = "dns"
    CONNECT = "connect"
    CONNECT_TIMEOUT = "connect_timeout"
    CERTIFICATE = "certificate"
    WRITE = "write"
    WRITE_TIMEOUT = "write_timeout"
    READ_TIMEOUT = "read_timeout"
    CLOSED = "closed"
    CUT = "cut"
    NOT_HTTP = "not_http"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Failure:
    """A POST without a whole answer. `headers_begun` is the transport's testimony; None: none."""

    kind: FailureKind
    headers_begun: bool | None
    error: str
    status: int | None = None
    """Of an answer whose head came and whose body did not."""


@dataclass(slots=True)
class _Testimony:
    """What the trace of one POST has shown, over all connections that it was tried on."""

    seen: set[str] = field(default_factory=set)
    stream: httpcore.AsyncNetworkStream | None = None
    status: int | None = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        request = info.get("request")
        if isinstance(request, httpcore.Request) and request.method == b"CONNECT":
            return  # a proxy's tunnel, not yet our request
        name = event.partition(".")[2]
        self.seen.add(name)
        if name == "receive_response_headers.complete":
            self.status = int(info["return_value"][1])
        if name == "connect_tcp.complete":
            self.stream = info["return_value"]

    @property
    def headers_begun(self) -> bool:
        return "send_request_headers.started" in self.seen

    async def close_unused(self) -> None:
        """httpcore 1.0.9 leaves the socket open where a TLS handshake is cancelled."""
        if self.stream is not None and not self.headers_begun:
            with anyio.CancelScope(shield=True):
                await self.stream.aclose()

    @property
    def write_failed(self) -> bool:
        return not self.seen.isdisjoint({"send_request_headers.failed", "send_request_body.failed"})

    @property
    def head_received(self) -> bool:
        return "receive_response_headers.complete" in self.seen


class SubmitTransport:
    """POSTs to one origin; never redirects, never repeats. Use as an async context manager."""

    def __init__(
        self,
        access: Access,
        limits: SubmitLimits | None = None,
        *,
        network_backend: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        """`network_backend` is the simulation's seam; `tls` is for https origins (default: certifi)."""
        self.access = access
        self._limits = limits or SubmitLimits()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            proxy=httpcore.Proxy(proxy) if proxy else None,
            max_connections=self._limits.connections,
            max_keepalive_connections=self._limits.connections if self._limits.keepalive else 0,
            keepalive_expiry=self._limits.keepalive,
            http1=True,
            http2=False,
            retries=0,
            network_backend=network_backend,
        )

    async def __aenter__(self) -> SubmitTransport:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._pool.aclose()

    async def post(self, path: str, body: bytes) -> Answer | Failure:
        """One POST of JSON. Never raises for what the network or service does."""
        testimony = _Testimony()
        deadline = self._limits.total + len(body) / _SLOWEST_UPLOAD
        try:
            with anyio.fail_after(deadline):
                try:
                    return await self._post(path, body, testimony)
                finally:
                    await testimony.close_unused()
        # httpcore lets errors of the backend and of ssl through unmapped, and whatever it was,
        # the testimony decides what it means for the money
        except Exception as error:
            return Failure(
                _kind(error, testimony), testimony.headers_begun, self._in_words(error), testimony.status
            )

    async def _post(self, path: str, body: bytes, testimony: _Testimony) -> Answer:
        limits = self._limits
        headers = self.access.headers() | {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }
        async with self._pool.stream(
            "POST",
            self.access.origin + path,
            headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            content=_Chunks(body),
            extensions={
                "trace": testimony,
                "timeout": {"connect": limits.connect, "write": limits.write, "read": limits.read},
            },
        ) as response:
            return await self._read(response)

    async def _read(self, response: httpcore.Response) -> Answer:
        headers = self.access.key.hide_in_headers(_headers(response))
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            return Answer(
                response.status, headers, b"", "the answer's body is compressed, which was not asked for"
            )
        body = bytearray()
        async for part in response.aiter_stream():
            body += part
            if len(body) > MOST_BODY:
                return Answer(response.status, headers, b"", "the answer's body is larger than 1 MiB")
        return Answer(response.status, headers, self.access.key.hide_in(bytes(body)))

    def _in_words(self, error: BaseException) -> str:
        if isinstance(error, httpcore.LocalProtocolError):
            return type(error).__name__  # its text quotes our own headers
        text = self.access.key.hide_in(str(error).encode(errors="replace")).decode()
        return clean(f"{type(error).__name__}: {text}" if text else type(error).__name__, 300)


class _Chunks:
    """A body in chunks, so that the write timeout bounds 64 KiB and not 32 MiB.

    A class and no async generator: httpcore drops it half-way when a write fails.
    """

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)
        self._at = 0

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        if self._at >= len(self._body):
            raise StopAsyncIteration
        chunk = bytes(self._body[self._at : self._at + _CHUNK])
        self._at += _CHUNK
        return chunk


def _headers(response: httpcore.Response) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def causes(error: BaseException) -> list[BaseException]:
    """An error with all that led to it; libraries break either chain with `from None`."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.append(one)
            waiting += (one.__cause__, one.__context__)
    return found


def _kind(error: BaseException, testimony: _Testimony) -> FailureKind:
    chain = causes(error)
    is_timeout = isinstance(error, (TimeoutError, httpcore.TimeoutException))
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in chain):
        return FailureKind.CERTIFICATE
    if any(isinstance(one, socket.gaierror) for one in chain):
        return FailureKind.DNS
    if not testimony.headers_begun:
        return FailureKind.CONNECT_TIMEOUT if is_timeout else FailureKind.CONNECT
    if isinstance(error, httpcore.WriteTimeout):
        return FailureKind.WRITE_TIMEOUT
    if is_timeout:
        return FailureKind.READ_TIMEOUT
    if testimony.head_received:
        return FailureKind.CUT
    if testimony.write_failed:
        return FailureKind.WRITE
    if any(isinstance(one, h11.RemoteProtocolError) for one in chain):
        return FailureKind.NOT_HTTP
    if isinstance(error, (httpcore.RemoteProtocolError, httpcore.NetworkError)):
        return FailureKind.CLOSED
    return FailureKind.OTHER
