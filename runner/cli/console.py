"""The only place that prints. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import click

from runner import __version__
from runner.cli.options import common
from runner.errors import ExitCode
from runner.record.redact import Redactor

_PACKAGE = Path(__file__).resolve().parent.parent
_WIDTHS_FROM = 200
"""Rows that are looked at to align a table; those that follow stream."""


def result(line: str) -> None:
    """A line of what was asked for."""
    click.echo(line)


def summary(line: str) -> None:
    """A line of result that `-q` leaves out, because the exit code says it too."""
    if not common().quiet:
        click.echo(line)


def note(line: str) -> None:
    """A line of progress or advice, left out by `-q`."""
    if not common().quiet:
        click.echo(line, err=True)


def error(line: str) -> None:
    """What went wrong; `-q` does not silence it."""
    click.echo(line, err=True)


def write(text: str) -> None:
    """A piece of a result that is written as a stream; adds no newline."""
    click.echo(text, nl=False)


def flush() -> None:
    """Pushes stdout out while a failure can still be told. Raises OSError."""
    sys.stdout.flush()


def is_terminal() -> bool:
    """Whether a person watches: progress is drawn on stderr."""
    return sys.stderr.isatty()


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of aligned columns, in constant memory: widths are those of the first 200 rows."""
    remaining = iter(rows)
    first = list(islice(remaining, _WIDTHS_FROM))
    if not first:
        return
    widths = [max(len(row[column]) for row in first) for column in range(len(first[0]))]
    for row in chain(first, remaining):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def bug_report(problem: BaseException) -> str:
    """What a person sends us: versions, the exception, where it came from; no values of variables."""
    frames = traceback.extract_tb(problem.__traceback__)
    lines = [
        f"callsheet {__version__} has a bug (Python {sys.version.split()[0]}, {sys.platform}): "
        f"{type(problem).__name__}: {Redactor().foreign_text(str(problem))}"
    ]
    lines += [f"  at {_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
    lines.append("nothing is lost: state is kept; hint: send us these lines, and the job file if you may")
    return "\n".join(lines)


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(_PACKAGE.parent)) if path.is_relative_to(_PACKAGE) else path.name


def reader_has_gone() -> ExitCode:
    """stdout was closed early (`| head`): nothing more is written, and nobody is told."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.CANNOT_WRITE
