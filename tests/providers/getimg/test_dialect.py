"""What is sent to getimg.ai, and what cannot be said to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.json_value import JsonValue
from runner.providers.base import InputFile
from runner.providers.dialect import CannotSayError, ContentFacts
from runner.providers.getimg import GETIMG

DIALECT = GETIMG.dialect
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def test_the_body_is_the_request_alone(tmp_path: Path) -> None:
    """The service echoes no field of ours and calls nobody: tag and callback go nowhere."""
    plain: dict[str, JsonValue] = {"model": "seedance-v1-pro", "prompt": "a teapot", "sound": None}
    body = GETIMG.body(plain, (), lambda _: b"", tag=7, callback_url="https://example.com/hook").content
    assert body == b'{"model":"seedance-v1-pro","prompt":"a teapot"}'
    file = InputFile("ab" * 32, "image/png", 3, tmp_path / "a.png")
    images: list[JsonValue] = [
        {"url": file.reference, "role": "first_frame"},
        {"url": "https://example.com/a.png", "role": "last_frame"},
    ]
    request: dict[str, JsonValue] = {"model": "m", "prompt": "a", "images": images}
    sent = GETIMG.body(request, (file,), lambda _: b"abc", tag=None, callback_url=None).content
    assert [image["url"] for image in json.loads(sent)["images"]] == [
        "data:image/png;base64,YWJj",
        "https://example.com/a.png",
    ]
    with pytest.raises(ValueError, match="not among the task's inputs"):
        GETIMG.body(request, (), lambda _: b"", tag=None, callback_url=None)


def test_a_role_that_is_not_taken_beside_the_others_cannot_be_said() -> None:
    with pytest.raises(CannotSayError) as caught:
        DIALECT.request({"model": "m"}, [{"type": "text", "text": "A"}, {**IMAGE, "role": "last_frame"}])
    assert caught.value.refusal.path == ("content", 1, "role")


def test_a_role_that_an_expression_decides_is_left_to_the_cells() -> None:
    items = [ContentFacts("text", "", False), ContentFacts("image_url", None, False)]
    assert list(DIALECT.refuse_content(items)) == []
    items[1] = ContentFacts("image_url", "last_frame", False)
    assert [refusal.path for refusal in DIALECT.refuse_content(items)] == [("content", 1, "role")]


def test_a_request_is_read_in_the_common_words() -> None:
    images: list[JsonValue] = [{"url": "https://example.com/a.png", "role": "last_frame"}]
    request: dict[str, JsonValue] = {"model": "m", "prompt": "A", "aspect_ratio": "1:1", "images": images}
    asked = DIALECT.asked(request | {"sound": True})
    assert (asked.ratio, asked.generate_audio, asked.frames) == ("1:1", True, None)
    assert (asked.name("ratio"), asked.name("generate_audio")) == ("aspect_ratio", "sound")
    assert [(item.kind, item.role) for item in asked.items] == [("image_url", "last_frame")]
    assert list(DIALECT.texts(request)) == [(("prompt",), "A")]
