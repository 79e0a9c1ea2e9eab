"""The receiver of webhooks: a call is a hint that ends a wait early, and nothing more (invariant 7).

A call proves nothing, signed or not: its body is thrown away, and the task is asked for by an authenticated
GET. Where the service signs its calls, one that is not signed by it is none.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal

from runner.errors import UsageError
from runner.http.verdicts import ProviderError
from runner.job.model import WebhookPolicy
from runner.lane.lane import Lane

MOST_BODY = 64 * 1024
TOKEN_HEX = 32
"""128 bits."""


IsSigned = Callable[[Mapping[str, str], bytes], Awaitable[bool]]
"""Whether the service signed a call, by its headers and body. Raises ProviderError."""


def signed_by(lane: Lane) -> IsSigned | None:
    """How the calls of a lane's service are told from others; None where it signs none."""
    return lane.client.is_signed if lane.provider.signs_callbacks else None


@dataclass(frozen=True, slots=True)
class Call:
    """One POST. `path` is what came after the host; header names are in lower case."""

    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(slots=True)
class Hints:
    """Waits that a call may end early. `secret` makes paths that nobody guesses and a restart repeats."""

    public_url: str
    secret: bytes
    _events: dict[bytes, anyio.Event] = field(default_factory=dict)
    _signed: dict[bytes, IsSigned] = field(default_factory=dict)

    def callback_url(self, attempt_id: str, is_signed: IsSigned | None = None) -> str:
        """The URL of one attempt; from now on a call there is remembered, if it is signed."""
        token = self._token(attempt_id)
        self._expect(_key(token), is_signed)
        return f"{self.public_url.rstrip('/')}/{token}"

    async def wait(self, attempt_id: str, seconds: float, is_signed: IsSigned | None = None) -> bool:
        """Sleeps for `seconds`, or until a call comes that no wait has seen yet; whether one came."""
        key = _key(self._token(attempt_id))
        event = self._expect(key, is_signed)
        with anyio.move_on_after(seconds):
            await event.wait()
        if not event.is_set():
            return False
        self._events[key] = anyio.Event()
        return True

    def forget(self, attempt_id: str) -> None:
        """Nobody waits for this attempt any more."""
        key = _key(self._token(attempt_id))
        self._events.pop(key, None)
        self._signed.pop(key, None)

    async def hear(self, call: Call) -> None:
        """A call came in; where the service signs its calls, it counts only if that can be shown."""
        is_signed = self._signed.get(_key(_token_of(call.path)))
        if is_signed is not None:
            try:
                if not await is_signed(call.headers, call.body):
                    return
            except ProviderError:
                return
        self.hint(call.path)

    def hint(self, path: str) -> None:
        """A call came to `path`. One that belongs to nobody is dropped, in the same time."""
        event = self._events.get(_key(_token_of(path)))
        if event is not None:
            event.set()

    def _expect(self, key: bytes, is_signed: IsSigned | None) -> anyio.Event:
        if is_signed is not None:
            self._signed[key] = is_signed
        return self._events.setdefault(key, anyio.Event())

    def _token(self, attempt_id: str) -> str:
        return hmac.new(self.secret, attempt_id.encode(), hashlib.sha256).hexdigest()[:TOKEN_HEX]


def _token_of(path: str) -> str:
    return path.rpartition("/")[2]


def _key(token: str) -> bytes:
    # looked up by a hash: how long a comparison of the token itself took would tell its beginning
    return hashlib.sha256(token.encode(errors="replace")).digest()


@asynccontextmanager
async def receiver(policy: WebhookPolicy | None, secret: bytes) -> AsyncIterator[Hints | None]:
    """Listens for as long as this is open, beside asyncio and trio alike; None where no policy asks for it.

    Raises UsageError where the address cannot be used or the extra is missing.
    """
    if policy is None:
        yield None
        return
    bound = _bind(policy.listen)
    hints = Hints(policy.public_url, secret)
    async with BlockingPortal() as portal:
        stop = _serve(bound, partial(portal.start_task_soon, hints.hear))
        try:
            yield hints
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(stop)


def _serve(bound: socket.socket, hear: Callable[[Call], object]) -> Callable[[], None]:
    """Runs uvicorn in a thread of its own; gives what stops it."""
    try:
        # an extra that most runs do not need, and 0.15 s to import
        import uvicorn
    except ImportError as error:
        raise UsageError(
            "run.webhook needs the extra `server`", hint="pip install 'callsheet[server]'"
        ) from error
    server = uvicorn.Server(
        uvicorn.Config(
            _Application(hear),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=256,
            timeout_keep_alive=5,
            h11_max_incomplete_event_size=16 * 1024,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="webhook", daemon=True)
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join(timeout=5)
        bound.close()

    return stop


Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Application:
    """One answer for everything: a hit, a miss, a forgery and junk cannot be told apart from outside."""

    def __init__(self, hear: Callable[[Call], object]) -> None:
        self._hear = hear

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more and len(body) <= MOST_BODY:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if scope["method"] == "POST" and len(body) <= MOST_BODY:
            told = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
            }
            self._hear(Call(scope["path"], told, body))
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body"})


def _bind(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if "[" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host.strip("[]"), int(port)))
    except (OSError, OverflowError, ValueError) as error:
        bound.close()
        raise UsageError(
            f"run.webhook.listen: {listen}: cannot listen there: {error}",
            hint="give HOST:PORT of this machine, for example 127.0.0.1:8787",
        ) from error
    return bound
