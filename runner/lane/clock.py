"""The service's time, as its answers tell it."""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from runner.lane.machine import Machine

WALL_SAYS = 12 * 3600.0
"""Seconds by which our wall clock may put the service's time earlier than an answer did: more than an
edge's clock is wrong, and less than makes an attempt too old for absence to prove anything."""


LATEST_TIME = 4_102_444_800.0
"""2100-01-01: a service's time from then on is not believed."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Seconds since a moment, by the slower and by the faster of the service's clock and ours."""

    least: float
    most: float


@dataclass(slots=True)
class ServerClock:
    """The service's time, from the Date headers of its answers, carried on by our monotonic clock.

    One answer may be wrong (an edge with a clock of its own), so there are two readings: no answer
    has said less than `earliest`, none more than `latest`. What looks for rows from a moment on takes
    the earliest, for a window that opens too late would hide a paid task. The only answer so far may
    be the wrong one, so our wall clock has a say too, within bounds: it may be wrong itself.
    """

    machine: Machine
    _lowest: float | None = None
    _highest: float = 0.0

    @property
    def is_known(self) -> bool:
        return self._lowest is not None

    def hear(self, server_time: float | None) -> None:
        if server_time is None or server_time >= LATEST_TIME:
            return
        ahead = server_time - anyio.current_time()
        if self._lowest is None:
            self._lowest = self._highest = ahead
        self._lowest = min(self._lowest, ahead)
        self._highest = max(self._highest, ahead)

    def heard(self) -> tuple[float, ...]:
        """The least and the most that answers have said of the time now, in Unix seconds; () without any."""
        if self._lowest is None:
            return ()
        return (self._lowest + anyio.current_time(), self._highest + anyio.current_time())

    def passed(self, server_time: float, wall: float) -> Passed:
        """How long ago a moment was that stood so on the service's clock and on ours, in Unix seconds."""
        by_ours = self.machine.wall() - wall
        if server_time >= LATEST_TIME:  # an older callsheet believed it
            return Passed(by_ours, by_ours)
        return Passed(min(self.earliest() - server_time, by_ours), max(self.latest() - server_time, by_ours))

    def earliest(self) -> float:
        """Unix seconds; our own wall clock as long as no answer has come."""
        wall = self.machine.wall()
        if self._lowest is None:
            return wall
        heard = self._lowest + anyio.current_time()
        return min(heard, max(wall, heard - WALL_SAYS))

    def latest(self) -> float:
        """Unix seconds; our own wall clock as long as no answer has come."""
        return self.machine.wall() if self._lowest is None else self._highest + anyio.current_time()
