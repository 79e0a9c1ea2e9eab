"""The local date and time of a run: fixed when the run starts, kept by every resume."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

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


@dataclass(frozen=True, slots=True)
class RunTime:
    """The moment when a run began. `str()` is `2026-11-21T08:30:00+01:00`."""

    moment: datetime.datetime

    def __str__(self) -> str:
        return self.moment.isoformat(timespec="seconds")

    @classmethod
    def of(cls, began: float, date: RunDate) -> RunTime:
        """`began`, in Unix seconds, as a clock with the offset of `date` shows it.

        The offset is the run's own, kept with it: another machine's zone would make another text of it, and
        so other tasks.
        """
        zone = datetime.timezone(date.offset)
        return cls(datetime.datetime.fromtimestamp(began, zone).replace(microsecond=0))


_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Code: TypeAlias = Callable[[datetime.datetime], str]

DATE_CODES: Mapping[str, tuple[Code, str]] = {
    "%Y": (lambda at: f"{at.year:04}", "year"),
    "%y": (lambda at: f"{at.year % 100:02}", "year without the century"),
    "%m": (lambda at: f"{at.month:02}", "month, 01 to 12"),
    "%B": (lambda at: _MONTHS[at.month - 1], "month in English"),
    "%b": (lambda at: _MONTHS[at.month - 1][:3], "month in English, three letters"),
    "%d": (lambda at: f"{at.day:02}", "day of the month, 01 to 31"),
    "%j": (lambda at: f"{at.timetuple().tm_yday:03}", "day of the year, 001 to 366"),
    "%A": (lambda at: _DAYS[at.weekday()], "weekday in English"),
    "%a": (lambda at: _DAYS[at.weekday()][:3], "weekday in English, three letters"),
    "%u": (lambda at: str(at.isoweekday()), "weekday, 1 (Monday) to 7"),
    "%V": (lambda at: f"{at.isocalendar().week:02}", "ISO week, 01 to 53"),
    "%G": (lambda at: f"{at.isocalendar().year:04}", "year that the ISO week belongs to"),
    "%H": (lambda at: f"{at.hour:02}", "hour, 00 to 23"),
    "%M": (lambda at: f"{at.minute:02}", "minute, 00 to 59"),
    "%S": (lambda at: f"{at.second:02}", "second, 00 to 59"),
    "%%": (lambda _: "%", "a percent sign"),
}
"""What `date(...)` knows, with what each code gives: the same on every platform and in every locale,
which is not true of `strftime`.
"""
_OF_TIME = frozenset({"%H", "%M", "%S"})
_CODE = re.compile(r"%.?", re.DOTALL)


def formatted(value: RunDate | RunTime, pattern: str) -> str:
    """`pattern` with each of `DATE_CODES` replaced. Raises ValueError for another code, and for one of the
    time of day where `value` is a day.
    """

    def replaced(match: re.Match[str]) -> str:
        code = match[0]
        if code not in DATE_CODES:
            raise ValueError(f"`{code}` is not a code of `date`; codes: {' '.join(DATE_CODES)}")
        if code in _OF_TIME and isinstance(value, RunDate):
            raise ValueError(f"`{code}` is a time of day, and this is a day; `run.time` has both")
        return DATE_CODES[code][0](moment)

    if isinstance(value, RunDate):
        moment = datetime.datetime.combine(value.date, datetime.time())
    else:
        moment = value.moment
    return _CODE.sub(replaced, pattern)
