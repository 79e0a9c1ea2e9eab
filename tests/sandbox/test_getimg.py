"""getimg's side of the sandbox, over its wire."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.sandbox import SandboxConfig, SandboxServer
from tests.sandbox.calls import fetch
from tests.sandbox.conftest import connect

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
    assert (item["width"], item["height"], item["duration"], item["fps"]) == (496, 864, 2, 24)
    assert item["has_sound"] is False
    assert document["usage"]["total_cost"] == pytest.approx(0.1)
    assert f"/v2/downloads/{task_id}/0?exp=" in item["url"]
    video = fetch(item["url"])
    assert (video.status_code, video.headers["content-type"]) == (200, "video/mp4")
    assert video.content[4:8] == b"ftyp"
    assert fetch(item["url"][:-1] + "_").status_code == 403


def test_sound_is_made_where_it_is_asked_for(client: httpx.Client) -> None:
    task_id = create(client, model="seedance-v1-5-pro", duration=4, sound=True)
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
        {"seed": 7},
        {"ratio": "16:9"},
        {"duration": "5"},
        {"duration": True},
        {"prompt": ""},
        {"model": "byteplus/seedance-2-0"},
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


def test_models_are_listed(client: httpx.Client) -> None:
    models = client.get("/v2/models", params={"type": "video"}).json()
    assert {model["id"] for model in models} == {"seedance-v1-5-pro", "seedance-v1-pro"}
    assert {model["type"] for model in models} == {"video"}


def test_an_unknown_id_is_404(client: httpx.Client) -> None:
    answer = client.get(f"{PATH}/req-none")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_missing_key_is_401(server: SandboxServer) -> None:
    for path in (f"{PATH}/req-none", "/v2/models"):
        assert fetch(server.url + path).status_code == 401


def test_too_many_requests_are_429() -> None:
    with SandboxServer(SandboxConfig(rpm=1)) as server, connect(server) as client:
        create(client)
        answer = client.post(PATH, json=body())
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0


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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["seedance-v1-pro", "seedance-v1-5-pro"]) | JSON,
        "prompt": st.text(max_size=20) | JSON,
        "aspect_ratio": st.sampled_from(["16:9", "1:1", "0:0"]) | JSON,
        "resolution": st.sampled_from(["480p", "1080p"]) | JSON,
        "duration": st.integers(-1, 20) | JSON,
        "sound": st.booleans() | JSON,
        "images": JSON
        | st.lists(
            st.fixed_dictionaries(
                {"url": st.just(URL), "role": st.sampled_from(["first_frame", "last_frame"])}
            ),
            max_size=3,
        ),
    },
)


def test_whatever_is_asked_is_accepted_or_refused_in_the_envelope(server: SandboxServer) -> None:
    with connect(server) as client:

        @settings(max_examples=150, deadline=None)
        @given(REQUESTS | JSON)
        def ask(document: object) -> None:
            answer = client.post(PATH, json=document)
            assert answer.status_code in (202, 400), answer.text
            if answer.status_code == 202:
                assert client.get(f"{PATH}/{answer.json()['id']}").json()["status"] == "completed"
            else:
                error = answer.json()["error"]
                assert error["code"] == "invalid_parameter"
                assert error["message"]

        ask()
