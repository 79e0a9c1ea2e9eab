"""Ark's side of the sandbox, over its wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.receiver import Receiver, receiving
from tests.support.sandbox_requests import connect, image_item

PATH = "/api/v3/contents/generations/tasks"
NEWEST = "dreamina-seedance-2-5-260628"
SECOND = "dreamina-seedance-2-0-260128"
FIRST = "seedance-1-0-pro-250528"
TEXT = {"type": "text", "text": "A teapot"}
DRAFT = {"type": "draft_task", "draft_task": {"id": "cgt-1"}}


def media(kind: str, role: str, url: str = "https://e.com/a") -> dict[str, Any]:
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}, "role": role}


VIDEO = media("video", "reference_video")
AUDIO = media("audio", "reference_audio")
FRAME = media("image", "first_frame")
IMAGE = media("image", "reference_image")


def post(client: httpx.Client, model: str = SECOND, **fields: Any) -> httpx.Response:
    return client.post(PATH, json={"model": model, "content": [TEXT], **fields})


def create(client: httpx.Client, model: str = SECOND, **fields: Any) -> str:
    answer = post(client, model, **fields)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"id"}
    return str(answer.json()["id"])


def get(client: httpx.Client, task_id: str) -> dict[str, Any]:
    answer = client.get(f"{PATH}/{task_id}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_a_task_shows_what_the_page_says(client: httpx.Client) -> None:
    task = get(client, create(client, safety_identifier="cs-1", priority=3))
    assert task.keys() == {
        "id",
        "model",
        "status",
        "error",
        "created_at",
        "updated_at",
        "content",
        "seed",
        "resolution",
        "ratio",
        "duration",
        "framespersecond",
        "output_format",
        "generate_audio",
        "draft",
        "draft_task_id",
        "service_tier",
        "execution_expires_after",
        "priority",
        "safety_identifier",
        "usage",
    }
    assert (task["resolution"], task["ratio"], task["duration"]) == ("720p", "16:9", 5)
    assert (task["execution_expires_after"], task["service_tier"]) == (172_800, "default")
    assert isinstance(task["seed"], int)
    assert task["usage"] == {"completion_tokens": 108_900, "total_tokens": 108_900}


def test_the_first_models_make_1080p_by_default(client: httpx.Client) -> None:
    task = get(client, create(client, FIRST, frames=29))
    assert (task["resolution"], task["frames"], "duration" in task) == ("1080p", 29, False)


def test_a_video_among_the_inputs_has_its_minimum(client: httpx.Client) -> None:
    """5 seconds are billed as 9."""
    task = get(client, create(client, content=[TEXT, VIDEO]))
    assert task["usage"]["completion_tokens"] == 108_900 * 9 // 5


def test_a_final_is_made_of_a_draft(client: httpx.Client) -> None:
    draft = create(client, NEWEST, draft=True, resolution="480p", duration=4)
    final = {"type": "draft_task", "draft_task": {"id": draft}}
    task = get(client, create(client, NEWEST, content=[final], resolution="1080p"))
    assert (task["draft_task_id"], task["resolution"], task["duration"]) == (draft, "1080p", 4)


REFUSED = [
    (SECOND, {"frames": 29}, "InvalidParameter.UnsupportedParameter"),
    (SECOND, {"seed": 1}, "InvalidParameter.UnsupportedParameter"),
    (SECOND, {"camera_fixed": False}, "InvalidParameter.UnsupportedParameter"),
    (SECOND, {"draft": False}, "InvalidParameter.UnsupportedParameter"),
    (SECOND, {"service_tier": "default"}, "InvalidParameter.UnsupportedParameter"),
    (SECOND, {"output_format": "mp4"}, "InvalidParameter.UnsupportedParameter"),
    (SECOND, {"prompt": "A teapot"}, "InvalidParameter.UnsupportedParameter"),
    (FIRST, {"generate_audio": False}, "InvalidParameter.UnsupportedParameter"),
    (FIRST, {"priority": 0}, "InvalidParameter.UnsupportedParameter"),
    (FIRST, {"tools": [{"type": "web_search"}]}, "InvalidParameter.UnsupportedParameter"),
    (FIRST, {"seed": 2**31}, "InvalidParameter"),
    (FIRST, {"frames": 30}, "InvalidParameter"),
    (SECOND, {"duration": 3}, "InvalidParameter"),
    (SECOND, {"resolution": "8k"}, "InvalidParameter"),
    (SECOND, {"ratio": "2:1"}, "InvalidParameter"),
    (SECOND, {"execution_expires_after": 3599}, "InvalidParameter"),
    (SECOND, {"safety_identifier": "x" * 65}, "InvalidParameter"),
    (SECOND, {"priority": 10}, "InvalidParameter"),
    (SECOND, {"tools": [{"type": "web_search"}], "content": [TEXT, IMAGE]}, "InvalidParameter"),
    (SECOND, {"content": [AUDIO]}, "InvalidParameter"),
    (SECOND, {"content": [TEXT, FRAME, IMAGE]}, "InvalidParameter"),
    (SECOND, {"content": [TEXT, *[IMAGE] * 10]}, "InvalidParameter"),
    (
        SECOND,
        {"content": [TEXT, media("video", "reference_video", "data:video/mp4;base64,AA")]},
        "InvalidParameter",
    ),
    (
        SECOND,
        {"content": [TEXT, media("image", "reference_image", "data:image/PNG;base64,AA")]},
        "InvalidParameter",
    ),
    (SECOND, {"content": [TEXT, media("image", "reference_image", "asset://")]}, "InvalidParameter"),
    (NEWEST, {"content": [TEXT, FRAME], "ratio": "16:9"}, "InvalidParameter"),
    (NEWEST, {"draft": True, "resolution": "720p"}, "InvalidParameter"),
    (
        NEWEST,
        {"omni_reference_task_type": "edit", "content": [TEXT, IMAGE]},
        "InvalidParameter.TaskTypeMismatch",
    ),
    (NEWEST, {"omni_reference_task_type": "reference"}, "InvalidParameter.TaskTypeMismatch"),
    (
        NEWEST,
        {"omni_reference_task_type": "extend", "content": [TEXT, VIDEO], "ratio": "16:9"},
        "InvalidParameter.TaskTypeConstraint",
    ),
    (
        NEWEST,
        {"omni_reference_task_type": "edit", "content": [TEXT, VIDEO], "duration": 5},
        "InvalidParameter.TaskTypeConstraint",
    ),
    (NEWEST, {"content": [DRAFT]}, "InvalidParameter"),
    (NEWEST, {"content": [DRAFT, TEXT], "resolution": "1080p"}, "InvalidParameter"),
    (NEWEST, {"content": [DRAFT], "resolution": "1080p", "duration": 5}, "InvalidParameter"),
    (NEWEST, {"content": [DRAFT], "resolution": "1080p"}, "InvalidParameter"),
]


@pytest.mark.parametrize(("model", "fields", "code"), REFUSED)
def test_what_a_model_does_not_take_is_refused(
    client: httpx.Client, server: SandboxServer, model: str, fields: dict[str, Any], code: str
) -> None:
    answer = post(client, model, **fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text
    assert answer.json()["error"].keys() == {"code", "message", "param", "type"}
    assert answer.headers["x-request-id"]
    assert server.accepted == 0


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (SECOND, {"frames": None, "seed": None, "service_tier": None, "tools": None}),
        (SECOND, {"tools": [{"type": "web_search"}]}),
        (SECOND, {"content": [TEXT, media("image", "reference_image", "asset://a-1")]}),
        (SECOND, {"content": [TEXT, VIDEO, AUDIO]}),
        (SECOND, {"resolution": "4k", "duration": 15}),
        (SECOND, {"content": [TEXT, image_item(role="first_frame")], "ratio": "adaptive"}),
        (NEWEST, {"content": [AUDIO], "duration": -1}),
        (NEWEST, {"omni_reference_task_type": "edit", "content": [TEXT, VIDEO]}),
        (NEWEST, {"output_format": "mov", "duration": 30}),
        (FIRST, {"seed": 2**31 - 1, "camera_fixed": True, "service_tier": "flex", "frames": 289}),
        ("doubao-seedance-1-0-pro-fast-251015", {"duration": 2}),
        ("ep-20261101-abcde", {"frames": 29, "seed": 5, "draft": False, "priority": 1}),
    ],
)
def test_what_a_model_takes_is_made(client: httpx.Client, model: str, fields: dict[str, Any]) -> None:
    task = get(client, create(client, model, **fields))
    assert (task["model"], task["status"]) == (model, "succeeded")


@pytest.mark.parametrize(
    "model",
    [
        "seedance-1-5-pro-251215",
        "seedance-1-0-lite-t2v-250428",
        "dreamina-seedance-2-0",
        f"byteplus/{SECOND}",
        "seedance-1-0-pro-250428",
    ],
)
def test_a_model_that_is_retired_or_spelled_otherwise_is_not_there(client: httpx.Client, model: str) -> None:
    answer = post(client, model)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "InvalidEndpointOrModel.NotFound")


def test_a_key_is_needed_and_has_no_form(server: SandboxServer) -> None:
    with connect(server, "whatever") as client:
        create(client)
    answer = httpx.post(server.url + PATH, json={}, verify=False)
    assert (answer.status_code, answer.headers["x-error-code"]) == (401, "AuthenticationError")


def test_one_key_does_not_see_another_keys_tasks(server: SandboxServer) -> None:
    with connect(server, "one") as one, connect(server, "two") as two:
        task_id = create(one)
        assert two.get(f"{PATH}/{task_id}").status_code == 404
        assert two.get(PATH).json() == {"total": 0, "items": []}
        assert one.get(PATH).json()["total"] == 1


@pytest.mark.parametrize(
    "query",
    [
        {"page_num": "0"},
        {"page_num": "501"},
        {"page_size": "501"},
        {"page_size": "x"},
        {"filter.status": "expired"},
        {"filter.service_tier": "fast"},
    ],
)
def test_a_list_is_asked_within_bounds(client: httpx.Client, query: dict[str, str]) -> None:
    answer = client.get(PATH, params=query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidParameter")


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault(where=Where.LIST, kind=Kind.LAG, seconds=60), (0, 0)),
        (Fault(where=Where.LIST, kind=Kind.HIDDEN, fields={"model": SECOND}), (0, 0)),
        (Fault(where=Where.LIST, kind=Kind.TOTAL, count=2), (5, 2)),
        (Fault(where=Where.LIST, kind=Kind.ENDLESS), (6, 2)),
        (Fault(where=Where.LIST, kind=Kind.SHUFFLE), (3, 1)),
    ],
)
def test_a_list_lies_where_it_is_told_to(
    client: httpx.Client, server: SandboxServer, fault: Fault, seen: tuple[int, int]
) -> None:
    for _ in range(3):
        create(client)
    server.faults.add(fault)
    number = 1 if fault.kind is Kind.TOTAL else 2
    page = client.get(PATH, params={"page_num": number, "page_size": 2}).json()
    assert (page["total"], len(page["items"])) == seen


def test_an_old_task_is_gone_after_its_life(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id = create(client)
    monkeypatch.setattr("runner.sandbox.ark.RECORD_LIFE", -1.0)
    assert client.get(f"{PATH}/{task_id}").status_code == 404
    assert client.get(PATH).json()["total"] == 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def test_a_callback_tells_each_state_of_the_task(receiver: Receiver) -> None:
    """The first names the task the moment that it is accepted."""
    config = SandboxConfig(latency=(0.2, 0.2), scale=0.05)
    with SandboxServer(config) as server, connect(server) as client:
        task_id = create(client, callback_url=receiver.url)
        told = [receiver.next() for _ in range(3)]
        assert [each["status"] for each in told] == ["queued", "running", "succeeded"]
        assert {each["id"] for each in told} == {task_id}
        assert told[-1].keys() == get(client, task_id).keys()


def test_a_cancelled_task_calls_nobody(receiver: Receiver) -> None:
    config = replace(SandboxConfig(scale=0.05), latency=(60.0, 60.0))
    with SandboxServer(config) as server, connect(server) as client:
        task_id = create(client, callback_url=receiver.url)
        assert receiver.next()["status"] == "queued"
        assert client.request("DELETE", f"{PATH}/{task_id}", json={}).json() == {}
        assert get(client, task_id)["status"] == "cancelled"
        assert receiver.is_empty_after(0.05)
        stats = client.get("/_sandbox/stats").json()
        assert (stats["deletes"], stats["accepted"]) == (1, 1)
