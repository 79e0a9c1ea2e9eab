"""The HTTP stack under all of a service's requests: what httpx's client may not do by itself, and which
connections there are."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import AsyncIterator

import anyio
import httpcore
import httpx
import pytest
import trustme

from runner.http import transport
from runner.http.access import Access
from runner.http.paid import Failure, PaidRequests
from runner.http.transport import CONNECTIONS, Transport, open_client
from tests.support.provider_clients import KEY, PATIENT, server_context, trusting, trusts_nothing
from tests.support.wire_server import Peer, WireServer, answer, answering, serve

pytestmark = pytest.mark.anyio

TARGET = "/a%2F%7Eb//%41/%e2%9c%93?sig=%2F%7e+x%20y&b=a%3Db~c"
"""Escapes that an unasked normalisation would rewrite."""
BOTH = pytest.mark.parametrize("method", ["GET", "POST"])


@contextlib.asynccontextmanager
async def a_client(**options: object) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(Transport(tls=trusts_nothing(), **options)) as client:  # type: ignore[arg-type]
        yield client


async def ask(client: httpx.AsyncClient, url: str, method: str = "GET", read: float = 5.0) -> bytes:
    """The whole body as it was sent."""
    request = httpx.Request(
        method,
        url,
        headers={"Host": "x"},
        stream=httpx.ByteStream(b""),
        extensions={"timeout": {"connect": 5.0, "read": read, "write": 5.0}},
    )
    response = await client.send(request, stream=True)
    try:
        return b"".join([part async for part in response.aiter_raw()])
    finally:
        await response.aclose()


def head_of(server: WireServer, index: int = 0) -> tuple[str, dict[str, str]]:
    """Target and headers of a request, as they were on the wire."""
    lines = server.requests[index].partition(b"\r\n\r\n")[0].decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines[1:])
    return lines[0].split(" ")[1], {name.lower(): value for name, value in pairs}


@BOTH
async def test_the_target_goes_out_byte_for_byte(method: str) -> None:
    with answering(answer(200, {})) as server:
        async with a_client() as client:
            await ask(client, server.origin + TARGET, method)
    assert head_of(server)[0] == TARGET


@pytest.mark.security(7)
@pytest.mark.security(8)
@pytest.mark.security(11)
@BOTH
@pytest.mark.parametrize("location", ["/elsewhere", "http://[nowhere", "//\x01", ""])
async def test_the_client_adds_nothing_and_follows_nothing(
    method: str, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a header, cookie, redirect, proxy or login of its own, whatever answers and environment say."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    moved = answer(302, {}, {"Location": location, "Set-Cookie": "a=b; Path=/", "Refresh": "0; url=/x"})
    with answering(moved) as server:
        async with a_client() as client:
            for _ in range(2):
                assert await ask(client, server.origin, method) == b"{}"
            assert not client.cookies
    assert [head_of(server, index) for index in (0, 1)] == [("/", {"host": "x"})] * 2
    assert len(server.requests) == 2


@BOTH
async def test_a_compressed_body_is_not_unpacked(method: str) -> None:
    packed = b"\x1f\x8b not really"
    with answering(answer(200, packed, {"Content-Encoding": "gzip"})) as server:
        async with a_client() as client:
            assert await ask(client, server.origin, method) == packed


@pytest.mark.security(15)
async def test_no_url_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with answering(answer(200, {})) as server:
        async with a_client() as client:
            await ask(client, f"{server.origin}/?signature=canary")
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    "sent", [b"", b"not HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le", answer(200, b"{", length=9)]
)
async def test_no_whole_answer_is_httpx_s_error(sent: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(sent)

    with serve(script) as server:
        async with a_client() as client:
            with pytest.raises(httpx.TransportError) as caught:
                await ask(client, f"{server.origin}/?signature=canary")
    assert "canary" not in str(caught.value)


async def test_a_silent_server_is_a_read_timeout() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.stall()

    with serve(script) as server:
        async with a_client() as client:
            with pytest.raises(httpx.ReadTimeout):
                await ask(client, server.origin, read=0.05)


async def test_nobody_there_is_a_connect_error() -> None:
    with answering(answer(200, {})) as server:
        url = server.origin
    async with a_client() as client:
        with pytest.raises(httpx.ConnectError):
            await ask(client, url)


def test_every_error_of_httpcore_has_its_name_in_httpx() -> None:
    names = [
        name
        for name, value in vars(httpcore).items()
        # a pool's own signal, and there is no pool here
        if isinstance(value, type) and issubclass(value, Exception) and name != "ConnectionNotAvailable"
    ]
    assert len(names) > 10
    assert all(issubclass(getattr(httpx, name), httpx.TransportError) for name in names)


async def test_submits_and_looks_share_no_connection() -> None:
    with answering(answer(200, {})) as server:
        async with a_client() as client:
            for method in ("GET", "POST", "GET", "POST"):
                await ask(client, server.origin, method)
    assert server.connections == 2


@BOTH
async def test_connections_are_few_and_the_others_wait(method: str) -> None:
    answered = anyio.Event()
    under_way = most = 0

    class Backend(httpcore.AsyncNetworkBackend):
        async def connect_tcp(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await answered.wait()
            under_way -= 1
            return httpcore.AsyncMockStream([answer(200, {}, {"Connection": "close"})])

    async with a_client(network_backend=Backend()) as client, anyio.create_task_group() as group:
        for _ in range(3 * CONNECTIONS):
            group.start_soon(ask, client, "http://127.0.0.1:9", method)
        await anyio.wait_all_tasks_blocked()
        answered.set()
    assert most == CONNECTIONS


@pytest.mark.parametrize("end", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", answer(200, b"{", length=9)])
async def test_a_broken_connection_makes_room_for_another(end: bytes) -> None:
    """A turn that is never given back would stop everything in the end."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(end)

    with serve(script) as server, anyio.fail_after(10):
        async with a_client() as client:
            for _ in range(CONNECTIONS + 1):
                with pytest.raises(httpx.TransportError):
                    await ask(client, server.origin)
    assert server.connections == CONNECTIONS + 1


@pytest.mark.parametrize("until", ["connecting", "reading"])
async def test_a_request_that_is_cancelled_makes_room_for_another(until: str) -> None:
    def script(peer: Peer) -> None:
        if until == "reading":
            peer.read_request()
            peer.send(answer(200, b"{", length=9))
        peer.stall()

    with serve(script) as server, anyio.fail_after(10):
        origin = server.origin if until == "reading" else server.origin.replace("http:", "https:")
        async with a_client() as client:
            for number in range(CONNECTIONS + 1):
                async with anyio.create_task_group() as asking:
                    asking.start_soon(ask, client, origin)
                    while server.connections == number:
                        await anyio.sleep(0.005)
                    await anyio.sleep(0.01)
                    asking.cancel_scope.cancel()
    assert server.connections == CONNECTIONS + 1


@BOTH
async def test_a_handshake_that_is_cancelled_leaves_no_socket_open(method: str) -> None:
    """A socket left to the garbage collector would be a warning, and warnings are errors."""
    with serve(Peer.stall) as server:
        async with a_client() as client:
            with anyio.move_on_after(0.05):
                await ask(client, server.origin.replace("http:", "https:"), method)
    gc.collect()


@BOTH
@pytest.mark.parametrize("first", [answer(200, {}), answer(204, {})])
async def test_what_follows_an_answer_is_not_the_next_one(method: str, first: bytes) -> None:
    """Else the id of a generation would be taken for another one's."""

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send(first + answer(200, {"id": "another"}))

    with serve(script) as server:
        async with a_client() as client:
            answers = [await ask(client, server.origin, method) for _ in range(3)]
    assert b"another" not in b"".join(answers)
    assert server.connections == 3


async def test_a_server_s_close_between_two_looks_costs_none(certified: trustme.CA) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer(200, {}))

    with serve(script, tls=server_context(certified)) as server:
        async with open_client(Transport(tls=trusting(certified))) as client:
            for _ in range(3):
                assert await ask(client, server.origin) == b"{}"
                await anyio.sleep(0.02)
    assert server.connections == 3


@pytest.mark.parametrize("error", [httpx.ConnectError("no"), OSError("no"), RuntimeError("no")])
async def test_without_testimony_no_post_counts_as_not_sent(error: Exception) -> None:
    """Over a transport that shows nothing, that nothing was shown proves nothing."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    async with open_client(httpx.MockTransport(fail)) as client:
        end = await PaidRequests(Access("http://127.0.0.1:9", KEY), client, PATIENT).post("/", b"{}")
    assert isinstance(end, Failure)
    assert end.headers_begun is None


async def test_a_testimony_that_nobody_gave_is_none() -> None:
    assert transport.Testimony().headers_begun is None
    assert transport.Testimony(is_given=True).headers_begun is False
    assert transport.Testimony(is_given=True, seen={"send_request_headers.started"}).headers_begun is True
