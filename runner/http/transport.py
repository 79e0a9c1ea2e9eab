"""The one HTTP stack under submits and free requests: httpx's client over httpcore's connections.

httpcore's trace says whether a request was begun, which no exception does, so it is what a paid POST rides
(docs/decisions/one-http-stack.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import httpcore
import httpx

from runner.errors import UsageError
from runner.http.access import Access, ApiKey
from runner.http.answers import MOST_BODY, Answer
from runner.http.route import Handshake, Route, TunnelError

# at INFO these print every URL, signed ones included
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

CONNECTIONS = 16
"""For POSTs, and as many for all else, however many tasks are in flight."""
LOOKUPS = 512
"""Names that are looked up at once. A lookup that was given up holds its thread until the resolver ends, and
asyncio's own threads are four more than the processors: one service's dead name server took them all."""
_CHUNK = 65_536
_HEAD = 4096
"""Bytes of a proxy's answer that are read at once."""
_FREE_IDLE = 5.0
"""Seconds. A stale connection costs a free request one more try."""

_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)
FREE: Final = {"is_free": True}
"""The extension of a POST that costs nothing: it keeps off the connections of those that do."""

_ACTED_UPON = frozenset({b"location", b"set-cookie"})
"""Headers of an answer from which httpx's client would build a next request, or fill its cookie jar."""


Guard = Callable[[], bool]
"""Whether a paid POST may begin now; asked after connecting, as the last act before its first byte."""


def always() -> bool:
    """The guard of who shares the key with no other machine."""
    return True


class GuardedError(Exception):
    """The guard has kept a request from being begun."""


@dataclass(slots=True)
class Testimony:
    """The record of one request that httpcore's trace made; the request's `trace` extension.

    Raises GuardedError into the request where `guard` says no: nothing of it was begun then.
    """

    is_given: bool = False
    """Whether a Transport had the request: without one nothing was shown, and that proves nothing."""
    seen: set[str] = field(default_factory=set)
    stream: httpcore.AsyncNetworkStream | None = None
    status: int | None = None
    guard: Guard = always

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        name = event.partition(".")[2]
        if name == "send_request_headers.started" and not self.guard():
            raise GuardedError("this machine's lease on the account was not fresh enough to send it")
        self.seen.add(name)
        if name == "receive_response_headers.complete":
            self.status = int(info["return_value"][1])
        if name == "connect_tcp.complete":
            self.stream = info["return_value"]

    @property
    def headers_begun(self) -> bool | None:
        """None where nobody testified."""
        return "send_request_headers.started" in self.seen if self.is_given else None

    @property
    def write_failed(self) -> bool:
        return not self.seen.isdisjoint({"send_request_headers.failed", "send_request_body.failed"})

    @property
    def head_received(self) -> bool:
        return "receive_response_headers.complete" in self.seen

    async def close_unused(self) -> None:
        """httpcore 1.0.9 leaves the socket open where a TLS handshake is cancelled."""
        if self.stream is not None and not self.headers_begun:
            with anyio.CancelScope(shield=True):
                await self.stream.aclose()


class Transport(httpx.AsyncBaseTransport):
    """POSTs over connections of their own, all else over others, and nothing sent twice.

    A POST's connection that was idle for `keepalive` seconds is not used again, for a stale one looks
    begun. A request's `trace` extension is a Testimony, if it has one. `network_backend` is the
    simulation's seam, and Tunnels where there is a proxy; `tls` is for https origins (default: certifi).
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        keepalive: float = 1.0,
        network_backend: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        def connections(keepalive: float) -> _Connections:
            return _Connections(
                httpcore.AsyncConnectionPool(
                    ssl_context=tls,
                    keepalive_expiry=keepalive,
                    network_backend=network_backend,
                )
            )

        self._paid = connections(keepalive)
        self._free = connections(_FREE_IDLE)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        testimony: Testimony = request.extensions.setdefault("trace", Testimony())
        testimony.is_given = True
        is_paid = request.method == "POST" and not request.extensions.get("is_free")
        connections = self._paid if is_paid else self._free
        try:
            with _as_httpx():
                return await connections.send(request)
        except BaseException:
            await testimony.close_unused()
            raise

    async def aclose(self) -> None:
        await self._paid.aclose()
        await self._free.aclose()


class Tunnels(httpcore.AsyncNetworkBackend):
    """Connects through the route's proxy. To httpcore a tunnel is a plain connection, so what its trace says
    of a request is as true as without one: bytes of a POST follow TLS with the service, which follows the
    tunnel.
    """

    def __init__(self, route: Route) -> None:
        self._route = route
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        proxy = self._route.proxy_for(host)
        to = (host, port) if proxy is None else (proxy.host, proxy.port)
        stream = await self._network.connect_tcp(*to, timeout, local_address, socket_options)
        if proxy is None:
            return stream
        try:
            handshake = Handshake(proxy, host, port)
            await stream.write(handshake.request, timeout)
            while not handshake.receive(await stream.read(_HEAD, timeout)):
                pass
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
            if isinstance(error, TunnelError):
                raise httpcore.ProxyError(str(error)) from error
            raise
        return stream

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class _Connections:
    """At most CONNECTIONS at once, for each origin the one used last before the others; requests wait their
    turn outside.

    httpcore's own pool goes through all its connections and requests at the begin and end of each request,
    which with 16 and 256 waiting took more than twice the time of the request itself.
    """

    def __init__(self, factory: httpcore.AsyncConnectionPool) -> None:
        self._factory = factory
        self._turns = anyio.Semaphore(CONNECTIONS, fast_acquire=True)
        self._idle: dict[str, list[httpcore.AsyncConnectionInterface]] = {}

    async def send(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        await self._turns.acquire()
        try:
            connection = await self._take(target.origin)
            try:
                response = await connection.handle_async_request(
                    httpcore.Request(
                        request.method,
                        target,
                        headers=request.headers.raw,
                        content=request.stream,
                        extensions=request.extensions,
                    )
                )
            except BaseException:
                # cancelled while it was closing, httpcore leaves the socket open
                with anyio.CancelScope(shield=True):
                    await connection.aclose()
                raise
        except BaseException:
            self._turns.release()
            raise
        return httpx.Response(
            response.status,
            headers=[header for header in response.headers if header[0].lower() not in _ACTED_UPON],
            stream=_Body(response, connection, str(target.origin), self),
        )

    async def _take(self, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        idle = self._idle.setdefault(str(origin), [])
        if idle and idle[-1].has_expired():
            # the others were idle for longer
            await self._close(idle)
        return idle.pop() if idle else self._factory.create_connection(origin)

    async def give_back(self, connection: httpcore.AsyncConnectionInterface, origin: str) -> None:
        try:
            if _has_more(connection):
                with anyio.CancelScope(shield=True):
                    await connection.aclose()
            elif connection.is_available():
                self._idle.setdefault(origin, []).append(connection)
        finally:
            self._turns.release()

    async def aclose(self) -> None:
        for idle in [*self._idle.values()]:
            await self._close(idle)

    async def _close(self, idle: list[httpcore.AsyncConnectionInterface]) -> None:
        closing = [*idle]
        idle.clear()
        with anyio.CancelScope(shield=True):
            for connection in closing:
                await connection.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(
        self,
        response: httpcore.Response,
        connection: httpcore.AsyncConnectionInterface,
        origin: str,
        connections: _Connections,
    ) -> None:
        self._response = response
        self._connection = connection
        self._origin = origin
        self._connections = connections

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._response.aclose()
        finally:
            await self._connections.give_back(self._connection, self._origin)


def _has_more(connection: object) -> bool:
    """Whether bytes came behind an answer: they would be read as the answer to the next request.

    httpcore shows them nowhere, so this looks into it.
    """
    while (inner := getattr(connection, "_connection", None)) is not None:
        connection = inner
    state = getattr(connection, "_h11_state", None)
    return state is not None and bool(state.trailing_data[0])


@contextlib.contextmanager
def _as_httpx() -> Iterator[None]:
    """httpcore's errors as httpx's of the same name; those of ssl and the system stay what they are."""
    try:
        yield
    except _ERRORS as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error


@functools.cache
def tls_context(certificates: str = "") -> ssl.SSLContext:
    """A verifying context that all clients share: of certifi's authorities whatever the environment says, or
    of those in `certificates`, a file or a directory. Raises UsageError where that cannot be read.
    """
    if not certificates:
        return httpx.create_ssl_context(trust_env=False)
    try:
        if Path(certificates).is_dir():
            return ssl.create_default_context(capath=certificates)
        return ssl.create_default_context(cafile=certificates)
    except OSError as error:  # ssl's own are among them
        told = (
            error.strerror if error.errno and not isinstance(error, ssl.SSLError) else "holds no certificates"
        )
        raise UsageError(
            f"{certificates}: {told}", hint="set SSL_CERT_FILE to a PEM file, or leave out --trust-env"
        ) from error


class Chunks(httpx.AsyncByteStream):
    """A body in chunks, so that the write timeout bounds 64 KiB and not 32 MiB.

    A class and no async generator: httpcore drops it half-way when a write fails.
    """

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)
        self._at = 0

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> bytes:
        if self._at >= len(self._body):
            raise StopAsyncIteration
        chunk = bytes(self._body[self._at : self._at + _CHUNK])
        self._at += _CHUNK
        return chunk


def make_room_for_lookups() -> None:
    """Has this event loop look up the names of all services side by side; nothing under trio."""
    with contextlib.suppress(RuntimeError):  # trio's, which has more threads
        threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")
        asyncio.get_running_loop().set_default_executor(threads)


def open_client(transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    """httpx's client, to send whole requests with: it adds no header, proxy or login of its own.

    Neither cookies nor redirects reach it from a Transport.
    """
    return httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)


def common_headers(access: Access) -> list[tuple[bytes, bytes]]:
    """The headers of every request, made once: httpx adds none to a request that has a stream."""
    host = httpx.URL(access.origin).netloc
    return [(b"Host", host), *((name.encode(), value.encode()) for name, value in access.headers().items())]


async def read_answer(response: httpx.Response, key: ApiKey) -> Answer:
    """The answer with its body as it was sent, at most 1 MiB and without the key. Raises httpx.HTTPError."""
    status, headers = response.status_code, key.hide_in_headers(response.headers)
    # refused unread: a body of 1 MiB may unpack to a gigabyte
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return Answer(status, headers, b"", "the answer's body is compressed, which was not asked for")
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > MOST_BODY:
            return Answer(status, headers, b"", "the answer's body is larger than 1 MiB")
    return Answer(status, headers, key.hide_in(bytes(body)))


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
