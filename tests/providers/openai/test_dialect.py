"""What is sent to each kind of server, and what cannot be said to it."""

from __future__ import annotations

import hashlib
import json
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.json_value import JsonValue
from runner.providers.base import Body, InputFile
from runner.providers.dialect import CannotSayError, ContentFacts
from runner.providers.openai import OPENAI
from runner.providers.provider import Provider

PROMPT: list[dict[str, JsonValue]] = [{"type": "text", "text": "A teapot spins"}]
PNG = b"\x89PNG\r\n\x1a\n\x00\xff--boundary\r\n"
URL = "https://example.com/a.png"

EACH = pytest.mark.parametrize("provider", OPENAI.dialects.values(), ids=OPENAI.dialects)


def at(name: str) -> Provider:
    return OPENAI.dialects[name]


def made(provider: Provider, **fields: JsonValue) -> dict[str, JsonValue]:
    return provider.dialect.request({"model": "wan", **fields}, PROMPT)


def sent(provider: Provider, request: dict[str, JsonValue], *files: InputFile, content: bytes = PNG) -> Body:
    return provider.body(request, files, lambda _: content, tag=None, callback_url=None)


def form(body: Body) -> dict[str, tuple[bytes, str, str | None]]:
    """The parts by name: content, type and file name, as an independent reader has them."""
    head = f"Content-Type: {body.content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body.content)
    found: dict[str, tuple[bytes, str, str | None]] = {}
    for part in message.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="content-disposition")
        found[name] = (part.get_payload(decode=True), part.get_content_type(), part.get_filename())
    return found


def refusal(provider: Provider, **fields: JsonValue) -> tuple[Any, str, str]:
    with pytest.raises(CannotSayError) as caught:
        made(provider, **fields)
    told = caught.value.refusal
    return told.path, told.message, told.hint


@pytest.mark.parametrize(
    ("name", "length"), [("vllm-omni", "5"), ("sglang", 5), ("litellm", "5"), ("reference", None)]
)
def test_each_server_has_the_length_in_its_own_type(name: str, length: object) -> None:
    """And one that was written in the other type is the same request."""
    if length is None:
        assert made(at(name), seconds=8) == made(at(name), seconds="8")
        assert made(at(name), seconds=8)["seconds"] == "8"
        return
    assert made(at(name), seconds=5)["seconds"] == length
    assert made(at(name), seconds="5") == made(at(name), seconds=5)


@EACH
def test_resolution_and_ratio_are_a_size_and_are_heard_again(provider: Provider) -> None:
    request = made(provider, resolution="720p", ratio="9:16", seconds=4)
    assert request["size"] == "720x1280"
    assert request.keys() == {"model", "prompt", "seconds", "size"}
    asked = provider.dialect.asked(request)
    assert (asked.model, asked.resolution, asked.ratio, asked.duration) == ("wan", "720p", "9:16", 4)


def test_a_pair_without_a_size_is_refused_with_what_to_write() -> None:
    path, told, hint = refusal(at("vllm-omni"), resolution="720p", ratio="adaptive")
    assert (path, told) == (("ratio",), "the dialect vllm-omni has no size for 720p at adaptive")
    assert "size: 1280x720" in hint
    path, _, hint = refusal(at("reference"), resolution="480p", ratio="16:9")
    assert path == ("resolution",)
    assert "720p at 16:9" in hint
    assert refusal(at("sglang"), resolution="720p")[2] == "ratio: 16:9"
    assert refusal(at("sglang"), ratio="16:9")[2] == "resolution: 720p"
    assert refusal(at("sglang"), resolution="720p", ratio="16:9", size="8x8")[1] == "`size` says it already"


def test_the_reference_takes_its_own_sizes_and_lengths_alone() -> None:
    assert made(at("reference"), size="1792x1024", seconds="12")["size"] == "1792x1024"
    assert refusal(at("reference"), size="832x480")[0] == ("size",)
    assert refusal(at("reference"), seconds=5)[1] == "the dialect reference takes 4, 8, 12, 16, 20 seconds"
    assert made(at("vllm-omni"), size="832x480", seconds=5)["size"] == "832x480"


@pytest.mark.parametrize(
    ("name", "word", "own"),
    [
        ("vllm-omni", "generate_audio", "generate_sound"),
        ("litellm", "generate_audio", "generate_audio"),
        ("sglang", "generate_audio", ""),
        ("reference", "generate_audio", ""),
        ("vllm-omni", "seed", "seed"),
        ("sglang", "seed", "seed"),
        ("litellm", "seed", "seed"),
        ("reference", "seed", ""),
        ("sglang", "n", "n"),
        ("vllm-omni", "n", ""),
        ("vllm-omni", "frames", "num_frames"),
        ("reference", "frames", ""),
        ("reference", "duration", "seconds"),
        ("litellm", "ratio", "ratio"),
        ("litellm", "camera_fixed", ""),
    ],
)
def test_a_dialect_has_its_own_name_for_a_word_or_none(name: str, word: str, own: str) -> None:
    assert at(name).own_name(word) == own


def test_a_field_of_another_dialect_is_refused() -> None:
    assert refusal(at("reference"), seed=7)[1] == "the dialect reference has no `seed`"


@EACH
def test_the_same_request_is_the_same_body(provider: Provider, tmp_path: Path) -> None:
    """A ledger notes its digest before it is sent."""
    file = InputFile("ab" * 32, "image/png", len(PNG), tmp_path / "a.png")
    request = made(provider, seconds=4) | {"input_reference": [{"url": file.reference}]}
    one, other = sent(provider, request, file), sent(provider, dict(request), file)
    assert hashlib.sha256(one.content).digest() == hashlib.sha256(other.content).digest()
    assert one == other


@EACH
def test_a_local_image_is_a_file_of_the_form(provider: Provider, tmp_path: Path) -> None:
    file = InputFile("ab" * 32, "image/png", len(PNG), tmp_path / "a.png")
    request = made(provider, seconds=4) | {"input_reference": [{"url": file.reference}]}
    body = sent(provider, request, file)
    assert body.path == "/videos"
    assert b"base64" not in body.content
    parts = form(body)
    assert parts["input_reference"] == (PNG, "image/png", "input_reference.png")
    assert parts["prompt"][0] == b"A teapot spins"
    assert parts["seconds"][0] == b"4"


@EACH
def test_a_data_uri_of_the_job_is_a_file_too(provider: Provider) -> None:
    request = made(provider) | {"input_reference": [{"url": "data:image/jpeg;base64,YWJj"}]}
    assert form(sent(provider, request))["input_reference"] == (b"abc", "image/jpeg", "input_reference.jpg")


def test_vllm_omni_takes_a_form_alone_and_the_others_json() -> None:
    request = made(at("vllm-omni"), seed=7, fps=24.5, generate_sound=True, negative_prompt="Ärger\r\nhier")
    parts = {name: content for name, (content, _, _) in form(sent(at("vllm-omni"), request)).items()}
    assert parts == {
        "model": b"wan",
        "prompt": b"A teapot spins",
        "seed": b"7",
        "fps": b"24.5",
        "generate_sound": b"true",
        "negative_prompt": "Ärger\r\nhier".encode(),
    }
    body = sent(at("sglang"), made(at("sglang"), seconds=4, seed=7))
    assert body.content_type == "application/json"
    assert json.loads(body.content) == {"model": "wan", "prompt": "A teapot spins", "seconds": 4, "seed": 7}


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("reference", "input_reference", {"image_url": URL}),
        ("litellm", "input_reference", {"image_url": URL}),
        ("sglang", "reference_url", URL),
    ],
)
def test_an_address_is_said_as_the_server_has_it(name: str, field: str, value: object) -> None:
    request = made(at(name)) | {"input_reference": [{"url": URL}]}
    assert json.loads(sent(at(name), request).content)[field] == value


def test_an_address_stands_in_a_form_as_json() -> None:
    request = made(at("vllm-omni")) | {"input_reference": [{"url": URL}]}
    parts = form(sent(at("vllm-omni"), request))
    assert parts["image_reference"][0] == json.dumps({"image_url": URL}, separators=(",", ":")).encode()
    assert "input_reference" not in parts


def test_a_gateway_is_told_to_repeat_nothing_by_itself() -> None:
    assert sent(at("litellm"), made(at("litellm"))).headers == (("x-litellm-num-retries", "0"),)
    assert sent(at("vllm-omni"), made(at("vllm-omni"))).headers == ()


def test_content_becomes_a_prompt_and_a_picture() -> None:
    image: dict[str, JsonValue] = {"type": "image_url", "image_url": {"url": URL}, "role": "first_frame"}
    request = OPENAI.dialect.request({"model": "m"}, [*PROMPT, image])
    assert request == {"model": "m", "prompt": "A teapot spins", "input_reference": [{"url": URL}]}
    assert list(OPENAI.dialect.texts(request)) == [(("prompt",), "A teapot spins")]
    assert list(OPENAI.dialect.urls(request)) == [(("input_reference", 0, "image_url"), URL)]
    assert [(item.kind, item.role) for item in OPENAI.dialect.asked(request).items] == [
        ("image_url", "first_frame")
    ]
    with pytest.raises(CannotSayError, match="no last_frame"):
        OPENAI.dialect.request({"model": "m"}, [*PROMPT, {**image, "role": "last_frame"}])


def facts(kind: str, role: str | None = "", *, is_reference: bool = False) -> ContentFacts:
    return ContentFacts(kind, role, is_reference)


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([], "openai needs a prompt"),
        ([facts("text"), facts("text")], "openai takes one text, as its prompt"),
        ([facts("text"), *[facts("image_url", "first_frame")] * 2], "openai takes one image, to begin with"),
        (
            [facts("text"), facts("image_url", "last_frame")],
            "openai takes an image to begin with, and no last_frame",
        ),
        (
            [facts("text"), facts("image_url", "first_frame", is_reference=True)],
            "openai makes no last frame that a step could begin with",
        ),
        (
            [facts("text"), facts("draft_task")],
            "callsheet asks openai for no remix, edit or extension of a video",
        ),
        ([facts("text"), facts("video_url")], "openai takes no video_url"),
        ([facts("text"), facts("audio_url")], "openai takes no audio_url"),
    ],
)
def test_content_that_cannot_be_said_is_refused(items: list[ContentFacts], told: str) -> None:
    assert [refusal.message for refusal in OPENAI.dialect.refuse_content(items)] == [told]


def test_a_role_that_an_expression_decides_is_left_to_the_cells() -> None:
    assert list(OPENAI.dialect.refuse_content([facts("text"), facts("image_url", None)])) == []


def test_pictures_of_other_kinds_are_refused(tmp_path: Path) -> None:
    gif = InputFile("ab" * 32, "image/gif", 3, tmp_path / "a.gif")
    assert OPENAI.dialect.refuse_file(gif) is not None
    assert OPENAI.dialect.refuse_url("data:image/gif;base64,AA") is not None
    assert OPENAI.dialect.refuse_url("DATA:image/png;base64,AA") is None
    assert OPENAI.dialect.refuse_url(URL) is None


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.binary())
def test_any_text_and_any_picture_come_through_a_form(prompt: str, content: bytes) -> None:
    provider, file = at("vllm-omni"), InputFile("ab" * 32, "image/png", 1, Path("/a.png"))
    request: dict[str, JsonValue] = {"prompt": prompt, "input_reference": [{"url": file.reference}]}
    body = sent(provider, request, file, content=content)
    boundary = body.content_type.partition("boundary=")[2].encode()
    assert body.content.count(boundary) == 3
    first, second = body.content.split(b"--" + boundary)[1:3]
    assert first.endswith(b"\r\n\r\n" + prompt.encode() + b"\r\n")
    assert second.endswith(b"\r\n\r\n" + content + b"\r\n")
