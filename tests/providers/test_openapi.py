"""The Mesh request schema and the service's OpenAPI document, held against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.providers import BUILT_IN
from runner.providers.mesh import MESH
from runner.resources import load_schema

OPENAPI = Path(__file__).parents[1] / "wire" / "mesh-video-openapi.yaml"

# Stricter than the document on purpose, each with its reason in the schema or the guide.
OURS = {"minLength", "maxLength", "minItems", "minimum", "maximum", "enum", "pattern", "patternErrorMessage"}


def documented(name: str) -> dict[str, Any]:
    schemas: dict[str, Any] = yaml.safe_load(OPENAPI.read_text(encoding="utf-8"))["components"]["schemas"]
    found: dict[str, Any] = schemas[name]
    return found


def ours(name: str) -> dict[str, Any]:
    schema = MESH.schema
    found: dict[str, Any] = schema if name == "VideoGenerationRequest" else schema["definitions"][name]
    return found


PLACES = [
    (name, field)
    for name in ("VideoGenerationRequest", "VideoContentItem")
    for field in sorted({*documented(name)["properties"], *ours(name)["properties"]})
]


@pytest.mark.parametrize("name", ["VideoGenerationRequest", "VideoContentItem"])
def test_both_name_the_same_fields_and_require_the_same(name: str) -> None:
    assert set(ours(name)["properties"]) == set(documented(name)["properties"])
    assert set(ours(name)["required"]) == set(documented(name)["required"])
    assert ours(name)["type"] == documented(name)["type"]
    assert ours(name)["additionalProperties"] is False


@pytest.mark.parametrize(("name", "field"), PLACES)
def test_both_give_a_field_the_same_type_and_default(name: str, field: str) -> None:
    theirs, mine = documented(name)["properties"][field], ours(name)["properties"][field]
    assert kinds(mine) == kinds(theirs)
    assert mine.get("default", "none") == theirs.get("default", "none")
    assert ("items" in mine) == ("items" in theirs)
    if "items" in theirs:
        assert mine["items"]["$ref"].rpartition("/")[2] == theirs["items"]["$ref"].rpartition("/")[2]


@pytest.mark.parametrize(("name", "field"), PLACES)
def test_what_is_stricter_is_of_a_known_kind(name: str, field: str) -> None:
    mirrored = {"description", "type", "default", "items"}
    inside = {"required", "properties", "additionalProperties"}
    assert set(ours(name)["properties"][field]) <= mirrored | OURS | inside


def test_the_job_schema_takes_every_field_of_the_request() -> None:
    """All but `model` and `content`, which have their own place, with the same types."""
    request = load_schema("job")["properties"]["request"]["properties"]
    fields = documented("VideoGenerationRequest")["properties"]
    others = set[str]().union(*(each.fields for each in BUILT_IN.values()))
    assert set(request) == (set(fields) | others) - {"model", "content"}
    for name, schema in request.items():
        if name not in fields:
            continue
        value = schema["else"]
        if "enum" in value:
            assert {type(each) for each in value["enum"]} == {str, type(None)}
            assert kinds(fields[name]) == {"string", "null"}
        else:
            assert kinds(value) == kinds(fields[name])
        limits = OURS - {"enum"}
        mine = {key: value[key] for key in limits & value.keys()}
        wire = MESH.schema["properties"][name]
        assert mine == {key: wire[key] for key in limits & wire.keys()}


def test_the_job_schema_takes_every_content_item() -> None:
    item = load_schema("job")["definitions"]["item"]["properties"]
    assert set(item) == {*documented("VideoContentItem")["properties"], "when"}
    assert item["type"]["enum"] == ours("VideoContentItem")["properties"]["type"]["enum"]


def kinds(schema: dict[str, Any]) -> set[str]:
    kind = schema["type"]
    return {kind} if isinstance(kind, str) else set(kind)


@pytest.mark.parametrize("name", BUILT_IN)
def test_editors_know_what_a_job_of_one_service_may_set(name: str) -> None:
    """Where no model names another account, for it may take what this service does not."""
    schema = load_schema("job")
    block = next(each for each in schema["allOf"] if each["if"]["properties"]["provider"]["const"] == name)
    fields = "|".join(sorted(BUILT_IN[name].settable))
    assert schema["definitions"][f"{name}_request"]["propertyNames"]["pattern"] == f"^(?:x-.*|{fields})$"
    assert block["then"]["properties"]["request"] == {"$ref": f"#/definitions/{name}_request"}
    assert block["if"]["properties"]["models"] == {"items": {"properties": {"at": False}}}
