"""The transports under free requests and downloads: aiohttp's and httpcore's send the same bytes."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from runner.engine.download_client import download_client
from runner.providers import fast
from runner.providers.fast import AiohttpTransport, GetClient, LateTransport
from runner.providers.http import FreeLimits, free_client
from tests.providers.client import trusts_nothing
from tests.support.wire import Peer, WireServer, answer, answering, serve

pytestmark = pytest.mark.anyio

TARGET = "/a%2F%7Eb//%41/%e2%9c%93?sig=%2F%7e+x%20y&b=a%3Db~c"
"""Escapes that an unasked normalisation would rewrite, and so break a signature."""

Make = Callable[[], GetClient]


def make_free() -> GetClient:
    return free_client(FreeLimits(connections=2), tls=trusts_nothing())


def make_download() -> GetClient:
    return download_client(allow_loopback=True, tls=trusts_nothing())


@pytest.fixture(params=[make_free, make_download])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture(params=["fast", "other"])
def _installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra and without it; trio never has it."""
    if request.param == "other":
        monkeypatch.setattr(fast, "may_be_fast", lambda: False)


async def get(client: GetClient, url: str, *, read: float = 5.0) -> int:
    """The status of a whole answer."""
    async with client.stream(url, connect=5.0, read=read) as response:
        async for _ in response.aiter_raw():
            pass
        return response.status_code


def head_of(server: WireServer, index: int = 0) -> tuple[str, dict[str, str]]:
    """Target and headers of a request, as they were on the wire."""
    lines = server.requests[index].partition(b"\r\n\r\n")[0].decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines[1:])
    return lines[0].split(" ")[1], {name.lower(): value for name, value in pairs}


@pytest.mark.usefixtures("_installed")
async def test_the_target_goes_out_byte_for_byte(make: Make) -> None:
    with answering(answer(200, {})) as server:
        async with make() as client:
            await get(client, server.origin + TARGET)
    assert head_of(server)[0] == TARGET


@pytest.mark.usefixtures("_installed")
@pytest.mark.security(8)
async def test_no_cookie_comes_back_and_no_redirect_is_followed(make: Make) -> None:
    moved = answer(302, {}, {"Location": "/elsewhere", "Set-Cookie": "a=b; Path=/"})
    with answering(moved, answer(200, {})) as server:
        async with make() as client:
            assert await get(client, server.origin) == 302
            assert await get(client, server.origin) == 200
    assert [head_of(server, index)[0] for index in (0, 1)] == ["/", "/"]
    assert "cookie" not in head_of(server, 1)[1]


@pytest.mark.usefixtures("_installed")
@pytest.mark.security(8)
async def test_a_download_sends_two_headers_and_no_other() -> None:
    with answering(answer(200, {})) as server:
        async with make_download() as client:
            await get(client, server.origin)
    assert set(head_of(server)[1]) <= {"host", "accept-encoding", "connection"}
    assert head_of(server)[1]["accept-encoding"] == "identity"


@pytest.mark.usefixtures("_installed")
async def test_a_compressed_body_is_not_unpacked(make: Make) -> None:
    """Row 45 refuses it by its header; nothing may have been unpacked before that."""
    packed = b"\x1f\x8b not really"
    with answering(answer(200, packed, {"Content-Encoding": "gzip"})) as server:
        async with make() as client, client.stream(server.origin) as response:
            assert b"".join([part async for part in response.aiter_raw()]) == packed


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("cut", [0, 1, 400])
async def test_what_arrived_before_a_cut_is_given_out(make: Make, cut: int) -> None:
    whole = answer(200, bytes(1000))

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(whole[: len(whole) - 1000 + cut])

    received: list[bytes] = []

    async def receive(response: httpx.Response) -> None:
        async for part in response.aiter_raw():
            received.append(part)

    with serve(script) as server:
        async with make() as client, client.stream(server.origin) as response:
            with pytest.raises(httpx.TransportError):
                await receive(response)
    assert len(b"".join(received)) == cut


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("sent", [b"", b"not HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_no_answer_is_httpx_s_error_on_every_transport(make: Make, sent: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(sent)

    with serve(script) as server:
        async with make() as client:
            with pytest.raises(httpx.TransportError) as caught:
                await get(client, f"{server.origin}/?signature=canary")
    assert "canary" not in str(caught.value)


@pytest.mark.usefixtures("_installed")
async def test_a_silent_server_is_a_read_timeout() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.stall()

    with serve(script) as server:
        async with make_free() as client:
            with pytest.raises(httpx.TimeoutException):
                await get(client, server.origin, read=0.05)


@pytest.mark.usefixtures("_installed")
async def test_nobody_there_is_a_connect_error(make: Make) -> None:
    with answering(answer(200, {})) as server:
        url = server.origin
    async with make() as client:
        with pytest.raises(httpx.TransportError):
            await get(client, url)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_rides_aiohttp() -> None:
    with answering(answer(200, {})) as server:
        async with make_free() as client:
            await get(client, server.origin)
            late = client.transport
            assert isinstance(late, LateTransport)
            assert isinstance(late._chosen, AiohttpTransport)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio_rides_a_pool_of_few_connections() -> None:
    with answering(answer(200, {})) as server:
        async with make_free() as client:
            await get(client, server.origin)
            late = client.transport
            assert isinstance(late, LateTransport)
            assert isinstance(late._chosen, httpx.AsyncHTTPTransport)
    assert FreeLimits().connections <= 32
