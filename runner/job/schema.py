"""Checks the job file, the project file and each request against their JSON Schemas.

The messages are our own: jsonschema's name its keywords, print whole values and point nowhere.
The schemas use neither anyOf nor oneOf, so that each error is a leaf that a person can act on.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from jsonschema import Draft7Validator, ValidationError
from jsonschema.validators import extend

from runner.errors import Problem
from runner.job.files.sources import FROM
from runner.job.merge import STEP_ONLY
from runner.job.project_file import Window
from runner.job.yaml.nodes import Location, Mapping, Node, Scalar, cut, find, text_of, to_data
from runner.json_value import JsonValue
from runner.providers import find as find_provider
from runner.providers.dialect import Refusal
from runner.providers.provider import Provider
from runner.resources import load_schema
from runner.slug import slug
from runner.spelling import alike, did_you_mean, disguise, nearest

MOST_PROBLEMS = 100

Path = tuple[str | int, ...]

_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "keys and values",
}
_YES_OR_NO = frozenset({"yes", "no", "on", "off", "y", "n"})
_EXAMPLES = {
    "version": "add `version: 1`",
    "models": "add `models: [byteplus/seedance-1-0-pro]`",
    "content": "add `content: [{type: text, text: A teapot spins}]`",
    "text": "add `text: A teapot spins`",
    "type": "add `type: text`, `image_url`, `video_url`, `audio_url` or `draft_task`",
}


_PICTURE = "a picture is an item of `content`: {type: image_url, image_url: a.png, role: first_frame}"
_SIZE = "write `resolution` and `ratio` in its place"
_TAKES = "write `samples: 4` at the top level in its place"
_IN_WORDS = "delete it, and say it in the text of `content`: no field does that"
_INSTEAD: dict[str, str] = {
    "prompt": "a prompt is an item of `content`: {type: text, text: ...}",
    "negative_prompt": _IN_WORDS,
    "style": _IN_WORDS,
    "camera": _IN_WORDS,
    "guidance_scale": _IN_WORDS,
    "fps": "delete it: no field sets that",
    **dict.fromkeys(("width", "height", "size", "quality"), _SIZE),
    **dict.fromkeys(("n", "count", "number", "num_videos", "takes"), _TAKES),
    **dict.fromkeys(("image", "images", "image_url", "input_image", "first_frame", "last_frame"), _PICTURE),
    **dict.fromkeys(("length", "seconds"), "write `duration` in its place, in seconds"),
}
"""Fields of other tools that people bring along, and how the same is said here."""


def instead_of(name: str) -> str:
    """How the same is said here as by a field of other tools; empty for one that is not known."""
    return _INSTEAD.get(name.casefold(), "")


def check_job(document: Mapping, providers: Iterable[Provider] = ()) -> list[Problem]:
    """Every way in which the document breaks the job schema, in the order of the file, each once.

    `providers` are those of its accounts: an installed one adds its name and its fields.
    """
    own = find_provider(text_of(document.get("provider")) or "")
    return _check(document, _job_validator(tuple(filter(None, dict.fromkeys((own, *providers))))))


def check_project(document: Mapping) -> list[Problem]:
    """The same of a project file and its schema."""
    return _check(document, _JobValidator(load_schema("project")))


def check_models_lock(document: Mapping) -> list[Problem]:
    """The same of models.lock.yaml."""
    return _check(document, _JobValidator(load_schema("models-lock")))


def _check(document: Mapping, validator: Draft7Validator) -> list[Problem]:
    found: dict[Problem, None] = {}
    for error in islice(validator.iter_errors(to_data(document)), MOST_PROBLEMS):
        on_key = error.validator == "additionalProperties" or "propertyNames" in error.absolute_schema_path
        for path, message, hint in _explain(error):
            location = _location(document, path, on_key=on_key)
            hint = _hint_for_text(document, path, error) or hint
            problem = replace(location, path=path).error(message, hint)
            found[replace(problem, is_clash=_is_name_of_model(path))] = None
    return sorted(found, key=lambda problem: (problem.file, problem.line, problem.column))


def check_request(provider: Provider, request: dict[str, JsonValue]) -> list[Refusal]:
    """Checks a resolved request against the provider's request schema, local files as references."""
    empty = tuple(name for name, value in request.items() if value is None)
    problems = list(_check_shape(provider, tuple(request), empty))
    for name, value in request.items():
        problems += check_field(provider, name, value)
    return problems


def check_field(provider: Provider, name: str, value: JsonValue) -> tuple[Refusal, ...]:
    """Checks one top-level field against the schema; a field that it does not know has no problem."""
    if isinstance(value, list | tuple | dict):
        return _problems(_field_validator(provider, name), value, (name,))
    return _check_scalar(provider, name, type(value).__name__, value)


def takes_several(provider: Provider, name: str) -> bool:
    """Whether a field takes a list or an object."""
    kinds = provider.schema["properties"].get(name, {}).get("type", ())
    return bool({"array", "object"} & {kinds if isinstance(kinds, str) else "", *kinds})


@functools.lru_cache(maxsize=4096)
def _check_scalar(provider: Provider, name: str, kind: str, value: JsonValue) -> tuple[Refusal, ...]:
    """`kind` keeps 1, 1.0 and true apart in the cache."""
    return _problems(_field_validator(provider, name), value, (name,))


@functools.lru_cache(maxsize=1024)
def _check_shape(provider: Provider, names: tuple[str, ...], empty: tuple[str, ...]) -> tuple[Refusal, ...]:
    """The rules between fields: which are missing, unknown, or exclude each other."""
    schema = provider.schema
    properties: dict[str, Any] = dict.fromkeys(schema["properties"], True)
    validator = Draft7Validator({**schema, "properties": properties})
    return _problems(validator, {name: None if name in empty else True for name in names}, ())


def _unique(_: object, wanted: bool, items: object, __: object) -> Iterator[ValidationError]:
    """`uniqueItems` for text, at the item that repeats; jsonschema's own can take quadratic time."""
    seen: set[str] = set()
    for number, item in enumerate(items if wanted and isinstance(items, list) else ()):
        if isinstance(item, str) and item in seen:
            yield ValidationError("twice", path=(number,))
        elif isinstance(item, str):
            seen.add(item)


# The stubs leave `extend` without types.
_JobValidator: type[Draft7Validator] = extend(Draft7Validator, {"uniqueItems": _unique})  # type: ignore[no-untyped-call]


def _problems(validator: Draft7Validator, value: object, path: Path) -> tuple[Refusal, ...]:
    errors = islice(validator.iter_errors(value), MOST_PROBLEMS)
    return tuple(dict.fromkeys(Refusal(*part) for error in errors for part in _explain(error, path)))


@functools.lru_cache(maxsize=4)
def _job_validator(providers: tuple[Provider, ...]) -> Draft7Validator:
    """The shipped schema knows the built-in providers; an installed one adds its name and its fields.

    What one service lacks `provider_checks` tells, with what to do; `allOf` tells editors.
    """
    schema = {key: value for key, value in load_schema("job").items() if key != "allOf"}
    properties = schema["properties"]
    named, request = properties["provider"], properties["request"]
    further = [name for provider in providers for name in provider.fields - request["properties"].keys()]
    names = [provider.name for provider in providers if provider.name not in named["enum"]]
    if not further and not names:
        return _JobValidator(schema)
    # what a field may be, the provider's own schema says of the resolved request
    widened = {
        "provider": {**named, "enum": [*named["enum"], *names]},
        "request": {**request, "properties": {**request["properties"], **dict.fromkeys(further, True)}},
    }
    return _JobValidator({**schema, "properties": {**properties, **widened}})


@functools.cache
def _field_validator(provider: Provider, name: str) -> Draft7Validator:
    definitions = provider.schema.get("definitions", {})
    return Draft7Validator({"definitions": definitions, **provider.schema["properties"].get(name, {})})


def _explain(error: ValidationError, above: Path = ()) -> Iterator[tuple[Path, str, str]]:
    """One jsonschema error as (path, message, hint); several where several keys are unknown.

    `above` is the path of what was validated.
    """
    path: Path = (*above, *error.absolute_path)
    schema: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    expected: Any = error.validator_value
    value: Any = error.instance
    if "errorMessage" in schema:
        yield path, str(schema["errorMessage"]), ""
        return
    match error.validator:
        case "required":
            for name in expected:
                if name not in value:
                    yield path, f"`{name}` is missing", _EXAMPLES.get(name, f"add `{name}:`")
        case "additionalProperties":
            known = tuple(schema.get("properties", ()))
            patterns = ("^x-", *schema.get("patternProperties", ()))
            unknown = (
                name
                for name in value
                if name not in known and not any(re.search(pattern, name) for pattern in patterns)
            )
            for name in islice(unknown, MOST_PROBLEMS):
                hint = _key_hint(name, schema, path)
                odd = f": {found}" if hint and (found := disguise(cut(name))) else ""
                yield (*path, name), f"unknown key `{cut(name)}`{odd}", hint
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            yield (*path, str(value)), f"`{cut(str(value))}` {_reason(schema)}", ""
        case "type" if "patternErrorMessage" in schema and value is not None:
            yield path, f"{_reason(schema)}, not {_show(value)}", _form_hint(path, value)
        case "type":
            if FROM in schema.get("required", ()):  # a form for some, beside the one that is meant mostly
                expected = [kind for kind in expected if kind != "object"]
            yield path, f"must be {_any_of(expected)}, not {_show(value)}", _type_hint(path, expected, value)
        case "enum" | "const":
            choices = expected if error.validator == "enum" else [expected]
            words = ", ".join(f"`{choice}`" for choice in choices if choice is not None)
            one_of = "must be one of" if len(choices) > 1 else "must be"
            yield path, f"{one_of} {words}, not {_show(value)}", _choice_hint(path, value, choices)
        case "minimum" | "exclusiveMinimum" | "maximum":
            yield path, *_out_of_range(str(error.validator), expected, value, path)
        case "minLength" | "minItems" | "minProperties":
            yield path, "must not be empty", ""
        case "maxLength":
            yield path, f"must have at most {expected} characters, not {len(value)}", ""
        case "uniqueItems":
            yield path, "the same value appears twice", "keep one"
        case "pattern":
            # a key may have been pasted where the name of its variable belongs
            shown = "this text" if str(path[-1]).endswith("_env") else _show(value)
            yield path, f"{_reason(schema)}, not {shown}", _form_hint(path, value)
        case _:
            yield path, "does not fit the schema", ""


def _reason(schema: dict[str, Any]) -> str:
    return str(schema.get("patternErrorMessage", "has the wrong form"))


def _out_of_range(keyword: str, bound: float, value: float, path: Path) -> tuple[str, str]:
    if value == -1 and path and (path[0] == "seeds" or path[-1] == "seed"):
        return (
            "-1 lets the service pick a seed, so the take could never be made again",
            "use `samples`",
        )
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}[keyword]
    return f"must be {words} {bound}, not {_show(value)}", ""


def _any_of(types: str | list[str]) -> str:
    names = [types] if isinstance(types, str) else [name for name in types if name != "null"]
    return " or ".join(_TYPES[name] for name in names)


def _type_hint(path: Path, expected: str | list[str], value: object) -> str:
    types = {expected} if isinstance(expected, str) else set(expected)
    if "boolean" in types and isinstance(value, str) and value.lower() in _YES_OR_NO:
        return "YAML 1.2 knows only true and false"
    if types == {"array"} and value is not None and not isinstance(value, dict):
        return "write a list: [...]"
    if path == ("ledger",):
        return "write `ledger: {url_env: CALLSHEET_LEDGER}`: the variable holds the database's URL"
    if path == ("budgets",):
        return "begin each of them with `- `"
    if path[:1] == ("budgets",) and path[-1] in [*Window] and isinstance(value, int):
        return f"write `{path[-1]}: {{max_usd: {value}}}`"
    if types & {"integer", "number"} and isinstance(value, str) and re.fullmatch(r"-?[0-9.]{1,20}", value):
        return "remove the quotes"
    if value is None:
        return "give it a value, or delete the key"
    return ""


def _key_hint(name: str, schema: dict[str, Any], path: Path) -> str:
    """A hint at the key that was meant: one that is spelled alike, or the same one where it belongs."""
    known = tuple(schema.get("properties", ()))
    if "patternProperties" not in schema:  # of a request, not of the job file
        return did_you_mean(name, known)
    if name in STEP_ONLY:
        return f"`{name}` belongs in a step: steps: {{final: {{{name}: ...}}}}"
    elsewhere = {
        field: section
        for section in ("request", "run", "budget")
        if section not in path
        for field in load_schema("job")["properties"][section]["properties"]
        if field not in known
    }
    is_of_job = bool(path) and name in load_schema("job")["properties"]
    close = (each for names in (known, elsewhere) for each in alike(name, names, cutoff=0.75))
    near = name if name in elsewhere else "" if is_of_job else next(close, nearest(name, known))
    if section := elsewhere.get(near):
        return f"`{near}` belongs under `{section}:`"
    if near:
        return f"did you mean `{near}`?"
    if path == ("lint",):
        rules = difflib.get_close_matches(name[:64], known, n=3, cutoff=0)
        return "the nearest rules: " + ", ".join(f"`{rule}`" for rule in rules)
    if name in load_schema("job")["properties"] and path:
        return f"`{name}` belongs at the top level"
    if instead := instead_of(name):
        return instead
    if name in ("key", "sha256") and path[:-1] == ("content",):
        return f"`{name}` stands beside the address: image_url: {{url: ..., {name}: ...}}"
    shown = known if len(known) <= 8 else ()
    return "keys here: " + ", ".join(shown) if shown else "a key of your own begins with `x-`"


def _form_hint(path: Path, value: object) -> str:
    """The rate with the unit that it lacks; the name of a model as it may stand in a path."""
    if _is_name_of_model(path) and isinstance(value, str) and slug(value):
        return f"write `{slug(value)}` instead of `{cut(value)}`"
    is_rate = path[-1:] == ("rate",) and not isinstance(value, bool)
    return f"{value}/min" if is_rate and re.fullmatch(r"[1-9][0-9]{0,8}", str(value)) else ""


def _is_name_of_model(path: Path) -> bool:
    """Any word may stand there, so that a word like it elsewhere is not what was meant."""
    return path[-3:-2] == ("models",) and path[-1:] == ("name",)


def _choice_hint(path: Path, value: object, choices: list[Any]) -> str:
    near = _nearest(value, choices)
    if path == ("version",) and not near:
        return f"write `version: {choices[0]}`: this callsheet reads no other version"
    return near


def _nearest(value: object, choices: list[Any]) -> str:
    if any(str(choice) == value and choice != value for choice in choices):
        return "remove the quotes"
    return did_you_mean(value, map(str, choices)) if isinstance(value, str) else ""


def _show(value: object) -> str:
    """A value in a message: short, and never a URL or data, which may hold a secret."""
    if isinstance(value, str):
        is_safe = len(value) <= 60 and "://" not in value and not value.startswith("data:")
        return f"the text `{value}`" if is_safe else "this text"
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _location(document: Mapping, path: Path, *, on_key: bool) -> Location:
    """The location of the value at `path`, or of its key if the key is wrong or the value is empty."""
    node: Node = find(document, path)
    is_empty = isinstance(node, Scalar) and node.is_plain and not node.text
    parent = find(document, path[:-1])
    if path and (on_key or is_empty) and isinstance(parent, Mapping):
        return next((key.location for key, _ in parent if key.value == path[-1]), node.location)
    return node.location


def _hint_for_text(document: Mapping, path: Path, error: ValidationError) -> str:
    """How to quote a number that was meant as text, as the file has it: `010`, not 10."""
    types: Any = error.validator_value if error.validator == "type" else ()
    node = find(document, path)
    if "string" not in types or "number" in types or "integer" in types or not isinstance(node, Scalar):
        return ""
    has_own_words = isinstance(error.schema, dict) and "patternErrorMessage" in error.schema
    is_number = isinstance(node.value, int | float)
    return f'quote it: "{cut(node.text)}"' if is_number and not has_own_words else ""
