"""The guard of a paid POST: asked once it is connected, and nothing is written where it says no."""

from __future__ import annotations

import threading

import pytest

from runner.http.verdicts import SubmitOutcome, Verdict
from runner.providers.base import Body, RemoteTask
from runner.providers.mesh import MESH
from tests.support.provider_clients import assert_not_sent, mesh_at
from tests.support.wire_server import Peer, answer, answering, serve

pytestmark = [pytest.mark.anyio, pytest.mark.fault(129)]

BODY = Body(MESH.dialect.path, b"{}")
ACCEPTED = answer(200, {"id": "t-1"})


async def test_a_guard_that_says_no_lets_no_byte_through() -> None:
    with answering(ACCEPTED) as server:
        async with mesh_at(server.origin, guard=lambda: False) as mesh:
            outcome = await mesh.submit(BODY)
    assert_not_sent(outcome, 129)
    assert "lease" in outcome.evidence.reason
    assert server.requests == []


async def test_the_guard_is_asked_after_the_connection_stands() -> None:
    """A slow connect or handshake must not lie between its word and the first byte."""
    begun, seen = threading.Event(), []

    def script(peer: Peer) -> None:
        begun.set()
        peer.read_request()
        peer.send(ACCEPTED)

    with serve(script) as server:

        def guard() -> bool:
            seen.append(begun.wait(10))
            return True

        async with mesh_at(server.origin, guard=guard) as mesh:
            assert (await mesh.submit(BODY)).verdict is Verdict.ACCEPTED
    assert seen == [True]


async def test_a_connection_that_is_used_again_is_guarded_too() -> None:
    words = [True, False, True]
    outcomes: list[SubmitOutcome] = []
    with answering(ACCEPTED) as server:
        async with mesh_at(server.origin, guard=lambda: words.pop(0)) as mesh:
            outcomes += [await mesh.submit(BODY) for _ in range(3)]
    assert [each.verdict for each in outcomes] == [Verdict.ACCEPTED, Verdict.NOT_SENT, Verdict.ACCEPTED]
    assert len(server.requests) == 2


async def test_free_requests_need_no_guard() -> None:
    with answering(answer(200, {"id": "t-1", "status": "running"})) as server:
        async with mesh_at(server.origin, guard=lambda: False) as mesh:
            assert (await mesh.get(RemoteTask("t-1", "m"))).raw_status == "running"
