"""The grid of the contact sheet: its axes, and where each task stands on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from runner.job.model import MODEL, SAMPLE, SEED
from runner.json_value import JsonValue, canonical_json
from runner.plan.names import identifying_part

Cell: TypeAlias = Mapping[str, JsonValue]
"""Each axis of a task with its value."""

TAKE = "take"
"""Seeds and samples are one axis of the page: a step has the one or the other."""
_MOST_LABEL = 80


def label(value: JsonValue) -> str:
    """The value of an axis in a few words; of an object its `id`, `name` or `title`."""
    told = identifying_part(value)
    if isinstance(value, dict) and told is not value and isinstance(told, dict):
        told = next(iter(told.values()))
    text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
    return text if len(text) <= _MOST_LABEL else text[: _MOST_LABEL - 1] + "…"


@dataclass(slots=True)
class _Axis:
    labels: list[str] = field(default_factory=list)
    _places: dict[bytes, int] = field(default_factory=dict)

    def place(self, value: JsonValue, text: str) -> int:
        key = canonical_json(value)
        if key not in self._places:
            self._places[key] = len(self.labels)
            # two objects may have one id
            self.labels.append(text if text not in self.labels[-1:] else f"{text} ({len(self.labels) + 1})")
        return self._places[key]


@dataclass(slots=True)
class Grid:
    """Every axis that a task was seen to have, with its values in the order of the plan."""

    _axes: dict[str, _Axis] = field(default_factory=dict)

    def places(self, cell: Cell, above: Mapping[str, Cell]) -> list[int]:
        """Where a task stands on each axis known so far, -1 where it has none.

        `above` are the cells of the tasks above by the names of their steps: each is one value of
        an axis that is named as the step.
        """
        found: dict[str, int] = {}
        for name, upper in reversed(list(above.items())):
            shown = {axis: value for axis, value in upper.items() if axis != MODEL} or dict(upper)
            found[name] = self._axis(name).place(dict(upper), cell_words(shown))
        for name, value in cell.items():
            if name == SEED:
                found[TAKE] = self._axis(TAKE).place([SEED, value], f"seed {value}")
            elif name == SAMPLE:
                found[TAKE] = self._axis(TAKE).place([SAMPLE, value], f"sample {value}")
            else:
                axis = f"{name} " if name in above else name
                found[axis] = self._axis(axis).place(value, label(value))
        return [found.get(name, -1) for name in self._axes]

    def axes(self) -> list[dict[str, object]]:
        return [{"name": name.strip(), "values": axis.labels} for name, axis in self._axes.items()]

    def _axis(self, name: str) -> _Axis:
        return self._axes.setdefault(name, _Axis())


def cell_words(cell: Cell) -> str:
    """`seed 2, pour`: a cell in a few words."""
    return ", ".join(
        f"{name} {value}" if name in (SEED, SAMPLE) else label(value) for name, value in cell.items()
    )
