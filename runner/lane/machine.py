"""This machine's clock, random source and worker threads, so that a simulation can stand in for them.

The monotonic clock is `anyio.current_time` (under a mock clock it is the mock's). The transports
are the clients that a provider and the downloader are built with; the disk for results is
`files.FileStore`; the ledger is the real one. What is left is here.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, TypeVarTuple

import anyio.to_thread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Threads(Protocol):
    """Runs blocking work off the event loop; a simulation runs it inline."""

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T: ...


class WorkerThreads:
    """Blocking work on anyio's worker threads; never abandoned half-way by a cancellation."""

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        return await anyio.to_thread.run_sync(function, *args)


def boottime() -> float:
    """Seconds since the machine started, those included in which it slept."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    # macOS counts sleep in CLOCK_MONOTONIC, which Python's own monotonic clock there does not
    return time.clock_gettime(time.CLOCK_MONOTONIC) if hasattr(time, "CLOCK_MONOTONIC") else time.monotonic()


@dataclass(frozen=True, slots=True)
class Machine:
    """`wall` gives Unix seconds. `random` decides tags, jitter and ids, nothing secret. `boottime` measures
    leases: it goes on while the machine sleeps.
    """

    wall: Callable[[], float] = time.time
    boottime: Callable[[], float] = boottime
    random: random.Random = field(default_factory=random.SystemRandom)
    threads: Threads = field(default_factory=WorkerThreads)
