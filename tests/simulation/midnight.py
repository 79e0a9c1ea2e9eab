"""Zones in which midnight comes soon after a schedule begins, and whose clocks are put back then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from tests.simulation.service import START

MIDNIGHT = 600.0
"""Seconds from the start until the first midnight."""
PUT_BACK = 1800.0
"""Seconds from the start until the clocks are put back by an hour: it is the day before again."""

_HOUR = timedelta(hours=1)
_CHANGE = datetime.fromtimestamp(START + PUT_BACK, UTC)
_BEFORE = timedelta(days=1) - timedelta(seconds=(START + MIDNIGHT) % 86_400)


class TwoMidnights(tzinfo):
    """Local times that come twice are those of the first time, but where `fold` says otherwise."""

    def fromutc(self, at: datetime) -> datetime:
        is_back = at.replace(tzinfo=UTC) >= _CHANGE
        local = at + (_BEFORE - _HOUR if is_back else _BEFORE)
        is_twice = is_back and at.replace(tzinfo=UTC) < _CHANGE + _HOUR
        return local.replace(tzinfo=self, fold=int(is_twice))

    def utcoffset(self, at: datetime | None) -> timedelta:
        if at is None:
            return _BEFORE
        first = at.replace(tzinfo=UTC, fold=0) - _BEFORE
        is_first = first < _CHANGE and (not at.fold or first < _CHANGE - _HOUR)
        return _BEFORE if is_first else _BEFORE - _HOUR

    def dst(self, at: datetime | None) -> timedelta:
        return timedelta()

    def tzname(self, at: datetime | None) -> str:
        return "SIM"


ZONE = TwoMidnights()
BERLIN = ZoneInfo("Europe/Berlin")
"""Midnight, then clocks that are put back, then a midnight that ends the month."""
