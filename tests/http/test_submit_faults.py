"""Rows 1 to 10 of docs/reference/faults.md: POSTs without a whole answer, on real connections."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import trustme

from runner.http.outcomes import judge_submit
from runner.http.paid import SubmitLimits
from runner.http.verdicts import Reaction
from runner.providers.getimg.outcomes import SUBMITS as GETIMG_SUBMITS
from tests.support.provider_clients import (
    BODY,
    NOW,
    assert_ambiguous,
    assert_not_sent,
    posts_to,
    server_context,
    submit,
    trusting,
)
from tests.support.wire_server import Peer, answer, serve

pytestmark = pytest.mark.anyio

LARGE = b'"' + b"x" * 16_777_216 + b'"'
"""More than the socket buffers of both ends hold."""


@pytest.mark.fault(1)
async def test_a_name_that_does_not_resolve_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert_not_sent(await submit("https://api.invalid"), 1)


@pytest.mark.fault(2)
async def test_a_refused_connection_is_not_sent() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert_not_sent(await submit(f"http://127.0.0.1:{port}"), 2)


@pytest.mark.fault(3)
@pytest.mark.parametrize(
    "limits", [SubmitLimits(connect=0.05), SubmitLimits(connect=5, total=0.05)], ids=["connect", "total"]
)
async def test_a_tls_handshake_that_never_ends_is_not_sent(limits: SubmitLimits) -> None:
    with serve(Peer.stall) as server:
        origin = server.origin.replace("http:", "https:")
        assert_not_sent(await submit(origin, limits=limits), 3)


@pytest.mark.fault(2)
async def test_a_connection_closed_during_the_tls_handshake_is_not_sent() -> None:
    with serve(lambda peer: None) as server:
        assert_not_sent(await submit(server.origin.replace("http:", "https:")), 2)


@pytest.mark.fault(4)
async def test_a_bad_certificate_stops_as_a_configuration_error(certified: trustme.CA) -> None:
    with serve(Peer.stall, tls=server_context(certified)) as server:
        assert_not_sent(await submit(server.origin), 4, Reaction.STOP_CONFIGURATION)


@pytest.mark.fault(4)
async def test_a_good_certificate_for_another_host_stops_too(certified: trustme.CA) -> None:
    client = trusting(certified)
    with serve(Peer.stall, tls=server_context(certified, "other.example")) as server:
        async with posts_to(server.origin, tls=client) as paid:
            outcome = judge_submit(GETIMG_SUBMITS, await paid.post("/", BODY), wall=NOW)
    assert_not_sent(outcome, 4, Reaction.STOP_CONFIGURATION)


@pytest.mark.fault(5)
async def test_a_reset_while_writing_is_ambiguous() -> None:
    def script(peer: Peer) -> None:
        peer.read(1000)
        peer.reset()

    with serve(script, receive_buffer=4096) as server:
        assert_ambiguous(await submit(server.origin, LARGE), 5)


@pytest.mark.fault(6)
async def test_a_stalled_write_is_ambiguous() -> None:
    with serve(Peer.stall, receive_buffer=4096) as server:
        assert_ambiguous(await submit(server.origin, LARGE, SubmitLimits(write=0.05)), 6)


@pytest.mark.fault(7)
async def test_no_answer_in_time_is_ambiguous() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.stall()

    with serve(script) as server:
        assert_ambiguous(await submit(server.origin, limits=SubmitLimits(read=0.05)), 7)


@pytest.mark.security(13)
@pytest.mark.fault(7)
@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"])
async def test_an_answer_that_drips_for_ever_is_ambiguous_at_the_total_deadline(head: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(head)
        peer.drip(b"HTTP/1.1 200 OK\r\n" * 100, every=0.01)

    with serve(script) as server:
        assert_ambiguous(await submit(server.origin, limits=SubmitLimits(total=0.6)), 7)


@pytest.mark.fault(8)
@pytest.mark.parametrize("end", [lambda peer: None, Peer.reset], ids=["close", "reset"])
async def test_a_connection_that_ends_before_any_answer_is_ambiguous(end: Callable[[Peer], None]) -> None:
    """The case that a client library may call a connect error: the POST was read."""

    def script(peer: Peer) -> None:
        assert peer.read_request().endswith(BODY)
        end(peer)

    with serve(script) as server:
        assert_ambiguous(await submit(server.origin), 8)
    assert server.connections == 1


@pytest.mark.fault(9)
@pytest.mark.parametrize("end", [lambda peer: None, Peer.reset], ids=["close", "reset"])
@pytest.mark.parametrize(
    ("sent", "row"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Le", 8),
        (answer(200, b'{"id":"t-1"', length=99), 9),
        (answer(200, b'{"id":"t-1"}', length=99), 9),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n" + b'{"id":"t-1"}\r\n', 9),
    ],
    ids=["head", "body", "whole id", "chunks"],
)
async def test_a_cut_answer_is_ambiguous(sent: bytes, row: int, end: Callable[[Peer], None]) -> None:
    """A cut head is recorded as row 8: httpcore tells the two apart no better, nor does the outcome."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(sent)
        end(peer)

    with serve(script) as server:
        # a reset may overtake the bytes that were sent before it
        assert_ambiguous(await submit(server.origin), row, 8)


@pytest.mark.fault(10)
@pytest.mark.parametrize(
    "junk",
    [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"\x00" * 40 + b"\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"{}\r\n\r\n"],
)
async def test_bytes_that_are_not_http_are_ambiguous(junk: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(junk)

    with serve(script) as server:
        assert_ambiguous(await submit(server.origin), 10)
