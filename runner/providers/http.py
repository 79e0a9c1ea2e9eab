"""The free requests: GETs with a bounded answer, and every way that they fail as a ProviderError."""

from __future__ import annotations

import functools
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio
import httpx

from runner.http.access import Access, is_loopback
from runner.providers.answers import Answer, ErrorBody, is_used_up, read_error, retry_after
from runner.providers.base import ProviderError, Trouble
from runner.providers.transport import causes, common_headers, read_answer


@dataclass(frozen=True, slots=True)
class FreeLimits:
    """Seconds to connect, to wait for a part of the answer, and for the whole request."""

    connect: float = 15.0
    read: float = 30.0
    total: float = 60.0


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


_NOTHING = httpx.ByteStream(b"")


class FreeRequests:
    """GETs to one origin with its key."""

    def __init__(
        self,
        access: Access,
        client: httpx.AsyncClient,
        limits: FreeLimits | None = None,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.access = access
        self._client = client
        self._limits = limits or FreeLimits()
        self._headers = common_headers(access)
        self._timeout = httpx.Timeout(self._limits.read, connect=self._limits.connect, pool=None).as_dict()
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
        request = httpx.Request(
            "GET", url, headers=self._headers, stream=_NOTHING, extensions={"timeout": self._timeout}
        )
        response = await self._client.send(request, stream=True)
        try:
            return await read_answer(response, self.access.key)
        finally:
            await response.aclose()

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
