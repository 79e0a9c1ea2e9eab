"""The local date of a run: fixed when the run starts, kept by every resume."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import ClassVar

_TEXT = re.compile(r"(\d{4}-\d{2}-\d{2})(?:([+-])(\d{2}):(\d{2})|(Z))?")


@dataclass(frozen=True, slots=True)
class RunDate:
    """A calendar day, and the offset from UTC of the clock that showed it.

    `format()` is `2026-11-21+01:00`. `str()`, which is what an expression sees, is the day alone:
    clocks change their offset at night, and an edition that held it would buy that night twice.
    """

    PARTS: ClassVar[frozenset[str]] = frozenset({"year", "month", "day", "weekday", "yday"})

    date: datetime.date
    offset: datetime.timedelta

    @property
    def year(self) -> int:
        return self.date.year

    @property
    def month(self) -> int:
        return self.date.month

    @property
    def day(self) -> int:
        return self.date.day

    @property
    def weekday(self) -> int:
        """0 is Monday, 6 is Sunday."""
        return self.date.weekday()

    @property
    def yday(self) -> int:
        """1 to 366."""
        return self.date.timetuple().tm_yday

    def __str__(self) -> str:
        return self.date.isoformat()

    def format(self) -> str:
        minutes = round(self.offset.total_seconds() / 60)
        sign = "-" if minutes < 0 else "+"
        return f"{self.date.isoformat()}{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"

    @classmethod
    def parse(cls, text: str, zone: datetime.tzinfo | None = None) -> RunDate:
        """Reads `2026-11-21+01:00`, or `2026-11-21` with the offset of `zone` on that day.

        `zone` is this machine's where it is None. Raises ValueError for anything else.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a date such as 2026-11-21 or 2026-11-21+01:00")
        date = datetime.date.fromisoformat(match[1])
        if match[5]:
            return cls(date, datetime.timedelta())
        if match[2] is None:
            noon = datetime.datetime.combine(date, datetime.time(12), zone)
            return cls(date, noon.astimezone(zone).utcoffset() or datetime.timedelta())
        hours, minutes = int(match[3]), int(match[4])
        if hours > 23 or minutes > 59:
            raise ValueError(f"{text!r}: an offset is at most 23:59")
        offset = datetime.timedelta(hours=hours, minutes=minutes)
        return cls(date, -offset if match[2] == "-" else offset)

    @classmethod
    def today(cls, wall: float, zone: datetime.tzinfo | None = None) -> RunDate:
        """The day at `wall`, in Unix seconds, in `zone` (None: this machine's)."""
        now = datetime.datetime.fromtimestamp(wall, datetime.UTC).astimezone(zone)
        return cls(now.date(), now.utcoffset() or datetime.timedelta())
