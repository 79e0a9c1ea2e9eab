"""Rows 32 to 34 and 45 of docs/reference/faults.md: free requests, on real connections."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import anyio
import pytest
import trustme

from runner.http.free import FreeLimits
from runner.http.verdicts import ProviderError, Trouble
from runner.providers.base import GenerationStatus, RemoteTask
from tests.support.provider_clients import GOLDEN, KEY, mesh_at, server_context
from tests.support.wire_server import Peer, WireServer, answer, answering, serve

pytestmark = pytest.mark.anyio

ID = "t-7f3a91"
TASK = json.loads((GOLDEN / "task_succeeded.json").read_bytes())
ENVELOPE = (GOLDEN / "error_envelope.json").read_bytes()
PAGE = (GOLDEN / "error_page.html").read_bytes()


async def trouble_of(server: WireServer, limits: FreeLimits | None = None) -> ProviderError:
    async with mesh_at(server.origin, free_limits=limits or FreeLimits(connect=5, read=5, total=10)) as mesh:
        with pytest.raises(ProviderError) as caught:
            await mesh.get(RemoteTask(ID))
    assert "canary" not in f"{caught.value!r} {caught.value} {caught.value.__cause__}".lower()
    return caught.value


def after_request(act: Callable[[Peer], None]) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.read_request()
        act(peer)

    return script


@pytest.mark.fault(32)
async def test_a_404_in_the_service_s_own_words_says_not_found() -> None:
    with answering(answer(404, {"error": {"code": "not_found", "message": "no"}})) as server:
        error = await trouble_of(server)
    assert (error.trouble, error.status) == (Trouble.NOT_FOUND, 404)


@pytest.mark.fault(33)
@pytest.mark.parametrize("body", [{"detail": "no"}, PAGE, {"error": {"code": "404", "message": "no route"}}])
async def test_a_404_of_anybody_else_says_nothing_of_the_task(body: object) -> None:
    """A route that is not there, an edge's page: the paid task may be as well as ever."""
    with answering(answer(404, body)) as server:
        error = await trouble_of(server)
    assert (error.trouble, error.status) == (Trouble.UNAVAILABLE, 404)


@pytest.mark.parametrize("where", ["code", "provider_code"])
async def test_a_record_that_expired_upstream_says_not_found(where: str) -> None:
    body = {"error": {"code": "upstream_error", "message": "gone", where: "provider_resource_not_found"}}
    with answering(answer(502, body)) as server:
        assert (await trouble_of(server)).trouble is Trouble.NOT_FOUND


@pytest.mark.fault(33)
@pytest.mark.parametrize(
    "bytes_of_answer",
    [
        answer(500, ENVELOPE),
        answer(503, PAGE),
        answer(504, b""),
        answer(408, b""),
        answer(302, b"", {"Location": "https://elsewhere.example/"}),
        answer(302, b"", {"Location": "http://[nowhere"}),
        answer(200, PAGE),
        answer(200, b""),
        answer(200, b"[" * 200_000),
        answer(200, ["t-7f3a91"]),
        answer(200, {"status": "running"}),
        answer(200, {**TASK, "id": "t-another"}),
        answer(200, {**TASK, "id": 7}),
    ],
)
async def test_an_answer_of_no_use_says_unavailable(bytes_of_answer: bytes) -> None:
    with answering(bytes_of_answer) as server:
        assert (await trouble_of(server)).trouble is Trouble.UNAVAILABLE
    assert len(server.requests) == 1


@pytest.mark.fault(33)
@pytest.mark.parametrize(
    "act",
    [
        lambda peer: None,
        Peer.reset,
        lambda peer: peer.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
        lambda peer: peer.send(b"HTTP/1.1 200 OK\r\nContent-Le"),
        lambda peer: peer.send(answer(200, b'{"id":', length=500)),
    ],
    ids=["close", "reset", "junk", "cut head", "cut body"],
)
async def test_a_broken_answer_says_unreachable(act: Callable[[Peer], None]) -> None:
    with serve(after_request(act)) as server:
        assert (await trouble_of(server)).trouble is Trouble.UNREACHABLE


@pytest.mark.security(13)
@pytest.mark.fault(33)
@pytest.mark.parametrize(
    ("act", "limits"),
    [
        (Peer.stall, FreeLimits(read=0.05)),
        (lambda peer: peer.drip(b"HTTP/1.1 200 OK\r\n" * 100, every=0.01), FreeLimits(total=0.05)),
    ],
    ids=["stall", "drip"],
)
async def test_an_answer_that_never_ends_says_unreachable(
    act: Callable[[Peer], None], limits: FreeLimits
) -> None:
    with serve(after_request(act)) as server:
        assert (await trouble_of(server, limits)).trouble is Trouble.UNREACHABLE


@pytest.mark.fault(33)
async def test_after_a_failure_the_next_look_succeeds() -> None:
    with answering(answer(503, PAGE), answer(200, TASK)) as server:
        async with mesh_at(server.origin) as mesh:
            with pytest.raises(ProviderError):
                await mesh.get(RemoteTask(ID))
            assert (await mesh.get(RemoteTask(ID))).status is GenerationStatus.SUCCEEDED


@pytest.mark.fault(34)
@pytest.mark.parametrize("status", ["polishing", "SUCCEEDED", 7, None])
async def test_an_unknown_status_is_none_and_keeps_the_word(status: object) -> None:
    with answering(answer(200, {"id": ID, "status": status})) as server:
        async with mesh_at(server.origin) as mesh:
            generation = await mesh.get(RemoteTask(ID))
    assert generation.status is None
    assert generation.raw_status == (status if isinstance(status, str) else "")


@pytest.mark.security(12)
@pytest.mark.fault(45)
async def test_a_compressed_answer_is_refused_before_its_body_is_read() -> None:
    """The body never comes, and no timeout is near: only a refusal by the head can end this."""
    head = answer(200, b"", {"Content-Encoding": "gzip"}, length=1000)

    def act(peer: Peer) -> None:
        peer.send(head)
        peer.stall()

    with anyio.fail_after(3), serve(after_request(act)) as server:
        assert (await trouble_of(server)).trouble is Trouble.UNAVAILABLE


@pytest.mark.security(12)
@pytest.mark.fault(45)
@pytest.mark.parametrize(
    "bytes_of_answer",
    [
        answer(200, gzip.compress(b" " * 50_000_000), {"Content-Encoding": "gzip"}),
        answer(200, b'{"id":"t-7f3a91","more":"' + b"x" * 1_100_000 + b'"}'),
    ],
    ids=["bomb", "large"],
)
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # trio, of a body not read to its end
async def test_a_json_bomb_is_refused(bytes_of_answer: bytes) -> None:
    with answering(bytes_of_answer) as server:
        assert (await trouble_of(server)).trouble is Trouble.UNAVAILABLE


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        (401, Trouble.KEY_REFUSED),
        (403, Trouble.KEY_REFUSED),
        (400, Trouble.WRONG_REQUEST),
        (402, Trouble.WRONG_REQUEST),
        (422, Trouble.WRONG_REQUEST),
    ],
)
async def test_a_refusal_says_which(status: int, trouble: Trouble) -> None:
    body = {"error": {"code": "some_code", "message": f"no, {KEY.value}"}, "request_id": "req_3"}
    with answering(answer(status, body)) as server:
        error = await trouble_of(server)
    assert (error.trouble, error.status, error.code, error.request_id) == (
        trouble,
        status,
        "some_code",
        "req_3",
    )
    assert str(error) == f"HTTP {status}: some_code: no, ***"


async def test_a_429_carries_the_wait() -> None:
    with answering(answer(429, b"", {"Retry-After": "9"})) as server:
        error = await trouble_of(server)
    assert (error.trouble, error.retry_after) == (Trouble.RATE_LIMITED, 9.0)


@pytest.mark.fault(72)
async def test_a_429_that_says_that_a_quota_is_gone_is_no_wait() -> None:
    body = {"error": {"code": "quota_exceeded", "message": "none left"}, "request_id": "req_4"}
    with answering(answer(429, body, {"Retry-After": "9"})) as server:
        error = await trouble_of(server)
    assert (error.trouble, str(error)) == (Trouble.USED_UP, "HTTP 429: quota_exceeded: none left")


@pytest.mark.security(7)
async def test_a_redirect_is_not_followed() -> None:
    with (
        answering(answer(200, TASK)) as elsewhere,
        answering(answer(307, b"", {"Location": elsewhere.origin})) as server,
    ):
        assert (await trouble_of(server)).trouble is Trouble.UNAVAILABLE
    assert elsewhere.connections == 0


async def test_a_bad_certificate_says_so(certified: trustme.CA) -> None:
    with serve(Peer.stall, tls=server_context(certified)) as server:
        assert (await trouble_of(server)).trouble is Trouble.CERTIFICATE


async def test_polls_share_connections_and_return_no_cookie() -> None:
    with answering(answer(200, TASK, {"Set-Cookie": "session=1; Path=/"})) as server:
        async with mesh_at(server.origin) as mesh:
            for _ in range(3):
                await mesh.get(RemoteTask(ID))
    assert server.connections == 1
    for request in server.requests:
        head = request.decode().lower()
        assert head.startswith(f"get /v1/video/generations/{ID} http/1.1\r\n")
        assert f"authorization: bearer {KEY.value}\r\n" in head
        assert "accept-encoding: identity\r\n" in head
        assert "cookie" not in head
