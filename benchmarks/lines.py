"""l: lines of the code that sends, fetches and plans, against what it was before it was made simpler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import CHECKOUT, Figure

CODE = {
    "transport": (
        "providers/fast.py",
        "providers/http.py",
        "providers/submit.py",
        "providers/transport.py",
        "providers/access.py",
        "http/*.py",
    ),
    "download": (
        "engine/download*.py",
        "engine/addresses.py",
        "engine/part.py",
        "engine/stall.py",
        "engine/files.py",
        "engine/boxes.py",
        "engine/media.py",
        "engine/fetch*.py",
    ),
    "planning": (
        "job/plan.py",
        "job/build.py",
        "job/marks.py",
        "job/matrix.py",
        "job/stages.py",
        "job/survey.py",
        "job/workflow.py",
        "engine/settled.py",
        "engine/standing.py",
        "engine/prepare.py",
    ),
}
"""Files by what they do, below `runner`; those that are gone by now or came since stand here too."""

BEFORE = {"transport": 800, "download": 1725, "planning": 2083}
"""What `python -m benchmarks.lines` counts at a6fc77c, with this file put there."""


def count() -> dict[str, int]:
    return {part: sum(map(_lines, _files(patterns))) for part, patterns in CODE.items()}


def measure() -> list[Figure]:
    counted = count()
    before, now = sum(BEFORE.values()), sum(counted.values())
    return [
        Figure(
            "l",
            f"lines of transport, download and planning, of {before:,}",
            now / before,
            0.99,
            is_most=True,
        ),
        *(Figure("l", f"lines of {part}, {BEFORE[part]:,} before", lines) for part, lines in counted.items()),
    ]


def _files(patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from (CHECKOUT / "runner").glob(pattern)


def _lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    print(count())
