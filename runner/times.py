"""How a moment is written in what we leave behind."""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime, time, tzinfo

_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.999
"""The first and the last moment that a date can be written of: the years 1 and 9999."""


def iso_time(at: float) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds: `2026-11-21T08:30:00.125Z`.

    A time beyond the years 1 to 9999 is written as their first or last moment: a record must not fail
    for the sake of an absurd one.
    """
    milliseconds = round(min(max(at, _FIRST), _LAST) * 1e6) // 1000
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


def iso_time_or_none(at: float | None) -> str | None:
    return None if at is None else iso_time(at)


def local_time(at: float, zone: tzinfo | None) -> datetime:
    """Unix seconds in `zone` (None: this machine's); beyond what a date can say, its first or last moment."""
    # a day from either end, so that no zone moves it out again
    return datetime.fromtimestamp(min(max(at, _FIRST + 86_400), _LAST - 86_400), UTC).astimezone(zone)


def local_day(at: float, zone: tzinfo | None) -> str:
    """The day of Unix seconds in `zone` (None: this machine's): `2026-11-21`."""
    return local_time(at, zone).date().isoformat()


def local_midnight(day: date, zone: tzinfo | None) -> datetime:
    """When a day begins in `zone` (None: this machine's).

    Where clocks are put forward at midnight, or a whole day is left out, that is the first moment after it.
    """
    naive = datetime.combine(day, time())
    # by way of UTC: a time that no clock there shows becomes one that it does
    return (naive.astimezone() if zone is None else naive.replace(tzinfo=zone).astimezone(UTC)).astimezone(
        zone
    )


@functools.lru_cache(maxsize=1024)
def _second(at: int) -> str:
    # what happens at once is written at once: four of five calls ask for a second that was just asked for
    return datetime.fromtimestamp(at, UTC).isoformat().removesuffix("+00:00")


def duration_words(seconds: float) -> str:
    """`4.2 s`, `3 min 12 s`, `2 h 5 min`, `3 d`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours / 24:.0f} d"
