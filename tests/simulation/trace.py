"""What happened, in order; its digest tells two replays of a schedule apart."""

from __future__ import annotations

import hashlib

import trio


class Trace:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, name: str, **fields: object) -> None:
        told = " ".join(f"{key}={value}" for key, value in fields.items() if value not in ("", None))
        self.lines.append(f"{trio.current_time():.3f} {name} {told}")

    @property
    def digest(self) -> str:
        """64 hex digits over all lines."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()
