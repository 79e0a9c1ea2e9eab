"""The network under the paid requests: real bytes of HTTP, so that httpcore's own trace testifies."""

from __future__ import annotations

import hashlib
import json
import math
import random
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import anyio
import anyio.lowlevel
import h11
import httpcore

from tests.simulation.life import Life
from tests.simulation.service import Service, within
from tests.simulation.trace import Trace
from tests.simulation.weather import Outage, Weather, pick_submit_fault

ODD = 3600.0
"""Seconds by which the clock of an edge, which answers for the service now and then, is wrong."""

UNANSWERED = ("stall", "closed", "reset", "cut-in-headers")

MOST_DOUBTS = 3 + 3
"""As many in a row as may pass: three, and those that were under way in the other slots."""

_PAGE = b"<html><title>Bad gateway</title></html>"


class SubmitNetwork(httpcore.AsyncNetworkBackend):
    """Connections of one process to the modelled service. `started` is the process's first moment."""

    def __init__(
        self,
        life: Life,
        weather: Weather,
        source: random.Random,
        trace: Trace,
        service: Service,
    ) -> None:
        self.life = life
        self.service = service
        self.trace = trace
        self.random = source
        self._weather = weather
        self._started = anyio.current_time()
        self._posts = 0
        self.doubts = 0
        """Whole requests in a row that nobody answered."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        fault, is_accepted = self._draw()
        await self.life.sleep(0.02)
        match fault:
            case "dns":
                raise httpcore.ConnectError("no such host") from socket.gaierror(-2, "unknown")
            case "refused":
                raise httpcore.ConnectError("refused")
            case "connect-timeout":
                await self.life.sleep(timeout or 15.0)
                raise httpcore.ConnectTimeout("connect")
        return SubmitStream(self, fault, is_accepted)

    async def sleep(self, seconds: float) -> None:
        await self.life.sleep(seconds)

    def next_fault(self) -> tuple[str, bool]:
        """For a connection that is used again: what needs a connect cannot happen any more."""
        fault, is_accepted = self._draw()
        if fault in ("dns", "refused", "connect-timeout", "tls-timeout"):
            return "closed", False
        return fault, is_accepted

    def _draw(self) -> tuple[str, bool]:
        match self._weather.outage(anyio.current_time() - self._started):
            case Outage.REFUSED:
                return "refused", False
            case Outage.SILENT:
                return "stall", self.random.random() < 0.3
            case Outage.PAGES:
                return "502-page", self.random.random() < 0.3
        habits = self.service.habits
        if within(habits.unclear, now := anyio.current_time()):
            fault = self.random.choice(("closed", "reset", "cut-in-headers", "closed", "stall"))
            return fault, self.random.random() < habits.unclear_accepted
        if within(habits.quota, now):
            return "429-quota", False
        self._posts += 1
        if self._posts > self._weather.spared and self.random.random() < self._weather.submits:
            return pick_submit_fault(self.random)
        return "", True


class SubmitStream(httpcore.AsyncNetworkStream):
    def __init__(self, network: SubmitNetwork, fault: str, is_accepted: bool) -> None:
        self._network = network
        self._fault = fault
        self._is_accepted = is_accepted
        self._parser = h11.Connection(h11.SERVER)
        self._body = b""
        self._is_used = False
        self._answer = b""
        self._answer_at = math.inf
        self._end = ""

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        if self._fault == "tls-timeout":
            await self._network.life.sleep(timeout or 15.0)
            raise httpcore.ConnectTimeout("handshake")
        return self

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._network.life.sleep(0.001)
        if not buffer:
            return  # httpcore tells the end of a body so
        is_head = self._parser.their_state is h11.IDLE
        if self._parser.their_state is h11.DONE:
            self._parser.start_next_cycle()
            self._fault, self._is_accepted = self._network.next_fault()
            self._answer, self._answer_at, self._end, is_head = b"", math.inf, "", True
        if is_head and self._fault == "reset-in-headers":
            raise httpcore.WriteError("reset")
        self._parser.receive_data(buffer)
        while isinstance(event := self._parser.next_event(), (h11.Request, h11.Data, h11.EndOfMessage)):
            if isinstance(event, h11.Request):
                self._body = b""
            elif isinstance(event, h11.Data):
                self._body += bytes(event.data)
            else:
                self._receive()
                break
        if self._fault == "reset-in-body" and not is_head:
            raise httpcore.WriteError("reset")
        if self._fault == "write-stall" and not is_head:
            await self._network.life.sleep(timeout or 30.0)
            raise httpcore.WriteTimeout("write")

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        wait = self._answer_at - anyio.current_time()
        if wait > (timeout or 120.0):
            await self._network.life.sleep(timeout or 120.0)
            raise httpcore.ReadTimeout("read")
        await self._network.life.sleep(wait)
        if self._answer:
            size = min(max_bytes, max(1, len(self._answer) // 2))
            part, self._answer = self._answer[:size], self._answer[size:]
            return part
        if self._end == "reset":
            raise httpcore.ReadError("reset")
        return b""

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()

    def get_extra_info(self, info: str) -> Any:
        return False if info == "is_readable" else None

    def _receive(self) -> None:
        """The whole request has arrived: what becomes of it, and what will be answered."""
        network = self._network
        now = anyio.current_time()
        request = json.loads(self._body)
        remote_id = ""
        accepted_at = now + network.random.uniform(0.02, 0.3)
        if self._is_accepted:
            if self._fault:
                accepted_at = now + network.random.uniform(0, network.service.habits.late)
            mark = hashlib.sha256(self._body).hexdigest()
            remote_id = network.service.accept(request, accepted_at, mark=mark).id
        network.trace.note(
            "post", fault=self._fault, accepted=remote_id, tag=request.get("execution_expires_after")
        )
        network.doubts = network.doubts + 1 if self._fault in UNANSWERED else 0
        if network.doubts > MOST_DOUBTS:
            network.life.is_blind = True
        if self._fault == "stall":
            return
        self._answer_at = now + 0.35
        if self._fault == "foreign-id" and network.service.told:
            remote_id = network.random.choice(network.service.told)
        status, headers, body = _answer(self._fault, remote_id, network.random)
        if not self._fault:
            self._answer_at = accepted_at + 0.05
        odd = ODD if self._fault == "429-odd-date" else 0.0
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n"
        if self._fault != "no-date":
            head += f"date: {network.service.date(self._answer_at, network.random, odd)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        whole = (head + "\r\n").encode() + body
        match self._fault:
            case "closed":
                self._answer = b""
            case "reset":
                self._answer, self._end = b"", "reset"
            case "cut-in-headers":
                self._answer = whole[: network.random.randrange(1, len(head))]
            case "cut-in-body":
                self._answer = whole[: -network.random.randrange(1, len(body))]
            case "not-http":
                self._answer = b"SSH-2.0-OpenSSH_9.6\r\n\r\n"
            case _:
                self._answer = whole
                self._answer_server()

    def _answer_server(self) -> None:
        # our h11 only reads; the answer's bytes are made by hand, and it has to know of the end
        self._parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        self._parser.send(h11.EndOfMessage())


def _answer(fault: str, remote_id: str, source: random.Random) -> tuple[int, dict[str, str], bytes]:
    match fault:
        case "foreign-id" if remote_id:
            pass
        case "no-id" | "foreign-id":
            return 200, {}, source.choice((b"{}", b'{"id": null}', b"ok", b'{"id": ""}'))
        case "500":
            return 500, {}, _envelope("internal_error")
        case "500-job-failed":
            return 500, {}, _envelope("provider_job_failed")
        case "502-envelope":
            return 502, {}, _envelope("upstream_error")
        case "503-envelope":
            return 503, {}, _envelope("provider_not_available")
        case "502-page" | "504-page":
            return int(fault[:3]), {"content-type": "text/html"}, _PAGE
        case "502-edge-json" | "503-edge-json":
            return int(fault[:3]), {"content-type": "application/json"}, edge_json(int(fault[:3]))
        case "504-provider":
            return 504, {}, _envelope("gateway_timeout", provider_code="provider_timeout")
        case "504-asset":
            return 504, {}, _envelope("gateway_timeout", provider_code="asset_registration_timeout")
        case "408" | "409" | "425":
            return int(fault), {}, b"{}"
        case "429" | "429-odd-date":
            told = source.choice(("3", "", "20", "999999999", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"))
            return 429, {"retry-after": told} if told else {}, _envelope("rate_limit_exceeded")
        case "429-quota":
            return 429, {}, _envelope("insufficient_quota", message="you exceeded your current quota")
        case "307":
            return 307, {"location": "https://api.sim.test/v1/video/generations"}, b""
        case "422-preparing":
            return 422, {}, _envelope("unprocessable_entity", message="the asset is still being prepared")
        case "400":
            return 400, {}, _envelope("bad_request")
        case "413-page":
            return 413, {"content-type": "text/html"}, _PAGE
        case "403-excluded":
            return 403, {}, _envelope("model_excluded")
        case "401":
            return 401, {}, _envelope("unauthorized")
        case "402":
            return 402, {}, _envelope("insufficient_credits")
    return 200, {"content-type": "application/json"}, json.dumps({"id": remote_id}).encode()


def edge_json(status: int) -> bytes:
    """What a gateway that likes JSON says of itself; it is not the service's envelope."""
    error = {"code": status, "message": "the gateway says so"}
    return json.dumps({"error": error, "request_id": "edge-1"}).encode()


def _envelope(code: str, *, message: str = "said by the model", provider_code: str = "") -> bytes:
    error = {"code": code, "message": message}
    if provider_code:
        error["provider_code"] = provider_code
    return json.dumps({"error": error, "request_id": "req_1"}).encode()
