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
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import h11
import httpx

from runner.http.access import Access
from runner.http.answers import Answer, clean
from runner.http.transport import (
    Chunks,
    Guard,
    GuardedError,
    Testimony,
    always,
    causes,
    common_headers,
    read_answer,
)

_SLOWEST_UPLOAD = 32_768.0
"""Bytes per second; the total deadline grows with the body by this rate (32 MiB: 17 minutes)."""


@dataclass(frozen=True, slots=True)
class SubmitLimits:
    """Seconds to connect, to write one chunk of 64 KiB, and to wait for a part of the answer.

    `total` bounds the whole POST, to which comes the time for the upload.
    """

    connect: float = 15.0
    write: float = 30.0
    read: float = 120.0
    total: float = 180.0


class FailureKind(enum.StrEnum):
    """Why a POST got no whole answer. By itself it proves nothing."""

    DNS = "dns"
    CONNECT = "connect"
    CONNECT_TIMEOUT = "connect_timeout"
    CERTIFICATE = "certificate"
    GUARDED = "guarded"
    """The guard of the lease said no, before the first byte."""
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
    """The status of an answer whose head came and whose body did not."""


class PaidRequests:
    """POSTs to one origin with its key; never repeated in here.

    Over another transport than ours, which gives no testimony, no failure counts as not sent, and `guard` is
    not asked.
    """

    def __init__(
        self,
        access: Access,
        client: httpx.AsyncClient,
        limits: SubmitLimits | None = None,
        guard: Guard = always,
    ) -> None:
        self.access = access
        self._guard = guard
        self._client = client
        self._limits = limits or SubmitLimits()
        self._headers = common_headers(access)
        self._timeout = httpx.Timeout(
            connect=self._limits.connect, write=self._limits.write, read=self._limits.read, pool=None
        ).as_dict()

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        content_type: str = "application/json",
        headers: Sequence[tuple[str, str]] = (),
    ) -> Answer | Failure:
        """One POST. Never raises for what the network or service does."""
        more = [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers]
        testimony = Testimony(guard=self._guard)
        deadline = self._limits.total + len(body) / _SLOWEST_UPLOAD
        try:
            with anyio.fail_after(deadline):
                return await self._post(path, body, more, testimony)
        # errors of the backend and of ssl come through unmapped, and whatever it was, the testimony
        # decides what it means for the money
        except Exception as error:
            return Failure(
                _kind(error, testimony), testimony.headers_begun, self._in_words(error), testimony.status
            )

    async def _post(
        self, path: str, body: bytes, headers: Sequence[tuple[str, str]], testimony: Testimony
    ) -> Answer:
        request = httpx.Request(
            "POST",
            self.access.origin + path,
            headers=[*self._headers, *((name.encode(), value.encode()) for name, value in headers)],
            stream=Chunks(body),
            extensions={"trace": testimony, "timeout": self._timeout},
        )
        response = await self._client.send(request, stream=True)
        try:
            return await read_answer(response, self.access.key)
        finally:
            await response.aclose()

    def _in_words(self, error: BaseException) -> str:
        if isinstance(error, httpx.LocalProtocolError):
            return type(error).__name__  # its text quotes our own headers
        text = self.access.key.hide_in(str(error).encode(errors="replace")).decode()
        return clean(f"{type(error).__name__}: {text}" if text else type(error).__name__, 300)


def _kind(error: BaseException, testimony: Testimony) -> FailureKind:
    chain = causes(error)
    is_timeout = isinstance(error, (TimeoutError, httpx.TimeoutException))
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in chain):
        return FailureKind.CERTIFICATE
    if any(isinstance(one, socket.gaierror) for one in chain):
        return FailureKind.DNS
    if isinstance(error, GuardedError):
        return FailureKind.GUARDED
    if not testimony.headers_begun:
        return FailureKind.CONNECT_TIMEOUT if is_timeout else FailureKind.CONNECT
    if isinstance(error, httpx.WriteTimeout):
        return FailureKind.WRITE_TIMEOUT
    if is_timeout:
        return FailureKind.READ_TIMEOUT
    if testimony.head_received:
        return FailureKind.CUT
    if testimony.write_failed:
        return FailureKind.WRITE
    if any(isinstance(one, h11.RemoteProtocolError) for one in chain):
        return FailureKind.NOT_HTTP
    if isinstance(error, (httpx.RemoteProtocolError, httpx.NetworkError)):
        return FailureKind.CLOSED
    return FailureKind.OTHER
