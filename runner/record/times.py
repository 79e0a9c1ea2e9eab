"""How a moment is written in what we leave behind."""

from __future__ import annotations

import functools
from datetime import UTC, datetime


def iso_time(at: float) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds: `2026-11-21T08:30:00.125Z`."""
    milliseconds = round(at * 1e6) // 1000
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


def iso_time_or_none(at: float | None) -> str | None:
    return None if at is None else iso_time(at)


@functools.lru_cache(maxsize=1024)
def _second(at: int) -> str:
    # what happens at once is written at once: four of five calls ask for a second that was just asked for
    return datetime.fromtimestamp(at, UTC).isoformat().removesuffix("+00:00")
