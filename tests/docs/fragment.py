"""A fragment of a job file goes into a whole one, line by line, so that places in it stay as they are."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

_KEY = re.compile(r"([^\s#:][^:]*):(?:\s|$)")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key with all of its lines, from `start` up to `end`."""

    key: str
    start: int
    end: int


def put_into(text: str, fragment: str, *, below: str = "") -> str:
    """`text` with the keys of `fragment` in place of its own, at the top or `below` (as `steps.shot1`).

    A key that is not there yet comes last. Raises LookupError where there is no `below`.
    """
    lines = text.splitlines()
    first, last, indent = 0, len(lines), 0
    for name in filter(None, below.split(".")):
        found = {entry.key: entry for entry in _entries(lines[first:last], indent)}
        if name not in found:
            raise LookupError(f"no `{name}` of `{below}` to put the fragment into")
        first, last = first + found[name].start + 1, first + found[name].end
        indent = min(_indent(line) for line in lines[first:last] if line.strip())
    new = textwrap.dedent(fragment).splitlines()
    for entry in _entries(new, 0):
        written = [" " * indent + line if line else line for line in new[entry.start : entry.end]]
        old = next((one for one in _entries(lines[first:last], indent) if one.key == entry.key), None)
        start, end = (last, last) if old is None else (first + old.start, first + old.end)
        lines[start:end] = written
        last += len(written) - (end - start)
    return "\n".join(lines) + "\n"


def _entries(lines: list[str], indent: int) -> list[_Entry]:
    """The keys at this indent. Blank lines and comments behind an entry belong to none."""
    found: list[_Entry] = []
    for number, line in enumerate(lines):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key = _KEY.match(line[indent:]) if _indent(line) == indent else None
        if key is not None:
            found.append(_Entry(key[1], number, number + 1))
        elif found:
            found[-1] = _Entry(found[-1].key, found[-1].start, number + 1)
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
