"""When to stop waiting for a server that answers late, slowly or never to the end (row 43)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import anyio


class StallGuard:
    """Moves the deadline of a cancel scope: one for the headers, then one for each window of the body.

    Within every `rate_window` seconds, at least `minimum_rate` bytes a second have to arrive; all
    of it ends `total_seconds` after the guard was made.
    """

    def __init__(
        self,
        scope: anyio.CancelScope,
        *,
        total_seconds: float,
        header_seconds: float,
        minimum_rate: int,
        rate_window: float,
    ) -> None:
        self._scope = scope
        self._total_seconds = total_seconds
        self._header_seconds = header_seconds
        self._minimum_rate = minimum_rate
        self._rate_window = rate_window
        self._end = anyio.current_time() + total_seconds
        self._quota = 0.0
        self._phase = ""

    @property
    def complaint(self) -> str:
        """In words, which bound it was; for use after the scope has been cancelled by its deadline."""
        if anyio.current_time() >= self._end:
            return f"not done within {self._total_seconds:g} s"
        return self._phase

    def expect_headers(self) -> None:
        self._phase = f"no answer within {self._header_seconds:g} s"
        self._set(self._header_seconds)

    def expect_body(self) -> None:
        self._phase = f"slower than {self._minimum_rate} bytes/s over {self._rate_window:g} s"
        self._quota = self._minimum_rate * self._rate_window
        self._set(self._rate_window)

    def received(self, size: int) -> None:
        self._quota -= size
        if self._quota <= 0:
            self.expect_body()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Takes our own disk's time out of the window: the server is not to blame for it."""
        left = self._scope.deadline - anyio.current_time()
        self._scope.deadline = self._end
        try:
            yield
        finally:
            self._set(left)

    def _set(self, seconds: float) -> None:
        self._scope.deadline = min(anyio.current_time() + seconds, self._end)
