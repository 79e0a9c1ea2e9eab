"""Whatever is sent to a service: an answer that its documents name, errors always in the envelope."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from runner.sandbox import SandboxServer
from tests.support.sandbox_requests import connect

URL = "https://e.com/a.png"
HUGE = 10**30

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-HUGE, HUGE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
URLS = st.sampled_from(
    [URL, "http://[", "data:image/png;base64,AA", "data:image/png;base64,", "asset://a", "", "https://"]
)


def nearly(kind: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Mostly what is asked for, else anything at all."""
    return kind | kind | JSON


@dataclass(frozen=True, slots=True)
class Service:
    """`refusals` are the statuses that a POST may be refused with; `fields` what it may hold."""

    path: str
    accepted: int
    refusals: frozenset[int]
    ended: str
    model: SearchStrategy[str]
    fields: Mapping[str, SearchStrategy[Any]]
    needed: Mapping[str, Any]

    def requests(self) -> SearchStrategy[Any]:
        """From well formed to nearly so: each field is right, wrong, of another type, or absent."""
        needed = {"model": self.model, **{name: st.just(value) for name, value in self.needed.items()}}
        others = {name: field for name, field in self.fields.items() if name not in needed}
        all_of_them = {"model": self.model, **self.fields}
        anything = {name: nearly(field) for name, field in all_of_them.items()}
        return (
            st.fixed_dictionaries(needed, optional=others)
            | st.fixed_dictionaries(needed, optional={name: nearly(field) for name, field in others.items()})
            | st.fixed_dictionaries({}, optional={**anything, "x": JSON})
            | JSON
        )


MESH_ITEMS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=20)}),
    *(
        st.fixed_dictionaries(
            {"type": st.just(kind), kind: nearly(st.fixed_dictionaries({"url": URLS}))},
            optional={"role": st.sampled_from(["first_frame", "last_frame", "reference_image", "hero"])},
        )
        for kind in ("image_url", "video_url", "audio_url")
    ),
    st.fixed_dictionaries({"type": st.just("draft_task"), "draft_task": JSON}),
)
MESH = Service(
    path="/v1/video/generations",
    accepted=200,
    refusals=frozenset({422}),
    ended="succeeded",
    model=st.sampled_from(["byteplus/seedance-1-0-pro-fast", "seedance-1-0-pro-250428", "seedance-v2-0"]),
    needed={"content": [{"type": "text", "text": "A teapot"}]},
    fields={
        "content": st.lists(MESH_ITEMS, max_size=3),
        "callback_url": st.sampled_from(["https://[", "ftp://e.com", "none"]),
        "return_last_frame": st.booleans(),
        "service_tier": st.sampled_from(["default", "flex", "fast"]),
        "execution_expires_after": st.sampled_from([3_600, 3_599, 259_200.0, HUGE]),
        "generate_audio": st.booleans(),
        "draft": st.booleans(),
        "resolution": st.sampled_from(["480p", "720p", "4k", "8k"]),
        "ratio": st.sampled_from(["16:9", "adaptive", "0:0"]),
        "duration": st.integers(-2, 16),
        "frames": st.integers(20, 60),
        "seed": st.integers(-2, 2**32),
        "camera_fixed": st.booleans(),
        "watermark": st.booleans(),
        "safety_identifier": st.text(max_size=70),
        "priority": st.integers(-1, 10),
    },
)
GETIMG = Service(
    path="/v2/videos/generations",
    accepted=202,
    refusals=frozenset({400}),
    ended="completed",
    model=st.sampled_from(["seedance-v1-pro", "seedance-v2-0"]),
    needed={"prompt": "A teapot"},
    fields={
        "prompt": st.text(max_size=20),
        "aspect_ratio": st.sampled_from(["16:9", "1:1", "0:0"]),
        "resolution": st.sampled_from(["480p", "1080p", "9p"]),
        "duration": st.integers(-1, 20),
        "sound": st.booleans(),
        "images": st.lists(
            st.fixed_dictionaries(
                {"url": URLS, "role": st.sampled_from(["first_frame", "last_frame", "reference_image"])}
            ),
            max_size=3,
        ),
    },
)
ARK = Service(
    path="/api/v3/contents/generations/tasks",
    accepted=200,
    refusals=frozenset({400, 404}),
    ended="succeeded",
    model=st.sampled_from(["seedance-1-0-pro-250528", "dreamina-seedance-2-5-260628", "ep-1", "kling"]),
    needed=MESH.needed,
    fields={
        **MESH.fields,
        "output_format": st.sampled_from(["mp4", "mov", "webm"]),
        "omni_reference_task_type": st.sampled_from(["auto", "edit", "else"]),
        "tools": st.sampled_from([[{"type": "web_search"}], [{}], "web_search"]),
    },
)
EACH = pytest.mark.parametrize("service", [MESH, GETIMG, ARK], ids=["mesh", "getimg", "ark"])


def check(client: httpx.Client, service: Service, answer: httpx.Response) -> None:
    """An accepted task can be read and ends; a refusal is documented, and in the envelope."""
    assert answer.status_code in {service.accepted, *service.refusals}, answer.text
    if answer.status_code == service.accepted:
        task = client.get(f"{service.path}/{answer.json()['id']}")
        assert (task.status_code, task.json()["status"]) == (200, service.ended)
        return
    error = answer.json()["error"]
    assert error["code"]
    assert error["message"]


@EACH
def test_any_json_is_accepted_or_refused_in_the_envelope(service: Service, server: SandboxServer) -> None:
    with connect(server) as client:

        @settings(max_examples=50)
        @given(service.requests())
        def ask(document: object) -> None:
            check(client, service, client.post(service.path, json=document))

        ask()
        assert server.accepted > 0


@EACH
def test_bodies_that_are_not_json_are_refused_in_the_envelope(
    service: Service, server: SandboxServer
) -> None:
    with connect(server) as client:
        good = json.dumps({**service.needed, "model": "seedance-v2-0"}).encode()

        @settings(max_examples=60)
        @given(st.binary(max_size=60) | st.integers(0, len(good) - 1).map(lambda cut: good[:cut]))
        def ask(body: bytes) -> None:
            answer = client.post(service.path, content=body)
            assert answer.status_code in service.refusals
            check(client, service, answer)

        ask()
        assert server.accepted == 0


@EACH
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"model":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        b'{"duration":' + b"9" * 10_000 + b"}",
        b'{"duration":1e999,"model":"seedance-v2-0"}',
        b'{"duration":NaN}',
        b'{"model":"\\ud800","prompt":"\\ud800","content":[{"type":"text","text":"\\ud800"}]}',
        b'{"model":"' + b"m" * 2_000_000 + b'"}',
        '{"model":"seedance-v2-0"}'.encode("utf-16"),
        b"\xff\xfe\x00",
        b"",
    ],
    ids=[
        "deep list",
        "deep object",
        "long number",
        "infinity",
        "NaN",
        "surrogates",
        "2 MB",
        "UTF-16",
        "no text",
        "empty",
    ],
)
def test_a_body_made_to_break_a_reader_is_refused(
    service: Service, body: bytes, client: httpx.Client, server: SandboxServer
) -> None:
    answer = client.post(service.path, content=body)
    assert answer.status_code in service.refusals
    check(client, service, answer)
    assert server.accepted == 0


@EACH
def test_any_id_and_any_query_are_answered(service: Service, server: SandboxServer) -> None:
    names = st.sampled_from(
        ["status", "model", "created_after", "limit", "offset", "type", "page_num", "filter.status"]
    )
    values = st.text(max_size=12) | st.sampled_from(["0001-01-01T00:00:00+23:59", "9999-12-31", "1e9", "-0"])
    with connect(server) as client:

        @settings(max_examples=40)
        @given(st.text(min_size=1, max_size=12), st.lists(st.tuples(names, values), max_size=3))
        def ask(name: str, query: list[tuple[str, str]]) -> None:
            path = "/v2/models" if service is GETIMG else service.path
            listed = client.get(path, params=query)
            assert listed.status_code in {200, *service.refusals}, listed.text
            one = client.get(f"{service.path}/{quote(name, safe='')}")
            assert one.status_code in (200, 404), one.text
            for answer in (listed, one):
                assert answer.status_code == 200 or answer.json()["error"]["code"]

        ask()
