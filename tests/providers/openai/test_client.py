"""VideosClient against real servers on loopback, and its reading of what they answer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.http.access import NO_KEY, Access, ApiKey
from runner.http.free import FreeRequests
from runner.http.paid import PaidRequests
from runner.http.transport import Transport, open_client
from runner.http.verdicts import ProviderError, Reaction, Trouble, Verdict
from runner.providers.base import Body, Generation, GenerationStatus, ListQuery, RemoteTask
from runner.providers.openai import OPENAI
from runner.providers.openai.client import VideosClient
from runner.providers.openai.servers import LITELLM, REFERENCE, SERVERS, SGLANG, VLLM_OMNI, Server
from tests.support.provider_clients import KEY, NOW, PATIENT, PATIENT_FREE, trusts_nothing
from tests.support.wire_server import answer, answering

DATE = {"Date": "Fri, 02 Jan 2026 12:00:00 GMT"}
BODY = Body("/videos", b'{"model":"m","prompt":"A"}')
JOB = {
    "id": "video_1",
    "object": "video",
    "model": "wan",
    "status": "completed",
    "progress": 100,
    "created_at": 1_793_000_000,
    "completed_at": 1_793_000_100,
    "expires_at": 1_793_003_700,
    "prompt": "A teapot",
    "size": "1280x720",
    "seconds": "8",
    "remixed_from_video_id": None,
    "error": None,
}

EACH = pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)


@contextlib.asynccontextmanager
async def videos_at(
    origin: str, server: Server = REFERENCE, key: ApiKey = KEY
) -> AsyncIterator[VideosClient]:
    access = Access(f"{origin}/v1", key)
    async with open_client(Transport(tls=trusts_nothing())) as client:
        free = FreeRequests(access, client, PATIENT_FREE, wall=lambda: NOW)
        yield VideosClient(PaidRequests(access, client, PATIENT), free, lambda: NOW, server=server)


async def outcome_of(status: int, body: object, **headers: str) -> tuple[Verdict, Reaction, int]:
    with answering(answer(status, body, headers)) as wire:
        async with videos_at(wire.origin) as client:
            outcome = await client.submit(BODY)
    assert len(wire.requests) == 1
    return outcome.verdict, outcome.reaction, outcome.evidence.row


async def got(document: object, status: int = 200, server: Server = REFERENCE) -> Generation:
    with answering(answer(status, document, DATE)) as wire:
        async with videos_at(wire.origin, server) as client:
            generation = await client.get(RemoteTask("video_1"))
    assert wire.requests[0].startswith(b"GET /v1/videos/video_1 HTTP/1.1\r\n")
    return generation


@pytest.mark.anyio
async def test_a_200_with_the_job_is_accepted() -> None:
    with answering(answer(200, {**JOB, "status": "queued"}, DATE)) as wire:
        async with videos_at(wire.origin) as client:
            outcome = await client.submit(Body("/videos", b"--b", "multipart/form-data; boundary=b"))
    assert (outcome.verdict, outcome.remote_id) == (Verdict.ACCEPTED, "video_1")
    head = wire.requests[0].lower()
    assert head.startswith(b"post /v1/videos http/1.1\r\n")
    assert b"content-type: multipart/form-data; boundary=b\r\n" in head
    assert b"authorization: bearer rsk_canary_0123456789\r\n" in head


@pytest.mark.anyio
async def test_a_server_that_wants_no_key_is_sent_none() -> None:
    with answering(answer(200, {"id": "video_1"})) as wire:
        async with videos_at(wire.origin, VLLM_OMNI, NO_KEY) as client:
            await client.submit(BODY)
    assert b"authorization" not in wire.requests[0].lower()


@pytest.mark.anyio
@pytest.mark.fault(89)
@pytest.mark.parametrize("status", [400, 404, 413, 415, 422])
@pytest.mark.parametrize("body", [{"detail": "seconds: no"}, {"error": {"message": "no"}}, "no"])
async def test_a_request_that_is_refused_fails_its_task(status: int, body: object) -> None:
    verdict, reaction, _ = await outcome_of(status, body)
    assert (verdict, reaction) == (Verdict.REJECTED, Reaction.FAIL_TASK)


@pytest.mark.anyio
@pytest.mark.fault(90)
@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 504, 301, 418])
async def test_what_may_have_begun_is_ambiguous_and_not_repeated(status: int) -> None:
    body = {"error": {"message": "try again", "type": "server_error", "code": "internal_error"}}
    verdict, reaction, _ = await outcome_of(status, body)
    assert (verdict, reaction) == (Verdict.AMBIGUOUS, Reaction.RECONCILE)


@pytest.mark.anyio
@pytest.mark.fault(90)
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 415, 422, 429, 500])
async def test_a_refusal_that_names_a_job_is_ambiguous(status: int) -> None:
    verdict, reaction, row = await outcome_of(status, {**JOB, "status": "failed"})
    assert (verdict, reaction) == (Verdict.AMBIGUOUS, Reaction.RECONCILE)
    assert row == 164


@pytest.mark.anyio
@pytest.mark.fault(91)
@pytest.mark.parametrize(
    ("status", "body", "reaction"),
    [
        (401, {"error": {"message": "no such key", "code": "invalid_api_key"}}, Reaction.STOP_KEY),
        (403, {"detail": "forbidden"}, Reaction.STOP_KEY),
        (402, {"error": {"message": "pay first"}}, Reaction.STOP_MONEY),
        (429, {"error": {"message": "over", "code": "insufficient_quota"}}, Reaction.STOP_MONEY),
        (
            429,
            {"error": {"message": "over", "type": "insufficient_quota", "code": None}},
            Reaction.STOP_MONEY,
        ),
        (429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, Reaction.BACK_OFF),
        (429, {"detail": "slow down"}, Reaction.BACK_OFF),
    ],
)
async def test_a_refused_key_a_used_up_quota_and_a_limit_are_told_apart(
    status: int, body: object, reaction: Reaction
) -> None:
    assert (await outcome_of(status, body))[:2] == (Verdict.REJECTED, reaction)


@pytest.mark.anyio
@pytest.mark.fault(91)
@pytest.mark.parametrize(
    ("headers", "wait"),
    [({"Retry-After": "7"}, 7.0), ({"retry-after-ms": "1500"}, 1.5), ({"retry-after-ms": "x"}, None)],
)
async def test_a_limit_says_how_long_to_wait(headers: dict[str, str], wait: float | None) -> None:
    with answering(answer(429, {"error": {"message": "slow down"}}, headers)) as wire:
        async with videos_at(wire.origin) as client:
            assert (await client.submit(BODY)).retry_after == wait


@pytest.mark.anyio
async def test_a_gateways_long_id_is_kept_and_asked_for_as_one_segment() -> None:
    remote_id = "video_" + "ab+/=" * 60
    with answering(answer(200, {**JOB, "id": remote_id})) as wire:
        async with videos_at(wire.origin, LITELLM) as client:
            assert (await client.submit(BODY)).remote_id == remote_id
            generation = await client.get(RemoteTask(remote_id))
    escaped = "video_" + "ab%2B%2F%3D" * 60
    assert wire.requests[1].startswith(f"GET /v1/videos/{escaped} HTTP/1.1\r\n".encode())
    assert generation.files[0].url == f"{wire.origin}/v1/videos/{escaped}/content"


@pytest.mark.anyio
@pytest.mark.parametrize("remote_id", ["a/b", "", ".", "x" * 1001, 7])
async def test_an_id_that_cannot_be_asked_for_leaves_the_submit_unclear(remote_id: object) -> None:
    assert (await outcome_of(200, {**JOB, "id": remote_id}))[0] is Verdict.AMBIGUOUS


@pytest.mark.anyio
async def test_a_completed_job_is_read_whole() -> None:
    generation = await got(JOB)
    assert generation.status is GenerationStatus.SUCCEEDED
    assert (generation.created_at, generation.updated_at) == (1_793_000_000.0, 1_793_000_100.0)
    assert generation.echo == {"prompt": "A teapot", "size": "1280x720", "seconds": "8"}
    assert generation.model == "wan"
    (file,) = generation.files
    assert file.url.endswith("/v1/videos/video_1/content")
    assert file.expires_at == 1_793_003_700.0


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("queued", GenerationStatus.QUEUED),
        ("in_progress", GenerationStatus.RUNNING),
        ("processing", GenerationStatus.RUNNING),
        ("completed", GenerationStatus.SUCCEEDED),
        ("succeeded", GenerationStatus.SUCCEEDED),
        ("SUCCEEDED", GenerationStatus.SUCCEEDED),
        ("failed", GenerationStatus.FAILED),
        ("cancelled", GenerationStatus.CANCELLED),
        ("deleted", GenerationStatus.CANCELLED),
        ("expired", GenerationStatus.EXPIRED),
        ("thinking", None),
        (None, None),
    ],
)
@pytest.mark.anyio
async def test_statuses_have_synonyms_and_an_unknown_one_ends_nothing(
    word: str | None, status: GenerationStatus | None
) -> None:
    generation = await got({**JOB, "status": word})
    assert (generation.status, generation.raw_status) == (status, word or "")


@pytest.mark.parametrize("told", [1_793_000_000, 1_793_000_000.0, 1_793_000_000_000, 1_793_000_000_000.0])
@pytest.mark.anyio
async def test_times_are_in_seconds_or_milliseconds(told: float) -> None:
    generation = await got({**JOB, "created_at": told, "expires_at": told})
    assert generation.created_at == generation.files[0].expires_at == 1_793_000_000.0


@pytest.mark.parametrize("told", ["1793000000", True, -1, 0, 1e30, None])
@pytest.mark.anyio
async def test_what_is_no_time_is_none(told: object) -> None:
    assert (await got({**JOB, "created_at": told})).created_at is None


@pytest.mark.parametrize(
    ("server", "told", "heard"),
    [
        (REFERENCE, 8, "8"),
        (REFERENCE, 8.0, "8"),
        (REFERENCE, "8", "8"),
        (REFERENCE, "soon", "soon"),
        (SGLANG, "8", 8),
        (SGLANG, 8.0, 8),
    ],
)
@pytest.mark.anyio
async def test_a_length_comes_back_as_it_is_sent(server: Server, told: object, heard: object) -> None:
    assert (await got({**JOB, "seconds": told}, server=server)).echo["seconds"] == heard


@EACH
@pytest.mark.anyio
async def test_only_what_a_server_shows_is_an_echo(server: Server) -> None:
    assert (await got(JOB, server=server)).echo.keys() == server.echoes.keys()


@pytest.mark.anyio
@pytest.mark.fault(92)
@pytest.mark.parametrize("status", [400, 404, 422, 500, 503])
async def test_a_failed_job_under_its_failures_own_status_is_a_failed_job(status: int) -> None:
    error = {"code": status, "message": "out of memory"}
    generation = await got({**JOB, "status": "failed", "error": error}, status, VLLM_OMNI)
    assert generation.status is GenerationStatus.FAILED
    assert (generation.error_code, generation.error_message) == (str(status), "out of memory")


@pytest.mark.anyio
@pytest.mark.fault(92)
@pytest.mark.parametrize(
    ("status", "document", "trouble"),
    [
        (404, {"detail": "no such video"}, Trouble.NOT_FOUND),
        (404, {"detail": "Not Found"}, Trouble.UNAVAILABLE),
        (404, "<html>", Trouble.UNAVAILABLE),
        (404, {"error": {"code": "not_found", "message": "no"}}, Trouble.NOT_FOUND),
        (500, {**JOB, "status": "in_progress"}, Trouble.UNAVAILABLE),
        (500, JOB, Trouble.UNAVAILABLE),
        (500, {**JOB, "id": "video_2", "status": "failed"}, Trouble.UNAVAILABLE),
        (401, {**JOB, "status": "failed"}, Trouble.KEY_REFUSED),
        (429, {**JOB, "status": "failed"}, Trouble.RATE_LIMITED),
        (503, "busy", Trouble.UNAVAILABLE),
    ],
)
async def test_any_other_refusal_of_a_get_ends_no_job(
    status: int, document: object, trouble: Trouble
) -> None:
    with pytest.raises(ProviderError) as caught:
        await got(document, status)
    assert caught.value.trouble is trouble


@pytest.mark.anyio
async def test_an_answer_about_another_job_is_refused() -> None:
    with pytest.raises(ProviderError, match="another generation"):
        await got({**JOB, "id": "video_2"})


@pytest.mark.anyio
async def test_several_results_have_an_index_each_and_a_bucket_has_its_own_address() -> None:
    generation = await got({**JOB, "file_paths": ["a.mp4", "b.mp4"], "url": None}, server=SGLANG)
    assert [file.url.partition("/content")[2] for file in generation.files] == ["?variant=0", "?variant=1"]
    stored = {**JOB, "url": "https://bucket.example.com/a.mp4?sig=1", "file_path": "a.mp4"}
    (file,) = (await got(stored, server=SGLANG)).files
    assert file.url == "https://bucket.example.com/a.mp4?sig=1"
    # another server names no address that is to be followed
    (file,) = (await got(stored, server=VLLM_OMNI)).files
    assert file.url.endswith("/v1/videos/video_1/content")


@pytest.mark.anyio
async def test_a_list_is_read_page_by_page_after_the_last_id() -> None:
    page = {"object": "list", "data": [JOB, {"id": None}], "last_id": "video_1", "has_more": True}
    last = {**page, "data": [], "last_id": None, "has_more": False}
    with answering(answer(200, page, DATE), answer(200, last)) as wire:
        async with videos_at(wire.origin, VLLM_OMNI) as client:
            first = await client.list_page(ListQuery(None, 200))
            second = await client.list_page(ListQuery(None, 50, cursor=first.cursor))
    assert [row.id for row in first.rows] == ["video_1"]
    assert (first.unreadable, first.has_more, first.total, first.cursor) == (1, True, None, "video_1")
    assert (second.rows, second.has_more, second.cursor) == ((), False, "")
    assert wire.requests[0].startswith(b"GET /v1/videos?limit=100&order=desc HTTP/1.1\r\n")
    assert wire.requests[1].startswith(b"GET /v1/videos?limit=50&order=desc&after=video_1 HTTP/1.1\r\n")


@pytest.mark.anyio
@pytest.mark.parametrize("page", [[], {"data": []}, {"data": {}, "has_more": False}, {"has_more": 0}])
async def test_a_list_without_its_end_is_no_list(page: object) -> None:
    with answering(answer(200, page)) as wire:
        async with videos_at(wire.origin) as client:
            with pytest.raises(ProviderError):
                await client.list_page(ListQuery(None, 10))


@pytest.mark.anyio
@pytest.mark.parametrize(("server", "path"), [(VLLM_OMNI, b"videos?limit=1"), (LITELLM, b"models")])
async def test_ping_asks_what_the_server_has(server: Server, path: bytes) -> None:
    with answering(answer(200, {"data": []}, DATE)) as wire:
        async with videos_at(wire.origin, server) as client:
            assert await client.ping() == 1_767_355_200.0
    assert wire.requests[0].startswith(b"GET /v1/" + path + b" HTTP/1.1\r\n")


def test_only_servers_whose_list_tells_whose_a_job_is_are_looked_through() -> None:
    assert {name for name, each in OPENAI.dialects.items() if each.listing is not None} == {
        "vllm-omni",
        "reference",
    }
    assert {name for name, each in OPENAI.dialects.items() if each.is_own_server} == {
        "vllm-omni",
        "sglang",
    }


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*JOB, "file_paths", "urls", "url", "usage"]), JSON), JSON)
def test_whatever_is_answered_is_read_or_refused(fields: dict[str, Any], error: Any) -> None:
    """Nothing but ProviderError, whatever stands in any field."""
    access = Access("http://127.0.0.1:9/v1", KEY)
    for server in SERVERS.values():
        paid = PaidRequests(access, None)  # type: ignore[arg-type]
        client = VideosClient(paid, None, server=server)  # type: ignore[arg-type]
        document = {**fields, "id": "video_1", "error": error}
        assert client._read(document, None).id == "video_1"
        with pytest.raises(ProviderError):
            client._read(error if not isinstance(error, dict) else None, None)


def test_a_length_of_thousands_of_digits_is_none() -> None:
    client = VideosClient(None, None, server=SERVERS["sglang"])  # type: ignore[arg-type]
    assert client._read({**JOB, "status": "queued", "seconds": "1" * 5000}, None).id == "video_1"
    assert client._read({**JOB, "status": "queued", "seconds": "4"}, None).echo["seconds"] == 4
