"""What is wrong with a job file, told on stderr: each problem with its line of the file and a caret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import click

from runner.cli import console
from runner.errors import CallsheetError, JobError, Problem
from runner.redact import printable

_TAB = "    "
_GAP = "..."
_LINE_BREAK = re.compile(r"\r\n?|\n")
"""Where the job file's reader ends a line; `splitlines` would end one at a form feed too."""


def show(error: CallsheetError) -> None:
    """Says what went wrong; of the problems of a job the first 50."""
    if not isinstance(error, JobError):
        console.error(str(error))
        return
    for problem in error.problems[: error.MOST_SHOWN]:
        text = error.files.get(problem.file, b"") if problem.file else error.text
        for line in _lines(problem, problem.file or error.file, text.decode("utf-8", errors="replace")):
            console.error(line)
    if len(error.problems) > error.MOST_SHOWN:
        console.error(f"{error.file}: {len(error.problems) - error.MOST_SHOWN} more problems not shown")


def show_warnings(warnings: Sequence[Problem], file: str) -> None:
    """Warnings: allowed, but a person should know; the first 50 of many."""
    told = [problem.render(file) for problem in warnings[: JobError.MOST_SHOWN]]
    if len(warnings) > len(told):
        told.append(f"{file}: {len(warnings) - len(told)} more warnings not shown")
    for sentence in told:
        console.note(click.style(printable(sentence), fg="yellow"))


def _lines(problem: Problem, file: str, text: str) -> Iterator[str]:
    """The sentence, and the excerpt of `text` where there is one."""
    told = printable(problem.render(file))
    place = f"{file}:{problem.line}:{problem.column}:"
    yield click.style(place, bold=True) + told.removeprefix(place) if told.startswith(place) else told
    if lines := excerpt(text, problem.line, problem.column, console.columns()):
        yield lines[0]
        yield click.style(lines[1], fg="red")


def excerpt(text: str, line: int, column: int, columns: int) -> tuple[str, ...]:
    """Two lines of at most `columns` columns: the line with its number, and the caret.

    `line` and `column` count from 1, in characters. Empty where the text has no such line. Secrets and
    control characters are not shown; a long line is cut around the place.
    """
    lines = _LINE_BREAK.split(text)
    if not 1 <= line <= len(lines) or not lines[line - 1].strip():
        return ()
    written = lines[line - 1].removeprefix("\ufeff") if line == 1 else lines[line - 1]
    at = min(column - 1, len(written))
    before, after = _shown(written[:at]), _shown(written[at:])
    if before + after != _shown(written):
        return ()  # the place is inside a secret, which is taken out as a whole
    number = f"{line:>5} | "
    left, right = _fit(before, after, max(20, columns - len(number)))
    return f"{number}{left}{right}", f"{'|':>{len(number) - 1}} {' ' * console.width(left)}^"


def _shown(text: str) -> str:
    return printable(text.replace("\t", _TAB))


def _fit(before: str, after: str, room: int) -> tuple[str, str]:
    """Both sides of the place, cut to `room` columns; the place itself stays in sight."""
    if console.width(before + (after or "^")) <= room:
        return before, after
    if console.width(before) > room * 2 // 3:
        most = room // 2 - len(_GAP)
        before = before[-most:]
        while console.width(before) > most:
            before = before[1:]
        before = _GAP + before
    if console.width(before + after) > room:
        after = after[:room]
        while console.width(before + after) > room - len(_GAP):
            after = after[:-1]
        after += _GAP
    return before, after
