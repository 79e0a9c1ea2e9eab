"""`pick:`, which says what tasks of a step further steps may use: its patterns, matched and written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from runner.job.expressions.expressions import NEEDS
from runner.job.model import MODEL, Job
from runner.job.yaml.nodes import show_path
from runner.json_value import JsonValue, canonical_json
from runner.plan.matrix import Cell, matches
from runner.plan.names import identifying_part
from runner.plan.task import Task

_PLAIN = re.compile(r"(?!(?i:true|false|null)$)[A-Za-z][\w./-]*|\d+:\d+")

Lineage: TypeAlias = Mapping[str, Mapping[str, JsonValue]]
"""The cell of a task and those of the tasks above it, by step, the nearest first."""


def lineage(task: Task) -> Lineage:
    return {task.step: task.cell, **task.cells_above}


def pickable(cells: Lineage) -> Cell:
    """The values that a pattern of `pick` can name: the task's own and, under `needs`, those above it."""
    (_, cell), *above = cells.items()
    return {**cell, NEEDS: {step: dict(values) for step, values in above}}


def means(
    pattern: Mapping[str, JsonValue],
    cell: Mapping[str, JsonValue],
    above: Mapping[str, Mapping[str, JsonValue]],
) -> bool:
    """Whether a pattern of `pick` means the task of `cell` below those of `above`."""
    return matches(pattern, pickable({"": cell, **above}))


def how_to_pick(job: Job, task: Task) -> str:
    """The entry of `pick:` that makes the steps below use `task`; `pick: []` means none yet.

    Empty where nobody is asked: the step picks already, or no step needs it.
    """
    step = job.steps[task.step]
    is_needed = any(task.step in other.needs for other in job.steps.values())
    if step.pick != () or not is_needed:
        return ""
    several_models = {name: len(other.models) > 1 for name, other in job.steps.items()}
    pattern = pick_pattern(lineage(task), several_models)
    return f"{show_path(step.pick_location.path)}: write `pick: [{pattern}]` to go on with {task.name}"


def pick_pattern(cells: Lineage, several_models: Mapping[str, bool]) -> str:
    """The pattern of `pick` that means the task with this lineage, as YAML on one line: `{seed: 2}`.

    `several_models` says for which steps it has to name the model.
    """
    (_, pattern), *above = (
        (
            step,
            {
                name: identifying_part(value)
                for name, value in cell.items()
                if name != MODEL or several_models[step]
            },
        )
        for step, cell in cells.items()
    )
    needs: dict[str, JsonValue] = {step: cell for step, cell in reversed(above) if cell}
    if needs:
        pattern[NEEDS] = needs
    return flow_yaml(pattern or {MODEL: next(iter(cells.values()))[MODEL]})


def flow_yaml(value: JsonValue) -> str:
    """`value` as YAML on one line, as a job file takes it."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {flow_yaml(item)}" for name, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(flow_yaml(item) for item in value) + "]"
        case str() if _PLAIN.fullmatch(value):
            return value
    return canonical_json(value).decode()
