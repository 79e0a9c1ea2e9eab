"""A file by its content: what an archive is told of it, in plain values."""

from __future__ import annotations

from dataclasses import dataclass

from runner.objects.address import digest_key


@dataclass(frozen=True, slots=True)
class Filed:
    """A file by its content, and the path that it was published at, relative to the base directory."""

    path: str
    sha256: str
    bytes: int

    @property
    def key(self) -> str:
        """Where it lies below its store."""
        return digest_key(self.sha256, self.path)
