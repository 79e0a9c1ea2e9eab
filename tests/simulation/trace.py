"""What happened, in order; its digest tells two replays of a schedule apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

import anyio


class Trace:
    """`root` is where this worker has its files: another one each time, so it is not told."""

    def __init__(self, root: Path) -> None:
        self.lines: list[str] = []
        self._root = f"{root}/"

    def note(self, name: str, **fields: object) -> None:
        told = " ".join(f"{key}={value}" for key, value in fields.items() if value not in ("", None))
        self.lines.append(f"{anyio.current_time():.3f} {name} {told.replace(self._root, '')}")

    @property
    def digest(self) -> str:
        """64 hex digits over all lines."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()
