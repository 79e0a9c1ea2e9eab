"""Which service, which origin, which key."""

from __future__ import annotations

import logging
import ssl

import pytest

from runner.errors import KeyRefusedError
from runner.http.access import NO_KEY, Access, parse_origin
from runner.http.transport import tls_context
from runner.http.verdicts import Verdict
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


def test_the_tls_context_verifies() -> None:
    context = tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.security(15)
def test_loggers_that_print_signed_urls_are_quiet() -> None:
    """Security line 15."""
    assert logging.getLogger("httpx").level == logging.WARNING
    assert logging.getLogger("httpcore.http11").getEffectiveLevel() >= logging.WARNING
