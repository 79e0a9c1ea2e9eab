"""What stops jobs from outside: a signal all of them, a deadline its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio

from runner.errors import CallsheetError, ExitCode
from runner.lane.control import Control


@asynccontextmanager
async def stoppable(control: Control, deadline: float | None) -> AsyncIterator[None]:
    """All that takes time stands in here: a stop, or the deadline in seconds, leaves it."""
    async with anyio.create_task_group() as watchers:
        if deadline is not None:
            watchers.start_soon(_watch_deadline, control, deadline)
        with control.work:
            yield
        watchers.cancel_scope.cancel()


@asynccontextmanager
async def signals_heard(control: Control) -> AsyncIterator[None]:
    """Signals stop all jobs in order for as long as this is open, the writing of the manifests included.

    Only a process's main thread can hear them; a run in another one is stopped by cancelling it.
    """
    with _ungrouped():
        async with anyio.create_task_group() as watchers:
            if threading.current_thread() is threading.main_thread():
                watchers.start_soon(_watch_signals, control)
            yield
            watchers.cancel_scope.cancel()


@contextmanager
def _ungrouped() -> Iterator[None]:
    """A CallsheetError that task groups have wrapped, as itself: who called tells it and goes on."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours, others = group.split(CallsheetError)
        if ours is None or others is not None:
            raise
        error: BaseException = ours
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _watch_deadline(control: Control, seconds: float) -> None:
    await anyio.sleep(seconds)
    control.end(ExitCode.TRY_AGAIN, "the deadline has passed; run again to go on")


async def _watch_signals(control: Control) -> None:
    """The first signal stops with the state kept, the second leaves at once (row 47)."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        is_stopping = False
        async for signum in signals:
            code = ExitCode.INTERRUPTED if signum == signal.SIGINT else ExitCode.TERMINATED
            if is_stopping:
                control.leave(code)
            is_stopping = True
            control.stop(code, f"interrupted by {signal.Signals(signum).name}; run again to go on")
