"""The job file against its schema, requests against theirs, and the schemas against themselves."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from runner.errors import Problem
from runner.job.model import Budget, PollPolicy, RunPolicy
from runner.job.policy import parse_duration
from runner.job.schema import MOST_PROBLEMS, check_field, check_job, check_request
from runner.job.yaml.source import parse
from runner.json_value import JsonValue
from runner.providers import every
from runner.providers.mesh import MESH
from runner.resources import load_schema

MINIMAL = "version: 1\nmodels: [byteplus/seedance-1-0-pro]\ncontent: [{type: text, text: A teapot}]\n"

FULL = """\
# yaml-language-server: $schema=../schemas/job.schema.json
version: 1
x-owner: {team: films}
name: teapot-launch
provider: mesh
models: [byteplus/seedance-1-0-pro]
seeds: [1..4, 7, 4294967295]
matrix:
  ratio: [16:9, 9:16]
  x-note: anything
  shot:
    - {id: spin, prompt: The teapot spins}
    - id: pour
      prompt: Tea is poured
exclude:
  - {ratio: 9:16, shot: {id: pour}}
include:
  - {ratio: 1:1, resolution: 480p}
request:
  callback_url: https://example.com/hook
  return_last_frame: true
  service_tier: flex
  execution_expires_after: 3600
  generate_audio: ${{ vars.sound }}
  draft: null
  resolution: 720p
  duration: ${{ shot.seconds }}
  frames: null
  seed: 0
  camera_fixed: false
  watermark: false
  safety_identifier: user-1
  priority: 9
  x-why: because
content:
  - type: text
    text: ${{ shot.prompt }}, 35mm
  - {type: image_url, image_url: assets/teapot.png, role: first_frame, x-id: 1}
  - type: image_url
    image_url: {url: https://example.com/a.png}
    role: ${{ vars.role }}
  - {type: video_url, video_url: a.mp4, role: reference_video}
  - {type: audio_url, audio_url: {url: a.mp3}, role: reference_audio}
  - {type: draft_task, draft_task: {id: t-1}}
  - {type: draft_task, draft_task: t-1}
output: out/${{ shot.id }}-${{ ratio }}-s${{ seed }}.mp4
edition: ${{ run.date }}
vars: {sound: true, role: last_frame, any: [1, {a: b}]}
env: [CAMPAIGN]
api_key_env: MESHAPI_TOKEN
base_url: http://127.0.0.1:8080
run:
  concurrency: 8
  submit_slots: 4
  downloads: 4
  rate: 60/min
  timeout: 1h
  deadline: 7d
  max_failures: 5
  settle: 0
  on_ambiguous: hold
  poll: {first: 1.5m, min: 100ms, max: 30}
budget: {max_usd: 25, max_tasks: 100, confirm_usd: 0.5}
"""


def check(text: str) -> list[Problem]:
    return check_job(parse(text.encode(), file="job.yaml"))


@pytest.mark.parametrize("text", [MINIMAL, FULL], ids=["minimal", "full"])
def test_a_good_file_has_no_problem(text: str) -> None:
    assert check(text) == []


def test_own_keys_are_free_at_every_level() -> None:
    """`x-` before a key says that it is a person's own."""
    text = (
        "version: 1\nx-a: 1\nmodels: [m]\n"
        "content: [{type: image_url, image_url: {url: a, x-b: 1}, x-c: 1}, {type: text, text: A}]\n"
        "request: {x-d: 1}\nmatrix: {x-e: 1}\nvars: {x-f: 1}\n"
        "run: {x-g: 1, poll: {x-h: 1}}\nbudget: {x-i: 1}\n"
    )
    assert check(text) == []


def test_many_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    problems = check("models: []\nversion: 2\nrun: {rate: 1}\nmodls: 3\n")
    assert [(each.line, each.path) for each in problems] == [
        (1, ""),
        (1, "models"),
        (2, "version"),
        (3, "run.rate"),
        (4, "modls"),
    ]


def test_a_flood_of_problems_is_cut() -> None:
    text = MINIMAL + "env:\n" + "- 1\n" * 5000
    assert len(check(text)) == MOST_PROBLEMS


def test_thousands_of_unknown_keys_cost_no_time() -> None:
    started = time.process_time()
    assert len(check(MINIMAL + "".join(f"k{number}: 1\n" for number in range(5000)))) == MOST_PROBLEMS
    assert time.process_time() - started < 5


def test_a_long_list_of_mixed_models_costs_no_time() -> None:
    """jsonschema's own `uniqueItems` compares each with each here."""
    started = time.process_time()
    text = MINIMAL.replace(
        "[byteplus/seedance-1-0-pro]", "[1, " + ", ".join(f"m{n}" for n in range(20_000)) + "]"
    )
    assert [each.path for each in check(text)] == ["models[0]"]
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "secret", ["https://u:hunter2@h/x?sig=hunter2", "data:image/png;base64,hunter2", "hunter2 " * 20]
)
def test_a_value_that_may_be_secret_is_not_repeated(secret: str) -> None:
    for line in (f'provider: "{secret}"', f'run: "{secret}"', f'request: {{duration: "{secret}"}}'):
        problems = check(MINIMAL + line + "\n")
        assert len(problems) == 1
        assert "hunter2" not in problems[0].render("job.yaml")


def test_the_defaults_that_editors_show_are_the_ones_that_hold() -> None:
    properties = load_schema("job")["properties"]
    run = properties["run"]["properties"]
    policy = RunPolicy()
    for name in ("concurrency", "submit_slots", "downloads"):
        assert run[name]["default"] == getattr(policy, name)
    for name in ("timeout", "settle"):
        assert parse_duration(run[name]["default"]) == getattr(policy, name)
    assert run["on_ambiguous"]["default"] == policy.on_ambiguous
    poll = run["poll"]["properties"]
    assert parse_duration(poll["min"]["default"]) == PollPolicy().minimum
    assert parse_duration(poll["max"]["default"]) == PollPolicy().maximum
    fields = {name.replace("_micros", "_usd") for name in Budget.__dataclass_fields__}
    assert set(properties["budget"]["properties"]) == fields
    assert set(run) == set(RunPolicy.__dataclass_fields__)


def subschemas(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in `properties`, with its place."""
    if isinstance(schema, dict):
        for name, inner in schema.items():
            here = f"{path}.{name}"
            if name == "properties" and ".then" not in path and ".if" not in path:
                for key, value in inner.items():
                    yield f"{here}.{key}", value
            yield from subschemas(inner, here)
    elif isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from subschemas(inner, f"{path}[{number}]")


@pytest.mark.parametrize("schema", [load_schema("job"), *(each.schema for each in every().values())])
def test_a_schema_is_draft_7_without_misleading_keywords(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(schema)
    assert not re.search(r'"(anyOf|oneOf|\$defs|unevaluatedProperties)"', repr(schema).replace("'", '"'))


def test_every_key_of_the_job_file_is_explained_to_editors() -> None:
    for path, schema in subschemas(load_schema("job")):
        if "$ref" in schema or "not" in schema:
            continue  # explained where it refers to, or where it is not refused
        assert schema["title"], path
        assert schema["description"], path
        assert "default" in schema or schema["examples"], path


def test_examples_and_defaults_fit_their_own_schema() -> None:
    root = load_schema("job")
    for path, schema in subschemas(root):
        for example in [*schema.get("examples", []), *([schema["default"]] if "default" in schema else [])]:
            errors = list(Draft7Validator(root).evolve(schema=schema).iter_errors(example))
            assert not errors, (path, errors)


def request(**fields: JsonValue) -> dict[str, JsonValue]:
    content: JsonValue = [
        {"type": "text", "text": "A teapot"},
        {"type": "image_url", "image_url": {"url": "sha256:" + "0" * 64}, "role": "first_frame"},
    ]
    return {"model": "byteplus/seedance-1-0-pro", "content": content, "ratio": "16:9", **fields}


def test_a_good_request_has_no_problem() -> None:
    assert check_request(MESH, request(seed=0, duration=5, frames=None, return_last_frame=False)) == []


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"seed": -1}, ("seed",), "-1 lets the service pick"),
        ({"seed": 2**32}, ("seed",), "at most 4294967295"),
        ({"seed": True}, ("seed",), "a whole number"),
        ({"seed": "7"}, ("seed",), "a whole number"),
        ({"duration": 5.5}, ("duration",), "a whole number"),
        ({"duration": 5, "frames": 57}, ("duration",), "exclude each other"),
        ({"ratio": 969}, ("ratio",), "must be text"),
        ({"draft": 1}, ("draft",), "true or false"),
        ({"return_last_frame": None}, ("return_last_frame",), "true or false"),
        ({"prompt": "A"}, ("prompt",), "unknown key"),
        ({"resolutoin": "720p"}, ("resolutoin",), "unknown key"),
        ({"content": []}, ("content",), "must not be empty"),
        ({"content": "A"}, ("content",), "a list"),
        ({"content": [{"type": "text", "text": ""}]}, ("content", 0, "text"), "must not be empty"),
        ({"content": [{"type": "text"}]}, ("content", 0), "`text` is missing"),
        (
            {"content": [{"type": "image_url", "image_url": "a"}]},
            ("content", 0, "image_url"),
            "keys and values",
        ),
        (
            {"content": [{"type": "image_url", "image_url": {"url": "asset://1"}}]},
            ("content", 0, "image_url", "url"),
            "refuses asset://",
        ),
        (
            {"content": [{"type": "audio_url", "audio_url": {"url": "a"}, "role": "first_frame"}]},
            ("content", 0, "role"),
            "must be",
        ),
        ({"safety_identifier": "a" * 65}, ("safety_identifier",), "at most 64 characters"),
    ],
)
def test_a_wrong_request_is_told_by_its_field(
    fields: dict[str, JsonValue], path: tuple[str | int, ...], words: str
) -> None:
    problems = check_request(MESH, request(**fields))
    assert [each.path for each in problems] == [path]
    assert words in problems[0].message


def test_a_request_without_its_required_fields_is_told_so() -> None:
    problems = check_request(MESH, {"ratio": "16:9"})
    assert {each.message for each in problems} == {"`model` is missing", "`content` is missing"}


def test_values_that_compare_equal_are_told_apart() -> None:
    """1, 1.0 and true are one key to a dict, and three things to the service."""
    assert check_field(MESH, "duration", 1) == ()
    assert check_field(MESH, "duration", True) != ()
    assert check_field(MESH, "draft", True) == ()
    assert check_field(MESH, "draft", 1) != ()


FIELDS = sorted(MESH.schema["properties"])
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2**33)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "16:9", "flex", "https://example.com", "a" * 65])
    | st.just([{"type": "text", "text": "A"}])
    | st.just([{"type": "text", "text": ""}])
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "other"]), VALUES, max_size=6))
def test_the_quick_check_refuses_what_the_schema_refuses(fields: dict[str, JsonValue]) -> None:
    """Field by field and remembered, or the whole request by jsonschema: one answer."""
    whole = Draft7Validator(MESH.schema).is_valid(fields)
    assert (check_request(MESH, fields) == []) == whole
