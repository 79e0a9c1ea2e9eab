"""GetimgClient against real servers on loopback, and its reading of golden answers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.http.access import Access
from runner.http.free import FreeRequests
from runner.http.paid import PaidRequests
from runner.http.transport import Transport, open_client
from runner.http.verdicts import ProviderError, Reaction, Trouble, Verdict
from runner.providers.base import Body, GenerationStatus, ListQuery, RemoteFileKind, RemoteTask
from runner.providers.getimg import GETIMG
from runner.providers.getimg.client import GetimgClient, read_generation
from tests.support.provider_clients import KEY, NOW, PATIENT, PATIENT_FREE, trusts_nothing
from tests.support.wire_server import answer, answering

GOLDEN = Path(__file__).parent.parent.parent / "wire" / "getimg"
BODY = b'{"model":"seedance-v1-pro","prompt":"a teapot"}'
DATE = {"Date": "Fri, 02 Jan 2026 12:00:00 GMT"}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def golden(name: str) -> dict[str, object]:
    document: dict[str, object] = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    return document


@contextlib.asynccontextmanager
async def getimg_at(origin: str) -> AsyncIterator[GetimgClient]:
    access = Access(origin, KEY)
    async with open_client(Transport(tls=trusts_nothing())) as client:
        free = FreeRequests(access, client, PATIENT_FREE, wall=lambda: NOW)
        yield GetimgClient(PaidRequests(access, client, PATIENT), free, wall=lambda: NOW)


@pytest.mark.anyio
async def test_a_202_with_an_id_is_accepted() -> None:
    with answering(answer(202, {"id": "req-1", "status": "pending"}, DATE)) as server:
        async with getimg_at(server.origin) as getimg:
            outcome = await getimg.submit(Body(GETIMG.dialect.path, BODY))
    assert (outcome.verdict, outcome.remote_id) == (Verdict.ACCEPTED, "req-1")
    assert outcome.server_time == 1_767_355_200.0
    head = server.requests[0]
    assert head.startswith(b"POST /v2/videos/generations HTTP/1.1\r\n")
    assert head.endswith(b"\r\n\r\n" + BODY)
    assert b"authorization: Bearer rsk_canary_0123456789" in head.replace(b"Authorization", b"authorization")


@pytest.mark.anyio
@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504])
async def test_what_the_official_clients_repeat_is_ambiguous_here(status: int) -> None:
    """Even with the service's own envelope: nothing documents that such a POST started nothing."""
    body = {"error": {"code": "internal_error", "message": "try again"}}
    with answering(answer(status, body)) as server:
        async with getimg_at(server.origin) as getimg:
            outcome = await getimg.submit(Body(GETIMG.dialect.path, BODY))
    assert (outcome.verdict, outcome.reaction) == (Verdict.AMBIGUOUS, Reaction.RECONCILE)
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_a_refused_role_fails_the_task_with_its_message() -> None:
    body = {"error": {"code": "invalid_parameter", "message": "images: last_frame is not supported"}}
    with answering(answer(400, body)) as server:
        async with getimg_at(server.origin) as getimg:
            outcome = await getimg.submit(Body(GETIMG.dialect.path, BODY))
    assert (outcome.verdict, outcome.reaction) == (Verdict.REJECTED, Reaction.FAIL_TASK)
    assert outcome.evidence.code == "invalid_parameter"
    assert outcome.evidence.message == "images: last_frame is not supported"


@pytest.mark.anyio
async def test_get_reads_the_generation_by_its_id() -> None:
    with answering(answer(200, golden("completed.json"), DATE)) as server:
        async with getimg_at(server.origin) as getimg:
            generation = await getimg.get(RemoteTask("req-01HX"))
    assert generation.status is GenerationStatus.SUCCEEDED
    assert server.requests[0].startswith(b"GET /v2/videos/generations/req-01HX HTTP/1.1\r\n")


@pytest.mark.anyio
async def test_an_answer_about_another_generation_is_refused() -> None:
    with answering(answer(200, golden("completed.json"))) as server:
        async with getimg_at(server.origin) as getimg:
            with pytest.raises(ProviderError, match="another generation"):
                await getimg.get(RemoteTask("req-other"))


@pytest.mark.anyio
async def test_ping_reads_the_video_models_and_the_time() -> None:
    with answering(answer(200, [], DATE)) as server:
        async with getimg_at(server.origin) as getimg:
            assert await getimg.ping() == 1_767_355_200.0
    assert server.requests[0].startswith(b"GET /v2/models?type=video HTTP/1.1\r\n")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"balance": "12.34", "currency": "USD"}, "12.34"),
        ({"balance": "12.34", "currency": "EUR"}, ""),
        ({"balance": "much", "currency": "USD"}, ""),
        ({}, ""),
    ],
)
async def test_the_balance_is_told_in_dollars_or_not_at_all(document: dict[str, str], told: str) -> None:
    with answering(answer(200, document)) as server:
        async with getimg_at(server.origin) as getimg:
            assert await getimg.balance() == told
    assert server.requests[0].startswith(b"GET /v2/billing/balance HTTP/1.1\r\n")


@pytest.mark.anyio
async def test_costs_are_asked_from_one_moment_to_another() -> None:
    document = {"currency": "USD", "data": [{"date": "2026-01-02", "cost": 0.3}], "total_cost": 0.3}
    with answering(answer(200, document)) as server:
        async with getimg_at(server.origin) as getimg:
            assert await getimg.spent(1_767_312_000.0, 1_767_355_200.0) == "0.3"
    path = server.requests[0].split(b" ")[1]
    assert path == (b"/v2/billing/costs?start=2026-01-02T00%3A00%3A00.000Z&end=2026-01-02T12%3A00%3A00.000Z")


@pytest.mark.anyio
async def test_ping_raises_where_the_key_is_refused() -> None:
    body = {"error": {"code": "unauthorized", "message": "no"}}
    with answering(answer(401, body)) as server:
        async with getimg_at(server.origin) as getimg:
            with pytest.raises(ProviderError) as caught:
                await getimg.ping()
    assert caught.value.trouble is Trouble.KEY_REFUSED


@pytest.mark.anyio
async def test_there_is_no_list() -> None:
    async with getimg_at("http://127.0.0.1:9") as getimg:
        assert GETIMG.listing is None
        with pytest.raises(ProviderError, match="no list"):
            await getimg.list_page(ListQuery(None, 1))


def test_a_completed_generation_is_read_whole() -> None:
    generation = read_generation(golden("completed.json"))  # type: ignore[arg-type]
    assert generation.status is GenerationStatus.SUCCEEDED
    assert generation.cost_usd == "0.25"
    assert generation.usage["billable_unit"] == "video_second"
    assert generation.echo == {"width": 1920, "height": 1080, "duration": 5, "fps": 24, "has_sound": True}
    (file,) = generation.files
    assert file.kind is RemoteFileKind.VIDEO
    assert file.url.endswith("/0?exp=1760000000&sig=abc")
    assert file.expires_at == 1_777_725_000.0


def test_several_items_are_several_videos_in_order() -> None:
    items = [{"url": f"https://e.com/{number}"} for number in (2, 0, 1)]
    generation = read_generation({"id": "r", "status": "completed", "data": items})  # type: ignore[dict-item]
    assert [file.url for file in generation.files] == [f"https://e.com/{number}" for number in (2, 0, 1)]
    assert (generation.cost_usd, generation.usage) == ("", {})


def test_a_failed_generation_says_why() -> None:
    generation = read_generation(golden("failed.json"))  # type: ignore[arg-type]
    assert generation.status is GenerationStatus.FAILED
    assert (generation.error_code, generation.error_message) == ("content_policy", "The prompt was refused.")


def test_an_unknown_status_is_none_and_kept() -> None:
    generation = read_generation({"id": "r", "status": "paused"})
    assert (generation.status, generation.raw_status) == (None, "paused")


@pytest.mark.parametrize(
    ("told", "price"),
    [
        (0.25, "0.25"),
        ("0.10", "0.10"),
        (1e-7, "0.0000001"),
        (3, "3"),
        (True, ""),
        (-1, ""),
        ("NaN", ""),
        (1e9, ""),
    ],
)
def test_the_price_is_decimal_text(told: float | str, price: str) -> None:
    document = {"id": "r", "status": "completed", "usage": {"total_cost": told}}
    assert read_generation(document).cost_usd == price  # type: ignore[arg-type]


@given(JSON, JSON, JSON, JSON, JSON)
def test_whatever_is_answered_is_read_or_refused(
    status: object, item: object, error: object, cost: object, deadline: object
) -> None:
    """Nothing but ProviderError, whatever stands in any field."""
    data = [item, {"url": item, "deletes_at": deadline}]
    document = {"id": "r", "status": status, "data": data, "error": error, "usage": {"total_cost": cost}}
    assert read_generation(document).id == "r"  # type: ignore[arg-type]
    if not isinstance(item, dict):
        with pytest.raises(ProviderError):
            read_generation(item)  # type: ignore[arg-type]
