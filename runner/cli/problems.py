"""What is wrong with a job file, as a person or a program wants it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from runner.cli import console
from runner.cli.excerpt import excerpt
from runner.errors import CallsheetError, JobError, Problem, RefusedError
from runner.json_value import JsonValue
from runner.redact import printable


def show(error: CallsheetError) -> None:
    """What went wrong, on stderr."""
    if isinstance(error, JobError):
        tell_problems(error)
    else:
        console.error(str(error))


def agree(question: str, refusal: str) -> None:
    """Asks a person on the terminal. Raises RefusedError where nobody is there, or the answer is no."""
    if not (sys.stdin.isatty() and console.is_terminal()):
        raise RefusedError(refusal, hint="give --yes, or run it in a terminal")
    if not click.confirm(question, err=True):
        raise RefusedError(f"not agreed to: {refusal}")


def tell_problems(error: JobError) -> None:
    """The problems on stderr, each with its line of the file and a caret; the first 50 of many."""
    text = error.text.decode("utf-8", errors="replace")
    for problem in error.problems[: error.MOST_SHOWN]:
        for line in lines(problem, error.file, text):
            console.error(line)
    if len(error.problems) > error.MOST_SHOWN:
        console.error(f"{error.file}: {len(error.problems) - error.MOST_SHOWN} more problems not shown")


def tell_warnings(warnings: Sequence[Problem], file: str) -> None:
    """What a job may do but a person should know, on stderr; the first 50 of many."""
    told = [problem.render(file) for problem in warnings[: JobError.MOST_SHOWN]]
    if len(warnings) > len(told):
        told.append(f"{file}: {len(warnings) - len(told)} more warnings not shown")
    for sentence in told:
        console.note(click.style(printable(sentence), fg="yellow"))


def lines(problem: Problem, file: str, text: str) -> Iterator[str]:
    """The sentence, and the excerpt of `text` where there is one."""
    told = printable(problem.render(file))
    place = f"{file}:{problem.line}:{problem.column}:"
    yield click.style(place, bold=True) + told.removeprefix(place) if told.startswith(place) else told
    if found := excerpt(text, problem.line, problem.column, console.columns()):
        yield found[0]
        yield click.style(found[1], fg="red")


def as_fields(problem: Problem, file: Path) -> dict[str, JsonValue]:
    """A problem as JSON; `file` as it was given on the command line."""
    return {
        "file": str(file),
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "severity": problem.severity,
        "message": problem.message,
        "hint": problem.hint,
    }


def annotation(problem: Problem, file: Path) -> str:
    """A workflow command of GitHub Actions, which the service shows at the line of a pull request.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    path = os.path.relpath(file)
    place = f"file={_property(path)},line={problem.line},col={problem.column},title={_property('callsheet')}"
    hint = f"; hint: {problem.hint}" if problem.hint else ""
    said = f"{problem.path}: {problem.message}{hint}" if problem.path else f"{problem.message}{hint}"
    return f"::{problem.severity} {place}::{_data(said)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
