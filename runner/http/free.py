"""Free requests, with a bounded answer; whatever fails is a ProviderError.

A GET costs nothing anywhere. A POST or PUT here is an upload, to one of the paths that the provider names
for that: no submit goes there.
"""

from __future__ import annotations

import enum
import ssl
import time
import urllib.parse
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import anyio
import httpx

from runner.http.access import Access, origin_of
from runner.http.answers import Answer
from runner.http.outcomes import TroubleRule, judge_refusal
from runner.http.transport import FREE, Chunks, causes, common_headers, read_answer
from runner.http.verdicts import ProviderError, Trouble


@dataclass(frozen=True, slots=True)
class FreeLimits:
    """Seconds to connect, to wait for a part of the answer, and for the whole request."""

    connect: float = 15.0
    read: float = 30.0
    total: float = 60.0


class UploadMethod(enum.StrEnum):
    POST = "POST"
    PUT = "PUT"


_SLOWEST_UPLOAD = 32_768.0
"""Bytes per second: an upload's deadline grows with the file."""


class FreeRequests:
    """Requests to one origin with its key; they cost nothing."""

    def __init__(
        self,
        access: Access,
        client: httpx.AsyncClient,
        limits: FreeLimits | None = None,
        *,
        wall: Callable[[], float] = time.time,
        uploads: Collection[str] = (),
    ) -> None:
        """`uploads` are the paths that may be posted to."""
        self.access = access
        self._uploads = uploads
        self._client = client
        self._limits = limits or FreeLimits()
        self._headers = common_headers(access)
        self._timeout = httpx.Timeout(self._limits.read, connect=self._limits.connect, pool=None).as_dict()
        self._wall = wall

    async def get(
        self,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        *,
        troubles: Sequence[TroubleRule] = (),
        also: Collection[int] = (),
    ) -> Answer:
        """The answer of a GET that succeeded (2xx), its body at most 1 MiB; or that has one of the statuses
        `also`, which say something of the generation.

        `path` follows the origin, or is a whole URL that the service gave: at the same host, or it is not
        asked for. Raises ProviderError; `troubles` are the service's own rules for an answer that cannot be
        used.
        """
        return await self._ask("GET", self._url(path, query), troubles, also=also)

    async def upload(
        self,
        path: str,
        content: bytes,
        *,
        content_type: str,
        method: UploadMethod = UploadMethod.POST,
        query: Sequence[tuple[str, str]] = (),
        authorization: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        troubles: Sequence[TroubleRule] = (),
    ) -> Answer:
        """The answer of an upload that succeeded, or of what an upload begins with; read as that of `get`.

        `authorization` replaces the key where the host wants a token of its own; empty where it wants none,
        as each PUT does. Raises ValueError for a POST to a path that is not for uploads, and for a PUT with
        the key: nothing is sent then.
        """
        url = self._url(path, query)
        if method is UploadMethod.PUT and authorization is None:
            raise ValueError("a free PUT carries no key: it could change what was paid for")
        if method is UploadMethod.POST and urllib.parse.urlsplit(url).path not in self._upload_paths():
            raise ValueError("a free POST to a path that the provider does not name for uploads")
        own = [
            ("Content-Type", content_type),
            ("Content-Length", str(len(content))),
            *([("Authorization", authorization)] if authorization else []),
            *headers,
        ]
        return await self._ask(
            method, url, troubles, content, own, with_key=authorization is None, is_upload=True
        )

    def _upload_paths(self) -> Collection[str]:
        base = urllib.parse.urlsplit(self.access.origin).path
        return {base + path for path in self._uploads}

    def _url(self, path: str, query: Sequence[tuple[str, str]]) -> str:
        """Raises ProviderError for a URL at another host: the key goes to its own alone."""
        if path.startswith("/"):
            url = self.access.origin + path
        elif _is_at(path, origin_of(self.access.origin)):
            url = path
        else:
            raise ProviderError(Trouble.WRONG_REQUEST, "the service names a URL at another host")
        return url + (f"{'&' if '?' in url else '?'}{urllib.parse.urlencode(query)}" if query else "")

    async def _ask(
        self,
        method: str,
        url: str,
        troubles: Sequence[TroubleRule],
        content: bytes = b"",
        headers: Sequence[tuple[str, str]] = (),
        *,
        with_key: bool = True,
        is_upload: bool = False,
        also: Collection[int] = (),
    ) -> Answer:
        common = [one for one in self._headers if with_key or one[0] != b"Authorization"]
        request = httpx.Request(
            method,
            url,
            headers=[*common, *((name.encode(), value.encode()) for name, value in headers)],
            stream=Chunks(content) if is_upload else httpx.ByteStream(b""),
            extensions={"timeout": self._timeout, **FREE},
        )
        try:
            with anyio.fail_after(self._limits.total + len(content) / _SLOWEST_UPLOAD):
                answer = await self._answer(request)
        except (httpx.HTTPError, httpx.StreamError, TimeoutError, OSError) as error:
            raise _unreachable(error) from None
        if (200 <= answer.status < 300 or answer.status in also) and not answer.unreadable:
            return answer
        raise judge_refusal(troubles, answer, wall=self._wall())

    async def _answer(self, request: httpx.Request) -> Answer:
        response = await self._client.send(request, stream=True)
        try:
            return await read_answer(response, self.access.key)
        finally:
            await response.aclose()


def _is_at(url: str, origin: str) -> bool:
    """Whether a URL that a service gave leads to `origin`, without a user, and can be asked for."""
    try:
        parsed = httpx.URL(url)
        return bool(parsed.host) and not parsed.userinfo and not parsed.fragment and _origin(parsed) == origin
    except (httpx.InvalidURL, ValueError):  # ValueError: a surrogate, or no IDNA name
        return False


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _unreachable(error: BaseException) -> ProviderError:
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in causes(error)):
        return ProviderError(Trouble.CERTIFICATE, "the server's certificate is not trusted")
    if isinstance(error, httpx.ProxyError):
        return ProviderError(Trouble.UNREACHABLE, str(error))
    # the type alone: httpx's texts may quote what the server sent
    return ProviderError(Trouble.UNREACHABLE, f"no usable answer ({type(error).__name__})")
