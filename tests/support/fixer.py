"""Mends a job file as a person would who reads nothing but the messages, and pastes what they say."""

from __future__ import annotations

import re
from collections.abc import Iterable

from runner.errors import Problem

_MEANT = re.compile(r"^did you mean `(.+?)`\?")
_INSTEAD = re.compile(r"^write `(.+)` instead of `(.+?)`$")
_ADD = re.compile(r"^add `([^`]+)`$")
_INDENT = re.compile(r"^indent this line by (\d+) spaces?$")
_INDENT_LINES = re.compile(r"^indent lines (\d+) to (\d+) by (\d+) spaces? (more|less)$")


def paste(text: str, problems: Iterable[Problem]) -> str | None:
    """The text with every hint pasted that has something to paste; None if none has."""
    lines = text.split("\n")
    is_pasted = False
    for problem in problems:
        is_pasted |= _paste(lines, problem)
    return "\n".join(lines) if is_pasted else None


def _paste(lines: list[str], problem: Problem) -> bool:
    hint, index, at = problem.hint, problem.line - 1, problem.column - 1
    line = lines[index]
    if found := _MEANT.match(hint):
        named = [name for name in re.findall(r"`([^`]+)`", problem.message) if name in line]
        at_caret = [name for name in named if line.startswith(name, at)]
        there = re.findall(r"^[^\s,\[\]{}]+", line[at:])
        old = [*at_caret, *named, *there][0]
        lines[index] = _put(line, at, old, found[1])
    elif found := _INSTEAD.match(hint):
        lines[index] = _put(line, at, found[2], found[1])
    elif found := _INDENT.match(hint):
        lines[index] = " " * int(found[1]) + line.lstrip()
    elif found := _INDENT_LINES.match(hint):
        first, last, by = int(found[1]), int(found[2]), int(found[3])
        for i in range(first - 1, last):
            own = len(lines[i]) - len(lines[i].lstrip())
            by_now = own + by if found[4] == "more" else max(0, own - by)
            lines[i] = " " * by_now + lines[i].lstrip()
    elif hint == "delete this line":
        lines[index] = ""
    elif hint == "write plain spaces in this line":
        lines[index] = re.sub(r"\s", " ", line)
    elif found := _ADD.match(hint):
        lines[index] = f"{line[:at]}{found[1]}\n{' ' * at}{line[at:]}"
    else:
        return False
    return True


def _put(line: str, at: int, old: str, new: str) -> str:
    """`new` in the place of `old`: at the caret, else where it first stands in the line."""
    start = line.find(old, at)
    if start < 0:
        start = line.find(old)
    assert start >= 0, (line, old)
    return line[:start] + new + line[start + len(old) :]
