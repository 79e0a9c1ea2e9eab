"""The wall clock of a victim: right, until `be_wrong` says by how much it is not.

Import it before the product, which keeps `time.time` in the defaults of its classes.
"""

from __future__ import annotations

import time

_right = time.time
_ahead = 0.0


def _wrong() -> float:
    return _right() + _ahead


time.time = _wrong


def be_wrong(seconds: float) -> None:
    """From now on this process believes that it is so much later."""
    global _ahead
    _ahead = seconds
