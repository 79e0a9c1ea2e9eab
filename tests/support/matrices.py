"""A matrix of axes, for the tests of cells and of patterns."""

from __future__ import annotations

from typing import Any

from runner.job.yaml.nodes import Location
from runner.json_value import JsonValue
from runner.plan.matrix import Axis, Entry, Matrix

PLACE = Location(1, 1)


def matrix(
    axes: dict[str, list[JsonValue]],
    *,
    exclude: list[dict[str, JsonValue]] | None = None,
    include: list[dict[str, JsonValue]] | None = None,
    **takes: Any,
) -> Matrix:
    return Matrix(
        models=takes.get("models", ("m",)),
        seeds=takes.get("seeds"),
        samples=takes.get("samples"),
        axes=tuple(Axis(name, tuple(values)) for name, values in axes.items()),
        exclude=tuple(Entry(PLACE, entry) for entry in exclude or ()),
        include=tuple(Entry(PLACE, entry) for entry in include or ()),
    )
