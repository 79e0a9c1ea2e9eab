"""GETs, and httpx's transport over aiohttp's connections: the fast way for requests that may be repeated.

Measured on 2 cores, POST and GET by 1,000 tasks: httpx alone 140 tasks a second at 32 connections
and 90 at 256 (its pool is linear in connections), httpx over aiohttp 850 and 740. Never for submits:
no exception of aiohttp tells whether a request was begun.

Our own and not httpx-aiohttp's transport, for that one (0.2.0) hands URLs to aiohttp as text, which
rewrites escapes (`%2F%7E` becomes `%2F~`) and so breaks signatures, reads 16 KiB at a time, and
reports a connection that broke later as one that was never made.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, cast

import httpx

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

_READ_BUFFER = 1 << 20
"""Bytes. Twice as much arrives while what came before is written and hashed, so neither waits long."""
_IDLE_SECONDS = 5.0
_OURS_ALONE = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Resolver(Protocol):
    """What aiohttp asks for the addresses to connect to; see `aiohttp.abc.AbstractResolver`."""

    async def resolve(self, host: str, port: int = 0, family: int = ...) -> list[ResolveResult]: ...

    async def close(self) -> None: ...


def may_be_fast() -> bool:
    """Whether aiohttp is installed (the extra `fast`) and this is asyncio, the only loop it runs on."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return importlib.util.find_spec("aiohttp") is not None


class GetClient:
    """GETs over one transport, and nothing that httpx's client would bring along: no cookies, redirects,
    auth, environment, or headers but `headers` and Host. Use as an async context manager.

    httpx's own client takes as long as aiohttp does under it: it makes a urllib request of each
    answer, to look for cookies (profile in docs/explanation/performance.md).
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, headers: Mapping[str, str] | None = None) -> None:
        self.transport = transport
        self.headers = dict(headers or {})

    async def __aenter__(self) -> GetClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.transport.aclose()

    @contextlib.asynccontextmanager
    async def stream(
        self,
        url: httpx.URL | str,
        headers: Mapping[str, str] | None = None,
        *,
        connect: float | None = None,
        read: float | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """The answer, its body unread; timeouts in seconds. Raises httpx.TransportError."""
        timeout = {"connect": connect, "read": read, "write": read, "pool": None}
        request = httpx.Request(
            "GET", url, headers=self.headers | dict(headers or {}), extensions={"timeout": timeout}
        )
        response = await self.transport.handle_async_request(request)
        response.request = request
        try:
            yield response
        finally:
            await response.aclose()


class LateTransport(httpx.AsyncBaseTransport):
    """Decides at the first request which transport it is: only then a loop is running for certain."""

    def __init__(
        self, fast: Callable[[], httpx.AsyncBaseTransport], other: Callable[[], httpx.AsyncBaseTransport]
    ) -> None:
        self._fast = fast
        self._other = other
        self._chosen: httpx.AsyncBaseTransport | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._chosen is None:
            self._chosen = self._fast() if may_be_fast() else self._other()
        return await self._chosen.handle_async_request(request)

    async def aclose(self) -> None:
        if self._chosen is not None:
            await self._chosen.aclose()


class AiohttpTransport(httpx.AsyncBaseTransport):
    """GETs over one `aiohttp.ClientSession` of ours: no cookies, redirects, environment or own headers.

    The request target goes out byte for byte as httpx has it. `resolver` decides which addresses are
    connected to; no answer of it is kept. Needs a running asyncio loop from the start.
    """

    def __init__(self, *, connections: int, tls: ssl.SSLContext, resolver: Resolver | None = None) -> None:
        # imported here: aiohttp is an extra, and slow to import (`python -X importtime -c "import aiohttp"`)
        import aiohttp
        import yarl

        self._aiohttp = aiohttp
        self._yarl = yarl
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections,
                keepalive_timeout=_IDLE_SECONDS,
                resolver=cast("AbstractResolver | None", resolver),
                ssl=tls,
                use_dns_cache=False,
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BUFFER,
            skip_auto_headers=_OURS_ALONE,
            trust_env=False,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeout = request.extensions.get("timeout", {})
        with self.as_httpx(request):
            response = await self._session.request(
                request.method,
                self._yarl.URL(_exact(request.url), encoded=True),
                headers=[
                    (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
                ],
                allow_redirects=False,
                timeout=self._aiohttp.ClientTimeout(
                    total=None,
                    connect=timeout.get("pool"),
                    sock_connect=timeout.get("connect"),
                    sock_read=timeout.get("read"),
                ),
            )
        return httpx.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=_Body(self, request, response),
            request=request,
        )

    async def aclose(self) -> None:
        await self._session.close()

    @contextlib.contextmanager
    def as_httpx(self, request: httpx.Request) -> Iterator[None]:
        """aiohttp's errors as httpx's, with the type alone: aiohttp's texts hold URLs, signed ones too."""
        errors = self._aiohttp
        try:
            yield
        except errors.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout(type(error).__name__, request=request) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout(type(error).__name__, request=request) from error
        except errors.ClientConnectorError as error:
            raise httpx.ConnectError(type(error).__name__, request=request) from error
        except (errors.ClientPayloadError, errors.ClientResponseError) as error:
            raise httpx.RemoteProtocolError(type(error).__name__, request=request) from error
        except (errors.ClientError, OSError, ValueError) as error:  # ValueError: yarl, IDNA and TLS of a host
            raise httpx.ReadError(type(error).__name__, request=request) from error


class _Body(httpx.AsyncByteStream):
    def __init__(
        self, transport: AiohttpTransport, request: httpx.Request, response: aiohttp.ClientResponse
    ) -> None:
        self._transport = transport
        self._request = request
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._response.content
        with self._transport.as_httpx(self._request):
            while not content.at_eof():
                try:
                    chunk = await content.readany()
                except Exception:
                    # aiohttp (3.14) tells of a cut before it gives out what had arrived by then, and a
                    # download goes on from its last byte; there is no public way to those bytes
                    yield content._read_nowait(-1)
                    raise
                yield chunk

    async def aclose(self) -> None:
        # a body that was read to its end has given its connection back already; others lose it
        self._response.close()


def _exact(url: httpx.URL) -> str:
    """The URL with the very target that httpx sends, without a fragment."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}{url.raw_path.decode('ascii')}"
