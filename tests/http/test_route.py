"""The environment's proxy and certificates: off unless asked for, tunnels alone, and nothing claimed of a
POST that a proxy kept from the service.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from runner.errors import UsageError
from runner.http.access import Access
from runner.http.answers import Answer
from runner.http.fetch import BrokenOffError, Patience, Stop, Wire
from runner.http.free import FreeRequests
from runner.http.paid import Failure, PaidRequests
from runner.http.route import DIRECT, Proxy, Route, find_route
from runner.http.transport import Transport, Tunnels, open_client, tls_context
from runner.http.verdicts import ProviderError, Trouble
from tests.support.connect_proxy import ConnectProxy, proxy_to
from tests.support.files_server import FilesServer, file
from tests.support.provider_clients import KEY, PATIENT, PATIENT_FREE, server_context, trusting
from tests.support.wire_server import Peer, WireServer, answer, serve

ORIGIN = "https://api.example.test"
ACCEPTED = answer(200, {"id": "t-1"})
REFUSALS = {
    b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n": "wants a user name and a password",
    b'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 14\r\n\r\n{"id": "t-1"}\n': "opened no tunnel (its own",
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n": "opened no tunnel (its own answer: 503)",
    b"HTTP/1.1 302 Found\r\nLocation: https://x.example/\r\n\r\n": "opened no tunnel (its own answer: 302)",
    b"": "closed the connection",
    b"SSH-2.0-OpenSSH_9.6\r\n\r\n": "gave no usable answer",
    b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n": "sent more than its answer",
    b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000: "gave no usable answer",
}


@pytest.fixture
def service(certified: trustme.CA) -> Iterator[WireServer]:
    """The service api.example.test, which takes each request."""

    def script(peer: Peer) -> None:
        while request := peer.read_request():
            server.requests.append(request)
            peer.send(ACCEPTED)

    with serve(script, tls=server_context(certified, "api.example.test")) as server:
        yield server


def port_of(server: WireServer) -> int:
    return int(server.origin.rpartition(":")[2])


def through(proxy: ConnectProxy, user_info: str = "") -> Route:
    return Route(Proxy("127.0.0.1", proxy.port, user_info))


@contextlib.asynccontextmanager
async def client_by(route: Route, authority: trustme.CA) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(Transport(tls=trusting(authority), network_backend=Tunnels(route))) as client:
        yield client


async def post(route: Route, authority: trustme.CA) -> Answer | Failure:
    async with client_by(route, authority) as client:
        return await PaidRequests(Access(ORIGIN, KEY), client, PATIENT).post("/v1/videos", b"{}")


async def get(route: Route, authority: trustme.CA) -> Answer:
    async with client_by(route, authority) as client:
        return await FreeRequests(Access(ORIGIN, KEY), client, PATIENT_FREE).get("/v1/videos")


def fetched(route: Route, authority: trustme.CA, url: str) -> bytes:
    buffer = memoryview(bytearray(1 << 16))
    patience = Patience(total=10, connect=2, head=2)
    source = Wire(patience, Stop(), tls=trusting(authority), allow_loopback=False, route=route)
    with source.get(httpx.URL(url), {}) as answer:
        return bytes(buffer[: answer.read_into(buffer)])


@pytest.mark.anyio
async def test_a_post_and_a_get_reach_the_service_through_a_tunnel_that_sees_neither_key_nor_request(
    service: WireServer, certified: trustme.CA
) -> None:
    with proxy_to("127.0.0.1", port_of(service), user_info="me:p%4") as proxy:
        paid = await post(through(proxy, "me:p%4"), certified)
        free = await get(through(proxy, "me:p%4"), certified)
    assert isinstance(paid, Answer)
    assert (paid.status, free.status) == (200, 200)
    assert proxy.targets == ["api.example.test:443"] * 2
    assert KEY.value.encode() not in b"".join(proxy.heads)
    assert b"Proxy-Authorization" not in b"".join(service.requests)


@pytest.mark.fault(84)
@pytest.mark.anyio
@pytest.mark.parametrize("refusal", REFUSALS, ids=REFUSALS.values())
async def test_a_proxys_own_answer_is_never_the_services_and_nothing_was_sent(
    refusal: bytes, service: WireServer, certified: trustme.CA
) -> None:
    with proxy_to("127.0.0.1", port_of(service), answer=refusal) as proxy:
        paid = await post(through(proxy), certified)
        with pytest.raises(ProviderError) as caught:
            await get(through(proxy), certified)
        with pytest.raises(BrokenOffError) as broken:
            fetched(through(proxy), certified, f"{ORIGIN}/clip.mp4")
    assert isinstance(paid, Failure)
    assert paid.headers_begun is False
    assert paid.status is None
    assert caught.value.trouble is Trouble.UNREACHABLE
    for told in (paid.error, caught.value.message, str(broken.value)):
        assert f"the proxy 127.0.0.1:{proxy.port} {REFUSALS[refusal]}" in told
    assert service.requests == []


@pytest.mark.fault(84)
@pytest.mark.anyio
async def test_a_proxy_that_dies_before_tls_is_done_proves_that_nothing_was_sent(
    service: WireServer, certified: trustme.CA
) -> None:
    with proxy_to("127.0.0.1", port_of(service), is_cut=lambda sent: True) as proxy:
        paid = await post(through(proxy), certified)
    assert isinstance(paid, Failure)
    assert paid.headers_begun is False
    assert proxy.targets == ["api.example.test:443"]


@pytest.mark.fault(84)
@pytest.mark.anyio
async def test_a_proxy_that_dies_under_the_request_leaves_it_unclear(certified: trustme.CA) -> None:
    """It may have handed the whole of it on."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.reset()

    with (
        serve(script, tls=server_context(certified, "api.example.test")) as server,
        proxy_to("127.0.0.1", port_of(server)) as proxy,
    ):
        paid = await post(through(proxy), certified)
    assert isinstance(paid, Failure)
    assert paid.headers_begun is True


@pytest.mark.anyio
async def test_a_proxy_that_is_not_there_proves_that_nothing_was_sent(certified: trustme.CA) -> None:
    with proxy_to("127.0.0.1", 1) as proxy:
        route = through(proxy)
    paid = await post(route, certified)
    assert isinstance(paid, Failure)
    assert paid.headers_begun is False


@pytest.mark.anyio
async def test_a_proxy_that_plays_the_service_has_no_certificate_for_it(
    service: WireServer, certified: trustme.CA
) -> None:
    with (
        serve(lambda peer: None, tls=server_context(trustme.CA(), "api.example.test")) as other,
        proxy_to("127.0.0.1", port_of(other)) as proxy,
    ):
        paid = await post(through(proxy), certified)
    assert isinstance(paid, Failure)
    assert (paid.kind, paid.headers_begun) == ("certificate", False)


def test_a_download_goes_through_the_tunnel_too(certified: trustme.CA) -> None:
    with (
        FilesServer(file(b"pictures"), tls=server_context(certified, "files.example.test")) as server,
        proxy_to("127.0.0.1", server.port) as proxy,
    ):
        body = fetched(through(proxy), certified, "https://files.example.test/clip.mp4")
    assert body == b"pictures"
    assert proxy.targets == ["files.example.test:443"]


def test_no_proxy_and_loopback_are_reached_directly() -> None:
    proxy = Proxy("p.example", 3128)
    route = Route(proxy, no_proxy="intern.example, .files.example")
    assert route.proxy_for("api.example.test") == proxy
    direct = ("intern.example", "a.intern.example", "x.files.example", "localhost", "127.0.0.1", "::1")
    assert [host for host in direct if route.proxy_for(host)] == []
    assert Route(proxy, no_proxy="*").proxy_for("api.example.test") is None


@pytest.mark.security(11)
def test_the_environment_counts_only_where_it_was_asked_for() -> None:
    """Security line 11."""
    environment = {"HTTPS_PROXY": "http://p.example:3128", "SSL_CERT_FILE": "/ca.pem"}
    assert find_route(environment, trust_env=False) is DIRECT
    found = find_route(environment, trust_env=True)
    assert found == Route(Proxy("p.example", 3128), "", "/ca.pem")


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://p.example:3128", Proxy("p.example", 3128)),
        ("p.example:3128", Proxy("p.example", 3128)),
        ("http://p.example/", Proxy("p.example", 80)),
        ("http://me:p%40ss@p.example:3128", Proxy("p.example", 3128, "me:p@ss")),
        ("http://[::1]:3128", Proxy("::1", 3128)),
    ],
)
def test_a_proxys_address_is_read(url: str, proxy: Proxy) -> None:
    assert find_route({"HTTPS_PROXY": url}, trust_env=True).proxy == proxy
    assert find_route({"https_proxy": url, "HTTPS_PROXY": "http://x"}, trust_env=True).proxy == proxy
    assert find_route({"ALL_PROXY": url}, trust_env=True).proxy == proxy


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@p.example",
        "socks5://me:hunter2@p.example:1080",
        "http://me:hunter2@p.example:port",
        "http://me:hunter2@",
        "http://me:hunter2%0d%0a@p.example",
        "http://[me:hunter2",
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_route({"HTTPS_PROXY": url}, trust_env=True)
    assert str(caught.value).startswith("HTTPS_PROXY: ")
    assert "hunter2" not in str(caught.value)


@pytest.mark.security(16)
def test_a_proxys_password_shows_nowhere() -> None:
    """Security line 16."""
    route = find_route({"HTTPS_PROXY": "http://me:hunter2@p.example"}, trust_env=True)
    assert "hunter2" not in repr(route)
    assert "hunter2" in route.secrets


def test_certificates_are_those_of_the_file_or_the_reason_why_not(
    certified: trustme.CA, tmp_path: Path
) -> None:
    good, bad = tmp_path / "ca.pem", tmp_path / "bad.pem"
    certified.cert_pem.write_to_path(good)
    bad.write_text("nothing")
    assert len(tls_context(str(good)).get_ca_certs()) == 1
    with pytest.raises(UsageError, match="holds no certificates"):
        tls_context(str(bad))
    with pytest.raises(UsageError, match="No such file"):
        tls_context(str(tmp_path / "none.pem"))
