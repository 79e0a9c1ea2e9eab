"""Breaking connections on purpose: uvicorn hides the transport, faults need it."""

from __future__ import annotations

import asyncio
import socket
import struct
from email.utils import formatdate
from typing import cast

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from runner.sandbox.faults import Fault, Kind, Stage

_TRANSPORT = "sandbox.transport"
_NOT_HTTP = b"\x16\x03\x01 this is not HTTP\r\n\r\n"


class OpenProtocol(H11Protocol):
    """Hands each request the transport that it came on."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        inner = cast(ASGIApp, self.app)

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            await inner({**scope, _TRANSPORT: transport}, receive, send)

        self.app = with_transport


class Connection:
    """One request's connection, to be cut, stalled or filled with nonsense."""

    def __init__(self, request: Request, stopping: asyncio.Event) -> None:
        self._transport: asyncio.Transport = request.scope[_TRANSPORT]
        self._receive = request.receive
        self._stopping = stopping

    async def pause(self, seconds: float) -> None:
        """Waits, but no longer than the server or the connection lives."""
        stop = asyncio.ensure_future(self._stopping.wait())
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            while not stop.done() and not self._transport.is_closing():
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    return
                await asyncio.wait([stop], timeout=min(left, 0.05))
        finally:
            stop.cancel()

    async def cut(self, *, reset: bool) -> None:
        """Ends the connection after what was written, or at once with a TCP reset."""
        if reset:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()
        # uvicorn complains of an answer that never began, unless it knows that the client is gone.
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def strike(self, fault: Fault, answer: bytes) -> bool:
        """Acts out a fault of the connection; True where the request is over with that.

        `answer` is the body of the answer that a cut inside the body or head cuts.
        """
        match fault.kind:
            case Kind.DELAY:
                await self.pause(fault.seconds)
                return False
            case Kind.NOT_HTTP:
                self._transport.write(_NOT_HTTP)
            case Kind.CUT | Kind.STALL:
                self._transport.write(_beginning(fault.stage, answer))
                if fault.kind is Kind.STALL:
                    await self.pause(fault.seconds)
            case _:
                return False
        await self.cut(reset=fault.reset)
        return True


def _beginning(stage: Stage, body: bytes) -> bytes:
    if stage not in (Stage.HEAD, Stage.BODY):
        return b""
    head = (
        f"HTTP/1.1 200 OK\r\ndate: {formatdate(usegmt=True)}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode("ascii")
    return head[:-20] if stage is Stage.HEAD else head + body[: len(body) // 2]
