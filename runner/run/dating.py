"""Whether a run may go by the date that this machine's clock gave it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from runner.job.expressions.rundate import RunDate
from runner.times import local_time

MOST_APART = 600.0
"""Seconds between clocks that agree. At midnight they may name two days then, and either will do."""

_LATEST = datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC).timestamp()
"""A time zone cannot move it out of what a date can say."""


@dataclass(frozen=True, slots=True)
class ClockDate:
    """The date of a run by this machine's clock, under which nothing has been submitted yet.

    `read_at` is what the clock said, in Unix seconds, `age` seconds before this session; None where an
    earlier session read it. `zone` is the project's, None for this machine's.
    """

    date: RunDate
    read_at: float | None
    age: float = 0.0
    zone: datetime.tzinfo | None = None

    def doubt(self, service_time: float) -> str:
        """Why the date is not to be used; empty where it is right.

        `service_time` is what the service's clock said when this session began.
        """
        service_time = min(max(service_time - self.age, 0.0), _LATEST)
        today = RunDate.today(service_time, self.zone)
        if self.date.date == today.date:
            return ""
        said = f"the service's clock says {self._moment(service_time)}"
        if self.read_at is None:
            return (
                f"this run is dated {self.date}, has submitted nothing, and {said}; nothing was submitted;"
                f" hint: begin a new run with `callsheet run`, and with --date {self.date} to keep that date"
            )
        if abs(self.read_at - service_time) <= MOST_APART:
            return ""
        return (
            f"this machine's clock says {self._moment(self.read_at)}, and {said}, so `run.date` is in doubt;"
            f" nothing was submitted; hint: set the clock, or give the date yourself: --date {today}"
        )

    def _moment(self, at: float) -> str:
        return f"{local_time(at, self.zone):%Y-%m-%d %H:%M %z}"


@dataclass(slots=True)
class DateCheck:
    """Holds a run's date against the service's clock until an answer confirms it.

    `date` is None where it needs no confirming; `began` is when the session did, by the monotonic clock.
    """

    date: ClockDate | None
    began: float

    def doubt(self, readings: Sequence[float], now: float) -> str:
        """Why nothing may be submitted under the date. `readings` are what answers have said of the time
        `now`, in Unix seconds; without any there is no doubt.
        """
        if self.date is None or not readings:
            return ""
        # one of the readings may be that of an edge with a clock of its own
        doubt = min((self.date.doubt(reading - (now - self.began)) for reading in readings), key=len)
        if not doubt:
            self.date = None
        return doubt
