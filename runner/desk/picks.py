"""Which steps a person may pick takes of, and the entry of `pick:` that means one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.desk.grid import Cell
from runner.errors import CallsheetError
from runner.job.yaml.nodes import to_data
from runner.job.yaml.source import parse
from runner.json_value import JsonValue
from runner.plan.picks import means, pick_pattern


def pickable_steps(job_text: bytes) -> dict[str, list[JsonValue] | None]:
    """The steps that another one needs, by name, with their `pick`: `[]` waits for a person.

    Empty where the text is no job file of several steps.
    """
    try:
        job = to_data(parse(job_text, file="job.yaml"))
    except CallsheetError:
        return {}
    steps = job.get("steps") if isinstance(job, dict) else None
    if not isinstance(steps, dict):
        return {}
    written = {name: step for name, step in steps.items() if isinstance(step, dict)}
    needed = {step.get("needs") for step in written.values()}
    picks = {name: step.get("pick") for name, step in written.items() if name in needed}
    return {name: pick if isinstance(pick, list) else None for name, pick in picks.items()}


def is_picked(picks: Sequence[JsonValue], cell: Cell, above: Mapping[str, Cell]) -> bool:
    """Whether an entry as written means the task with this cell; one with an expression means none."""
    return any(isinstance(entry, dict) and means(entry, cell, above) for entry in picks)


def pick_entry(cell: Cell, above: Mapping[str, Cell], *, several_models: Mapping[str, bool]) -> str:
    """A line of `pick:` that means the task with this cell: `- {seed: 2}`.

    `above` are the cells of the tasks above it, the nearest first; `several_models` says of
    which steps the model has to be named.
    """
    step, *_ = several_models
    return f"- {pick_pattern({step: cell, **above}, several_models)}"
