"""Where in the job file a part of a resolved request stands."""

from __future__ import annotations

from collections.abc import Mapping

from runner.job.model import MODEL, Step
from runner.job.values import Constant
from runner.job.yaml.nodes import Location, Path
from runner.json_value import JsonValue
from runner.providers.provider import Provider


def request_location(
    provider: Provider, step: Step, path: Path, cell: Mapping[str, JsonValue] | None = None
) -> Location:
    """The place that a person has to change for what stands at `path` in the request of `cell`."""
    match path:
        case (str(name), *rest) if name in provider.content_fields or name == "content":
            return _content_location(provider, step, name, rest)
        case (str(name), *_) if name in step.request:
            return step.request[name].location
        case ("model",):
            return _model_location(step, cell)
        case (str(name), *_):
            return _axis_location(step, name, cell)
    return step.content[0].location


def _content_location(provider: Provider, step: Step, name: str, rest: list[str | int]) -> Location:
    """Of an item of the field `name`, which holds the items of one kind or all of them, or one text."""
    kind = provider.content_fields.get(name, "")
    items = [item for item in step.content if kind in ("", item.kind)]
    number = rest[0] if rest else 0
    if not isinstance(number, int) or number >= len(items):
        return step.content[0].location
    is_alone = provider.schema["properties"].get(name, {}).get("type") == "string"
    return items[number].location_of(kind if is_alone else "".join(map(str, rest[1:2])))


def _model_location(step: Step, cell: Mapping[str, JsonValue] | None) -> Location:
    locations = dict(reversed(step.models))
    return locations.get(str(cell[MODEL]) if cell else "", step.takes_location)


def _axis_location(step: Step, name: str, cell: Mapping[str, JsonValue] | None) -> Location:
    """Of the value that an axis gives the cell, else of the axis, else where the takes stand."""
    axis = next((axis for axis in step.axes if axis.name == name), None)
    if axis is None:
        return step.takes_location
    value = cell.get(name) if cell else None
    own = (item.location for item in axis.values if item.content == Constant(value))
    return axis.location if value is None else next(own, axis.location)
