"""The free requests: GETs with a bounded answer, and every way that they fail as a ProviderError."""

from __future__ import annotations

import functools
import logging
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio
import httpx

from runner.providers.access import Access, is_loopback
from runner.providers.answers import MOST_BODY, Answer, ErrorBody, is_used_up, read_error, retry_after
from runner.providers.base import ProviderError, Trouble
from runner.providers.fast import AiohttpTransport, GetClient, LateTransport
from runner.providers.submit import causes

# at INFO these print every URL, signed ones included
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class FreeLimits:
    """Seconds to connect, to wait for a part of the answer, and for the whole request.

    `connections` are shared by all polls: httpx's pool costs time linear in their number.
    """

    connect: float = 15.0
    read: float = 30.0
    total: float = 60.0
    connections: int = 16


@functools.cache
def tls_context(*, trust_env: bool = False) -> ssl.SSLContext:
    """A verifying context that all clients share; `trust_env` honours SSL_CERT_FILE and SSL_CERT_DIR."""
    return httpx.create_ssl_context(trust_env=trust_env)


def environment_proxy(origin: str) -> str | None:
    """The proxy that the environment names for `origin`; never one for loopback."""
    host = httpx.URL(origin).host
    if is_loopback(origin) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(httpx.URL(origin).scheme) or proxies.get("all")


def free_client(
    limits: FreeLimits | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    proxy: str | None = None,
) -> GetClient:
    """The client of free requests. `transport` is the simulation's seam.

    It rides aiohttp on asyncio where that is installed, else, and through a proxy, httpx's own pool.
    """
    bounds = limits or FreeLimits()
    context = tls or tls_context()

    def fast() -> httpx.AsyncBaseTransport:
        return AiohttpTransport(connections=bounds.connections, tls=context)

    def other() -> httpx.AsyncBaseTransport:
        pool = httpx.Limits(max_connections=bounds.connections, max_keepalive_connections=bounds.connections)
        return httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=pool, proxy=proxy)

    return GetClient(transport or LateTransport(other if proxy else fast, other))


class FreeRequests:
    """GETs to one origin with its key."""

    def __init__(
        self,
        access: Access,
        client: GetClient,
        limits: FreeLimits | None = None,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.access = access
        self._client = client
        self._limits = limits or FreeLimits()
        self._wall = wall

    async def get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Answer:
        """The answer of a GET that succeeded (2xx), its body at most 1 MiB. Raises ProviderError."""
        url = self.access.origin + path + (f"?{urllib.parse.urlencode(query)}" if query else "")
        try:
            with anyio.fail_after(self._limits.total):
                answer = await self._answer(url)
        except (httpx.HTTPError, httpx.StreamError, TimeoutError, OSError) as error:
            raise _unreachable(error) from None
        if 200 <= answer.status < 300 and not answer.unreadable:
            return answer
        raise self._refused(answer)

    async def _answer(self, url: str) -> Answer:
        limits = self._limits
        async with self._client.stream(
            url, self.access.headers(), connect=limits.connect, read=limits.read
        ) as response:
            return await self._read(response)

    async def _read(self, response: httpx.Response) -> Answer:
        status, headers = response.status_code, self.access.key.hide_in_headers(response.headers)
        # refused unread: a body of 1 MiB may unpack to a gigabyte
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            return Answer(status, headers, b"", "the answer's body is compressed, which was not asked for")
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            if len(body) > MOST_BODY:
                return Answer(status, headers, b"", "the answer's body is larger than 1 MiB")
        return Answer(status, headers, self.access.key.hide_in(bytes(body)))

    def _refused(self, answer: Answer) -> ProviderError:
        error = read_error(answer)
        said = ": ".join(part for part in (error.code, error.message) if part)
        trouble = _trouble(answer.status, error)
        if trouble is Trouble.RATE_LIMITED and is_used_up(answer, error, wall=self._wall()):
            trouble = Trouble.USED_UP
        return ProviderError(
            trouble,
            f"HTTP {answer.status}: {said}" if said else f"HTTP {answer.status}",
            status=answer.status,
            code=error.code,
            request_id=error.request_id,
            retry_after=retry_after(answer, error, wall=self._wall()),
        )


def _trouble(status: int, error: ErrorBody) -> Trouble:
    """Which trouble an answer that cannot be used is: rows 32 and 33 of docs/reference/faults.md."""
    # the record expired upstream before it was collected, under whatever status that is told
    if "provider_resource_not_found" in (error.code, error.provider_code):
        return Trouble.NOT_FOUND
    match status:
        case 401 | 403:
            return Trouble.KEY_REFUSED
        case 404 if error.is_envelope:
            return Trouble.NOT_FOUND
        case 404:
            # an edge's page says nothing of the task
            return Trouble.UNAVAILABLE
        case 429:
            return Trouble.RATE_LIMITED
        case 408 | 425:
            return Trouble.UNAVAILABLE
        case _ if 400 <= status < 500:
            return Trouble.WRONG_REQUEST
        case _:
            return Trouble.UNAVAILABLE


def _unreachable(error: BaseException) -> ProviderError:
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in causes(error)):
        return ProviderError(Trouble.CERTIFICATE, "the server's certificate is not trusted")
    # the type alone: httpx's texts may quote what the server sent
    return ProviderError(Trouble.UNREACHABLE, f"no usable answer ({type(error).__name__})")
