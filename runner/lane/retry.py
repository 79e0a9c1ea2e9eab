"""Trying one thing again, with a longer wait after each failure.

Not a library's, such as stamina's: the waits come from the run's own random source, so that a simulated run
repeats, and who tries judges each failure before the next wait.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import anyio


@dataclass(slots=True)
class Retry:
    """Counts failures in a row; a new one begins where a success lies between.

    `base` and `most` are seconds: the longest wait after the first failure, and after any.
    """

    source: random.Random
    tries: int | None = None
    base: float = 0.5
    most: float = 60.0
    failures: int = 0
    _began: float = field(default_factory=anyio.current_time)

    @property
    def seconds(self) -> float:
        """How long it has been tried."""
        return anyio.current_time() - self._began

    def failed(self) -> bool:
        """Counts one more; whether that was the last of `tries`."""
        self.failures += 1
        return self.failures == self.tries

    def pause(self) -> float:
        """Seconds to wait before the next try: exponential with equal jitter.

        Half of the wait is fixed, so that a retry never comes at once; the other half spreads clients
        that failed together.
        """
        ceiling = min(self.most, self.base * 2.0 ** min(self.failures - 1, 30))
        return ceiling / 2 + self.source.uniform(0, ceiling / 2)
