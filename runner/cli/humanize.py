"""Numbers and paths in the form that people read."""

from __future__ import annotations

import os
from pathlib import Path

from runner.redact import escape


def size(count: int) -> str:
    """A number of bytes for people: `812 B`, `3.4 MB`."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def shown_path(path: Path) -> str:
    """A path as a person would type it here."""
    relative = os.path.relpath(path)
    return escape(min(relative, str(path), key=len))
