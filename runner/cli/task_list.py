"""A list of tasks, as text or as JSON. It is written in batches, never held as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import click

from runner.cli import console
from runner.cli.humanize import fitting
from runner.cli.place import named
from runner.job.model import Job
from runner.json_value import JsonValue
from runner.ledger.states import STATE_WORDS, TaskState
from runner.plan.plan import Plan
from runner.plan.task import Task
from runner.plural import count
from runner.project import Project
from runner.redact import escape, json_text
from runner.run.task.progress import Progress

CONFLICT = "conflict"
"""A new task that cannot run, because its output path is not free."""

EDIT = "edit"
"""A new task whose output path holds a take of another request."""

_SHOWN = {words.listed: words.shown for words in STATE_WORDS.values()}
"""The listed words that people read in another form."""

_COLOURS: Mapping[str, str] = {
    "done": "green",
    "in flight": "cyan",
    "new": "cyan",
    "unclear": "yellow",
    "held": "yellow",
    "absent": "yellow",
    "written off": "yellow",
    "failed": "red",
    "expired": "red",
    CONFLICT: "red",
    EDIT: "yellow",
}

_AT_A_TIME = 200
"""Rows per write: one write for each of 100,000 rows would take half the time of all else."""


def chosen_tasks(plan: Plan, only: tuple[str, ...], project: Project) -> Iterable[Task]:
    """The tasks that the patterns of --only name; all of them where there are none."""
    if not only:
        return plan.tasks
    chosen = named(only, project).choose(plan)
    console.note(f"--only: {len(chosen.identities)} of {count(plan.count, 'task')}")
    return filter(chosen.names, plan.tasks)


def listed_word(row: Progress) -> str:
    """How a task stands: a listed word of `STATE_WORDS`, `conflict` or `edit`."""
    if row.conflict:
        return CONFLICT
    is_new = row.state is TaskState.PLANNED
    return EDIT if is_new and row.edit is not None else STATE_WORDS[row.state].listed


def shown_word(listed: str) -> str:
    """A listed word as people read it."""
    return _SHOWN.get(listed, listed)


def painted(listed: str) -> str:
    """A listed word as people read it, in its colour."""
    word = shown_word(listed)
    return click.style(word, fg=_COLOURS[word]) if word in _COLOURS else word


def what_words(job: Job, task: Task, most: int) -> str:
    """The prompt, in at most so many columns, and the names of the local files that a task is made from:
    `"A boat..." boat.png`.
    """
    dialect = job.accounts[task.account].provider.dialect
    prompt = " / ".join(" ".join(text.split()) for _, text in dialect.texts(task.request))
    quoted = [f'"{fitting(most, [escape(prompt)])}"'] if prompt else []
    return " ".join([*quoted, *(escape(file.path.name) for file in task.inputs)])


def counts_words(counts: Mapping[TaskState, int]) -> str:
    """`5 done, 1 unclear`: states that are the same to a person are counted together."""
    words: Counter[str] = Counter()
    for state, number in counts.items():
        words[STATE_WORDS[state].shown] += number
    return ", ".join(f"{number} {word}" for word, number in words.items() if number)


@dataclass(frozen=True, slots=True)
class Row:
    """One task: its `columns` follow its state for a person, its `fields` for a program.

    `state` is a listed word of `STATE_WORDS`, `conflict` or `edit`.
    """

    identity: str
    name: str
    state: str
    columns: Callable[[], tuple[str, ...]]
    fields: Callable[[], Mapping[str, JsonValue]]

    def as_json(self) -> str:
        task = {"identity": self.identity, "name": self.name, "state": self.state, **self.fields()}
        return json_text(task)


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
        for lines in _batches(row.as_json() for row in counted()):
            console.write(separator + ",\n".join(lines))
            separator = ",\n"
        console.write('\n], "counts": ' + json_text(counts) + "}\n")
    elif output_format == "jsonl":
        for lines in _batches(row.as_json() for row in counted()):
            console.block("\n".join(lines))
    else:
        return write_groups([("", rows)])
    return counts


def write_groups(groups: Iterable[tuple[str, Iterable[Row]]]) -> Counter[str]:
    """Writes a line for each task, below the title of its group, and the counts of all as the last one."""
    counts: Counter[str] = Counter()

    def cells(rows: Iterable[Row]) -> Iterator[tuple[str, ...]]:
        for row in rows:
            counts[row.state] += 1
            yield (painted(row.state), *row.columns())

    for title, rows in groups:
        if title:
            console.result(title)
        for lines in _batches(console.task_table(cells(rows))):
            console.block("\n".join(lines))
    told = ", ".join(f"{number} {shown_word(listed)}" for listed, number in counts.items())
    console.result(f"{count(counts.total(), 'task')}: {told}".removesuffix(": "))
    return counts


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(lines)
    while batch := list(islice(remaining, _AT_A_TIME)):
        yield batch
