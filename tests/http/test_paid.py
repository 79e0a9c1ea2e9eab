"""The transport of submits: what is on the wire, which connections, and whose testimony counts."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import httpcore
import pytest
import trustme

from runner.http.access import ApiKey
from runner.http.answers import Answer
from runner.http.paid import Failure, FailureKind
from runner.http.verdicts import SubmitOutcome, Verdict
from runner.providers.base import Body
from runner.providers.mesh import MESH
from tests.support.provider_clients import KEY, mesh_at, posts_to, server_context, trusting
from tests.support.wire_server import Peer, answer, answering, serve

pytestmark = pytest.mark.anyio

PATH = MESH.dialect.path
BODY = b"{}"
ACCEPTED = answer(200, {"id": "t-1"})


async def submit(origin: str, body: bytes = BODY) -> SubmitOutcome:
    async with mesh_at(origin) as mesh:
        return await mesh.submit(Body(PATH, body))


async def test_the_post_is_one_plain_request_with_the_key_and_the_exact_body() -> None:
    with answering(ACCEPTED) as server:
        await submit(server.origin)
    (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert first == "POST /v1/video/generations HTTP/1.1"
    assert body == BODY
    assert headers == {
        "host": server.origin.removeprefix("http://"),
        "authorization": f"Bearer {KEY.value}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "callsheet",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
    }


async def test_a_body_of_many_chunks_arrives_whole() -> None:
    body = bytes(range(256)) * 1000
    with answering(ACCEPTED) as server:
        assert (await submit(server.origin, body)).verdict is Verdict.ACCEPTED
    assert server.requests[0].partition(b"\r\n\r\n")[2] == body


async def test_a_trusted_certificate_is_accepted(certified: trustme.CA) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(ACCEPTED)

    with serve(script, tls=server_context(certified)) as server:
        async with posts_to(server.origin, tls=trusting(certified)) as paid:
            end = await paid.post("/", BODY)
    assert isinstance(end, Answer)
    assert end.document() == {"id": "t-1"}


async def test_a_connection_in_use_is_reused() -> None:
    with answering(ACCEPTED) as server:
        async with mesh_at(server.origin) as mesh:
            for _ in range(3):
                await mesh.submit(Body(PATH, BODY))
    assert (server.connections, len(server.requests)) == (1, 3)


async def test_a_connection_that_was_idle_too_long_is_not_reused() -> None:
    with answering(ACCEPTED) as server:
        async with mesh_at(server.origin, keepalive=0.02) as mesh:
            await mesh.submit(Body(PATH, BODY))
            await anyio.sleep(0.04)
            await mesh.submit(Body(PATH, BODY))
    assert server.connections == 2


async def test_cancellation_passes_through() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.stall()

    with serve(script) as server, anyio.move_on_after(0.05) as scope:
        await submit(server.origin)
    assert scope.cancelled_caught


class BrokenBackend(httpcore.AsyncNetworkBackend):
    """A backend with a defect: it raises what no network error is, at `connect`, `write` or `read`."""

    def __init__(self, place: str) -> None:
        self.place = place

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if self.place == "connect":
            raise RuntimeError("defect")
        return BrokenStream(self.place)


class BrokenStream(httpcore.AsyncMockStream):
    def __init__(self, place: str) -> None:
        super().__init__([])
        self.place = place

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self.place == "write":
            raise RuntimeError("defect")

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        raise RuntimeError("defect")


@pytest.mark.parametrize(
    ("place", "kind", "begun"),
    [
        ("connect", FailureKind.CONNECT, False),
        ("write", FailureKind.WRITE, True),
        ("read", FailureKind.OTHER, True),
    ],
)
async def test_an_error_of_any_kind_becomes_a_failure_with_testimony(
    place: str, kind: FailureKind, begun: bool
) -> None:
    async with posts_to("http://127.0.0.1:9", network_backend=BrokenBackend(place)) as paid:
        assert await paid.post("/", BODY) == Failure(kind, begun, "RuntimeError: defect")


async def test_a_request_that_cannot_be_written_shows_no_header() -> None:
    """h11 quotes the whole header; a key that was not loaded by `ApiKey.load` could stand there."""
    with serve(Peer.stall) as server:
        async with posts_to(server.origin, key=ApiKey("rsk_canary\nx")) as paid:
            assert await paid.post("/", BODY) == Failure(FailureKind.WRITE, True, "LocalProtocolError")


async def test_the_key_is_struck_out_of_a_body() -> None:
    with answering(answer(400, f"bad key {KEY.value}".encode())) as server:
        async with posts_to(server.origin) as paid:
            end = await paid.post("/", BODY)
    assert isinstance(end, Answer)
    assert end.body == b"bad key ***"
