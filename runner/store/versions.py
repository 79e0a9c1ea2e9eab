"""The names of older takes: `out/s1.mp4` is kept as `out/s1.v1.mp4`, `out/s1.last.png` as
`out/s1.v1.last.png`.
"""

from __future__ import annotations

import re

_SUFFIX = re.compile(r"(\.last\.png|\.[^./]+)?\Z")
_VERSIONED = re.compile(
    r"(?P<stem>.*[^/])\.v(?P<number>[1-9]\d{0,8})(?P<suffix>\.last\.png|\.[^./]+)", re.DOTALL
)


def version_path(path: str, number: int) -> str:
    """Where version `number` (from 1) of the file at `path` is kept: `out/s1.mp4` -> `out/s1.v1.mp4`."""
    at = _suffix_at(path)
    return f"{path[:at]}.v{number}{path[at:]}"


def version_of(path: str) -> tuple[str, int] | None:
    """The path whose version this is, and its number; None for a path that is not a version's."""
    found = _VERSIONED.fullmatch(path)
    return None if found is None else (found["stem"] + found["suffix"], int(found["number"]))


def names_of_take(output: str) -> re.Pattern[str]:
    """The names of a task's files: with `output` `out/s1.mp4` also `out/s1-2.mp4` and `out/s1.last.png`."""
    stem = output[: _suffix_at(output)]
    return re.compile(rf"{re.escape(stem)}(-\d+)?(\.last\.png|\.[^./]+)")


def _suffix_at(path: str) -> int:
    found = _SUFFIX.search(path)
    assert found is not None
    return found.start()
