"""What goes wrong while one process runs: drawn from the schedule's own random source."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Outage(StrEnum):
    REFUSED = "refused"
    """No connection at all."""
    SILENT = "silent"
    """Connections are taken and nothing is ever answered; POSTs may still get through."""
    PAGES = "pages"
    """An edge answers everything with a 502 page of its own; POSTs may still get through."""


@dataclass(frozen=True, slots=True)
class Span:
    """Simulated seconds since the process began, the end not included."""

    start: float
    end: float

    def holds(self, now: float) -> bool:
        return self.start <= now < self.end


@dataclass(frozen=True, slots=True)
class Weather:
    """Chances are per request; `jumps` are (moment, seconds) by which the wall clock is moved."""

    submits: float = 0.0
    spared: int = 0
    """The first so many POSTs, which so show whether tags come back."""
    free: float = 0.0
    downloads: float = 0.0
    outages: tuple[tuple[Span, Outage], ...] = ()
    full_disk: Span | None = None
    full_ledger: Span | None = None
    jumps: tuple[tuple[float, float], ...] = ()

    def outage(self, now: float) -> Outage | None:
        return next((kind for span, kind in self.outages if span.holds(now)), None)

    def wall_shift(self, now: float) -> float:
        return sum(seconds for moment, seconds in self.jumps if moment <= now)


CALM = Weather()

SUBMIT_FAULTS: Mapping[str, tuple[int, float]] = {
    # name: (how often, chance that the POST was accepted all the same)
    "dns": (1, 0),
    "refused": (2, 0),
    "connect-timeout": (2, 0),
    "tls-timeout": (1, 0),
    "reset-in-headers": (2, 0),
    "reset-in-body": (3, 0.5),
    "write-stall": (3, 0.5),
    "stall": (8, 0.6),
    "closed": (6, 0.6),
    "reset": (6, 0.6),
    "cut-in-headers": (4, 0.8),
    "cut-in-body": (4, 1),
    "not-http": (1, 0.5),
    "no-id": (2, 0.7),
    "500": (9, 0.5),
    "500-job-failed": (2, 0.5),
    "502-envelope": (3, 0),
    "503-envelope": (2, 0),
    "502-page": (2, 0.5),
    "504-page": (2, 0.5),
    "502-edge-json": (2, 0.5),
    "503-edge-json": (2, 0.5),
    "no-date": (2, 1),
    "504-provider": (2, 0.5),
    "504-asset": (1, 0),
    "408": (1, 0.5),
    "409": (1, 0.5),
    "425": (1, 0.5),
    "429": (4, 0),
    "429-odd-date": (2, 0),
    "foreign-id": (2, 0.5),
    "307": (9, 0.5),
    "422-preparing": (2, 0),
    "400": (1, 0),
    "413-page": (1, 0),
    "403-excluded": (1, 0),
    "401": (1, 0),
    "402": (1, 0),
}

FREE_FAULTS: Mapping[str, int] = {
    "refused": 2,
    "reset": 3,
    "cut": 3,
    "stall": 2,
    "500": 3,
    "502-page": 3,
    "junk": 2,
    "429": 2,
    "unknown-status": 2,
    "shifted": 3,
    "odd-date": 3,
    "404-page": 2,
    "404-envelope": 2,
    "404-edge-json": 2,
    "odd-numbers": 2,
    "no-date": 2,
}

DOWNLOAD_FAULTS: Mapping[str, int] = {
    "refused": 2,
    "cut": 5,
    "stall": 2,
    "403": 3,
    "404": 1,
    "500": 3,
    "429": 1,
    "short": 2,
    "html": 2,
    "whole": 2,
    "junk": 1,
    "encoded": 1,
}


def pick(table: Mapping[str, int], source: random.Random) -> str:
    return source.choices(list(table), list(table.values()))[0]


def pick_submit_fault(source: random.Random) -> tuple[str, bool]:
    """A fault's name, and whether the POST is accepted all the same."""
    name = pick({name: weight for name, (weight, _) in SUBMIT_FAULTS.items()}, source)
    return name, source.random() < SUBMIT_FAULTS[name][1]


def storm(source: random.Random) -> Weather:
    """Weather in which a process may well not come to its end."""
    outages: list[tuple[Span, Outage]] = []
    if source.random() < 0.2:
        start = source.expovariate(1 / 10)
        span = Span(start, start + source.choice((2.0, 10.0, 10.0, 60.0, 60.0, 900.0)))
        outages.append((span, source.choice(list(Outage))))
    return Weather(
        submits=source.choice((0.0, 0.1, 0.2, 0.4, 0.7)),
        spared=source.choice((0, 0, 1, 2)),
        free=source.choice((0.0, 0.05, 0.2)),
        downloads=source.choice((0.0, 0.1, 0.4)),
        outages=tuple(outages),
        full_disk=_span(source, 0.08),
        full_ledger=_span(source, 0.06),
        jumps=_jumps(source),
    )


def _span(source: random.Random, chance: float) -> Span | None:
    if source.random() >= chance:
        return None
    start = source.uniform(0, 15)
    return Span(start, start + source.choice((1.0, 10.0, 120.0)))


def _jumps(source: random.Random) -> tuple[tuple[float, float], ...]:
    if source.random() >= 0.2:
        return ()
    return tuple(
        (source.uniform(0, 60), source.choice((-86_400.0, -3600.0, -30.0, 30.0, 3600.0, 86_400.0)))
        for _ in range(source.randint(1, 2))
    )
