"""A job's words as a prediction's body, and what cannot be said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from callsheet_replicate import REPLICATE

from runner.providers.dialect import CannotSayError, ContentFacts

DIALECT = REPLICATE.dialect
VERSION = "a" * 64
URL = "https://example.com/cup.png"


def image(role: str = "first_frame", url: str = URL) -> dict[str, Any]:
    return {"type": "image_url", "role": role, "image_url": {"url": url}}


TEXT = {"type": "text", "text": "A cup of tea"}


def body_of(request: Mapping[str, Any], **more: Any) -> tuple[str, dict[str, Any], dict[str, str]]:
    body = REPLICATE.body(request, (), lambda _: b"", tag=None, callback_url=None, **more)
    return body.path, json.loads(body.content), dict(body.headers)


def test_an_official_model_stands_in_the_path_and_its_fields_below_input() -> None:
    request = DIALECT.request({"model": "bytedance/seedance-2.0", "duration": 5, "seed": None}, [TEXT])
    path, sent, headers = body_of(request)
    assert path == "/models/bytedance/seedance-2.0/predictions"
    assert sent == {"input": {"duration": 5, "prompt": "A cup of tea"}}
    assert headers == {"Cancel-After": "2h30m"}, "and never Prefer"


def test_a_version_goes_to_predictions() -> None:
    path, sent, _ = body_of({"model": f"someone/film:{VERSION}", "prompt": "tea", "cancel_after": "90s"})
    assert (path, sent["version"]) == ("/predictions", f"someone/film:{VERSION}")
    assert sent["input"] == {"prompt": "tea"}


def test_a_job_says_when_the_service_gives_up_and_which_calls_it_makes() -> None:
    given = {"model": "a/b", "prompt": "tea", "cancel_after": "20m", "webhook": "https://example.com/"}
    _, sent, headers = body_of(given)
    assert headers["Cancel-After"] == "20m"
    assert (sent["webhook"], sent["webhook_events_filter"]) == ("https://example.com/", ["completed"])
    _, sent, _ = body_of({**given, "webhook_events_filter": ["start", "completed"]})
    assert sent["webhook_events_filter"] == ["start", "completed"]
    assert sent["input"] == {"prompt": "tea"}


def test_the_run_is_called_where_the_job_names_no_address() -> None:
    body = REPLICATE.body(
        {"model": "a/b", "prompt": "tea"}, (), lambda _: b"", tag=None, callback_url="https://run/"
    )
    assert json.loads(body.content)["webhook"] == "https://run/"


def test_files_go_where_their_roles_say_with_their_addresses() -> None:
    model = {"model": "bytedance/seedance-2.0"}
    frames = DIALECT.request(dict(model), [TEXT, image(url="sha256:1"), image("last_frame", "sha256:2")])
    _, sent, _ = body_of(frames, addresses={"sha256:1": "https://a/1", "sha256:2": "https://a/2"})
    assert sent["input"] == {
        "prompt": "A cup of tea",
        "image": "https://a/1",
        "last_frame_image": "https://a/2",
    }
    video = {"type": "video_url", "video_url": {"url": "https://example.com/clip.mp4"}}
    references = DIALECT.request(dict(model), [TEXT, image("reference_image"), video])
    assert references["reference_images"] == [URL]
    asked = DIALECT.asked(references)
    assert [(item.kind, item.role) for item in asked.items] == [
        ("image_url", "reference_image"),
        ("video_url", "reference_video"),
    ]
    assert [path[-1] for path, _ in DIALECT.urls(references)] == ["image_url", "video_url"]


@pytest.mark.parametrize(
    "items",
    [
        [TEXT, image("last_frame")],
        [TEXT, image(), image("reference_image")],
        [TEXT, image(), image()],
    ],
)
def test_files_that_are_not_taken_together_are_refused(items: list[dict[str, Any]]) -> None:
    facts = [ContentFacts(item["type"], item.get("role"), is_reference=False) for item in items]
    assert list(DIALECT.refuse_content(facts))
    with pytest.raises(CannotSayError):
        DIALECT.request({"model": "a/b"}, items)


def test_a_second_text_a_draft_and_another_steps_frame_are_refused() -> None:
    for facts in (
        [ContentFacts("text", None, is_reference=False)] * 2,
        [ContentFacts("draft_task", None, is_reference=False)],
        [ContentFacts("image_url", "first_frame", is_reference=True)],
    ):
        assert list(DIALECT.refuse_content(facts))


def test_seedance_2_0_has_no_output_format() -> None:
    assert "output_format" in DIALECT.lacks("bytedance/seedance-2.0-fast")
    assert not DIALECT.lacks("bytedance/seedance-2.5")
