"""Our own documents: frozen dataclasses to plain JSON, and back.

Not msgspec's work, which reads no recursive type such as JsonValue, nor cattrs', which takes 0.2 s to import.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from operator import attrgetter
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

Reader = Callable[[Any], Any]


def members(value: object) -> dict[str, Any]:
    """The fields of a dataclass by name, in their order: what a JSONEncoder takes as its `default`.

    Raises TypeError for what is neither a dataclass nor a mapping.
    """
    if isinstance(value, Mapping):
        return dict(value)
    kind: Any = type(value)
    names, values = _fields(kind)
    found = dict(zip(names, values(value), strict=True))
    for name in _left_out(kind):
        if not found[name]:
            del found[name]
    return found


def read(kind: type[T], value: object) -> T:
    """`value`, plain JSON, as the dataclass `kind`. Unknown members are left out, a missing one takes its
    default. Raises ValueError, which names the member that is wrong.
    """
    known: Any = kind
    return cast(T, reader(known)(value))


def with_texts(value: T, change: Callable[[str], str]) -> T:
    """`value`, of dataclasses and JSON, with each text in it changed, keys of mappings among them."""
    return cast(T, _changed(value, change))


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if value is None or isinstance(value, int | float | enum.Enum):
        return value
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_changed(name, change): _changed(part, change) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_changed(part, change) for part in value)
    if is_dataclass(value):
        kind: Any = type(value)
        return kind(**{name: _changed(part, change) for name, part in members(value).items()})
    return value


WHERE_SET = {"where_set": True}
"""The metadata of a field that is not written where it is empty."""


@functools.cache
def _left_out(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if WHERE_SET.items() <= field.metadata.items())


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]:
    if not is_dataclass(kind):
        raise TypeError(f"not JSON: {kind.__name__}")
    names = tuple(field.name for field in fields(kind))
    # attrgetter gives a tuple for two names or more
    return names, attrgetter(*names) if len(names) > 1 else lambda value: (getattr(value, names[0]),)


@functools.cache
def reader(kind: Any) -> Reader:
    """A function that reads plain JSON as a value of an annotated type, made once; it raises ValueError."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _dataclass_reader(cast(type, kind))
    if origin is tuple:
        item = reader(arguments[0])
        return lambda value: tuple(map(item, _checked(value, list)))
    if origin is Mapping:
        key, part = reader(arguments[0]), reader(arguments[1])
        if part is _as_it_is:
            return lambda value: _checked(value, dict)
        return lambda value: {key(name): part(each) for name, each in _checked(value, dict).items()}
    if isinstance(kind, type):
        if issubclass(kind, enum.Enum):
            return kind
        return functools.partial(_checked, kind=(int, float) if kind is float else kind)
    some = [each for each in arguments if each is not NoneType]
    if len(some) > 1:
        return _as_it_is  # any JSON value
    inner = reader(some[0])
    return lambda value: None if value is None else inner(value)


def _dataclass_reader(kind: type) -> Reader:
    types = get_type_hints(kind)
    plan = [
        (field.name, _taken_as_they_are(types[field.name]), reader(types[field.name]), _default(field))
        for field in fields(kind)
    ]

    def read_members(value: Any) -> Any:
        given = _checked(value, dict)
        parts: dict[str, Any] = {}
        for name, plain, read_part, default in plan:
            if name not in given:
                if default is MISSING:
                    raise ValueError(f"no `{name}`")
                parts[name] = default
            elif type(part := given[name]) in plain:
                parts[name] = part
            else:
                try:
                    parts[name] = read_part(part)
                except ValueError as error:
                    raise ValueError(f"`{name}`: {error}") from None
        return kind(**parts)

    return read_members


def _taken_as_they_are(kind: Any) -> frozenset[type]:
    """The JSON types that a member of this type takes as they are, without a look inside."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Mapping and reader(arguments[1]) is _as_it_is:
        return frozenset({dict})
    some = arguments if NoneType in arguments else (kind,)
    return frozenset({*some}) & {str, int, float, bool, NoneType}


def _default(field: Field[Any]) -> Any:
    # one for all: what is read is never changed
    return field.default if field.default_factory is MISSING else field.default_factory()


def _checked(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{type(value).__name__} is not what belongs here")  # noqa: TRY004  as of bad JSON
    return value


def _as_it_is(value: Any) -> Any:
    return value
