"""Create, get and list over real HTTP, against wire/mesh-api.md."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator

from runner.sandbox import Fault, SandboxConfig, SandboxServer
from tests.support.sandbox_requests import (
    DRAFTED,
    PATH,
    SEEDED,
    SOUNDING,
    body,
    connect,
    create,
    get,
    get_file,
    image_item,
    listed,
)

TWO = "byteplus/dreamina-seedance-2-0"
_OPENAPI = yaml.safe_load((Path(__file__).parents[1] / "wire" / "mesh-video-openapi.yaml").read_text("utf-8"))


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": _OPENAPI["components"]}
    )


def test_a_task_is_created_and_ends_with_a_video(client: httpx.Client) -> None:
    task = get(client, create(client, seed=1276, return_last_frame=True))
    assert task["status"] == "succeeded"
    assert task["seed"] == 1276
    assert task["content"]["video_url"].startswith(str(client.base_url))
    assert task["content"]["last_frame_url"].startswith(str(client.base_url))
    assert task["usage"] == {"completion_tokens": 42_042, "total_tokens": 42_042}
    validator("VideoTask").validate(task)
    assert set(task) == set(_OPENAPI["components"]["schemas"]["VideoTask"]["properties"])


def test_defaults_are_echoed(client: httpx.Client) -> None:
    task = get(client, create(client, model=SOUNDING))
    echoed = {
        "resolution": "720p",
        "ratio": "16:9",
        "duration": 5,
        "frames": None,
        "framespersecond": 24,
        "generate_audio": True,
        "safety_identifier": None,
        "priority": 0,
        "draft": False,
        "draft_task_id": None,
        "service_tier": "default",
        "execution_expires_after": 172_800,
    }
    assert {name: task[name] for name in echoed} == echoed
    assert task["content"]["last_frame_url"] is None
    assert task["usage"]["total_tokens"] == 108_900


def test_what_was_sent_is_echoed(client: httpx.Client) -> None:
    sent: dict[str, Any] = {
        "resolution": "1080p",
        "ratio": "9:16",
        "duration": -1,
        "priority": 4,
        "safety_identifier": "me",
        "execution_expires_after": 170_001,
        "generate_audio": False,
        "seed": 9,
    }
    task = get(client, create(client, model=TWO, **sent))
    assert {name: task[name] for name in sent} == {**sent, "duration": 5}
    assert task["usage"]["total_tokens"] == 245_025


def test_frames_instead_of_a_duration(client: httpx.Client) -> None:
    task = get(client, create(client, frames=29))
    assert (task["frames"], task["duration"]) == (29, None)


def test_adaptive_resolves_to_the_ratio_of_the_first_image(client: httpx.Client) -> None:
    content = [image_item(400, 700)]
    answer = client.post(PATH, json={"model": TWO, "content": content, "ratio": "adaptive"})
    assert get(client, answer.json()["id"])["ratio"] == "9:16"


def test_a_seed_is_picked_where_it_is_honoured_and_none_was_sent(client: httpx.Client) -> None:
    """A second task with the same request gets another one."""
    seeds = [get(client, create(client))["seed"] for _ in range(2)]
    assert len(set(seeds)) == 2
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert get(client, create(client, model=TWO))["seed"] is None


def test_two_sandboxes_pick_the_same_seeds() -> None:
    seeds = []
    for _ in range(2):
        with SandboxServer(SandboxConfig(latency=(0.0, 0.0), seed=5)) as server, connect(server) as client:
            seeds.append([get(client, create(client, prompt=prompt))["seed"] for prompt in ("a", "b", "a")])
    assert seeds[0] == seeds[1]


def test_a_task_moves_through_queued_and_running() -> None:
    with SandboxServer(SandboxConfig(latency=(0.6, 0.6))) as server, connect(server) as client:
        task_id = create(client)
        seen = []
        deadline = time.monotonic() + 5
        while "succeeded" not in seen and time.monotonic() < deadline:
            status = get(client, task_id)["status"]
            if status not in seen:
                seen.append(status)
            time.sleep(0.005)
    assert seen == ["queued", "running", "succeeded"]


def test_a_list_never_refreshes_a_status(client: httpx.Client) -> None:
    task_id = create(client)
    assert listed(client)["data"][0]["status"] == "queued"
    get(client, task_id)
    assert listed(client)["data"][0]["status"] == "succeeded"


def test_a_marked_prompt_fails_for_its_content(client: httpx.Client) -> None:
    task = get(client, create(client, prompt="a [violate] b"))
    assert task["status"] == "failed"
    assert task["error"]["code"] == "content_policy_violation"
    assert task["content"] is None
    assert task["usage"] is None


def test_a_task_expires_after_its_time() -> None:
    with SandboxServer(SandboxConfig(latency=(3_700, 3_700))) as server, connect(server) as client:
        create(client, execution_expires_after=3_600)
        task = server.tasks()[0]
    assert task.outcome == "expired"
    assert task.finished_at == pytest.approx(task.created_at + 3_600)


def test_a_fault_decides_how_a_task_ends(server: SandboxServer, client: httpx.Client) -> None:
    server.faults.add(Fault(where="submit", kind="outcome", text="cancelled", code="cancelled"))
    assert get(client, create(client))["status"] == "cancelled"


def test_a_list_is_newest_first_and_pages(client: httpx.Client) -> None:
    ids = [create(client, prompt=str(number)) for number in range(5)]
    page = listed(client, limit=2, offset=1)
    assert [row["id"] for row in page["data"]] == [ids[3], ids[2]]
    assert (page["total"], page["has_more"], page["limit"], page["offset"]) == (5, True, 2, 1)
    assert listed(client, limit=2, offset=3)["has_more"] is False
    assert listed(client)["limit"] == 50
    validator("VideoTaskList").validate(page)


def test_a_list_filters_by_status_and_model(client: httpx.Client) -> None:
    first, second = create(client), create(client, model=SEEDED)
    third = create(client, prompt="[violate]", model=SEEDED)
    get(client, first)
    get(client, third)

    def ids(**query: Any) -> list[str]:
        page = listed(client, **query)
        assert page["total"] == len(page["data"])
        return [row["id"] for row in page["data"]]

    assert ids(status="succeeded") == [first]
    assert ids(status=["failed", "queued"]) == [third, second]
    assert ids(model=SEEDED) == [third, second]
    assert ids(model=[SEEDED, "seedance-1-0-pro-250428"]) == [third, second, first]
    assert ids(model=SEEDED, status="failed") == [third]


def test_a_list_filters_by_time(client: httpx.Client) -> None:
    task = get(client, create(client))

    def iso(shift: int) -> str:
        return datetime.fromtimestamp(task["created_at"] + shift, UTC).isoformat()

    assert listed(client, created_after=iso(0))["total"] == 1
    assert listed(client, created_after=iso(1))["total"] == 0
    assert listed(client, created_before=iso(0).replace("+00:00", "Z"))["total"] == 1
    assert listed(client, created_before=iso(-1))["total"] == 0
    assert listed(client, created_after=iso(0).removesuffix("+00:00"))["total"] == 1


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 201}, {"limit": "x"}, {"offset": -1}, {"created_after": "yesterday"}],
)
def test_a_wrong_query_is_422(client: httpx.Client, query: dict[str, Any]) -> None:
    answer = client.get(PATH, params=query)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "validation_error"


def test_each_key_sees_its_own_tasks(server: SandboxServer, client: httpx.Client) -> None:
    task_id = create(client)
    with connect(server, "rsk_another") as other:
        assert listed(other)["total"] == 0
        assert other.get(f"{PATH}/{task_id}").status_code == 404
    assert listed(client)["total"] == 1


def test_a_shared_list_shows_all_keys_tasks() -> None:
    with SandboxServer(SandboxConfig(shared_list=True)) as server, connect(server) as client:
        task_id = create(client)
        with connect(server, "rsk_another") as other:
            assert listed(other)["total"] == 1
            assert get(other, task_id)["id"] == task_id


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer sk_1", "Basic rsk_1"])
def test_any_other_key_is_401(server: SandboxServer, header: str) -> None:
    for answer in (
        get_file(server.url + PATH, headers={"Authorization": header}),
        httpx.post(server.url + PATH, headers={"Authorization": header}, json=body()),
    ):
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unauthorized"
    assert server.accepted == 0


def test_every_answer_has_a_request_id_and_a_date(client: httpx.Client) -> None:
    for answer in (
        client.get(PATH),
        client.post(PATH, json=body()),
        client.post(PATH, json={}),
        client.get(f"{PATH}/t-unknown"),
        client.get("/nowhere"),
        client.delete(PATH),
    ):
        assert answer.headers["x-request-id"].startswith("req_")
        sent = parsedate_to_datetime(answer.headers["date"])
        assert abs((datetime.now(UTC) - sent).total_seconds()) < 3
        if answer.is_error:
            assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"{PATH}/t-unknown", 404, "not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", PATH, 405, "method_not_allowed"),
        ("POST", f"{PATH}/t-unknown", 405, "method_not_allowed"),
    ],
)
def test_wrong_places_answer_with_the_envelope(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize("model", ["gpt-5", "kling/kling-2.6", "seedance-9-0", "a", "\u65b0/\u6a21\u578b"])
def test_an_unknown_model_is_made_with_a_note(
    server: SandboxServer, client: httpx.Client, model: str
) -> None:
    answer = client.post(PATH, json=body(model=model, duration=2, resolution="540p", frames=None))
    note = answer.headers["x-sandbox-note"]
    assert note.startswith("unknown model, made as Seedance ")
    task = get(client, answer.json()["id"])
    assert (task["status"], task["model"], task["resolution"]) == ("succeeded", model, "540p")
    assert client.get("/_sandbox/stats").json()["notes"] == {model: note}
    known = client.post(PATH, json=body())
    assert "x-sandbox-note" not in known.headers


def test_a_wrong_request_is_not_accepted(server: SandboxServer, client: httpx.Client) -> None:
    unknown = client.post(PATH, json=body(model="gpt 5"))
    empty = client.post(PATH, json={"model": SEEDED, "content": []})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (422, "model_not_found")
    assert (empty.status_code, empty.json()["error"]["code"]) == (422, "validation_error")
    assert empty.json()["error"]["details"][0]["loc"] == ["body", "content"]
    assert server.accepted == 0


def test_a_body_past_the_limit_is_413_in_html() -> None:
    with SandboxServer(SandboxConfig(max_body=1_000)) as server, connect(server) as client:
        answer = client.post(PATH, json=body(prompt="x" * 200_000))
        assert answer.status_code == 413
        assert answer.headers["content-type"].startswith("text/html")
        assert "request_id" not in answer.text
        assert server.accepted == 0


def test_the_rate_limit_covers_every_authenticated_request() -> None:
    with SandboxServer(SandboxConfig(rpm=3)) as server, connect(server) as client:
        create(client)
        listed(client)
        listed(client)
        answer = client.post(PATH, json=body())
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert 55 <= answer.json()["error"]["retry_after_seconds"] <= 60
        assert int(answer.headers["retry-after"]) == answer.json()["error"]["retry_after_seconds"]
        with connect(server, "rsk_another") as other:
            listed(other)
        assert server.accepted == 1


def test_a_rate_window_that_is_over_admits_again() -> None:
    with SandboxServer(SandboxConfig(rpm=1, rate_window=0.03)) as server, connect(server) as client:
        create(client)
        time.sleep(0.04)
        create(client)
        assert server.accepted == 2


def test_the_spend_cap_is_402() -> None:
    with SandboxServer(SandboxConfig(spend_cap=1)) as server, connect(server) as client:
        create(client)
        answer = client.post(PATH, json=body())
        assert (answer.status_code, answer.json()["error"]["code"]) == (402, "spend_limit_exceeded")
        assert server.accepted == 1


def test_a_draft_becomes_a_video_with_the_drafts_settings(client: httpx.Client) -> None:
    draft = get(client, create(client, model=DRAFTED, draft=True, resolution="480p", ratio="1:1", duration=4))
    content = [{"type": "draft_task", "draft_task": {"id": draft["id"]}}]
    answer = client.post(PATH, json={"model": DRAFTED, "content": content})
    video = get(client, answer.json()["id"])
    assert video["draft_task_id"] == draft["id"]
    assert video["draft"] is False
    assert (video["resolution"], video["ratio"], video["duration"]) == ("1080p", "1:1", 4)


def test_a_draft_that_does_not_exist_is_422(client: httpx.Client) -> None:
    content = [{"type": "draft_task", "draft_task": {"id": "t-unknown"}}]
    assert client.post(PATH, json={"model": DRAFTED, "content": content}).status_code == 422


def test_the_oracle_counts_what_was_accepted(server: SandboxServer, client: httpx.Client) -> None:
    task_id = create(client, seed=3)
    get(client, task_id)
    stats = get_file(server.url + "/_sandbox/stats").json()
    assert server.accepted == stats["accepted"] == stats["posts"] == stats["gets"] == 1
    assert stats["per_task"] == {task_id: {"gets": 1, "downloads": 0}}
    (task,) = server.tasks()
    assert (task.id, task.status, task.request["seed"]) == (task_id, "succeeded", 3)


def test_lone_surrogates_do_no_harm(client: httpx.Client) -> None:
    raw = json.dumps(body("\ud800", safety_identifier="\udfff"))
    answer = client.post(PATH, content=raw)
    task = get(client, answer.json()["id"])
    assert task["safety_identifier"] == "\udfff"
    assert get_file(task["content"]["video_url"]).status_code == 200
