"""fal's requests: the model's id is the path, and its last part decides where the content goes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.job.schema import check_request
from runner.providers.dialect import CannotSayError, ContentFacts
from runner.providers.fal import FAL
from runner.providers.model_ids import id_that_was_meant

SEEDANCE = "bytedance/seedance-2.0"
TEXT = {"type": "text", "text": "A teapot spins"}
A, B, C = ("https://e.com/a.png", "https://e.com/b.png", "https://e.com/c.mp4")


def image(url: str, role: str | None = None) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}, **({"role": role} if role else {})}


def request(endpoint: str, *items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return FAL.dialect.request({"model": f"{SEEDANCE}/{endpoint}", **fields}, [TEXT, *items])


def test_frames_and_references_go_to_the_fields_of_their_endpoint() -> None:
    video = {"type": "video_url", "video_url": {"url": C}}
    sound = {"type": "audio_url", "audio_url": {"url": C}, "role": "reference_audio"}
    frames = request("image-to-video", image(A), image(B, "last_frame"))
    assert (frames["prompt"], frames["image_url"], frames["end_image_url"]) == ("A teapot spins", A, B)
    references = request(
        "reference-to-video", image(A, "reference_image"), image(B, "reference_image"), video, sound
    )
    assert (references["image_urls"], references["video_urls"], references["audio_urls"]) == (
        [A, B],
        [C],
        [C],
    )
    for each in (frames, references):
        assert check_request(FAL, each) == []


@pytest.mark.parametrize(
    ("endpoint", "item", "hint"),
    [
        ("text-to-video", image(A), f"use {SEEDANCE}/image-to-video"),
        ("text-to-video", image(A, "reference_image"), f"use {SEEDANCE}/reference-to-video"),
        ("reference-to-video", image(A, "first_frame"), f"use {SEEDANCE}/image-to-video"),
        ("image-to-video", image(A, "reference_image"), f"use {SEEDANCE}/reference-to-video"),
        (
            "image-to-video",
            {"type": "video_url", "video_url": {"url": C}},
            f"use {SEEDANCE}/reference-to-video",
        ),
        ("image-to-video", image(A, "last_frame"), f"add the image, or use {SEEDANCE}/text-to-video"),
        ("image-to-video", image(A, "hero"), "remove it"),
    ],
)
def test_an_item_that_the_endpoint_does_not_take_names_the_one_that_does(
    endpoint: str, item: dict[str, Any], hint: str
) -> None:
    with pytest.raises(CannotSayError) as caught:
        request(endpoint, item)
    assert caught.value.refusal.hint == hint


def test_two_first_frames_are_one_too_many() -> None:
    with pytest.raises(CannotSayError, match="one first_frame"):
        request("image-to-video", image(A), image(B))


@pytest.mark.parametrize("model", ["seedance", "a/../b", "a//b", "/a/b", "a/b?c", "a/b#c", "a/.", "a/b/"])
def test_what_is_no_path_of_two_words_is_no_model(model: str) -> None:
    with pytest.raises(CannotSayError, match="is not a model of fal"):
        FAL.dialect.request({"model": model}, [TEXT])


def test_content_that_no_endpoint_takes_is_refused_before_cells_are_known() -> None:
    text, draft = ContentFacts("text", "", False), ContentFacts("draft_task", "", False)
    made = ContentFacts("image_url", "first_frame", True)
    assert [each.message for each in FAL.dialect.refuse_content([text])] == []
    assert [each.message for each in FAL.dialect.refuse_content([])] == ["fal needs a prompt"]
    assert len([*FAL.dialect.refuse_content([text, text, draft, made])]) == 3


def test_common_words_have_the_services_form_and_come_back_in_their_own() -> None:
    said = request("text-to-video", duration=-1, aspect_ratio="adaptive")
    assert (said["duration"], said["aspect_ratio"]) == ("auto", "auto")
    asked = FAL.dialect.asked(said)
    assert (asked.duration, asked.ratio, asked.resolution) == (-1, "adaptive", "720p")
    assert [(item.kind, item.role) for item in asked.items] == [("text", "text")]
    assert request("text-to-video", duration=5)["duration"] == "5"


@given(st.integers(1, 999))
def test_a_duration_is_text_and_a_number_again(seconds: int) -> None:
    said = FAL.dialect.value("duration", seconds)
    assert said == str(seconds)
    assert FAL.dialect.asked({"model": "a/b", "duration": said}).duration == seconds


def test_the_body_is_the_input_and_the_rest_stands_in_path_query_and_headers() -> None:
    body = FAL.body(
        request("text-to-video", duration="5", fal_max_queue_length=20),
        (),
        lambda _: b"",
        tag=None,
        callback_url="https://e.com/?a=1&b=2",
    )
    callback = "https%3A%2F%2Fe.com%2F%3Fa%3D1%26b%3D2"
    assert body.path == f"/{SEEDANCE}/text-to-video?fal_webhook={callback}&fal_max_queue_length=20"
    assert json.loads(body.content) == {"prompt": "A teapot spins", "duration": "5"}
    assert dict(body.headers) == {
        "X-Fal-No-Retry": "1",
        "x-app-fal-disable-fallback": "true",
        "X-Fal-Request-Start-Timeout": "86400",
    }


def test_addresses_by_name_are_sent_as_they_are() -> None:
    made = request("reference-to-video", image("key:one", "reference_image"), image(B, "reference_image"))
    body = FAL.body(made, (), lambda _: b"", tag=None, callback_url=None, addresses={"key:one": A})
    assert json.loads(body.content)["image_urls"] == [A, B]
    assert [url for _, url in FAL.dialect.urls(made)] == ["key:one", B]


@pytest.mark.parametrize(
    ("model", "lacks", "has"),
    [
        ("bytedance/seedance-2.5/text-to-video", "camera_fixed", "task"),
        ("bytedance/seedance-2.0/fast/text-to-video", "task", "bitrate_mode"),
        ("fal-ai/bytedance/seedance/v1.5/pro/text-to-video", "bitrate_mode", "camera_fixed"),
    ],
)
def test_each_version_lacks_what_the_others_have(model: str, lacks: str, has: str) -> None:
    assert lacks in FAL.dialect.lacks(model)
    assert has not in FAL.dialect.lacks(model)
    assert FAL.dialect.lacks("fal-ai/kling/v2/text-to-video") == frozenset()


def test_models_are_known_by_their_whole_ids() -> None:
    catalogue = FAL.catalogue
    family = catalogue.find("bytedance/seedance-2.0/mini/image-to-video")
    assert family is not None
    assert (family.title, str(family.prices["720p"].plain)) == ("Seedance 2.0 mini", "0.1547")
    assert catalogue.find("seedance-2-0") is None
    slip = "bytedance/seedance-2.0/text-to-vidoe"
    assert id_that_was_meant(catalogue, slip) == "bytedance/seedance-2.0/text-to-video"
    assert id_that_was_meant(catalogue, "bytedance/seedance-3.0/text-to-video") == ""
    for model in catalogue.by_whole_id:
        assert id_that_was_meant(catalogue, model) == ""
