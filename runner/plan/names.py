"""Readable names: of cells, `spin-16x9-s1`, and of tasks whose job file says where they go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from runner.job.expressions.paths import SUFFIX
from runner.job.model import MODEL, SAMPLE, SEED
from runner.json_value import JsonValue
from runner.providers.models import family_name
from runner.slug import cut, slug

MOST_NAME = 100
"""Bytes of a name; with digits of the identity behind it, it still fits one path component."""
_MOST_LABEL = 40
_TELLING = ("id", "name", "title")


def task_name(labels: Iterable[str], *, default: str) -> str:
    """The labels of a task, one after the other; `default` as a slug if all are empty.

    Not always unique: long names are cut.
    """
    return cut("-".join(label for label in labels if label), MOST_NAME) or slug(default) or "video"


def cell_label(cell: Mapping[str, JsonValue], *, with_model: bool, given: Set[str] = frozenset()) -> str:
    """The cell's values in the order of its axes, seeds as `s1`, samples as `t1`; empty if it has none.

    `given` are names that the job gives its models: they stand as they are.
    """
    labels = (
        str(value) if name == MODEL and value in given else _label(name, value)
        for name, value in cell.items()
        if name != MODEL or with_model
    )
    return "-".join(label for label in labels if label)


def output_name(output: str, parts: int = 1) -> str:
    """The last `parts` of an output path, joined by `-`: `hero-s1` for two of `out/hero/s1.mp4`."""
    return "-".join(output.removesuffix(SUFFIX).split("/")[-parts:])


def names_of_outputs(outputs: Sequence[str], taken: Set[str]) -> list[str]:
    """A name for each path: as few of its last parts as tell all of them apart, and from those `taken`.

    Where the whole paths do not, they are the names.
    """
    names: list[str] = []
    for parts in range(1, max((output.count("/") for output in outputs), default=0) + 2):
        names = [output_name(output, parts) for output in outputs]
        if len(set(names)) == len(names) and taken.isdisjoint(names):
            break
    return names


def _label(axis: str, value: JsonValue) -> str:
    match value:
        case int() if axis == SEED:
            return f"s{value}"
        case int() if axis == SAMPLE:
            return f"t{value}"
        case str() if axis == MODEL:
            return slug(family_name(value))
        case str():
            return slug(value, _MOST_LABEL)
        case dict():
            part = identifying_part(value)
            return _label(axis, next(iter(part.values()), "") if isinstance(part, dict) else "")
        case list() | tuple():
            return slug("-".join(_label(axis, item) for item in value), _MOST_LABEL)
        case bool():
            return f"{axis}-{'yes' if value else 'no'}"
        case None:
            return f"{axis}-none"
    return f"{axis}-{value}"


def identifying_part(value: JsonValue) -> JsonValue:
    """An object's `id`, else its `name` or `title`; anything else as it is."""
    if isinstance(value, dict):
        for key in _TELLING:
            if isinstance(value.get(key), str | int):
                return {key: value[key]}
    return value
