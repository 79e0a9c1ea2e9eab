"""`callsheet` in a world whose seconds are shorter: `hurry SPEED EPOCH ARGUMENTS...`.

All that it does by the clock of its event loop and by the wall clock goes SPEED times faster: looks, pauses,
time limits. What it computes, writes and sends takes as long as ever, so overheads count SPEED times.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import time
from collections.abc import Callable


def clock(speed: float, epoch: float, real: Callable[[], float] = time.time) -> Callable[[], float]:
    """The wall clock of such a world, in Unix seconds; at `epoch` it agrees with the true one."""
    return lambda: epoch + (real() - epoch) * speed


def hurry(speed: float, epoch: float) -> None:
    """Makes this process's event loops and its wall clock `speed` times faster."""
    time.time = clock(speed, epoch)
    loop_time = asyncio.BaseEventLoop.time
    select = selectors.DefaultSelector.select

    def shorter(self: selectors.DefaultSelector, timeout: float | None = None) -> object:
        return select(self, timeout if timeout is None else timeout / speed)

    asyncio.BaseEventLoop.time = lambda self: speed * loop_time(self)  # type: ignore[method-assign]
    selectors.DefaultSelector.select = shorter  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    hurry(float(sys.argv.pop(1)), float(sys.argv.pop(1)))
    # after the clock is set: modules take `time.time` as they are imported
    from runner.__main__ import main

    sys.exit(main())
