"""How a moment is written in what we leave behind."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_time(at: float) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds: `2026-11-21T08:30:00.125Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_time_or_none(at: float | None) -> str | None:
    return None if at is None else iso_time(at)
