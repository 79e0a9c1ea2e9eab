"""FalClient against real servers on loopback, and its reading of answers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.http.verdicts import ProviderError, Reaction, Trouble, Verdict
from runner.plan.cost import estimate
from runner.providers.base import Body, Generation, GenerationStatus, InputFile, ListQuery, RemoteTask
from runner.providers.fal import FAL
from runner.providers.fal.client import read_item, read_output
from tests.support.fal_clients import fal_at
from tests.support.provider_clients import NOW
from tests.support.wire_server import Peer, WireServer, answer, answering, serve

MODEL = "bytedance/seedance-2.0/text-to-video"
QUEUE = "/bytedance/seedance-2.0/requests/r-1"
BODY = Body(f"/{MODEL}", b'{"prompt":"a teapot"}', headers=(("X-Fal-No-Retry", "1"),))
URLS = ("response_url", "status_url", "cancel_url")
DONE = {"status": "COMPLETED", "request_id": "r-1", "logs": None}
OUTPUT = {"video": {"url": "https://v3.fal.media/a.mp4"}, "seed": 7}
DATE = {"Date": "Fri, 02 Jan 2026 12:00:00 GMT"}
ROW: dict[str, Any] = {
    "request_id": "r-1",
    "endpoint_id": MODEL,
    "sent_at": "2026-01-02T12:00:00.000Z",
    "ended_at": "2026-01-02T12:02:00.000Z",
    "status_code": 200,
    "json_input": {"prompt": "a teapot" * 100, "duration": "5", "image_url": "https://e.com/a.png"},
    "json_output": OUTPUT,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@contextlib.contextmanager
def answering_later() -> Iterator[tuple[WireServer, list[bytes]]]:
    """A server, and the answers that it will give, which may name it."""
    answers: list[bytes] = []

    def script(peer: Peer) -> None:
        while request := peer.read_request():
            server.requests.append(request)
            peer.send(answers.pop(0))

    with serve(script) as server:
        yield server, answers


def accepted(base: str, **changes: Any) -> dict[str, Any]:
    urls = dict(zip(URLS, (f"{base}{QUEUE}", f"{base}{QUEUE}/status", f"{base}{QUEUE}/cancel"), strict=True))
    return {"status": "IN_QUEUE", "request_id": "r-1", "queue_position": 3, **urls, **changes}


async def get(*answers: bytes, handle: dict[str, str] | None = None) -> tuple[Generation, list[bytes]]:
    with answering(*answers) as server:
        async with fal_at(server.origin) as fal:
            found = await fal.get(RemoteTask("r-1", MODEL, handle or {}))
    return found, [request.split(b" HTTP")[0] for request in server.requests]


@pytest.mark.anyio
async def test_an_accepted_submit_keeps_its_three_urls() -> None:
    with answering_later() as (server, answers):
        answers += [answer(200, accepted(server.origin), {**DATE, "x-fal-request-id": "g-1"})]
        async with fal_at(server.origin) as fal:
            outcome = await fal.submit(BODY)
    assert (outcome.verdict, outcome.remote_id) == (Verdict.ACCEPTED, "r-1")
    assert outcome.handle["status_url"] == f"{server.origin}{QUEUE}/status"
    assert outcome.evidence.request_id == "g-1"
    head = server.requests[0].lower()
    assert head.startswith(f"post /{MODEL} http/1.1\r\n".encode())
    assert b"authorization: key rsk_canary_0123456789\r\n" in head
    assert b"x-fal-no-retry: 1\r\n" in head


@pytest.mark.anyio
@pytest.mark.fault(96)
@pytest.mark.parametrize(
    "url", ["https://elsewhere.example/r", "http://127.0.0.1:9/r", "", None, 7, "http://[", "//queue/r"]
)
async def test_urls_at_another_host_are_not_kept(url: Any) -> None:
    with answering_later() as (server, answers):
        answers += [answer(200, accepted(server.origin, status_url=url))]
        async with fal_at(server.origin) as fal:
            outcome = await fal.submit(BODY)
    assert (outcome.verdict, dict(outcome.handle)) == (Verdict.ACCEPTED, {})


@pytest.mark.anyio
@pytest.mark.fault(96)
async def test_a_handle_of_another_host_is_not_followed() -> None:
    elsewhere = dict.fromkeys(URLS, "http://127.0.0.1:9/steal")
    found, asked = await get(answer(202, {"status": "IN_PROGRESS"}), handle=elsewhere)
    assert found.status is GenerationStatus.RUNNING
    assert asked == [f"GET {QUEUE}/status?logs=0".encode()]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body", "verdict", "reaction"),
    [
        (400, {"detail": "no", "error_type": "bad_request"}, Verdict.REJECTED, Reaction.FAIL_TASK),
        (401, {"detail": "no"}, Verdict.REJECTED, Reaction.STOP_KEY),
        (403, {"detail": "no"}, Verdict.REJECTED, Reaction.STOP_KEY),
        pytest.param(
            403,
            {"detail": "User is locked. Reason: Exhausted balance."},
            Verdict.REJECTED,
            Reaction.STOP_MONEY,
            marks=pytest.mark.fault(93),
        ),
        (404, {"detail": "no such app"}, Verdict.REJECTED, Reaction.FAIL_TASK),
        (408, {"detail": "client_disconnected"}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (409, {"detail": "no"}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (422, {"detail": [{"loc": ["body"], "type": "missing"}]}, Verdict.REJECTED, Reaction.FAIL_TASK),
        (
            429,
            {"detail": "no", "error_type": "concurrent_requests_limit"},
            Verdict.REJECTED,
            Reaction.BACK_OFF,
        ),
        (499, {"detail": "client_cancelled"}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (500, {"error_type": "internal_server_error"}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (502, "<html>nginx</html>", Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (503, {"error_type": "runner_scheduling_failure"}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (504, {"error_type": "request_timeout"}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (307, "", Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (200, {"status": "IN_QUEUE"}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
    ],
)
async def test_each_status_of_a_submit_has_its_outcome(
    status: int, body: Any, verdict: Verdict, reaction: Reaction
) -> None:
    """wire/fal.md, the table of errors: one POST each."""
    with answering(answer(status, body)) as server:
        async with fal_at(server.origin) as fal:
            outcome = await fal.submit(BODY)
    assert (outcome.verdict, outcome.reaction) == (verdict, reaction)
    assert len(server.requests) == 1
    if isinstance(body, dict) and "error_type" in body:
        assert outcome.evidence.code == body["error_type"]


@pytest.mark.anyio
async def test_a_queued_request_is_looked_at_once() -> None:
    found, asked = await get(answer(202, {"status": "IN_QUEUE", "queue_position": 1}, DATE))
    assert (found.id, found.status, found.server_time) == ("r-1", GenerationStatus.QUEUED, 1_767_355_200.0)
    assert asked == [f"GET {QUEUE}/status?logs=0".encode()]


@pytest.mark.anyio
async def test_an_unknown_status_is_not_an_end() -> None:
    found, _ = await get(answer(200, {"status": "THINKING"}))
    assert (found.status, found.raw_status) == (None, "THINKING")


@pytest.mark.anyio
@pytest.mark.fault(94)
async def test_a_completed_request_has_its_result_fetched_at_once() -> None:
    found, asked = await get(answer(200, DONE), answer(200, OUTPUT, {"X-Fal-Billable-Units": "5"}))
    assert found.status is GenerationStatus.SUCCEEDED
    assert [file.url for file in found.files] == ["https://v3.fal.media/a.mp4"]
    assert (found.echo, found.usage) == ({"seed": 7}, {"billable_units": 5.0})
    assert asked[1] == f"GET {QUEUE}".encode()


@pytest.mark.anyio
@pytest.mark.fault(94)
@pytest.mark.parametrize(
    ("status", "body", "code", "cost"),
    [
        (400, {"detail": "no", "error_type": "bad_request"}, "bad_request", ""),
        (
            422,
            {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "content_policy_violation"}]},
            "content_policy_violation",
            "",
        ),
        (500, {"detail": "no", "error_type": "internal_server_error"}, "internal_server_error", "0"),
        (503, {"detail": "no", "error_type": "runner_disconnected"}, "runner_disconnected", "0"),
        (504, {"detail": "no"}, "504", "0"),
    ],
)
async def test_a_completed_request_may_have_failed(status: int, body: Any, code: str, cost: str) -> None:
    state = {**DONE, "error": "no"} if status >= 500 else DONE
    found, _ = await get(answer(200, state), answer(status, body))
    assert (found.status, found.error_code, found.error_message) == (GenerationStatus.FAILED, code, "no")
    assert found.cost_usd == cost


@pytest.mark.anyio
@pytest.mark.fault(166)
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_5xx_to_the_result_alone_is_no_end_of_what_was_paid_for(status: int) -> None:
    """The status of the request names no error: the history says what became of it, or another look does."""
    busy = answer(status, {"detail": "Service Unavailable", "error_type": "internal_server_error"})
    found, _ = await get(answer(200, DONE), busy, answer(200, {"items": [ROW], "has_more": False}))
    assert (found.status, found.cost_usd) == (GenerationStatus.SUCCEEDED, "")
    failed = {**ROW, "status_code": status, "json_output": {"detail": "no"}}
    found, _ = await get(answer(200, DONE), busy, answer(200, {"items": [failed], "has_more": False}))
    assert (found.status, found.cost_usd) == (GenerationStatus.FAILED, "0")
    for history in (answer(200, {"items": [], "has_more": False}), answer(403, {"detail": "no"})):
        with pytest.raises(ProviderError) as caught:
            await get(answer(200, DONE), busy, history)
        assert caught.value.trouble is Trouble.UNAVAILABLE


@pytest.mark.anyio
@pytest.mark.fault(94)
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (502, "<html>nginx</html>"),
        (504, "upstream timed out"),
        (400, {"detail": "Request is still in progress"}),
        (408, {"detail": "late"}),
        (503, {}),
    ],
)
async def test_a_page_of_an_edge_is_no_end(status: int, body: Any) -> None:
    with pytest.raises(ProviderError) as caught:
        await get(answer(200, DONE), answer(status, body))
    assert caught.value.trouble in (Trouble.UNAVAILABLE, Trouble.WRONG_REQUEST)


@pytest.mark.anyio
async def test_the_status_itself_tells_a_failure_whose_result_is_an_empty_page() -> None:
    told = {**DONE, "error": "the runner died", "error_type": "runner_disconnected"}
    found, _ = await get(answer(200, told), answer(503, {}))
    assert (found.status, found.error_code) == (GenerationStatus.FAILED, "runner_disconnected")


@pytest.mark.anyio
@pytest.mark.fault(96)
@pytest.mark.parametrize(
    "before",
    [
        [answer(404, {"status": "NOT_FOUND"})],
        [answer(200, DONE), answer(404, {"detail": "Request not found"})],
    ],
)
async def test_what_the_queue_has_dropped_is_read_from_the_history(before: list[bytes]) -> None:
    found, asked = await get(*before, answer(200, {"items": [ROW], "has_more": False}))
    assert found.status is GenerationStatus.SUCCEEDED
    assert found.files[0].url == "https://v3.fal.media/a.mp4"
    assert b"request_id=r-1" in asked[-1]
    assert b"expand=payloads" in asked[-1]


@pytest.mark.anyio
@pytest.mark.parametrize("rows", [[], [{**ROW, "request_id": "r-2"}]])
async def test_what_neither_knows_is_not_found(rows: list[Any]) -> None:
    with pytest.raises(ProviderError) as caught:
        await get(answer(404, {"status": "NOT_FOUND"}), answer(200, {"items": rows, "has_more": False}))
    assert caught.value.trouble is Trouble.NOT_FOUND


@pytest.mark.anyio
async def test_an_edges_404_is_not_the_queues() -> None:
    with pytest.raises(ProviderError) as caught:
        await get(answer(404, "<html>Not Found</html>"))
    assert caught.value.trouble is Trouble.UNAVAILABLE


@pytest.mark.anyio
async def test_an_answer_about_another_request_is_refused() -> None:
    with pytest.raises(ProviderError, match="another request"):
        await get(answer(200, {**DONE, "request_id": "r-2"}))


@pytest.mark.anyio
async def test_the_history_is_asked_by_endpoint_and_time_and_followed_by_its_cursor() -> None:
    page = {"items": [ROW, {"no": "id"}], "has_more": True, "next_cursor": "c 1"}
    with answering(answer(200, page, DATE), answer(200, {"items": [], "has_more": False})) as server:
        async with fal_at(server.origin) as fal:
            first = await fal.list_page(ListQuery(NOW, limit=200, model=MODEL))
            await fal.list_page(ListQuery(NOW, limit=200, model=MODEL, cursor=first.cursor))
    assert (len(first.rows), first.unreadable, first.has_more, first.cursor) == (1, 1, True, "c 1")
    (row,) = first.rows
    assert (row.model, row.created_at, row.updated_at) == (MODEL, 1_767_355_200.0, 1_767_355_320.0)
    assert row.echo == {"prompt": "a teapot" * 100, "duration": "5", "seed": 7}
    one, other = (request.split(b" ")[1].decode() for request in server.requests)
    assert one.startswith(
        "/v1/models/requests/by-endpoint?endpoint_id=bytedance%2Fseedance-2.0%2Ftext-to-video"
    )
    assert "limit=100&start=2026-09-21T14%3A13%3A20Z&expand=payloads" in one
    assert other.endswith("&cursor=c+1")


@pytest.mark.anyio
@pytest.mark.parametrize("page", [[], {"items": {}}, {"items": []}, {"has_more": True}])
async def test_what_is_no_history_is_no_page(page: Any) -> None:
    with answering(answer(200, page)) as server:
        async with fal_at(server.origin) as fal:
            with pytest.raises(ProviderError):
                await fal.list_page(ListQuery(None, limit=10, model=MODEL))


@pytest.mark.anyio
async def test_a_ping_asks_the_queue_for_a_request_that_nobody_made() -> None:
    with answering(answer(404, {"status": "NOT_FOUND"}, DATE)) as server:
        async with fal_at(server.origin) as fal:
            assert await fal.ping() == 1_767_355_200.0
    assert b"/requests/00000000-0000-0000-0000-000000000000/status " in server.requests[0]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body", "trouble"),
    [
        (401, {"detail": "no"}, Trouble.KEY_REFUSED),
        (404, "an edge's page", Trouble.UNAVAILABLE),
        (503, {"detail": "no"}, Trouble.UNAVAILABLE),
    ],
)
async def test_a_ping_hears_a_refusal(status: int, body: object, trouble: Trouble) -> None:
    with answering(answer(status, body)) as server:
        async with fal_at(server.origin) as fal:
            with pytest.raises(ProviderError) as caught:
                await fal.ping()
    assert caught.value.trouble is trouble


@pytest.mark.anyio
async def test_an_upload_takes_a_token_and_the_files_host_never_gets_the_key() -> None:
    file = InputFile("ab" * 32, "image/png", 3, Path("secret name.png"))
    token = {"token": "t-1", "token_type": "Bearer", "base_url": "https://elsewhere.example"}
    with answering_later() as (server, answers):
        url = f"{server.origin}/kept/a.png"
        answers += [answer(200, token), answer(200, {"access_url": url})]
        async with fal_at(server.origin) as fal:
            assert await fal.upload(file, b"png") == url
    first, second = (request.lower() for request in server.requests)
    assert first.startswith(b"post /storage/auth/token?storage_type=fal-cdn-v3 ")
    assert b"authorization: key rsk_canary" in first
    assert second.startswith(b"post /files/upload ")
    assert second.endswith(b"\r\n\r\npng")
    assert b"authorization: bearer t-1\r\n" in second
    assert b"canary" not in second
    assert b"secret name" not in second
    assert b'x-fal-object-lifecycle: {"expiration_duration_seconds": 604800}' in second


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answers",
    [
        [{}],
        [{"token": "a b", "token_type": "Bearer"}],
        [{"token": "a", "token_type": "Bearer"}, {"access_url": "ftp://e.com/a"}],
        [{"token": "a", "token_type": "Bearer"}, {}],
    ],
)
async def test_an_upload_without_a_usable_token_or_address_is_none(answers: list[Any]) -> None:
    file = InputFile("ab" * 32, "image/png", 3, Path("a.png"))
    with answering(*(answer(200, each) for each in answers)) as server:
        async with fal_at(server.origin) as fal:
            with pytest.raises(ProviderError, match="usable"):
                await fal.upload(file, b"png")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "document", "told"),
    [
        (200, {"username": "us", "credits": {"current_balance": 24.5, "currency": "USD"}}, "24.5"),
        (200, {"username": "us", "credits": {"current_balance": 24.5, "currency": "EUR"}}, ""),
        (200, {"username": "us"}, ""),
        (401, {"detail": "an admin key is needed"}, ""),
        (403, {"detail": "an admin key is needed"}, ""),
    ],
)
async def test_the_balance_is_told_to_an_admins_key_in_dollars(
    status: int, document: dict[str, object], told: str
) -> None:
    with answering(answer(status, document)) as server:
        async with fal_at(server.origin) as fal:
            assert (await fal.balance(), await fal.spent(0.0, 1.0)) == (told, "")
    (asked,) = server.requests
    assert asked.startswith(b"GET /v1/account/billing?expand=credits HTTP/1.1\r\n")


@pytest.mark.anyio
async def test_a_balance_that_cannot_be_asked_for_is_an_error() -> None:
    with answering(answer(500, {"detail": "x"})) as server:
        async with fal_at(server.origin) as fal:
            with pytest.raises(ProviderError):
                await fal.balance()


@pytest.mark.anyio
async def test_a_price_that_the_resolution_decides_over_is_not_one() -> None:
    """It is told where it is not among those that are known."""
    other = "bytedance/seedance-2.5/text-to-video"
    rows = [
        {"endpoint_id": MODEL, "unit_price": 0.3034, "unit": "second", "currency": "USD"},
        {"endpoint_id": other, "unit_price": 0.9, "unit": "seconds"},
        {"endpoint_id": "fal-ai/kling/v2/text-to-video", "unit_price": 0.5, "unit": "video"},
        {"endpoint_id": "fal-ai/odd", "unit_price": 0.5, "unit": "compute hour"},
        {"endpoint_id": "fal-ai/euro", "unit_price": 0.5, "unit": "video", "currency": "EUR"},
    ]
    with answering(answer(200, {"prices": rows})) as server:
        async with fal_at(server.origin) as fal:
            published = await fal.published_models()
    rates = {model.id: [str(rate.price.usd) for rate in model.rates] for model in published.models}
    priced = {"fal-ai/kling/v2/text-to-video": ["0.5"]}
    assert rates == {MODEL: [], other: [], "fal-ai/odd": [], "fal-ai/euro": [], **priced}
    assert [line.split(":")[0] for line in published.left_out] == [other, "fal-ai/odd", "fal-ai/euro"]
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_a_price_by_the_second_is_none_of_several_resolutions_and_none_with_a_video() -> None:
    """Of an endpoint whose prices are not known here: 1080p and the seconds of a video cost more."""
    of_us, flat = "bytedance/seedance-2.0/us/reference-to-video", "fal-ai/kling/v2/reference-to-video"
    rows = [{"endpoint_id": each, "unit_price": 0.3034, "unit": "second"} for each in (of_us, flat)]
    with answering(answer(200, {"prices": rows})) as server:
        async with fal_at(server.origin) as fal:
            published = await fal.published_models()
    rates = {model.id: model.rates for model in published.models}
    assert rates[of_us] == ()
    assert published.left_out == (
        f"{of_us}: no price: it is 0.3034 a second, and does not say at which resolution",
    )
    with_video = {"model": flat, "prompt": "A kettle", "duration": "4", "video_urls": ["https://e.com/a.mp4"]}
    without = {name: value for name, value in with_video.items() if name != "video_urls"}
    told = [estimate(FAL, request, None, rates[flat]).micros for request in (with_video, without)]
    assert told == [None, 1_213_600]


@given(JSON, st.integers(100, 599))
def test_any_result_is_read_or_empty(document: Any, status: int) -> None:
    read = read_output("r-1", MODEL, status, document)
    assert (read.status is GenerationStatus.SUCCEEDED) == (200 <= status < 300)
    json.dumps(dict(read.echo))


@given(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(ROW, JSON)))
def test_any_row_is_read_or_refused(document: Any) -> None:
    with contextlib.suppress(ProviderError):
        assert read_item(document).id


@pytest.mark.parametrize("status", [0, 102, 199, 600, True])
def test_a_row_of_what_has_not_ended_is_no_end(status: int) -> None:
    """A request that the queue does not show for a moment would have failed by it."""
    with pytest.raises(ProviderError, match="no status"):
        read_item({**ROW, "status_code": status, "ended_at": None})
