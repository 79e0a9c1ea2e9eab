"""What the sandbox refuses: the OpenAPI document's types, and the limits of wire/seedance.md."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from runner.sandbox.validation import Refusal, VideoRequest, check_types, read_request
from tests.support.sandbox_requests import SHORT, body, image_item

TWO = "byteplus/dreamina-seedance-2-0"
NEW = "dreamina-seedance-2-5-260628"
HALF = "byteplus/seedance-1-5-pro"
LITE_I2V = "seedance-1-0-lite-i2v-250219"
LITE_T2V = "seedance-1-0-lite-t2v-250219"

_OPENAPI = yaml.safe_load((Path(__file__).parents[1] / "wire" / "mesh-video-openapi.yaml").read_text("utf-8"))
_REQUEST = _OPENAPI["components"]["schemas"]["VideoGenerationRequest"]
_ITEM = _OPENAPI["components"]["schemas"]["VideoContentItem"]
_VALIDATOR = Draft202012Validator(
    {"$ref": "#/components/schemas/VideoGenerationRequest", "components": _OPENAPI["components"]}
)

_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-10, 10), st.sampled_from([2.0, 2.5]), st.text(max_size=3)
)
_VALUES = st.one_of(
    _SCALARS, st.lists(_SCALARS, max_size=2), st.dictionaries(st.just("url"), st.text(), max_size=1)
)
_ITEMS = st.fixed_dictionaries({}, optional=dict.fromkeys(_ITEM["properties"], _VALUES))
_CONTENT = st.one_of(_VALUES, st.lists(st.one_of(_ITEMS, _VALUES), max_size=2))
_FIELDS = {name: _CONTENT if name == "content" else _VALUES for name in _REQUEST["properties"]}
_WELL_TYPED = {"model": st.just(SHORT), "content": st.just([{"type": "text", "text": "x"}])}


@settings(max_examples=100)
@given(
    st.one_of(
        st.fixed_dictionaries({}, optional=_FIELDS),
        st.fixed_dictionaries(
            _WELL_TYPED,
            optional={name: values for name, values in _FIELDS.items() if name not in _WELL_TYPED},
        ),
    )
)
def test_types_are_checked_exactly_as_the_openapi_document_says(document: dict[str, Any]) -> None:
    try:
        check_types(document)
        accepted = True
    except Refusal:
        accepted = False
    assert accepted == _VALIDATOR.is_valid(document)


@pytest.mark.parametrize("name", sorted(set(_REQUEST["properties"]) - {"model", "content"}))
def test_each_field_of_the_openapi_document_is_checked(name: str) -> None:
    with pytest.raises(Refusal, match=name):
        check_types(body(**{name: {"of": "no such type"}}))


def read(document: dict[str, Any]) -> VideoRequest:
    return read_request(json.dumps(document).encode())


def text_and(*items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    document = body(**fields)
    document["content"] = [*document["content"], *items]
    return document


def link(kind: str, role: str | None = None, url: str = "https://example.com/x") -> dict[str, Any]:
    item: dict[str, Any] = {"type": kind, kind: {"url": url}}
    return item if role is None else {**item, "role": role}


FIRST = link("image_url", "first_frame")
LAST = link("image_url", "last_frame")
REFERENCE = link("image_url", "reference_image")
CLIP = link("video_url", "reference_video")
SOUND = link("audio_url", "reference_audio")


@pytest.mark.parametrize(
    "document",
    [
        body(model=TWO, resolution="4k", duration=-1, priority=9, seed=4),
        body(model=TWO, generate_audio=False, safety_identifier="x" * 64),
        body(model=HALF, draft=True, resolution="480p"),
        body(model=HALF, service_tier="flex", camera_fixed=True, seed=-1),
        body(seed=4_294_967_295, execution_expires_after=3_600),
        body(frames=29),
        body(frames=289),
        body(priority=0, generate_audio=False, draft=False, camera_fixed=None),
        body(no_such_field="ignored"),
        text_and(FIRST),
        text_and(link("image_url")),
        text_and(FIRST, LAST),
        text_and(REFERENCE, CLIP, SOUND, model=TWO),
        text_and(*[REFERENCE] * 9, model=TWO),
        text_and(*[REFERENCE] * 30, *[CLIP] * 10, *[SOUND] * 10, model=NEW),
        text_and(FIRST, LAST, model=NEW, ratio="adaptive", duration=30),
        {"model": NEW, "content": [SOUND], "resolution": "1080p", "duration": -1},
        body(model=NEW, draft=True, resolution="480p"),
        body(model=HALF, duration=-1),
        text_and(*[REFERENCE] * 4, model=LITE_I2V),
        text_and(FIRST, LAST, model=LITE_I2V, resolution="1080p"),
        text_and(image_item(form="JPEG"), model=TWO),
        text_and(image_item(form="WEBP")),
        text_and(image_item(form="GIF")),
        {"model": TWO, "content": [REFERENCE]},
    ],
)
def test_what_the_model_can_do_is_accepted(document: dict[str, Any]) -> None:
    assert read(document).model == document["model"]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (body(model="gpt 5"), "is not a model"),
        ({"model": SHORT, "content": []}, "at least one"),
        ({"model": SHORT}, "content"),
        ({"content": []}, "model"),
        (body(prompt=" "), "text"),
        (body(seed=-2), "seed"),
        (body(seed=4_294_967_296), "seed"),
        (body(model=TWO, priority=10), "priority"),
        (body(priority=1), "priority"),
        (text_and(FIRST, model=NEW, ratio="16:9"), "adaptive"),
        (text_and(*[REFERENCE] * 9, *[CLIP] * 3, *[SOUND] * 4, model=TWO), "audio_url"),
        (body(model=LITE_T2V, frames=29), "frames"),
        (
            {
                "model": NEW,
                "content": [{"type": "draft_task", "draft_task": {"id": "t"}}],
                "resolution": "720p",
            },
            "1080p",
        ),
        (body(execution_expires_after=3_599), "execution_expires_after"),
        (body(execution_expires_after=259_201), "execution_expires_after"),
        (body(safety_identifier="x" * 65), "safety_identifier"),
        (body(service_tier="cheap"), "service_tier"),
        (body(model=TWO, service_tier="flex"), "service_tier"),
        (body(duration=5, frames=29), "exclude"),
        (body(frames=30), "frames"),
        (body(frames=293), "frames"),
        (body(model=HALF, frames=29), "frames"),
        (body(duration=13), "2 to 12"),
        (body(model=HALF, duration=3), "4 to 12"),
        (body(duration=-1), "2 to 12"),
        (body(model=TWO, duration=16), "4 to 15"),
        (body(resolution="4k"), "resolution"),
        (body(model="dreamina-seedance-2-0-fast", resolution="1080p"), "resolution"),
        (body(ratio="2:1"), "ratio"),
        (body(ratio=969), "ratio"),
        (body(model=TWO, camera_fixed=True), "camera_fixed"),
        (body(generate_audio=True), "generate_audio"),
        (body(draft=True), "draft"),
        (body(model=HALF, draft=True, resolution="720p"), "480p"),
        (body(model=HALF, draft=True, return_last_frame=True), "return_last_frame"),
        (body(model=HALF, draft=True, service_tier="flex"), "service_tier"),
        (body(return_last_frame=None), "return_last_frame"),
        (body(callback_url="ftp://example.com"), "callback_url"),
        (text_and(FIRST, FIRST), "one first_frame"),
        (text_and(LAST), "needs a first_frame"),
        (text_and(link("image_url"), link("image_url")), "a role each"),
        (text_and(FIRST, REFERENCE, model=TWO), "exclude each other"),
        (text_and(FIRST, LAST, model="seedance-1-0-pro-fast"), "last_frame"),
        (text_and(FIRST, model=LITE_T2V), "first_frame"),
        (body(model=LITE_I2V), "needs an image"),
        (text_and(REFERENCE), "0 reference images"),
        (text_and(*[REFERENCE] * 5, model=LITE_I2V), "4 reference images"),
        (text_and(REFERENCE, model=LITE_I2V, resolution="1080p"), "resolution"),
        (text_and(REFERENCE, model=LITE_I2V, camera_fixed=True), "camera_fixed"),
        (text_and(CLIP), "too many"),
        (text_and(*[SOUND] * 4, model=TWO), "too many"),
        (text_and(link("image_url", "poster")), "role"),
        (text_and(link("video_url", "first_frame"), model=TWO), "role"),
        ({"model": TWO, "content": [SOUND]}, "sole input"),
        (text_and(link("image_url", url="asset://1")), "asset"),
        (text_and({"type": "image_url", "image_url": "https://example.com/x.png"}), "object"),
        (text_and({"type": "image_url"}), "object with a url"),
        (text_and({"type": "hologram"}), "hologram"),
        (text_and({"type": "draft_task", "draft_task": {"id": "t-1"}}), "draft_task"),
        (text_and({"type": "draft_task", "draft_task": {}}, model=HALF), "id"),
        (text_and(image_item(200, 400)), "300 to 6000"),
        (text_and(image_item(1000, 301)), "from 0.4 to 2.5"),
        (text_and(link("image_url", url="data:image/png;base64,AAAA")), "not an image"),
        (text_and(link("image_url", url="data:image/png;base64,!!")), "base64"),
        (text_and(link("image_url", url="data:image/png;base64,")), "empty"),
        (text_and(link("image_url", url="data:image/png,AAAA")), "base64 data URI"),
        (text_and(link("image_url", url="data:text/plain;base64,AAAA")), "text/plain"),
        (text_and(link("image_url", url="data:image/heic;base64,AAAAAGZ0eXA=")), "heic"),
        (text_and(link("audio_url", url="data:audio/ogg;base64,AAAA"), model=TWO), "audio/ogg"),
    ],
)
def test_what_the_model_cannot_do_is_refused_with_422(document: dict[str, Any], says: str) -> None:
    with pytest.raises(Refusal, match=says) as caught:
        read(document)
    assert caught.value.status == 422


def test_an_image_past_30_megabytes_is_refused() -> None:
    data = base64.b64encode(bytes(30_000_000)).decode()
    with pytest.raises(Refusal, match="30 MB"):
        read(text_and(link("image_url", url=f"data:image/png;base64,{data}")))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"NaN", b'{"seed": NaN}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read_request(text)
    assert caught.value.code == "validation_error"


def test_what_is_no_model_is_model_not_found() -> None:
    with pytest.raises(Refusal) as caught:
        read(body(model="gpt 5"))
    assert caught.value.code == "model_not_found"


def test_heic_is_taken_where_the_table_says_so() -> None:
    heic = link("image_url", url="data:image/heic;base64,AAAAAGZ0eXA=")
    assert read(text_and(heic, model=TWO)).first is not None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("callback_url", "http://127.0.0.1/"),
        ("execution_expires_after", 100_000),
        ("safety_identifier", "me"),
        ("service_tier", "flex"),
        ("return_last_frame", True),
        ("seed", 4),
    ],
)
def test_what_does_not_change_the_picture_is_not_in_its_digest(field: str, value: object) -> None:
    assert read(body(**{field: value})).digest == read(body()).digest


@pytest.mark.parametrize(
    "change", [{"prompt": "Tea"}, {"duration": 3}, {"ratio": "1:1"}, {"camera_fixed": True}]
)
def test_what_changes_the_picture_changes_its_digest(change: dict[str, Any]) -> None:
    assert read(body(**change)).digest != read(body()).digest
