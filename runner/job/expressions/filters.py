"""The filters of expressions, and the Jinja2 environment that has them and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from runner.job.expressions.rundate import RunDate, RunTime, formatted
from runner.job.problems import InvalidValueError
from runner.json_value import JsonValue
from runner.slug import slug


class ExpressionError(InvalidValueError):
    """An expression that cannot be read, is not allowed, or has no value."""


def as_text(value: JsonValue, source: str) -> str:
    """A scalar inside other text, spelled as in YAML. Raises ExpressionError for lists and objects."""
    match value:
        case str():
            return str(value)  # a cell that says `0` or `no` is false, and its text is not
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case int() | float():
            return str(value)
    kind = "an object" if isinstance(value, dict) else "a list"
    raise ExpressionError(f"`{source}` is {kind}, and text needs one value", f"use one part: `{source}.id`")


def _default(value: Any, fallback: Any) -> Any:
    return fallback if isinstance(value, Undefined) or value is None else value


def _int(value: int | float | str) -> int:
    return int(value)


def _string(value: JsonValue | RunDate | RunTime | Undefined) -> str:
    if isinstance(value, RunDate | RunTime):
        return str(value)
    if isinstance(value, Undefined):
        raise ExpressionError(
            "a filter has no value to work on in this cell", "put `| default(...)` before it"
        )
    return as_text(value, "value")


def _date(value: JsonValue | RunDate | RunTime | Undefined, pattern: object) -> str:
    if not isinstance(pattern, str):
        raise ExpressionError("`date` takes its pattern as text", '${{ run.date | date("%Y-%m-%d") }}')
    if not isinstance(value, RunDate | RunTime):
        try:
            value = RunDate.parse(_string(value))
        except ValueError:
            what = f"`{as_text(value, 'value')[:40]}`" if isinstance(value, str) else "this value"
            raise ExpressionError(
                f"`date`: {what} is not a date", "2026-11-21, `run.date` or `run.time`"
            ) from None
    try:
        return formatted(value, pattern)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise ExpressionError(message, hint) from None


FILTERS: Mapping[str, Callable[..., Any]] = {
    "date": _date,
    "default": _default,
    "int": _int,
    "length": len,
    "lower": lambda value: _string(value).lower(),
    "slug": lambda value: slug(_string(value)),
    "string": _string,
    "title": lambda value: _string(value).title(),
    "trim": lambda value: _string(value).strip(),
    "upper": lambda value: _string(value).upper(),
}
"""All filters. `default` also replaces null; `int` refuses anything that is not a number; `date` takes the
codes of `DATE_CODES`.
"""


class _Environment(ImmutableSandboxedEnvironment):
    """`a.b` and `a["b"]` read the keys of plain objects and nothing of Python's: no methods, no classes."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, dict) and isinstance(argument, str) and argument in obj:
            return obj[argument]
        if isinstance(obj, list | tuple) and type(argument) is int and -len(obj) <= argument < len(obj):
            return obj[argument]
        if isinstance(obj, RunDate) and argument in RunDate.PARTS:
            return getattr(obj, argument)
        return self.undefined(obj=obj, name=argument)


def _make_environment(undefined: type[Undefined]) -> _Environment:
    environment = _Environment(undefined=undefined, autoescape=False)
    environment.globals.clear()
    environment.tests.clear()
    environment.filters.clear()
    environment.filters.update(FILTERS)
    return environment


ENVIRONMENT = _make_environment(StrictUndefined)
CONDITIONS = _make_environment(Undefined)
"""For `when`: what is absent is false there, so that `not shot.image` and `a or b` can ask for it."""
