"""Free requests: GETs with a bounded answer; whatever fails is a ProviderError."""

from __future__ import annotations

import ssl
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio
import httpx

from runner.http.access import Access
from runner.http.answers import Answer
from runner.http.outcomes import TroubleRule, judge_refusal
from runner.http.transport import causes, common_headers, read_answer
from runner.http.verdicts import ProviderError, Trouble


@dataclass(frozen=True, slots=True)
class FreeLimits:
    """Seconds to connect, to wait for a part of the answer, and for the whole request."""

    connect: float = 15.0
    read: float = 30.0
    total: float = 60.0


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

    async def get(
        self, path: str, query: Sequence[tuple[str, str]] = (), *, troubles: Sequence[TroubleRule] = ()
    ) -> Answer:
        """The answer of a GET that succeeded (2xx), its body at most 1 MiB.

        Raises ProviderError; `troubles` are the service's own rules for an answer that cannot be used.
        """
        url = self.access.origin + path + (f"?{urllib.parse.urlencode(query)}" if query else "")
        try:
            with anyio.fail_after(self._limits.total):
                answer = await self._answer(url)
        except (httpx.HTTPError, httpx.StreamError, TimeoutError, OSError) as error:
            raise _unreachable(error) from None
        if 200 <= answer.status < 300 and not answer.unreadable:
            return answer
        raise judge_refusal(troubles, answer, wall=self._wall())

    async def _answer(self, url: str) -> Answer:
        request = httpx.Request(
            "GET", url, headers=self._headers, stream=_NOTHING, extensions={"timeout": self._timeout}
        )
        response = await self._client.send(request, stream=True)
        try:
            return await read_answer(response, self.access.key)
        finally:
            await response.aclose()


def _unreachable(error: BaseException) -> ProviderError:
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in causes(error)):
        return ProviderError(Trouble.CERTIFICATE, "the server's certificate is not trusted")
    if isinstance(error, httpx.ProxyError):
        return ProviderError(Trouble.UNREACHABLE, str(error))
    # the type alone: httpx's texts may quote what the server sent
    return ProviderError(Trouble.UNREACHABLE, f"no usable answer ({type(error).__name__})")
