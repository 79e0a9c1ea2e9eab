"""Amounts, times and paths in the form that people read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from runner.cli import console
from runner.ledger.rows import Spend
from runner.money import usd_words
from runner.plural import count
from runner.redact import escape
from runner.times import duration_words


def spend_words(spent: Spend) -> str:
    """`USD 3.40`, `USD 3.40 and 2 tasks of unknown price`, `2 tasks of unknown price`."""
    unknown = f"{count(spent.unknown, 'task')} of unknown price" if spent.unknown else ""
    if spent.unknown and spent.unknown == spent.tasks:
        return unknown
    return " and ".join(part for part in (usd_words(spent.micros), unknown) if part)


def took_words(seconds: float) -> str:
    """`0.3 s`, `18 s`, `3 min 12 s`, `2 h 5 min`."""
    return f"{seconds:.0f} s" if 1 <= seconds < 59.5 else duration_words(seconds)


def clock_words(seconds: float) -> str:
    """`0:18`, `12:03`, `1:02:03`."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def to_go_words(seconds: float) -> str:
    """`20 s`, `4 min`, `2 h 10 min`: no more than an estimate knows."""
    if seconds < 55:
        return f"{max(5, round(seconds / 5) * 5)} s"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60 // 10 * 10} min"


def fitting(width: int, forms: Iterable[str]) -> str:
    """The first of these forms that fits into `width` columns; else the last without its middle."""
    last = ""
    for last in forms:
        if console.width(last) <= width:
            return last
    gap = "..."
    before, after = last[: len(last) * 2 // 3], last[len(last) * 2 // 3 :]
    while console.width(before + gap + after) > width and (before or after):
        before, after = (before[:-1], after) if len(before) > len(after) else (before, after[1:])
    return before + gap + after if before else gap[:width]


def size(length: int) -> str:
    """A number of bytes for people: `812 B`, `3.4 MB`."""
    number = float(length)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def shown_path(path: Path) -> str:
    """A path as a person would type it here."""
    relative = os.path.relpath(path)
    return escape(min(relative, str(path), key=len))
