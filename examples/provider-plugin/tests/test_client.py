"""The client at the sandbox: what each call sends, and what it makes of the answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
from callsheet_replicate import REPLICATE
from callsheet_replicate.client import read_prediction

from runner.http.answers import Answer
from runner.http.outcomes import judge_submit
from runner.http.verdicts import ProviderError, Reaction, Trouble, Verdict
from runner.providers.base import Body, GenerationStatus, InputFile, ListQuery, RemoteTask
from runner.sandbox import Fault, Kind, SandboxServer, Where

from .conftest import Connect

pytestmark = pytest.mark.anyio
MODEL = "bytedance/seedance-2.0"


def body(prompt: str = "A cup of tea", **fields: Any) -> Body:
    request = {"model": MODEL, "prompt": prompt, "duration": 4, **fields}
    return REPLICATE.body(request, (), lambda _: b"", tag=None, callback_url=None)


def answered(status: int, document: dict[str, Any], **more: Any) -> Fault:
    return Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=status, body=json.dumps(document), **more)


async def test_a_prediction_is_made_and_shows_its_whole_input(
    server: SandboxServer, connect: Connect
) -> None:
    async with connect() as client:
        outcome = await client.submit(body(seed=7))
        assert outcome.verdict is Verdict.ACCEPTED
        made = await client.get(RemoteTask(outcome.remote_id))
    assert (made.status, made.model) == (GenerationStatus.SUCCEEDED, MODEL)
    assert made.echo == {"prompt": "A cup of tea", "duration": 4, "seed": 7}
    (file,) = made.files
    assert made.updated_at is not None
    assert file.expires_at == made.updated_at + 3600
    assert server.tasks()[-1].request["prediction"]["cancel_after"] == 9000


async def test_the_list_is_read_to_its_end_by_the_addresses_that_it_gives(
    server: SandboxServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callsheet_replicate.sandbox.PAGE", 3)
    since = time.time() - 1
    async with connect() as client:
        made = [(await client.submit(body(f"cup {number}"))).remote_id for number in range(7)]
        seen, query = [], ListQuery(since, limit=100)
        while True:
            page = await client.list_page(query)
            seen += [row.id for row in page.rows]
            if not page.has_more:
                break
            query = ListQuery(since, limit=100, offset=len(seen), cursor=page.cursor)
    assert [each for each in seen if each in set(made)] == made[::-1]
    assert len(seen) == len(set(seen))


async def test_a_next_page_at_another_host_is_not_asked_for(server: SandboxServer, connect: Connect) -> None:
    page = {"results": [], "next": "https://elsewhere.example/v1/predictions?cursor=x", "previous": None}
    server.faults.add(Fault(where=Where.LIST, kind=Kind.ANSWER, status=200, body=json.dumps(page)))
    async with connect() as client:
        told = await client.list_page(ListQuery(None, limit=100))
        with pytest.raises(ProviderError, match="another host"):
            await client.list_page(ListQuery(None, limit=100, cursor=told.cursor))


async def test_an_input_that_was_wiped_proves_nothing_and_its_result_is_gone(
    server: SandboxServer, connect: Connect
) -> None:
    wiped = {"data_removed": True, "input": {}, "output": None}
    for where in (Where.GET, Where.LIST):
        server.faults.add(Fault(where=where, kind=Kind.FIELDS, fields=wiped))
    async with connect() as client:
        made = (await client.submit(body())).remote_id
        page = await client.list_page(ListQuery(time.time() - 60, limit=100))
        assert next(row for row in page.rows if row.id == made).echo == {}
        with pytest.raises(ProviderError, match="data_removed") as raised:
            await client.get(RemoteTask(made))
    assert raised.value.trouble is Trouble.NOT_FOUND


AT = "https://replicate.delivery/x"


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ({"video": f"{AT}/a.mp4", "thumbnail": f"{AT}/a.png", "seed": 3, "note": "done"}, ["a.mp4"]),
        ([[f"{AT}/a.mp4"], [{"file": f"{AT}/b.mp4?x=y.png"}, f"{AT}/a.mp4"]], ["a.mp4", "b.mp4?x=y.png"]),
        ({"frames": [f"{AT}/a.png"]}, ["a.png"]),
        (f"{AT}/out", ["out"]),
        (json.loads("[" * 900 + f'"{AT}/a.mp4"' + "]" * 900), ["a.mp4"]),
    ],
)
def test_files_are_found_in_an_output_of_any_form(output: Any, names: list[str]) -> None:
    made = read_prediction({"id": "gm3q", "status": "succeeded", "output": output})
    assert [file.url for file in made.files] == [f"{AT}/{name}" for name in names]


async def test_an_output_without_a_file_says_where_it_is(server: SandboxServer, connect: Connect) -> None:
    fields = {"output": {"text": "a cup"}, "urls": {"web": "https://replicate.com/p/gm3q"}}
    server.faults.add(Fault(where=Where.GET, kind=Kind.FIELDS, fields=fields))
    async with connect() as client:
        made = (await client.submit(body())).remote_id
        with pytest.raises(ProviderError, match=r"names no file.*https://replicate.com/p/gm3q") as raised:
            await client.get(RemoteTask(made))
    assert raised.value.trouble is Trouble.WRONG_REQUEST


@pytest.mark.parametrize(
    ("status", "document", "verdict", "reaction"),
    [
        (400, {"title": "Bad Request", "status": 400, "detail": "x"}, Verdict.REJECTED, Reaction.FAIL_TASK),
        (
            422,
            {"title": "Invalid version or not permitted", "status": 422, "detail": "x"},
            Verdict.REJECTED,
            Reaction.FAIL_TASK,
        ),
        (401, {"title": "Unauthenticated", "status": 401}, Verdict.REJECTED, Reaction.STOP_KEY),
        (402, {"title": "Payment Required", "status": 402}, Verdict.REJECTED, Reaction.STOP_MONEY),
        (404, {"detail": "x"}, Verdict.REJECTED, Reaction.FAIL_TASK),
        (429, {"detail": "Request was throttled."}, Verdict.REJECTED, Reaction.BACK_OFF),
        (408, {}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (500, {"detail": "x"}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (502, {}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (503, {"title": "Unavailable", "status": 503}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (504, {}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
        (200, {"id": "gm3q"}, Verdict.ACCEPTED, Reaction.NONE),
        (202, {"id": "gm3q"}, Verdict.ACCEPTED, Reaction.NONE),
        (201, {"status": "starting"}, Verdict.AMBIGUOUS, Reaction.RECONCILE),
    ],
)
async def test_each_status_of_a_submit_has_its_outcome(
    server: SandboxServer,
    connect: Connect,
    status: int,
    document: dict[str, Any],
    verdict: Verdict,
    reaction: Reaction,
) -> None:
    server.faults.add(answered(status, document))
    async with connect() as client:
        outcome = await client.submit(body())
    assert (outcome.verdict, outcome.reaction) == (verdict, reaction)


async def test_a_throttled_submit_waits_for_as_long_as_the_text_says(
    server: SandboxServer, connect: Connect
) -> None:
    told = {"detail": "Request was throttled. Your rate limit resets in ~30s."}
    server.faults.add(answered(429, told), answered(429, told, after=1, headers={"retry-after": "7"}))
    server.faults.add(Fault(where=Where.GET, kind=Kind.ANSWER, status=429, body=json.dumps(told)))
    async with connect() as client:
        assert (await client.submit(body())).retry_after == 30
        assert (await client.submit(body())).retry_after == 7
        with pytest.raises(ProviderError) as raised:
            await client.get(RemoteTask("gm3q"))
    assert raised.value.retry_after == 30


async def test_only_the_services_own_404_says_that_a_prediction_is_not_there(
    server: SandboxServer, connect: Connect
) -> None:
    async with connect() as client:
        with pytest.raises(ProviderError) as raised:
            await client.get(RemoteTask("gm3q"))
        assert raised.value.trouble is Trouble.NOT_FOUND
        server.faults.add(Fault(where=Where.GET, kind=Kind.ANSWER, status=404, body="<html>404</html>"))
        with pytest.raises(ProviderError) as raised:
            await client.get(RemoteTask("gm3q"))
    assert raised.value.trouble is Trouble.UNAVAILABLE


async def test_a_local_file_is_uploaded_byte_for_byte(
    server: SandboxServer, connect: Connect, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 3 + b"\r\n--\r\n\n\r"
    file = InputFile(hashlib.sha256(content).hexdigest(), "image/png", len(content), tmp_path / "a.PNG")
    async with connect() as client:
        url = await client.upload(file, content)
        assert url.startswith(f"{server.url}/v1/files/")
        assert await client.upload(file, content) != url


@pytest.mark.parametrize("change", ["nothing", "body", "time", "secret", "no signature"])
async def test_only_a_call_that_the_service_signed_now_counts(
    server: SandboxServer, connect: Connect, change: str
) -> None:
    async with connect() as client:
        key = (await client.free.get("/webhooks/default/secret")).document()
        assert isinstance(key, dict)
        secret = base64.b64decode(str(key["key"]).removeprefix("whsec_"))
        sent_at, told = str(int(time.time()) - (3600 if change == "time" else 0)), b'{"id":"gm3q"}'
        secret = b"another" if change == "secret" else secret
        digest = hmac.digest(secret, f"msg_1.{sent_at}.".encode() + told, hashlib.sha256)
        signature = "" if change == "no signature" else f"v1,AAAA v1,{base64.b64encode(digest).decode()}"
        headers = {"webhook-id": "msg_1", "webhook-timestamp": sent_at, "webhook-signature": signature}
        came = b'{"id":"other"}' if change == "body" else told
        assert await client.is_signed(headers, came) is (change == "nothing")


async def test_the_models_that_are_still_there_are_told_without_prices(connect: Connect) -> None:
    async with connect() as client:
        found = await client.published_models()
    assert {model.id for model in found.models} >= {MODEL, "bytedance/seedance-2.5"}
    assert not any(model.rates for model in found.models)
    assert found.left_out == ()


async def test_the_key_is_taken_by_a_free_get(connect: Connect) -> None:
    async with connect() as client:
        assert await client.ping() is not None


@pytest.mark.parametrize(
    ("status", "known"),
    [
        ("starting", GenerationStatus.QUEUED),
        ("processing", GenerationStatus.RUNNING),
        ("succeeded", GenerationStatus.SUCCEEDED),
        ("failed", GenerationStatus.FAILED),
        ("canceled", GenerationStatus.CANCELLED),
        ("aborted", GenerationStatus.EXPIRED),
        ("dreaming", None),
    ],
)
def test_each_status_is_known(status: str, known: GenerationStatus | None) -> None:
    assert read_prediction({"id": "gm3q", "status": status}).status is known


def test_outputs_are_one_address_or_several() -> None:
    for output, urls in (("https://a/1", 1), (["https://a/1", "https://a/2"], 2), (None, 0), ({}, 0)):
        read = read_prediction({"id": "gm3q", "status": "succeeded", "output": output})
        assert len(read.files) == urls


def test_an_errors_code_is_read_from_its_text() -> None:
    read = read_prediction({"id": "gm3q", "status": "failed", "error": "flagged as sensitive (E005)"})
    assert (read.error_code, read.error_message) == ("E005", "flagged as sensitive (E005)")


def test_a_version_belongs_to_the_models_name_and_a_hidden_one_does_not() -> None:
    version = "0" * 64
    assert read_prediction({"id": "g", "model": "a/b", "version": version}).model == f"a/b:{version}"
    assert read_prediction({"id": "g", "model": "a/b", "version": "hidden"}).model == "a/b"


def test_every_status_that_no_rule_knows_leaves_a_submit_unclear() -> None:
    from callsheet_replicate.outcomes import SUBMITS

    known = {400, 401, 402, 403, 404, 413, 422, 429}
    for status in set(range(300, 600)) - known:
        assert judge_submit(SUBMITS, Answer(status, {}, b"{}"), wall=0).verdict is Verdict.AMBIGUOUS
