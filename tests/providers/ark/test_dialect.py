"""What is sent to Ark, and what it is not told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.json_value import JsonValue
from runner.providers.ark import ARK, TAG, TEXT_TAG
from runner.providers.base import InputFile
from runner.providers.dialect import Refusal
from runner.providers.models import ListPrice

NEWEST = "dreamina-seedance-2-5-260628"
SECOND = "dreamina-seedance-2-0-260128"
FIRST = "seedance-1-0-pro-250528"
TEXT: dict[str, JsonValue] = {"type": "text", "text": "A teapot"}
DRAFT: dict[str, JsonValue] = {"type": "draft_task", "draft_task": {"id": "cgt-1"}}


def media(kind: str, role: str, url: str = "https://e.com/a") -> dict[str, JsonValue]:
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}, "role": role}


IMAGE, VIDEO = media("image", "reference_image"), media("video", "reference_video")
FRAME = media("image", "first_frame")


def sent(model: str, **fields: Any) -> Any:
    request = {"model": model, "content": [TEXT], **fields}
    return json.loads(ARK.body(request, (), lambda _: b"", tag=None, callback_url=None).content)


def refusals(model: str, *content: dict[str, JsonValue], **fields: Any) -> list[Refusal]:
    family = ARK.catalogue.find(model)
    assert family is not None
    asked = ARK.dialect.asked({"model": model, "content": [*content], **fields})
    return list(ARK.dialect.refuse_request(asked, family))


def paths(model: str, *content: dict[str, JsonValue], **fields: Any) -> list[tuple[str | int, ...]]:
    return [refusal.path for refusal in refusals(model, *content, **fields)]


ASKS_NOTHING: dict[str, JsonValue] = {
    "camera_fixed": False,
    "generate_audio": False,
    "draft": False,
    "priority": 0,
    "service_tier": "default",
    "output_format": "mp4",
    "omni_reference_task_type": "auto",
}


@pytest.mark.parametrize(
    ("model", "known"),
    [
        (NEWEST, {"generate_audio", "draft", "priority", "output_format", "omni_reference_task_type"}),
        (SECOND, {"generate_audio", "priority"}),
        (f"doubao-{SECOND.removeprefix('dreamina-')}", {"generate_audio", "priority"}),
        (FIRST, {"camera_fixed", "service_tier"}),
        ("seedance-1-5-pro-251215", {"camera_fixed", "generate_audio", "draft", "service_tier"}),
        ("ep-20261101-abcde", {*ASKS_NOTHING}),
    ],
)
def test_a_field_that_a_model_does_not_know_is_not_sent_where_it_asks_for_nothing(
    model: str, known: set[str]
) -> None:
    assert sent(model, **ASKS_NOTHING).keys() == {"model", "content", *known}


def test_what_is_asked_for_is_sent_as_it_is() -> None:
    """A model that lacks it is refused by the plan; whoever switches that off has the last word."""
    assert sent(SECOND, draft=True, service_tier="flex")["draft"] is True


def test_either_tag_goes_into_its_field_and_below_what_the_job_sets() -> None:
    request: dict[str, JsonValue] = {"model": SECOND, "content": [TEXT]}
    body = ARK.body(request, (), lambda _: b"", tag=5, callback_url="https://ours.example/")
    assert json.loads(body.content)["execution_expires_after"] == TAG.default - 5
    assert json.loads(body.content)["callback_url"] == "https://ours.example/"
    assert body.path == "/contents/generations/tasks"
    assert TEXT_TAG.value(0x1F) == "cs-1f"
    assert len(str(TEXT_TAG.value(TEXT_TAG.count - 1))) <= 64


@pytest.mark.parametrize(
    ("url", "is_taken"),
    [
        ("https://e.com/a.mp4", True),
        ("asset://asset-2026", True),
        ("asset://", False),
        ("data:image/png;base64,AAAA", True),
        ("data:audio/wav;base64,AAAA", True),
        ("data:image/PNG;base64,AAAA", False),
        ("DATA:image/png;base64,AAAA", False),
        ("data:image/png,AAAA", False),
        ("data:video/mp4;base64,AAAA", False),
    ],
)
def test_the_forms_of_an_address(url: str, is_taken: bool) -> None:
    assert (ARK.dialect.refuse_url(url) is None) is is_taken


def test_a_video_does_not_go_with_the_request() -> None:
    def refused(media_type: str) -> bool:
        return ARK.dialect.refuse_file(InputFile("5e" * 32, media_type, 4, Path("/project/a"))) is not None

    assert refused("video/mp4")
    assert not refused("image/png")
    assert not refused("audio/wav")


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (SECOND, {"output_format": "mov"}),
        (SECOND, {"omni_reference_task_type": "edit"}),
        (FIRST, {"tools": [{"type": "web_search"}]}),
    ],
)
def test_a_field_of_another_model_is_refused(model: str, fields: dict[str, Any]) -> None:
    assert [*fields] == [path[0] for path in paths(model, TEXT, **fields)]


def test_the_fields_of_a_model_pass() -> None:
    tools = [{"type": "web_search"}]
    assert paths(NEWEST, TEXT, output_format="mov", tools=tools) == []
    assert paths(SECOND, TEXT, tools=tools) == []
    assert paths(SECOND, TEXT, output_format="mp4", omni_reference_task_type="auto") == []


def test_tools_are_for_text_alone() -> None:
    assert paths(SECOND, TEXT, IMAGE, tools=[{"type": "web_search"}]) == [("tools",)]


@pytest.mark.parametrize(
    ("task_type", "content", "fields", "refused"),
    [
        ("reference", [IMAGE], {"ratio": "16:9"}, []),
        ("edit", [VIDEO], {}, []),
        ("edit", [VIDEO, IMAGE], {"ratio": "adaptive", "duration": -1}, []),
        ("extend", [VIDEO], {"duration": 10}, []),
        ("edit", [VIDEO], {"ratio": "16:9"}, ["ratio"]),
        ("edit", [VIDEO], {"duration": 5}, ["duration"]),
        ("extend", [VIDEO], {"ratio": "1:1"}, ["ratio"]),
        ("edit", [IMAGE], {}, ["omni_reference_task_type"]),
        ("reference", [], {}, ["omni_reference_task_type"]),
        ("reference", [FRAME], {}, ["omni_reference_task_type"]),
        ("auto", [FRAME], {}, []),
    ],
)
def test_what_references_are_for_has_rules(
    task_type: str, content: list[dict[str, JsonValue]], fields: dict[str, Any], refused: list[str]
) -> None:
    fields = {"omni_reference_task_type": task_type, **fields}
    assert [path[0] for path in paths(NEWEST, TEXT, *content, **fields)] == refused


@pytest.mark.parametrize(
    ("content", "fields", "refused"),
    [
        ([DRAFT], {"resolution": "1080p"}, []),
        ([DRAFT], {"resolution": "1080p", "return_last_frame": True, "watermark": True}, []),
        ([DRAFT], {}, [("content",)]),
        ([DRAFT, TEXT], {"resolution": "1080p"}, [("content", 1)]),
        ([DRAFT, FRAME], {"resolution": "1080p"}, [("content", 1)]),
        ([DRAFT, DRAFT], {"resolution": "1080p"}, [("content", 0)]),
        ([DRAFT], {"resolution": "1080p", "duration": 5, "ratio": "16:9"}, [("ratio",), ("duration",)]),
        ([DRAFT], {"resolution": "1080p", "generate_audio": True}, [("generate_audio",)]),
    ],
)
def test_a_final_says_its_size_and_nothing_else(
    content: list[dict[str, JsonValue]], fields: dict[str, Any], refused: list[tuple[str | int, ...]]
) -> None:
    assert paths(NEWEST, *content, **fields) == refused


def test_a_final_of_an_older_model_has_its_drafts_seed() -> None:
    assert paths("doubao-seedance-1-5-pro-251215", DRAFT, seed=7) == [("seed",)]
    assert paths("doubao-seedance-1-5-pro-251215", DRAFT) == []


@pytest.mark.parametrize(
    ("model", "family", "prices"),
    [
        (NEWEST, "seedance-2-5", {"480p", "720p", "1080p"}),
        (SECOND, "seedance-2-0", {"480p", "720p", "1080p", "4k"}),
        ("dreamina-seedance-2-0-fast-260128", "seedance-2-0-fast", {"480p", "720p"}),
        ("dreamina-seedance-2-0-mini-260615", "seedance-2-0-mini", {"480p", "720p"}),
        (FIRST, "seedance-1-0-pro", set()),
        ("seedance-1-0-pro-fast-251015", "seedance-1-0-pro-fast", set()),
        ("doubao-seedance-2-5-260628", "doubao-seedance-2-5", set()),
        ("doubao-seedance-2-0-260128", "doubao-seedance-2-0", set()),
        ("doubao-seedance-2-0-fast-260128", "doubao-seedance-2-0-fast", set()),
        ("doubao-seedance-2-0-mini-260615", "doubao-seedance-2-0-mini", set()),
        ("doubao-seedance-1-0-pro-250528", "doubao-seedance-1-0-pro", set()),
        ("doubao-seedance-1-0-pro-fast-251015", "doubao-seedance-1-0-pro-fast", set()),
    ],
)
def test_the_ids_of_both_platforms_are_known(model: str, family: str, prices: set[str]) -> None:
    """Volcengine's prices are in CNY, so none is known in US dollars."""
    found = ARK.catalogue.find(model)
    assert found is not None
    assert (found.name, {*found.prices}, found.retired) == (family, prices, None)
    assert model in found.ids


def test_the_prices_are_those_of_the_list() -> None:
    families = ARK.catalogue.families
    told = {(name, size): price for name, each in families.items() for size, price in each.prices.items()}
    plain = {key: (str(price.plain), str(price.with_video)) for key, price in told.items()}
    assert plain["seedance-2-5", "720p"] == ("10.70", "6.40")
    assert plain["seedance-2-5", "1080p"] == ("11.70", "7.00")
    assert plain["seedance-2-0", "1080p"] == ("7.7", "4.7")
    assert plain["seedance-2-0", "4k"] == ("4.0", "2.4")
    assert plain["seedance-2-0-fast", "480p"] == ("5.6", "3.3")
    assert plain["seedance-2-0-mini", "720p"] == ("3.5", "2.1")
    assert isinstance(told["seedance-1-5-pro", "720p"], ListPrice)


def test_retired_models_have_their_dates_and_successors() -> None:
    retired = {name: each.retired for name, each in ARK.catalogue.families.items() if each.retired}
    assert retired == {
        "seedance-1-5-pro": "2026-11-11",
        "seedance-1-0-lite-t2v": "2026-05-13",
        "seedance-1-0-lite-i2v": "2026-05-13",
    }
    successors = [*ARK.catalogue.families["seedance-1-5-pro"].successors]
    assert successors[0] == "dreamina-seedance-2-0-mini-260615"
