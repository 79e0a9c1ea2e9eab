"""The client for result files: it knows no key, keeps no cookie and follows nothing by itself."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import httpcore
import httpx

from runner.engine.addresses import CheckedBackend, Resolve, resolve_host
from runner.providers.fast import AiohttpTransport, GetClient, LateTransport
from runner.providers.http import tls_context

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult

# at INFO and DEBUG these print signed URLs
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_MOST_CONNECTIONS = 100
_IDLE_SECONDS = 5.0
_RESOLVE_SECONDS = 15.0


def download_client(
    *, allow_loopback: bool, resolve: Resolve = resolve_host, tls: ssl.SSLContext | None = None
) -> GetClient:
    """One client for all downloads of a run, on asyncio and trio.

    It sends `Host` and `Accept-Encoding: identity` and no other header of its own, and reads
    neither proxies nor netrc from the environment. `allow_loopback` is for a loopback API only.
    `tls` None verifies against certifi's authorities.
    """
    context = tls or tls_context()
    backend = CheckedBackend(allow_loopback=allow_loopback, resolve=resolve)

    def fast() -> httpx.AsyncBaseTransport:
        return AiohttpTransport(connections=_MOST_CONNECTIONS, tls=context, resolver=CheckedResolver(backend))

    def other() -> httpx.AsyncBaseTransport:
        pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=_MOST_CONNECTIONS,
            max_keepalive_connections=_MOST_CONNECTIONS,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=backend,
        )
        return _CheckedTransport(pool)

    return client_over(LateTransport(fast, other))


def client_over(transport: httpx.AsyncBaseTransport) -> GetClient:
    """The same client over another transport, for a simulation."""
    return GetClient(transport, {"accept-encoding": "identity"})


class CheckedResolver:
    """aiohttp's resolver: it connects to the addresses that this gives, and asks again each time.

    A literal address never comes here: `addresses.check_url` has checked it.
    """

    def __init__(self, backend: CheckedBackend) -> None:
        self._backend = backend

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        """Raises ForbiddenAddressError where no address may be used, OSError where there is none."""
        try:
            addresses = await self._backend.checked(host, port, _RESOLVE_SECONDS)
        except (httpcore.NetworkError, httpcore.TimeoutException) as error:
            raise OSError(str(error)) from error
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


class _CheckedTransport(httpx.AsyncBaseTransport):
    """httpx over our own pool: httpx's transport takes no network backend (0.28)."""

    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        with _as_httpx():
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    request.method,
                    url,
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for chunk in self._response.aiter_stream():
                yield chunk

    async def aclose(self) -> None:
        with _as_httpx():
            await self._response.aclose()


@contextlib.contextmanager
def _as_httpx() -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise httpx.TimeoutException(str(error)) from error
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError, ValueError) as error:
        # OSError: an SSLError in the middle of a body comes through anyio and httpcore as it is;
        # ValueError: what TLS or IDNA say of a strange host
        raise httpx.TransportError(str(error) or type(error).__name__) from error
