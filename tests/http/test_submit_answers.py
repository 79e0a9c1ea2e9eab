"""Rows 11 to 21 of docs/reference/faults.md: POSTs that were answered, on real connections."""

from __future__ import annotations

import email.utils
import gzip

import pytest

from runner.http.answers import LONGEST_WAIT
from runner.http.outcomes import judge_submit
from runner.http.verdicts import Reaction, SubmitOutcome, Verdict
from runner.providers.base import Body
from runner.providers.getimg.outcomes import SUBMITS as GETIMG_SUBMITS
from runner.providers.mesh import MESH
from tests.support.provider_clients import (
    BODY,
    GOLDEN,
    KEY,
    NOW,
    assert_ambiguous,
    assert_rejected,
    mesh_at,
    posts_to,
    submit,
)
from tests.support.wire_server import Peer, answer, answering, serve

pytestmark = pytest.mark.anyio

LARGE = b'"' + b"x" * 16_777_216 + b'"'
"""More than the socket buffers of both ends hold."""
ACCEPTED = answer(200, {"id": "t-1"})
ENVELOPE = (GOLDEN / "error_envelope.json").read_bytes()
PAGE = (GOLDEN / "error_page.html").read_bytes()


def envelope(code: str, message: str = "no", **more: object) -> dict[str, object]:
    return {"error": {"code": code, "message": message, **more}, "request_id": "req_9"}


async def submit_to_getimg(origin: str) -> SubmitOutcome:
    async with posts_to(origin) as paid:
        return judge_submit(GETIMG_SUBMITS, await paid.post("/v2/videos/generations", BODY), wall=NOW)


async def test_a_success_with_an_id_is_accepted() -> None:
    date = email.utils.formatdate(NOW, usegmt=True)
    with answering(answer(200, {"id": "t-1"}, {"Date": date, "X-Request-Id": "req_7"})) as server:
        outcome = await submit(server.origin)
    assert (outcome.verdict, outcome.reaction) == (Verdict.ACCEPTED, Reaction.NONE)
    assert outcome.remote_id == "t-1"
    assert outcome.server_time == NOW
    assert (outcome.evidence.row, outcome.evidence.request_id) == (0, "req_7")


@pytest.mark.fault(11)
@pytest.mark.parametrize(
    "bytes_of_answer",
    [
        answer(200, b""),
        answer(200, b"<html>welcome</html>"),
        answer(200, b"\xff\xfe"),
        answer(200, b"[" * 200_000),
        answer(200, b'{"id": NaN}'),
        answer(200, ["t-1"]),
        answer(200, {}),
        answer(200, {"id": ""}),
        answer(200, {"id": None}),
        answer(200, {"id": 17}),
        answer(200, {"id": "a/b"}),
        answer(200, {"id": ".."}),
        answer(200, {"id": "t-\u00e9"}),
        answer(200, {"id": "t" * 201}),
        answer(200, {"task": {"id": "t-1"}}),
        answer(204, b""),
        answer(200, gzip.compress(b'{"id":"t-1"}'), {"Content-Encoding": "gzip"}),
        answer(200, b'{"id":"t-1","more":"' + b"x" * 1_100_000 + b'"}'),
    ],
)
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # trio, of a body not read to its end
async def test_a_success_without_a_usable_id_is_ambiguous(bytes_of_answer: bytes) -> None:
    with answering(bytes_of_answer) as server:
        assert_ambiguous(await submit(server.origin), 11)


@pytest.mark.fault(12)
async def test_an_id_that_comes_twice_is_told_twice_so_that_the_ledger_can_find_it() -> None:
    with answering(ACCEPTED) as server:
        async with mesh_at(server.origin) as mesh:
            ids = [(await mesh.submit(Body(MESH.dialect.path, BODY))).remote_id for _ in range(2)]
    assert ids == ["t-1", "t-1"]


@pytest.mark.fault(13)
@pytest.mark.parametrize(
    "body",
    [envelope("provider_job_failed"), envelope("internal_error"), envelope("upstream_error"), PAGE, b""],
)
async def test_a_500_of_any_code_is_ambiguous(body: object) -> None:
    with answering(answer(500, body)) as server:
        assert_ambiguous(await submit(server.origin), 13)


@pytest.mark.fault(14)
@pytest.mark.parametrize("status", [502, 503])
async def test_upstream_trouble_in_the_services_envelope_is_safe_to_repeat(status: int) -> None:
    with answering(answer(status, ENVELOPE)) as server:
        outcome = await submit(server.origin)
    assert_rejected(outcome, 14, Reaction.BACK_OFF)
    assert outcome.retry_after == 7
    assert outcome.evidence.code == "upstream_error"
    assert outcome.evidence.provider_code == "provider_not_available"
    assert outcome.evidence.request_id == "req_01"


@pytest.mark.fault(14)
async def test_a_timed_out_asset_registration_is_safe_to_repeat() -> None:
    body = envelope("gateway_timeout", provider_code="asset_registration_timeout")
    with answering(answer(504, body)) as server:
        assert_rejected(await submit(server.origin), 14, Reaction.BACK_OFF)


@pytest.mark.fault(15)
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (502, PAGE),
        (503, b""),
        (503, {"detail": "down"}),
        (502, {"error": {"code": 502, "message": "a load balancer"}}),
        (502, {"error": {"code": "502", "message": "BAD_GATEWAY"}, "request_id": "edge-1"}),
        (503, {"error": {"code": "unavailable", "message": "an edge that knows words"}}),
        (504, PAGE),
        (504, envelope("gateway_timeout", provider_code="provider_timeout")),
        (504, envelope("gateway_timeout")),
        (503, envelope("upstream_error", provider_code="provider_timeout")),
        (408, b""),
        (409, envelope("conflict")),
        (425, b""),
        (520, PAGE),
        (418, b""),
    ],
)
async def test_what_does_not_say_what_became_of_the_request_is_ambiguous(status: int, body: object) -> None:
    with answering(answer(status, body)) as server:
        assert_ambiguous(await submit(server.origin), 15)


@pytest.mark.fault(15)
async def test_an_unconfirmed_job_is_ambiguous_under_whatever_5xx() -> None:
    with answering(answer(503, envelope("provider_job_failed"))) as server:
        assert_ambiguous(await submit(server.origin), 13)


@pytest.mark.fault(15)
@pytest.mark.parametrize("status", [500, 501, 502, 503, 504])
async def test_on_getimg_every_5xx_is_ambiguous(status: int) -> None:
    with answering(answer(status, ENVELOPE)) as server:
        assert_ambiguous(await submit_to_getimg(server.origin), 13 if status == 500 else 15)


SENT = {"Date": email.utils.formatdate(NOW - 5000, usegmt=True)}


@pytest.mark.fault(16)
@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "12"}, b"", 12.0),
        ({"Retry-After": " 1.5 "}, b"", 1.5),
        ({**SENT, "Retry-After": email.utils.formatdate(NOW - 4970, usegmt=True)}, b"", 30.0),
        ({"Retry-After": email.utils.formatdate(NOW + 20, usegmt=True)}, b"", 20.0),
        ({**SENT, "Retry-After": email.utils.formatdate(NOW - 6000, usegmt=True)}, b"", 0.0),
        ({"Retry-After": "1800"}, b"", LONGEST_WAIT),
        ({}, envelope("rate_limit_exceeded", "Quota exceeded for requests per minute"), None),
        ({"Retry-After": "7"}, envelope("rate_limit_exceeded", "your quota of requests"), 7.0),
        ({"Retry-After": "86400"}, envelope("rate_limit_exceeded", "60 requests per minute"), LONGEST_WAIT),
        ({"Retry-After": "9" * 5000}, b"", LONGEST_WAIT),
        ({"Retry-After": "-3"}, b"", 0.0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, b"", LONGEST_WAIT),
        ({"Retry-After": "soon"}, b"", None),
        ({"Retry-After": "nan"}, b"", None),
        ({"Retry-After": "soon"}, envelope("rate_limit_exceeded", retry_after_seconds=4), 4.0),
        ({}, envelope("rate_limit_exceeded", retry_after_seconds=4), 4.0),
        ({}, envelope("rate_limit_exceeded", retry_after_seconds=1e300), LONGEST_WAIT),
        ({}, envelope("rate_limit_exceeded", retry_after_seconds=True), None),
        ({}, envelope("rate_limit_exceeded"), None),
        ({}, PAGE, None),
    ],
)
async def test_a_429_waits_as_told_within_reason(
    headers: dict[str, str], body: object, seconds: float | None
) -> None:
    with answering(answer(429, body, headers)) as server:
        outcome = await submit(server.origin)
    assert_rejected(outcome, 16, Reaction.BACK_OFF)
    assert outcome.retry_after == seconds


@pytest.mark.fault(72)
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, envelope("quota_exceeded")),
        ({"Retry-After": "1"}, envelope("insufficient_quota")),
        ({}, envelope("upstream_rate_limit_error", provider_code="QuotaExceeded")),
        ({}, envelope("rate_limit_exceeded", "You exceeded your current quota, check your plan")),
        ({}, envelope("rate_limit_exceeded", "the limit of 500 requests per day is reached")),
        ({}, envelope("rate_limit_exceeded", "RPD limit reached")),
        ({}, {"detail": "daily limit reached, come back tomorrow"}),
        ({"Retry-After": "86400"}, b""),
        ({"Retry-After": email.utils.formatdate(NOW + 7200, usegmt=True)}, b""),
        ({}, envelope("rate_limit_exceeded", retry_after_seconds=40_000)),
    ],
)
async def test_a_429_that_says_that_a_quota_is_gone_stops_for_money(
    headers: dict[str, str], body: object
) -> None:
    with answering(answer(429, body, headers)) as server:
        outcome = await submit(server.origin)
    assert_rejected(outcome, 72, Reaction.STOP_MONEY)
    assert outcome.retry_after is None


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    ("status", "body"), [(401, envelope("unauthorized")), (403, envelope("forbidden")), (403, PAGE)]
)
async def test_a_refused_key_stops_submitting(status: int, body: object) -> None:
    with answering(answer(status, body)) as server:
        assert_rejected(await submit(server.origin), 17, Reaction.STOP_KEY)


@pytest.mark.fault(17)
async def test_a_model_that_is_not_open_to_the_key_fails_only_its_task() -> None:
    with answering(answer(403, envelope("model_excluded"))) as server:
        assert_rejected(await submit(server.origin), 17, Reaction.FAIL_TASK)


@pytest.mark.fault(18)
@pytest.mark.parametrize("body", [envelope("insufficient_credits"), envelope("spend_limit_exceeded"), b""])
async def test_a_402_stops_for_money(body: object) -> None:
    with answering(answer(402, body)) as server:
        assert_rejected(await submit(server.origin), 18, Reaction.STOP_MONEY)


@pytest.mark.fault(19)
@pytest.mark.parametrize(
    "body",
    [
        envelope("unprocessable_entity", "The reference image is still being prepared, try again"),
        {"detail": "Asset STILL BEING PREPARED"},
    ],
)
async def test_a_reference_that_is_still_being_prepared_is_tried_again(body: object) -> None:
    with answering(answer(422, body)) as server:
        assert_rejected(await submit(server.origin), 19, Reaction.BACK_OFF)


@pytest.mark.fault(20)
@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, envelope("bad_request", "no such ratio"), "no such ratio"),
        (404, {"detail": "no such route"}, "no such route"),
        (413, PAGE, "413 Request Entity Too Large"),
        (422, envelope("validation_error", "duration is too long"), "duration is too long"),
        (
            422,
            (GOLDEN / "error_detail_list.json").read_bytes(),
            "body.content: Field required; body.duration: Input should be a valid integer",
        ),
    ],
)
async def test_a_wrong_request_fails_its_task_and_keeps_the_message(
    status: int, body: object, message: str
) -> None:
    with answering(answer(status, body)) as server:
        outcome = await submit(server.origin)
    assert_rejected(outcome, 20, Reaction.FAIL_TASK)
    assert outcome.evidence.message == message


@pytest.mark.fault(20)
async def test_a_413_that_comes_before_the_body_was_read_is_still_read() -> None:
    def script(peer: Peer) -> None:
        peer.read(1000)
        peer.send(answer(413, PAGE, {"Connection": "close"}))
        while peer.read(1_000_000):
            pass

    with serve(script) as server:
        assert_rejected(await submit(server.origin, LARGE), 20, Reaction.FAIL_TASK)


@pytest.mark.security(7)
@pytest.mark.fault(21)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_ambiguous(status: int) -> None:
    with answering(ACCEPTED) as elsewhere:
        target = {"Location": f"{elsewhere.origin}/v1/video/generations"}
        with answering(answer(status, b"", target)) as server:
            assert_ambiguous(await submit(server.origin), 21)
    assert elsewhere.connections == 0
    assert len(server.requests) == 1


async def test_a_service_that_quotes_the_request_gives_nothing_away() -> None:
    """Neither the key nor a data URI nor a signed query reaches an outcome, in text or repr."""
    url = "https://cdn.example.net/a.png?sig=CANARYSIGNATURE"
    said = f"refused Bearer {KEY.value} with data:image/png;base64,CANARYDATA and {url}"

    for bytes_of_answer in (
        answer(400, envelope("bad_request", said), {"X-Request-Id": said}),
        answer(400, {"detail": said}),
        answer(400, said.encode()),
        said.encode() + b"\r\n\r\n",
    ):
        with answering(bytes_of_answer) as server:
            outcome = await submit(server.origin)
        assert "canary" not in f"{outcome!r} {outcome}".lower()
