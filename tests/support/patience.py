"""Waits for another process, on a machine of any speed."""

from __future__ import annotations

import time
from collections.abc import Callable

_LONGEST = 60.0


def wait_until(is_so: Callable[[], bool]) -> None:
    """Raises AssertionError where it does not become so."""
    ends = time.monotonic() + _LONGEST
    while not is_so():
        assert time.monotonic() < ends, "it has not become so"
        time.sleep(0.01)
