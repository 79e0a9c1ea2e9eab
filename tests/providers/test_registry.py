"""Which service, which origin, which key."""

from __future__ import annotations

import logging
import socket
import ssl
import threading

import anyio
import pytest

from runner.errors import KeyRefusedError
from runner.http.access import NO_KEY, Access, parse_origin
from runner.http.transport import CONNECTIONS, tls_context
from runner.http.verdicts import ProviderError, Verdict
from runner.providers import connect, every, find
from runner.providers.base import Body, RemoteTask
from runner.providers.mesh import MESH
from runner.providers.openai import OPENAI
from tests.support.provider_clients import KEY
from tests.support.wire_server import answer, answering


def test_names_and_default_origins_are_in_order() -> None:
    for name, provider in every().items():
        assert provider.name == name
        assert find(name) is provider
        if provider.origin:
            assert parse_origin(provider.origin, source=name) == provider.origin


def test_the_key_is_taken_from_the_first_variable_that_is_set() -> None:
    both = {"MESHAPI_API_KEY": "rsk_one", "MESHAPI_TOKEN": "rsk_two", "TEAM_KEY": "rsk_three"}
    assert MESH.find_key(both).value == "rsk_one"
    assert MESH.find_key({**both, "MESHAPI_API_KEY": " "}).value == "rsk_two"
    assert MESH.find_key(both, variable="TEAM_KEY").value == "rsk_three"


def test_a_service_that_needs_no_key_gets_one_where_it_is_there() -> None:
    """What OPENAI_API_KEY holds is for another server."""
    assert OPENAI.find_key({"OPENAI_API_KEY": "sk-for-another"}) == NO_KEY
    assert OPENAI.find_key({"OPENAI_VIDEOS_API_KEY": "sk-one"}).value == "sk-one"
    assert OPENAI.find_key({"GPU_KEY": "sk-two"}, variable="GPU_KEY").value == "sk-two"
    with pytest.raises(KeyRefusedError, match="GPU_KEY not set"):
        OPENAI.find_key({}, variable="GPU_KEY")


def test_a_missing_key_names_the_variables() -> None:
    with pytest.raises(KeyRefusedError, match="MESHAPI_API_KEY and MESHAPI_TOKEN not set"):
        MESH.find_key({})
    with pytest.raises(KeyRefusedError, match="TEAM_KEY not set"):
        MESH.find_key({"MESHAPI_API_KEY": "rsk_one"}, variable="TEAM_KEY")


@pytest.mark.anyio
async def test_a_client_submits_and_polls() -> None:
    task = answer(200, {"id": "t-1", "status": "running"})
    with answering(task) as server:
        async with connect(MESH, Access(server.origin, KEY)) as client:
            accepted = await client.submit(Body("/v1/clips", b"{}"))
            generation = await client.get(RemoteTask(accepted.remote_id))
    assert client.origin == server.origin
    assert (accepted.verdict, generation.raw_status) == (Verdict.ACCEPTED, "running")


@pytest.mark.anyio
@pytest.mark.fault(167)
async def test_a_dead_name_server_of_one_service_keeps_no_other_from_being_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many lookups as asyncio has threads of its own, or more, wait for one service's name."""
    look_up, is_over, waiting = socket.getaddrinfo, threading.Event(), threading.Semaphore(0)

    def dead(host: str | bytes, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0):  # type: ignore[no-untyped-def]
        if host not in ("dead.test", b"dead.test"):
            return look_up(host, port, family, type, proto, flags)
        if not flags & socket.AI_NUMERICHOST:
            waiting.release()
            is_over.wait(10)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", dead)
    dead_access = Access("http://dead.test:8000", KEY)
    with answering(answer(200, {"id": "t-1", "status": "running"})) as server:
        reached = Access(server.origin.replace("127.0.0.1", "localhost"), KEY)
        async with connect(MESH, dead_access) as silent, connect(MESH, reached) as client:

            async def ask(number: int) -> None:
                with pytest.raises(ProviderError):
                    await silent.get(RemoteTask(f"t-{number}"))

            async with anyio.create_task_group() as asking:
                try:
                    for number in range(CONNECTIONS):
                        asking.start_soon(ask, number)
                    while not waiting.acquire(blocking=False):
                        await anyio.sleep(0.01)
                    with anyio.fail_after(5):
                        assert (await client.get(RemoteTask("t-1"))).raw_status == "running"
                finally:
                    is_over.set()


def test_the_tls_context_verifies() -> None:
    context = tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.security(15)
def test_loggers_that_print_signed_urls_are_quiet() -> None:
    """Security line 15."""
    assert logging.getLogger("httpx").level == logging.WARNING
    assert logging.getLogger("httpcore.http11").getEffectiveLevel() >= logging.WARNING
