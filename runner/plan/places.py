"""Where in the job file a part of a resolved request stands."""

from __future__ import annotations

from collections.abc import Mapping

from runner.job.matrix import MODEL
from runner.job.model import ContentItem, Step
from runner.job.problems import Path, Place
from runner.job.values import Constant
from runner.json_value import JsonValue


def request_place(step: Step, path: Path, cell: Mapping[str, JsonValue] | None = None) -> Place:
    """The place that a person has to change for what stands at `path` in the request of `cell`."""
    match path:
        case ("content" | "images" | "prompt" as field, *rest):
            return _content_place(step, field, rest)
        case (str(name), *_) if name in step.request:
            return step.request[name].place
        case ("model",):
            return _model_place(step, cell)
        case (str(name), *_):
            return _axis_place(step, name, cell)
    return step.content[0].place


def _content_place(step: Step, field: str, rest: list[str | int]) -> Place:
    kind = {"images": "image_url", "prompt": "text"}.get(field)
    items = [item for item in step.content if kind is None or item.kind == kind]
    number = rest[0] if rest else 0
    if not isinstance(number, int) or number >= len(items):
        return step.content[0].place
    return _item_place(items[number], "text" if field == "prompt" else "".join(map(str, rest[1:2])))


def _item_place(item: ContentItem, part: str) -> Place:
    if part == "role" and item.role is not None:
        return item.role.place
    return item.payload.place if part == item.kind else item.place


def _model_place(step: Step, cell: Mapping[str, JsonValue] | None) -> Place:
    places = dict(reversed(step.models))
    return places.get(str(cell[MODEL]) if cell else "", step.takes_place)


def _axis_place(step: Step, name: str, cell: Mapping[str, JsonValue] | None) -> Place:
    """Of the value that an axis gives the cell, else of the axis, else where the takes stand."""
    axis = next((axis for axis in step.axes if axis.name == name), None)
    if axis is None:
        return step.takes_place
    value = cell.get(name) if cell else None
    own = (item.place for item in axis.values if item.content == Constant(value))
    return axis.place if value is None else next(own, axis.place)
