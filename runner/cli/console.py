"""The only place that prints. Results go to stdout, everything else to stderr.

A line that is printed stays one line: line breaks, control and bidirectional characters in it are
escaped. Only our own colours pass.
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
from runner.cli.common_options import common
from runner.cli.stdio import ResultLostError
from runner.errors import RefusedError
from runner.redact import escape, json_text, printable

_PACKAGE = Path(__file__).resolve().parent.parent
_WIDTHS_FROM = 200
"""The rows that decide how wide the columns of a table are; later rows stream."""

_WIPE = "\r\x1b[K"
"""Goes back to the start of the line, and erases it."""
_is_status_shown = False

_INDENT, _WHY_INDENT = 2, 6
"""Of a line that goes on from the one before, and of what a command does."""
_NARROWEST = 20
_BESIDE, _BELOW = 2, 4
"""How many columns of a task's row stay side by side, and the indent of those below."""

_COLOURS = re.compile("(\x1b\\[(?:0|1|31|32|33|36)m)")
"""The codes that `click.style` writes for the colours used here."""


def result(line: str) -> None:
    """Prints a line of a result. Raises ResultLostError."""
    _put(sys.stdout, _one_line(line) + "\n")


def block(text: str) -> None:
    """Prints a result of several lines. Raises ResultLostError."""
    _put(sys.stdout, "".join(f"{_one_line(line)}\n" for line in text.split("\n")))


def document(value: object) -> None:
    """Prints a result for programs, as indented JSON. Raises ResultLostError."""
    write(json_text(value, indent=1) + "\n")


def json_lines(values: Iterable[object]) -> None:
    """Prints results for programs, one line of JSON each. Raises ResultLostError."""
    for value in values:
        result(json_text(value))


def for_programs(output_format: str, rows: Iterable[object], whole: object) -> bool:
    """Prints `rows` as lines of JSON, or `whole` as a document; False where text is wanted."""
    if output_format == "jsonl":
        json_lines(rows)
    elif output_format == "json":
        document(whole)
    return output_format != "text"


def outcome(text: str) -> None:
    """Prints how work ended. The work is done: if nobody can read this, its exit code stays what it is."""
    try:
        block(text)
    except ResultLostError as lost:
        if not lost.is_reader_gone:
            error(f"stdout: cannot write: {lost.reason}; the work itself is not affected")


def summary(line: str) -> None:
    """Prints a line of an outcome; `-q` leaves it out, because the exit code says it too."""
    if not common().quiet:
        outcome(wrapped(line, _INDENT))


def note(line: str) -> None:
    """Prints a line of progress or advice on stderr; `-q` leaves it out."""
    if not common().quiet:
        error(line)


def next_step(command: str, why: str = "") -> None:
    """Prints what to type next, and what that does, on stderr; `-q` leaves it out."""
    line = f"next: {command}    {why}" if why else f"next: {command}"
    # a command broken in two by the terminal is hard to copy
    if not sys.stderr.isatty() or width(line) <= columns():
        note(line)
    else:
        note(f"next: {command}")
        for line in _broken(why, _WHY_INDENT, sys.stderr):
            note(" " * _WHY_INDENT + line)


def status(line: str) -> None:
    """Shows on a terminal how far something is; whatever is printed next replaces it."""
    global _is_status_shown
    if is_terminal() and not common().quiet:
        sys.stderr.write(_WIPE + _one_line(line)[: columns() - 1])
        sys.stderr.flush()
        _is_status_shown = True


def is_somebody_there() -> bool:
    """Whether a person can be asked on the terminal."""
    return sys.stdin.isatty() and is_terminal()


def agree(question: str, refusal: str) -> None:
    """Asks a person on the terminal. Raises RefusedError where nobody is there, or the answer is no."""
    if not is_somebody_there():
        raise RefusedError(refusal, hint="give --yes, or run it in a terminal")
    if not click.confirm(question, err=True):
        raise RefusedError(f"not agreed to: {refusal}")


def can_ask() -> bool:
    """Whether a person sits at a terminal who reads what is printed, and can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty() and is_terminal()


def ask(question: str) -> str | None:
    """The line that a person types, without spaces around it; None after Ctrl-D or Ctrl-C."""
    try:
        return str(
            click.prompt(question, default="", show_default=False, prompt_suffix=" ", err=True)
        ).strip()
    except click.Abort:
        return None


def error(line: str) -> None:
    """Prints what went wrong on stderr, even with `-q`."""
    _put(sys.stderr, _one_line(line) + "\n")


def write(text: str) -> None:
    """Prints a piece of a result as it is, without a newline. Raises ResultLostError."""
    _put(sys.stdout, text)


def flush() -> None:
    """Flushes stdout while a failure can still be reported. Raises ResultLostError."""
    sys.stdout.flush()


def is_terminal() -> bool:
    """Whether stderr is a terminal that can move its cursor, so that progress can be drawn on it."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def is_screen() -> bool:
    """Whether stdout is a terminal that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def screen_text(lines: Iterable[str]) -> str:
    """Lines for a screen that somebody else draws: escaped, and coloured where stdout is."""
    text = "\n".join(_one_line(line) for line in lines)
    return text if has_colour(sys.stdout) else click.unstyle(text)


def has_colour(stream: TextIO) -> bool:
    """Whether text for `stream` is coloured.

    NO_COLOR (no-color.org) comes before FORCE_COLOR and CLICOLOR_FORCE, these before CLICOLOR=0
    (bixense.com/clicolors) and TERM=dumb; else a terminal has colour.
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
    """`text` in lines that fit the terminal of stdout, all but the first indented; elsewhere one line."""
    return f"\n{' ' * indent}".join(_broken(_one_line(text), indent, sys.stdout))


def advice(line: str) -> None:
    """Prints prose on stderr, even with `-q`: on a terminal it is broken between words, and indented."""
    first, *rest = _broken(_one_line(line), _INDENT, sys.stderr)
    for row in (first, *(" " * _INDENT + row for row in rest)):
        error(row)


def _broken(text: str, indent: int, stream: TextIO) -> list[str]:
    """`text` in pieces that a terminal has room for beside an indent; elsewhere as it is."""
    if not stream.isatty():
        return [text]
    room = max(_NARROWEST, shutil.get_terminal_size().columns - indent)
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [text]


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


def task_table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The same for rows that may be too wide for the terminal of stdout.

    What no longer fits beside the first two columns stands below them, indented and broken between words.
    """
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    remaining = ([_one_line(cell) for cell in row] for row in rows)
    first = list(islice(remaining, _WIDTHS_FROM))
    if not first:
        return
    widths = [max(_room(row[column]) for row in first) for column in range(len(first[0]))]
    beside = len(widths)
    while beside > _BESIDE and sum(widths[:beside]) + 2 * (beside - 1) > room:
        beside -= 1
    for row in chain(first, remaining):
        cells = (cell + " " * (most - _room(cell)) for cell, most in zip(row[:beside], widths, strict=False))
        yield "  ".join(cells).rstrip()
        yield from _below(filter(None, row[beside:]), room - _BELOW)


def headed_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of aligned columns under their titles.

    Where the terminal of stdout is too narrow, each row is a block: its first cell, then a line with title
    and content of each other cell.
    """
    held = [*rows]
    aligned = [*table([head, *held])]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    if max(map(_room, aligned)) <= room:
        yield from aligned
        return
    titles = max(map(width, head[1:]), default=0)
    for first, *cells in held:
        yield _one_line(first)
        for title, cell in zip(head[1:], cells, strict=True):
            first_line, *more = wrapped(cell, titles + 4).split("\n")
            yield f"  {title}{' ' * (titles - width(title))}  {first_line}"
            yield from more


def _below(cells: Iterable[str], room: int) -> Iterator[str]:
    """Cells as lines of at most `room` columns, as many of them side by side as fit."""
    line = ""
    for cell in cells:
        joined = f"{line}  {cell}" if line else cell
        if _room(joined) <= room:
            line = joined
            continue
        if line:
            yield " " * _BELOW + line
        *whole, line = textwrap.wrap(
            cell, max(_NARROWEST, room), break_long_words=False, break_on_hyphens=False
        )
        yield from (" " * _BELOW + piece for piece in whole)
    if line:
        yield " " * _BELOW + line


def _room(cell: str) -> int:
    return width(click.unstyle(cell) if "\x1b" in cell else cell)


def bug_report(problem: BaseException) -> list[str]:
    """Lines that a person can send us: versions, the exception and where it came from, but no values."""
    frames = traceback.extract_tb(problem.__traceback__)
    lines = [
        f"callsheet {__version__} has a bug (Python {sys.version.split()[0]}, {sys.platform}): "
        f"{type(problem).__name__}: {printable(str(problem))}"
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
    # click's `echo` writes UTF-8 even where the stream takes ASCII only
    stream.write(text if has_colour(stream) else click.unstyle(text))
    stream.flush()


def _one_line(text: str) -> str:
    if "\x1b" not in text:
        return escape(text)
    pieces = _COLOURS.split(text)
    return "".join(piece if number % 2 else escape(piece) for number, piece in enumerate(pieces))
