"""What is sent to Mesh API."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.providers.base import InputFile
from runner.providers.mesh import MESH, TAG

PICTURE = InputFile("5e" * 32, "image/png", 4, Path("/project/teapot.png"))


def encode(request: dict[str, Any], *inputs: InputFile, **options: Any) -> Any:
    options = {"tag": None, "callback_url": None, **options}
    return json.loads(MESH.body(request, inputs, lambda _: b"\x89PNG", **options).content)


def test_the_body_is_compact_utf8_in_the_order_of_the_job() -> None:
    request = {"model": "m", "content": [{"type": "text", "text": "thé ☕"}], "ratio": "16:9"}
    body = MESH.body(request, (), lambda _: b"", tag=None, callback_url=None).content
    assert body == '{"model":"m","content":[{"type":"text","text":"thé ☕"}],"ratio":"16:9"}'.encode()


def test_null_fields_are_left_out_wherever_they_stand() -> None:
    item = {"type": "text", "text": "a", "role": None}
    assert encode({"model": "m", "content": (item,), "seed": None, "draft": False, "priority": 0}) == {
        "model": "m",
        "content": [{"type": "text", "text": "a"}],
        "draft": False,
        "priority": 0,
    }


@pytest.mark.parametrize("form", ["string", "object"])
def test_a_local_file_becomes_a_data_uri_in_an_object(form: str) -> None:
    reference = PICTURE.reference
    media = reference if form == "string" else {"url": reference}
    item = {"type": "image_url", "image_url": media, "role": "first_frame"}
    (sent,) = encode({"model": "m", "content": [item]}, PICTURE)["content"]
    data = base64.b64encode(b"\x89PNG").decode()
    assert sent == {**item, "image_url": {"url": f"data:image/png;base64,{data}"}}


@pytest.mark.parametrize("name", ["image_url", "video_url", "audio_url"])
def test_a_bare_url_is_sent_as_an_object(name: str) -> None:
    item = {"type": name, name: "https://example.net/a"}
    assert encode({"model": "m", "content": [item]})["content"] == [
        {"type": name, name: {"url": "https://example.net/a"}}
    ]


def test_an_item_of_an_unknown_shape_is_sent_as_it_is() -> None:
    content = ["text", {"type": "draft_task", "draft_task": {"id": "t-0"}}]
    assert encode({"model": "m", "content": content})["content"] == content


def test_a_prompt_that_looks_like_a_reference_stays_text() -> None:
    item = {"type": "text", "text": PICTURE.reference}
    assert encode({"model": "m", "content": [item]}, PICTURE)["content"] == [item]


def test_a_reference_to_a_file_that_the_task_does_not_have_is_refused() -> None:
    item = {"type": "image_url", "image_url": PICTURE.reference}
    with pytest.raises(ValueError, match="not among the task's inputs"):
        encode({"model": "m", "content": [item]})


@given(tag=st.integers(0, TAG.count - 1))
def test_a_tag_is_sent_as_the_expiry_within_the_services_bounds(tag: int) -> None:
    sent = encode({"model": "m", "content": []}, tag=tag)[TAG.field]
    assert sent == 172_800 - tag
    assert 3600 <= sent <= 259_200


@pytest.mark.parametrize("tag", [-1, TAG.count])
def test_a_tag_out_of_range_is_refused(tag: int) -> None:
    with pytest.raises(ValueError, match="tag"):
        encode({"model": "m"}, tag=tag)


def test_what_the_job_sets_stands_above_tag_and_callback() -> None:
    request = {"model": "m", TAG.field: 7200, "callback_url": "https://mine.example/"}
    assert encode(request, tag=5, callback_url="https://ours.example/") == request


def test_a_null_in_the_job_leaves_room_for_tag_and_callback() -> None:
    request = {"model": "m", TAG.field: None, "callback_url": None}
    assert encode(request, tag=5, callback_url="https://ours.example/") == {
        "model": "m",
        TAG.field: 172_795,
        "callback_url": "https://ours.example/",
    }


def test_a_request_is_read_in_the_common_words() -> None:
    content = [{"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}, {"type": "draft_task"}]
    request = {"model": "m", "service_tier": "flex", "return_last_frame": True, "seed": 1, "content": content}
    asked = MESH.dialect.asked(request)
    assert (asked.is_flex, asked.wants_last_frame, asked.has_seed) == (True, True, True)
    assert [item.role for item in asked.items] == ["first_frame", "draft_task"]
    assert (asked.name("flex"), asked.name("last_frame")) == ("service_tier", "return_last_frame")
    plain = MESH.dialect.asked({"model": "m", "service_tier": "default"})
    assert (plain.is_flex, plain.wants_last_frame, plain.has_seed) == (False, False, False)


def test_each_text_is_found_with_its_place() -> None:
    content = [{"type": "draft_task"}, {"type": "text", "text": "A teapot"}, "no item"]
    assert list(MESH.dialect.texts({"content": content})) == [(("content", 1, "text"), "A teapot")]
