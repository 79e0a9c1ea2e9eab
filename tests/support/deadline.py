"""Ends a run at a moment that a test names, on a machine of any speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import anyio

from runner.errors import ExitCode
from runner.lane.control import Control


@contextmanager
def deadline_once(is_so: Callable[[], bool]) -> Iterator[None]:
    """Within it the deadline of a run passes once `is_so`.

    The deadline that the run is given bounds the wait: TimeoutError where the moment never comes.
    """

    async def watch(control: Control, seconds: float) -> None:
        with anyio.fail_after(seconds):
            while not is_so():
                await anyio.sleep(0.005)
        control.stop(ExitCode.TRY_AGAIN, "the deadline has passed; run again to go on")

    with patch("runner.run.stop._watch_deadline", watch):
        yield
