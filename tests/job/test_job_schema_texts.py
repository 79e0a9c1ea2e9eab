"""What an editor shows over a key of the job file: it has to tell enough by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator, ValidationError

from runner.resources import load_schema

SCHEMA = load_schema("job")


def _keys(path: str, level: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Each key with what it refers to put in, and whether it must be given."""
    level = _resolved(level)
    required = {*level.get("required", ()), *level.get("then", {}).get("required", ())}
    for name, key in level.get("properties", {}).items():
        key = {**_resolved(key), **key}
        yield f"{path}{name}", key, name in required
        yield from _keys(f"{path}{name}.", key)
    for inner in (level.get("items"), level.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from _keys(f"{path}[].", inner)


def _resolved(key: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in key:
        return key
    _, group, name = key["$ref"].split("/")
    found: dict[str, Any] = SCHEMA[group][name]
    return found


def _errors(key: dict[str, Any], value: object) -> Iterator[ValidationError]:
    """Draft-07 looks at nothing beside a `$ref`; what it refers to is a part of `key` already."""
    alone = {name: part for name, part in key.items() if name != "$ref"}
    return Draft7Validator(SCHEMA).descend(value, alone)


def _is_one_of(path: str) -> bool:
    """A form of the price, or what an item of a type holds: without it there is another one."""
    return path.startswith(("price.", "steps.[].price.")) or ("content.[]." in path and path[-4:] != "role")


KEYS = list(_keys("", SCHEMA))
EACH_KEY = pytest.mark.parametrize(
    ("key", "is_required"), [pytest.param(key, required, id=path) for path, key, required in KEYS]
)


def test_every_level_of_the_file_is_looked_at() -> None:
    paths = {path for path, _, _ in KEYS}
    assert len(paths) > 100
    assert {"seeds", "request.ratio", "run.poll.min", "steps.[].needs", "content.[].image_url.url"} <= paths


@EACH_KEY
def test_a_key_says_what_it_does_and_shows_an_example(key: dict[str, Any], is_required: bool) -> None:
    text = key["description"]
    assert len(text) >= 25
    assert text.endswith(".")
    assert text[0].isupper() or text[0] in "`-["
    assert key["examples"]


@EACH_KEY
def test_an_example_is_right(key: dict[str, Any], is_required: bool) -> None:
    assert [error.message for example in key["examples"] for error in _errors(key, example)] == []


@pytest.mark.parametrize(
    "key",
    [pytest.param(key, id=path) for path, key, required in KEYS if not required and not _is_one_of(path)],
)
def test_a_default_is_right_and_what_has_none_says_what_happens_without(key: dict[str, Any]) -> None:
    if "default" in key:
        assert [error.message for error in _errors(key, key["default"])] == []
    else:
        assert any(word in key["description"] for word in ("Default: ", "Without it ", "not given"))


@EACH_KEY
def test_a_quantity_has_its_unit(key: dict[str, Any], is_required: bool) -> None:
    if key.get("type") == ["number", "string"]:
        assert "seconds" in key["description"]
    if "usd" in key.get("title", "").lower():
        assert "US dollars" in key["description"]
