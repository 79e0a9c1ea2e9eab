"""getimg's side of the sandbox, over its wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from getimg import GetimgAI

from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from runner.sandbox.getimg import REFERENCE_MODEL
from tests.support.sandbox_requests import connect, get_file, image_item

PATH = "/v2/videos/generations"
URL = "https://e.com/a.png"


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "seedance-v1-pro", "prompt": "A teapot", "duration": 2, **fields}


def create(client: httpx.Client, **fields: Any) -> str:
    answer = client.post(PATH, json=body(**fields))
    assert answer.status_code == 202, answer.text
    document = answer.json()
    assert set(document) == {"id", "status"}
    assert document["status"] == "pending"
    return str(document["id"])


def test_a_generation_ends_with_a_video_that_needs_no_key(client: httpx.Client) -> None:
    task_id = create(client, aspect_ratio="9:16", resolution="480p")
    document = client.get(f"{PATH}/{task_id}").json()
    assert document["status"] == "completed"
    (item,) = document["data"]
    assert (item["width"], item["height"], item["duration"], item["fps"]) == (480, 864, 2, 24)
    assert item["has_sound"] is False
    assert document["usage"]["total_cost"] == pytest.approx(0.1)
    assert f"/v2/downloads/{task_id}/0?exp=" in item["url"]
    video = get_file(item["url"])
    assert (video.status_code, video.headers["content-type"]) == (200, "video/mp4")
    assert video.content[4:8] == b"ftyp"
    assert get_file(item["url"][:-1] + "_").status_code == 403


def test_sound_is_made_where_it_is_asked_for(client: httpx.Client) -> None:
    task_id = create(client, model="seedance-v2-0", duration=4, sound=True)
    assert client.get(f"{PATH}/{task_id}").json()["data"][0]["has_sound"] is True


def test_a_generation_is_pending_before_it_is_completed() -> None:
    with SandboxServer(SandboxConfig(latency=(60, 60))) as server, connect(server, "any-key") as client:
        task_id = create(client)
        assert client.get(f"{PATH}/{task_id}").json() == {"id": task_id, "status": "pending"}


def test_a_violating_prompt_fails(client: httpx.Client) -> None:
    document = client.get(f"{PATH}/{create(client, prompt='[violate] it')}").json()
    assert document["status"] == "failed"
    assert document["error"]["code"] == "content_policy_violation"


@pytest.mark.parametrize(
    "fields",
    [
        {"images": [{"url": URL, "role": "last_frame"}]},
        {"images": [{"url": URL, "role": "first_frame"}, {"url": URL, "role": "reference_image"}]},
        {"images": [{"url": URL, "role": "reference_image"}]},
        {"images": [{"url": URL, "role": "hero"}]},
        {"images": [{"url": "data:image/png;base64,AA", "role": "first_frame"}]},
        {"images": [{"url": "data:image/gif;base64,AA", "role": "first_frame"}]},
        {"images": [{"url": "iVBORw0KGgo=", "role": "first_frame"}]},
        {"images": [{"url": URL, "role": "reference_image"}] * 9, "model": REFERENCE_MODEL, "duration": 4},
        {"prompt": "a" * 4097},
        {"duration": 0},
        {"resolution": "tall"},
        {"seed": 7},
        {"ratio": "16:9"},
        {"duration": "5"},
        {"duration": True},
        {"prompt": ""},
        {"model": "byteplus/seedance-2-0", "duration": 2},
        {"model": "two words"},
    ],
)
def test_what_the_service_does_not_take_is_an_invalid_parameter(
    client: httpx.Client, server: SandboxServer, fields: dict[str, Any]
) -> None:
    answer = client.post(PATH, json=body(**fields))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_parameter")
    assert client.get("/_sandbox/stats").json()["accepted"] == 0


def test_the_frames_are_taken_together(client: httpx.Client) -> None:
    create(client, images=[{"url": URL, "role": "first_frame"}, {"url": URL, "role": "last_frame"}])


def test_an_image_comes_as_a_data_uri(client: httpx.Client) -> None:
    item = image_item(role="first_frame")
    images = [{"url": item["image_url"]["url"], "role": "first_frame"}]
    task_id = create(client, images=images)
    assert client.get(f"{PATH}/{task_id}").json()["status"] == "completed"


def test_an_image_and_a_body_have_a_limit(client: httpx.Client, server: SandboxServer) -> None:
    large = {"url": "data:image/png;base64," + "A" * (14 * 2**20), "role": "first_frame"}
    assert "10 MiB" in client.post(PATH, json=body(images=[large])).json()["error"]["message"]
    assert "25 MiB" in client.post(PATH, json=body(images=[large] * 2)).json()["error"]["message"]
    assert server.accepted == 0


def test_an_unknown_model_is_made_with_a_note(client: httpx.Client, server: SandboxServer) -> None:
    answer = client.post(PATH, json=body(model="kling/kling-2.6", aspect_ratio="2:1", duration=1))
    assert answer.headers["x-sandbox-note"].startswith("unknown model, made as ")
    document = client.get(f"{PATH}/{answer.json()['id']}").json()
    assert (document["status"], document["data"][0]["width"]) == ("completed", 1440)


def test_models_are_listed(client: httpx.Client) -> None:
    models = client.get("/v2/models", params={"type": "video"}).json()
    assert {"seedance-v1-pro"} < {model["id"] for model in models}
    assert {model["type"] for model in models} == {"video"}
    for model in models:
        assert model["pricing"]["rates"][0]["unit_price"] == "0.05"
        assert (model["supported_resolutions"][0], model["supported_durations"][0]) == ("720p", 5)
        assert client.get(f"/v2/models/{model['id']}").json() == model
    assert client.get("/v2/models/none").status_code == 404


def test_reference_images_are_taken_by_a_model_that_has_them(client: httpx.Client) -> None:
    images = [{"url": URL, "role": "reference_image"}] * 2
    task_id = create(client, model=REFERENCE_MODEL, duration=4, images=images)
    assert client.get(f"{PATH}/{task_id}").json()["status"] == "completed"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", PATH, 400),
        ("GET", f"{PATH}/req-none", 404),
        ("DELETE", PATH, 405),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/downloads/req-none/0", 403),
    ],
)
def test_an_error_is_a_code_and_a_message_and_nothing_else(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    if status != 403:
        assert set(answer.json()) == {"error"}
        assert set(answer.json()["error"]) == {"code", "message"}


def test_an_injected_429_carries_its_wait_in_the_header(client: httpx.Client, server: SandboxServer) -> None:
    fault = Fault(
        where=Where.SUBMIT, kind=Kind.ANSWER, status=429, code="rate", message="wait", retry_after=7
    )
    server.faults.add(fault)
    answer = client.post(PATH, json=body())
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json() == {"error": {"code": "rate", "message": "wait"}}


def test_a_body_that_is_too_large_is_refused_in_the_envelope() -> None:
    with SandboxServer(SandboxConfig(max_body=100)) as server, connect(server) as client:
        answer = client.post(PATH, json=body(prompt="x" * 200))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_parameter")
        assert server.accepted == 0


def test_several_results_are_several_videos(client: httpx.Client, server: SandboxServer) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.SEVERAL, count=3))
    document = client.get(f"{PATH}/{create(client)}").json()
    urls = [item["url"] for item in document["data"]]
    assert len({get_file(url).content for url in urls}) == 3
    assert document["usage"]["total_cost"] == pytest.approx(0.3)
    assert get_file(urls[0].replace("/0?", "/1?")).status_code == 403


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ({"kind": "regress"}, {"status": "pending"}),
        ({"kind": "suffix", "text": "-260101"}, {"model": "seedance-v1-pro-260101"}),
        ({"kind": "fields", "fields": {"status": "thinking"}}, {"status": "thinking"}),
    ],
)
def test_a_fault_changes_one_answer_to_a_get(
    client: httpx.Client, fault: dict[str, Any], shown: dict[str, Any]
) -> None:
    task_id = create(client)
    client.post("/_sandbox/faults", json={"where": "get", **fault}).raise_for_status()
    document = client.get(f"{PATH}/{task_id}").json()
    assert {name: document[name] for name in shown} == shown
    assert client.get(f"{PATH}/{task_id}").json()["status"] == "completed"


def test_the_facts_of_a_result_may_be_null(client: httpx.Client, server: SandboxServer) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.NULL_ECHOES))
    (item,) = client.get(f"{PATH}/{create(client)}").json()["data"]
    assert item["width"] is item["fps"] is None
    assert item["url"]


def test_an_unknown_id_is_404(client: httpx.Client) -> None:
    answer = client.get(f"{PATH}/req-none")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_missing_key_is_401(server: SandboxServer) -> None:
    for path in (f"{PATH}/req-none", "/v2/models"):
        assert get_file(server.url + path).status_code == 401


def test_too_many_requests_are_429() -> None:
    with SandboxServer(SandboxConfig(rpm=1)) as server, connect(server) as client:
        create(client)
        answer = client.post(PATH, json=body())
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json() == {
            "error": {"code": "rate_limit_exceeded", "message": "too many requests in a minute"}
        }


def test_a_fault_strikes_the_submit_and_accepts_nothing(client: httpx.Client) -> None:
    fault = {"where": "submit", "kind": "answer", "status": 503, "code": "busy", "message": "later"}
    assert client.post("/_sandbox/faults", json=fault).status_code == 200
    assert client.post(PATH, json=body()).status_code == 503
    assert client.get("/_sandbox/stats").json()["accepted"] == 0
    create(client)
    assert client.get("/_sandbox/stats").json()["accepted"] == 1


def test_mesh_does_not_list_what_getimg_accepted(client: httpx.Client) -> None:
    create(client)
    assert client.get("/v1/video/generations").json()["total"] == 0


def test_what_is_made_is_taken_off_the_balance_and_told_as_costs(client: httpx.Client) -> None:
    assert client.get("/v2/billing/balance").json() == {"balance": "100.00", "currency": "USD"}
    create(client, duration=4)
    create(client, prompt="[violate] it")
    assert client.get("/v2/billing/balance").json()["balance"] == "99.80"
    now = datetime.now(UTC)
    span = {"start": (now - timedelta(hours=1)).isoformat(), "end": now.isoformat()}
    told = client.get("/v2/billing/costs", params=span).json()
    assert told["total_cost"] == pytest.approx(0.2)
    assert sum(day["cost"] for day in told["data"]) == pytest.approx(0.2)
    before = {"start": (now - timedelta(days=9)).isoformat(), "end": (now - timedelta(days=2)).isoformat()}
    told = client.get("/v2/billing/costs", params=before).json()
    assert (told["total_cost"], len(told["data"])) == (0, 8)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-01-02", "2026-01-03"),
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00Z", "2026-07-02T00:00:00Z"),
        ("yesterday", "2026-01-03T00:00:00Z"),
        ("", ""),
    ],
)
def test_a_span_of_costs_needs_zones_an_order_and_at_most_180_days(
    client: httpx.Client, start: str, end: str
) -> None:
    answer = client.get("/v2/billing/costs", params={"start": start, "end": end})
    assert answer.status_code == 400, answer.text


def test_the_official_client_reads_balance_and_costs(server: SandboxServer) -> None:
    official = GetimgAI(api_key="any-key", base_url=server.url, max_retries=0)
    assert official.billing.retrieve_balance().balance == "100.00"
    now = datetime.now(UTC)
    told = official.billing.list_costs(start=now - timedelta(days=1), end=now)
    assert (told.currency, told.total_cost, len(told.data)) == ("USD", 0, 2)
