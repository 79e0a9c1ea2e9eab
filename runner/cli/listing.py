"""The list of a plan's tasks as text or as JSON, written task by task: it is never held as a whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from runner.cli import console
from runner.cli.words import count, painted, state_word
from runner.engine.standing import Standing
from runner.job.node import JsonValue


def write_text(rows: Iterable[Standing], columns: Callable[[Standing], tuple[str, ...]]) -> Counter[str]:
    """A line for each task, its state first, and the counts by state as the last one."""
    counts: Counter[str] = Counter()

    def cells() -> Iterator[tuple[str, ...]]:
        for row in rows:
            counts[state_word(row)] += 1
            yield (painted(state_word(row)), *columns(row))

    for line in console.table(cells()):
        console.result(line)
    told = ", ".join(f"{number} {word}" for word, number in counts.items())
    console.result(f"{count(counts.total(), 'task')}: {told}")
    return counts


def write_json(
    head: Mapping[str, JsonValue],
    rows: Iterable[Standing],
    fields: Callable[[Standing], Mapping[str, JsonValue]],
) -> Counter[str]:
    """One JSON object: the members of `head`, then `tasks`, then `counts` by state."""
    console.write(json.dumps(dict(head), ensure_ascii=False)[:-1] + ', "tasks": [')
    counts: Counter[str] = Counter()
    for row in rows:
        console.write((",\n" if counts else "\n") + _object(row, fields))
        counts[state_word(row)] += 1
    console.result('\n], "counts": ' + json.dumps(counts) + "}")
    return counts


def write_jsonl(
    rows: Iterable[Standing], fields: Callable[[Standing], Mapping[str, JsonValue]]
) -> Counter[str]:
    """One JSON object a line, one line a task."""
    counts: Counter[str] = Counter()
    for row in rows:
        console.result(_object(row, fields))
        counts[state_word(row)] += 1
    return counts


def _object(row: Standing, fields: Callable[[Standing], Mapping[str, JsonValue]]) -> str:
    task = {"identity": row.task.identity, "name": row.task.name, "state": state_word(row), **fields(row)}
    return json.dumps(task, ensure_ascii=False)
