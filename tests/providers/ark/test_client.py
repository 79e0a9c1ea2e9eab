"""ArkClient against real servers on loopback, and its reading of golden answers."""

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
from runner.json_value import JsonValue
from runner.providers.ark import ARK, TAG, TEXT_TAG
from runner.providers.ark.client import ArkClient, read_generation
from runner.providers.base import Body, GenerationStatus, ListQuery, RemoteFileKind, RemoteTask
from tests.support.provider_clients import KEY, NOW, PATIENT, PATIENT_FREE, trusts_nothing
from tests.support.wire_server import answer, answering

GOLDEN = Path(__file__).parent.parent.parent / "wire" / "ark"
DATE = {"Date": "Fri, 02 Jan 2026 12:00:00 GMT", "x-request-id": "021-abc"}
SENT = Body(ARK.dialect.path, b'{"model":"m","content":[{"type":"text","text":"a teapot"}]}')

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def golden(name: str) -> JsonValue:
    document: JsonValue = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    return document


def envelope(code: str, message: str = "no") -> dict[str, object]:
    return {"error": {"code": code, "message": message, "param": "", "type": "BadRequest"}}


@contextlib.asynccontextmanager
async def ark_at(origin: str, tag_field: str = "") -> AsyncIterator[ArkClient]:
    access = Access(origin + ARK.base_path, KEY)
    async with open_client(Transport(tls=trusts_nothing())) as client:
        free = FreeRequests(access, client, PATIENT_FREE, wall=lambda: NOW)
        paid = PaidRequests(access, client, PATIENT)
        yield ArkClient(paid, free, wall=lambda: NOW, tag_field=tag_field)


@pytest.mark.anyio
async def test_a_200_with_an_id_is_accepted() -> None:
    with answering(answer(200, {"id": "cgt-20261027120000-x7k2p"}, DATE)) as server:
        async with ark_at(server.origin) as ark:
            outcome = await ark.submit(SENT)
    assert (outcome.verdict, outcome.remote_id) == (Verdict.ACCEPTED, "cgt-20261027120000-x7k2p")
    assert outcome.evidence.request_id == "021-abc"
    assert server.requests[0].startswith(b"POST /api/v3/contents/generations/tasks HTTP/1.1\r\n")


REFUSALS = [
    *(
        pytest.param(429, code, "slow down", Reaction.BACK_OFF, 85, marks=pytest.mark.fault(85))
        for code in (
            "RateLimitExceeded.EndpointRPMExceeded",
            "ModelAccountRpmRateLimitExceeded",
            "APIAccountRpmRateLimitExceeded",
            "AccountRateLimitExceeded",
            "RequestBurstTooFast",
            "ServerOverloaded",
            "InflightBatchsizeExceeded",
        )
    ),
    pytest.param(
        429, "ServerOverloaded", "this month is busy", Reaction.BACK_OFF, 85, marks=pytest.mark.fault(85)
    ),
    pytest.param(
        429,
        "QuotaExceeded",
        "Too many tasks are in the queue",
        Reaction.BACK_OFF,
        85,
        marks=pytest.mark.fault(85),
    ),
    pytest.param(
        429, "QuotaExceeded", "10 queued tasks per month", Reaction.BACK_OFF, 85, marks=pytest.mark.fault(85)
    ),
    *(
        pytest.param(429, code, message, Reaction.STOP_MONEY, 86, marks=pytest.mark.fault(86))
        for code, message in (
            ("SetLimitExceeded", "the limit that you set is reached"),
            ("QuotaExceeded", "the free quota is used up"),
            ("QuotaExceeded", "You have exceeded the 5-hour quota"),
            ("QuotaExceeded", "requests per minute of the weekly plan"),
        )
    ),
    *(
        pytest.param(403, code, "pay first", Reaction.STOP_MONEY, 87, marks=pytest.mark.fault(87))
        for code in ("AccountOverdueError", "OperationDenied.ServiceOverdue")
    ),
    *(
        pytest.param(status, code, "no", Reaction.STOP_KEY, 17, marks=pytest.mark.fault(17))
        for status, code in (
            (401, "AuthenticationError"),
            (401, "InvalidAccountStatus"),
            (403, "AccessDenied"),
            (403, "OperationDenied.ServiceNotOpen"),
            (403, "OperationDenied.PermissionDenied"),
            (403, "OperationDenied.InvalidState"),
        )
    ),
    *(
        pytest.param(status, code, "no", Reaction.FAIL_TASK, 20, marks=pytest.mark.fault(20))
        for status, code in (
            (400, "MissingParameter"),
            (400, "InvalidParameter"),
            (400, "InvalidParameter.TaskTypeConstraint"),
            (400, "InvalidParameter.UnsupportedParameter"),
            (400, "InvalidImageURL.Unreachable"),
            (400, "InputImageSensitiveContentDetected.PrivacyInformation"),
            (400, "InvalidEndpoint.ClosedEndpoint"),
            (404, "InvalidEndpointOrModel.NotFound"),
            (404, "InvalidEndpointOrModel.ModelIDAccessDisabled"),
            (404, "ModelNotOpen"),
        )
    ),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "code", "message", "reaction", "row"), REFUSALS)
async def test_each_code_has_its_outcome(
    status: int, code: str, message: str, reaction: Reaction, row: int
) -> None:
    with answering(answer(status, envelope(code, message))) as server:
        async with ark_at(server.origin) as ark:
            outcome = await ark.submit(SENT)
    assert (outcome.verdict, outcome.reaction) == (Verdict.REJECTED, reaction)
    assert (outcome.evidence.row, outcome.evidence.code) == (row, code)
    assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.fault(13)
@pytest.mark.fault(15)
@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 504])
async def test_what_the_official_client_repeats_is_ambiguous_here(status: int) -> None:
    """Also in the service's own envelope: nothing documents that such a POST started nothing."""
    with answering(answer(status, envelope("InternalServiceError"))) as server:
        async with ark_at(server.origin) as ark:
            outcome = await ark.submit(SENT)
    assert (outcome.verdict, outcome.reaction) == (Verdict.AMBIGUOUS, Reaction.RECONCILE)
    assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "code", "trouble"),
    [
        (401, "AuthenticationError", Trouble.KEY_REFUSED),
        (403, "AccessDenied", Trouble.KEY_REFUSED),
        pytest.param(403, "AccountOverdueError", Trouble.USED_UP, marks=pytest.mark.fault(87)),
        pytest.param(404, "NotFound.Task", Trouble.NOT_FOUND, marks=pytest.mark.fault(32)),
        (429, "AccountRateLimitExceeded", Trouble.RATE_LIMITED),
        (400, "InvalidParameter", Trouble.WRONG_REQUEST),
        (500, "InternalServiceError", Trouble.UNAVAILABLE),
    ],
)
async def test_each_refusal_of_a_get_is_its_trouble(status: int, code: str, trouble: Trouble) -> None:
    with answering(answer(status, envelope(code))) as server:
        async with ark_at(server.origin) as ark:
            with pytest.raises(ProviderError) as caught:
                await ark.get(RemoteTask("cgt-1"))
    assert (caught.value.trouble, caught.value.code) == (trouble, code)


@pytest.mark.anyio
async def test_a_404_of_an_edge_says_nothing_of_the_task() -> None:
    with answering(answer(404, "<html>404</html>")) as server:
        async with ark_at(server.origin) as ark:
            with pytest.raises(ProviderError) as caught:
                await ark.get(RemoteTask("cgt-1"))
    assert caught.value.trouble is Trouble.UNAVAILABLE


@pytest.mark.anyio
async def test_get_reads_the_task_by_its_id() -> None:
    with answering(answer(200, golden("succeeded.json"), DATE)) as server:
        async with ark_at(server.origin) as ark:
            generation = await ark.get(RemoteTask("cgt-20261027120000-x7k2p"))
            with pytest.raises(ProviderError, match="another generation"):
                await ark.get(RemoteTask("cgt-other"))
    path = b"GET /api/v3/contents/generations/tasks/cgt-20261027120000-x7k2p HTTP/1.1\r\n"
    assert server.requests[0].startswith(path)
    assert (generation.status, generation.request_id) == (GenerationStatus.SUCCEEDED, "021-abc")
    assert generation.server_time == 1_767_355_200.0


@pytest.mark.anyio
async def test_a_page_is_asked_by_its_number_with_model_and_tier() -> None:
    """There is no filter by time, so a time is not asked for."""
    page = {"total": 401, "items": [golden("succeeded.json"), {"id": ""}, golden("failed.json")]}
    with answering(answer(200, page, DATE)) as server:
        async with ark_at(server.origin) as ark:
            read = await ark.list_page(ListQuery(NOW, 200, 200, model="ep-1", scope="flex"))
    head = server.requests[0].split(b" HTTP/1.1")[0].decode()
    query = "page_num=2&page_size=200&filter.model=ep-1&filter.service_tier=flex"
    assert head == f"GET /api/v3/contents/generations/tasks?{query}"
    assert ([row.tag for row in read.rows], read.unreadable) == ([7, 0], 1)
    assert (read.has_more, read.total, read.server_time) == (True, 401, 1_767_355_200.0)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("page", "has_more"),
    [
        ({"total": 400, "items": [{"id": "cgt-1"}]}, False),
        ({"total": 900, "items": []}, False),
        ({"total": 0, "items": None}, False),
        ({"total": 0}, False),
    ],
)
async def test_the_last_page_is_the_last(page: JsonValue, has_more: bool) -> None:
    with answering(answer(200, page)) as server:
        async with ark_at(server.origin) as ark:
            assert (await ark.list_page(ListQuery(None, 200, 200))).has_more is has_more


@pytest.mark.anyio
@pytest.mark.parametrize("page", [{}, {"items": []}, {"total": 3}, {"total": "3", "items": []}, []])
async def test_a_list_without_its_total_is_no_list(page: JsonValue) -> None:
    with answering(answer(200, page)) as server:
        async with ark_at(server.origin) as ark:
            with pytest.raises(ProviderError):
                await ark.list_page(ListQuery(None, 200))


@pytest.mark.anyio
async def test_ping_is_a_list_of_one() -> None:
    with answering(answer(200, {"total": 0, "items": []}, DATE)) as server:
        async with ark_at(server.origin) as ark:
            assert await ark.ping() == 1_767_355_200.0
    assert b"?page_num=1&page_size=1 HTTP/1.1" in server.requests[0]


@pytest.mark.anyio
async def test_a_key_of_chosen_models_is_good_though_it_lists_nothing_without_one() -> None:
    with answering(answer(400, envelope("MissingParameter", "filter.model"), DATE)) as server:
        async with ark_at(server.origin) as ark:
            assert await ark.ping() is None


@pytest.mark.anyio
async def test_a_ping_with_a_bad_key_is_told() -> None:
    with answering(answer(401, envelope("AuthenticationError"), DATE)) as server:
        async with ark_at(server.origin) as ark:
            with pytest.raises(ProviderError) as caught:
                await ark.ping()
    assert caught.value.trouble is Trouble.KEY_REFUSED


@pytest.mark.anyio
@pytest.mark.parametrize(("field", "tag"), [("", 7), (TAG.field, 7), (TEXT_TAG.field, 0x1F)])
async def test_the_tag_is_read_from_the_field_that_the_account_chose(field: str, tag: int) -> None:
    with answering(answer(200, golden("succeeded.json"))) as server:
        async with ark_at(server.origin, field) as ark:
            generation = await ark.get(RemoteTask("cgt-20261027120000-x7k2p"))
    assert generation.tag == tag


def test_a_task_is_read_whole() -> None:
    generation = read_generation(golden("succeeded.json"))
    assert (generation.created_at, generation.updated_at) == (1_793_000_000.0, 1_793_000_120.0)
    assert (generation.billed_tokens, generation.usage["total_tokens"]) == (108_900, 108_900)
    assert generation.echo["safety_identifier"] == "cs-1f"
    assert (generation.echo["ratio"], generation.echo["draft"]) == ("16:9", False)
    video, frame = generation.files
    assert (video.kind, frame.kind) == (RemoteFileKind.VIDEO, RemoteFileKind.LAST_FRAME)
    assert video.url.endswith("&X-Tos-Signature=abc")
    assert video.expires_at == 1_793_000_120.0 + 86_400


def test_a_failed_task_says_why() -> None:
    generation = read_generation(golden("failed.json"))
    assert (generation.status, generation.files) == (GenerationStatus.FAILED, ())
    assert generation.error_code == "OutputVideoSensitiveContentDetected.PolicyViolation"


@pytest.mark.parametrize("word", ["queued", "running", "succeeded", "failed", "cancelled", "expired"])
def test_each_documented_status_is_known(word: str) -> None:
    assert read_generation({"id": "cgt-1", "status": word}).status == word


def test_another_status_is_kept_as_it_is() -> None:
    generation = read_generation({"id": "cgt-1", "status": "pending"})
    assert (generation.status, generation.raw_status) == (None, "pending")


@given(JSON, JSON, JSON, JSON)
def test_whatever_is_answered_is_read_or_refused(
    status: JsonValue, content: JsonValue, error: JsonValue, other: JsonValue
) -> None:
    """Nothing but ProviderError, whatever stands in any field."""
    document: JsonValue = {
        "id": "cgt-1",
        "status": status,
        "content": {"video_url": content, "last_frame_url": other},
        "error": error,
        "usage": other,
        "created_at": other,
        "updated_at": other,
        "execution_expires_after": other,
        "safety_identifier": other,
    }
    assert read_generation(document, tag=TEXT_TAG).id == "cgt-1"
    assert read_generation({"id": "cgt-1", "content": content, "usage": error}).id == "cgt-1"
    if not isinstance(content, dict):
        with pytest.raises(ProviderError):
            read_generation(content)
