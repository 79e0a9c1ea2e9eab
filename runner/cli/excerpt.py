"""The line of a job file that a problem is about, with a caret below the place."""

from __future__ import annotations

import re

from runner.cli.width import cut_left, cut_right, width
from runner.redact import printable

_TAB = "    "
_GAP = "..."
_LINE_BREAK = re.compile(r"\r\n?|\n")
"""Where the job file's reader counts a line; `splitlines` would also at a form feed."""


def excerpt(text: str, line: int, column: int, columns: int) -> tuple[str, ...]:
    """Two lines of at most `columns` columns: the line with its number, and the caret.

    `line` and `column` count from 1, in characters. Empty where the text has no such line. Secrets
    and what a terminal would act on are not shown; a long line is cut around the place.
    """
    lines = _LINE_BREAK.split(text)
    if not 1 <= line <= len(lines) or not lines[line - 1].strip():
        return ()
    written = lines[line - 1].removeprefix("\ufeff") if line == 1 else lines[line - 1]
    at = min(column - 1, len(written))
    before, after = _shown(written[:at]), _shown(written[at:])
    if before + after != _shown(written):
        return ()  # the place is inside of a secret, which is taken out as a whole
    number = f"{line:>5} | "
    left, right = _fit(before, after, max(20, columns - len(number)))
    return f"{number}{left}{right}", f"{'|':>{len(number) - 1}} {' ' * width(left)}^"


def _shown(text: str) -> str:
    return printable(text.replace("\t", _TAB))


def _fit(before: str, after: str, room: int) -> tuple[str, str]:
    """Both sides of the place, cut to `room` columns; the place itself stays in sight."""
    if width(before) + max(1, width(after)) <= room:
        return before, after
    if width(before) > room * 2 // 3:
        before = _GAP + cut_left(before, room // 2 - len(_GAP))
    if width(before) + width(after) > room:
        after = cut_right(after, room - width(before) - len(_GAP)) + _GAP
    return before, after
