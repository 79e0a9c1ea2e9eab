"""A list of tasks as text or as JSON, written task by task: it is never held as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from runner.cli import console
from runner.cli.words import count, painted
from runner.job.node import JsonValue
from runner.record.redact import json_text


@dataclass(frozen=True, slots=True)
class Row:
    """One task: its `columns` follow its state for a person, its `fields` for a program."""

    identity: str
    name: str
    state: str
    columns: tuple[str, ...]
    fields: Mapping[str, JsonValue]

    def as_json(self) -> str:
        task = {"identity": self.identity, "name": self.name, "state": self.state, **self.fields}
        return json_text(task)


def write_lines(rows: Iterable[object]) -> None:
    """`jsonl`: one object a line."""
    for row in rows:
        console.result(json_text(row))


def write_rows(rows: Iterable[Row], output_format: str, head: Mapping[str, JsonValue]) -> Counter[str]:
    """Writes the tasks and gives their number by state.

    `text`: a line for each and the counts as the last one; `jsonl`: an object a line; `json`: one
    object with the members of `head`, then `tasks`, then `counts`.
    """
    counts: Counter[str] = Counter()

    def counted() -> Iterator[Row]:
        for row in rows:
            counts[row.state] += 1
            yield row

    if output_format == "json":
        console.write(json_text(dict(head))[:-1] + ', "tasks": [')
        separator = "\n"
        for row in counted():
            console.write(separator + row.as_json())
            separator = ",\n"
        console.write('\n], "counts": ' + json_text(counts) + "}\n")
    elif output_format == "jsonl":
        for row in counted():
            console.result(row.as_json())
    else:
        for line in console.table((painted(row.state), *row.columns) for row in counted()):
            console.result(line)
        told = ", ".join(f"{number} {word}" for word, number in counts.items())
        console.result(f"{count(counts.total(), 'task')}: {told}".removesuffix(": "))
    return counts
