"""The only place that prints. Results go to stdout, everything else to stderr.

What is printed as a line is one: a line break, a control or a bidirectional character in it is
escaped, whoever brought it in. Only our own colours pass.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import traceback
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

import click

from runner import __version__
from runner.cli.options import common
from runner.cli.stdio import ResultLostError
from runner.errors import RefusedError
from runner.redact import Redactor, escape, json_text

_PACKAGE = Path(__file__).resolve().parent.parent
_WIDTHS_FROM = 200
"""Rows that are looked at to align a table; those that follow stream."""


_WIPE = "\r\x1b[K"
"""Back to the begin of the line, and the rest of it erased."""
_is_status_shown = False

_COLOURS = re.compile("(\x1b\\[(?:0|1|31|32|33|36)m)")
"""What `click.style` writes for the colours that are used here."""


def result(line: str) -> None:
    """A line of what was asked for. Raises ResultLostError."""
    _put(sys.stdout, _one_line(line) + "\n")


def block(text: str) -> None:
    """Several lines of what was asked for; their breaks are ours. Raises ResultLostError."""
    _put(sys.stdout, "".join(f"{_one_line(line)}\n" for line in text.split("\n")))


def document(value: object) -> None:
    """A result for programs, as indented JSON. Raises ResultLostError."""
    write(json_text(value, indent=1) + "\n")


def json_lines(values: Iterable[object]) -> None:
    """Results for programs, as one line of JSON each. Raises ResultLostError."""
    for value in values:
        result(json_text(value))


def outcome(text: str) -> None:
    """How work ended: it is done, and its exit code is its own, whether or not this is read."""
    try:
        block(text)
    except ResultLostError as lost:
        if not lost.is_reader_gone:
            error(f"stdout: cannot write: {lost.reason}; the work itself is not affected by that")


def summary(line: str) -> None:
    """A line of an outcome that `-q` leaves out, because the exit code says it too."""
    if not common().quiet:
        outcome(_one_line(line))


def note(line: str) -> None:
    """A line of progress or advice, left out by `-q`."""
    if not common().quiet:
        error(line)


def next_step(command: str, why: str = "") -> None:
    """What to type next, and what that does; on stderr, left out by `-q`."""
    line = f"next: {command}    {why}" if why else f"next: {command}"
    # a command that a terminal breaks in two is hard to copy
    if not sys.stderr.isatty() or width(line) <= columns():
        note(line)
    else:
        note(f"next: {command}")
        note(f"      {why}")


def status(line: str) -> None:
    """How far something is, on a terminal; what is printed next takes its place."""
    global _is_status_shown
    if is_terminal() and not common().quiet:
        sys.stderr.write(_WIPE + _one_line(line)[: columns() - 1])
        sys.stderr.flush()
        _is_status_shown = True


def agree(question: str, refusal: str) -> None:
    """Asks a person on the terminal. Raises RefusedError where nobody is there, or the answer is no."""
    if not (sys.stdin.isatty() and is_terminal()):
        raise RefusedError(refusal, hint="give --yes, or run it in a terminal")
    if not click.confirm(question, err=True):
        raise RefusedError(f"not agreed to: {refusal}")


def error(line: str) -> None:
    """What went wrong; `-q` does not silence it."""
    _put(sys.stderr, _one_line(line) + "\n")


def write(text: str) -> None:
    """A piece of a result as it is, of JSON or of a file; adds no newline. Raises ResultLostError."""
    _put(sys.stdout, text)


def flush() -> None:
    """Pushes stdout out while a failure can still be told. Raises ResultLostError."""
    sys.stdout.flush()


def is_terminal() -> bool:
    """Whether a person watches a terminal that can move its cursor: progress is drawn on stderr."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def has_colour(stream: TextIO) -> bool:
    """Whether to colour what goes to `stream`.

    NO_COLOR (no-color.org) comes before FORCE_COLOR and CLICOLOR_FORCE, these before CLICOLOR=0
    (bixense.com/clicolors), TERM=dumb and what the stream is.
    """
    environment = os.environ
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR") or environment.get("CLICOLOR_FORCE", "0") != "0":
        return True
    if environment.get("CLICOLOR") == "0" or environment.get("TERM") == "dumb":
        return False
    return stream.isatty()


def columns() -> int:
    """The width of the terminal that stderr goes to; 100 where it goes elsewhere."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stderr.isatty() else 100


def width(text: str) -> int:
    """Columns that `text` takes in a terminal: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    # imported here: most text is ASCII, and rich takes 5 ms
    from rich.cells import cell_len

    return cell_len(text)


def wrapped(text: str, indent: int) -> str:
    """`text` in lines that fit into the terminal of stdout, all but the first indented.

    Elsewhere one line. What is not visible in it is escaped.
    """
    text = _one_line(text)
    if not sys.stdout.isatty():
        return text
    room = max(20, shutil.get_terminal_size().columns - indent)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return f"\n{' ' * indent}".join(lines)


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of aligned columns, in constant memory: widths are those of the first 200 rows."""
    remaining = ([_one_line(cell) for cell in row] for row in rows)
    first = list(islice(remaining, _WIDTHS_FROM))
    if not first:
        return
    widths = [max(_room(row[column]) for row in first) for column in range(len(first[0]))]
    for row in chain(first, remaining):
        cells = (cell + " " * (most - _room(cell)) for cell, most in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _room(cell: str) -> int:
    return width(click.unstyle(cell) if "\x1b" in cell else cell)


def bug_report(problem: BaseException) -> list[str]:
    """Lines that a person sends us: versions, the exception, where it came from; no values of variables."""
    frames = traceback.extract_tb(problem.__traceback__)
    lines = [
        f"callsheet {__version__} has a bug (Python {sys.version.split()[0]}, {sys.platform}): "
        f"{type(problem).__name__}: {Redactor().foreign_text(str(problem))}"
    ]
    lines += [f"  at {_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
    lines.append("nothing is lost: state is kept; hint: send us these lines, and the job file if you may")
    return lines


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(_PACKAGE.parent)) if path.is_relative_to(_PACKAGE) else path.name


def _put(stream: TextIO, text: str) -> None:
    global _is_status_shown
    if _is_status_shown:
        _is_status_shown = False
        sys.stderr.write(_WIPE)
    # click's `echo` writes UTF-8 where the stream is to be ASCII
    stream.write(text if has_colour(stream) else click.unstyle(text))
    stream.flush()


def _one_line(text: str) -> str:
    if "\x1b" not in text:
        return escape(text)
    pieces = _COLOURS.split(text)
    return "".join(piece if number % 2 else escape(piece) for number, piece in enumerate(pieces))
