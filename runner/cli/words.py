"""States, cells and counts in the words that people read."""

from __future__ import annotations

import datetime
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from runner.job.cost import Total, usd_text
from runner.json_value import JsonValue
from runner.lane.standing import Standing
from runner.ledger.states import STATE_WORDS, TaskState
from runner.redact import escape
from runner.run.lateness import Late

CONFLICT = "conflict"
"""A new task that cannot run, because its output path is not free."""

_COLOURS: Mapping[str, str] = {
    "done": "green",
    "in flight": "cyan",
    "new": "cyan",
    "ambiguous": "yellow",
    "held": "yellow",
    "absent": "yellow",
    "written_off": "yellow",
    "failed": "red",
    "expired": "red",
    CONFLICT: "red",
}


def painted(word: str) -> str:
    """A state's word in its colour; `console` takes the colour out where there is to be none."""
    return click.style(word, fg=_COLOURS[word]) if word in _COLOURS else word


def state_word(row: Standing) -> str:
    """How a planned task stands: new, conflict, in flight, ambiguous, held, done, absent, failed ..."""
    return CONFLICT if row.conflict else STATE_WORDS[row.state].listed


def cell_words(cell: Mapping[str, JsonValue]) -> str:
    """A cell in a line: `seed=1 ratio=16:9 shot=pour`; an object stands as its `id` where it has one."""
    return escape(" ".join(f"{axis}={_value_words(value)}" for axis, value in cell.items()))


def _value_words(value: JsonValue) -> str:
    if isinstance(value, dict) and "id" in value:
        return str(value["id"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def estimate_words(new: Total) -> Iterator[str]:
    """The estimate of new tasks as a line; none where nothing is new. What is not known is counted."""
    if not new.tasks:
        return
    known = [
        f"{new.tokens:,} tokens" if new.without_tokens < new.tasks else "",
        f"about USD {usd_text(new.micros)}" if new.without_price < new.tasks else "",
    ]
    unknown = [
        f"tokens of {count(new.without_tokens, 'task')} not known" if new.without_tokens else "",
        f"price of {count(new.without_price, 'task')} not known" if new.without_price else "",
    ]
    told = "; ".join(filter(None, (", ".join(filter(None, known)), *unknown)))
    yield f"estimate of what is new: {told}"


def counts_words(counts: Mapping[TaskState, int]) -> str:
    """`5 done, 1 failed`; states that are the same to a person are one."""
    words: Counter[str] = Counter()
    for state, number in counts.items():
        words[STATE_WORDS[state].listed] += number
    return ", ".join(f"{number} {word}" for word, number in words.items() if number)


def late_words(overdue: Late) -> str:
    """`2 paid results ... from 14:05 on`, in local time."""
    at = datetime.datetime.fromtimestamp(overdue.ends).astimezone()
    return (
        f"{count(overdue.count, 'paid result')} may be out of reach from {at:%Y-%m-%d %H:%M} on;"
        " hint: callsheet collect"
    )


def shown_path(path: Path) -> str:
    """A path as a person would type it here."""
    relative = os.path.relpath(path)
    return escape(min(relative, str(path), key=len))


def count(number: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
