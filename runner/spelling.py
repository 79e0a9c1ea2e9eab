"""Which of the known names a misspelt one may mean."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 64
"""Characters that are compared: the time grows with the square of their number."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """The choice that is spelled most like `name`; empty if none is close."""
    return next(iter(difflib.get_close_matches(name[:_MOST], list(choices), n=1)), "")


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`did you mean ...?` for a near miss, else empty."""
    near = nearest(name, choices)
    return f"did you mean `{near}`?" if near else ""
