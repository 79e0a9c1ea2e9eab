"""What a plan remembers of each task, so that those that are done need not be built again."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from runner.job.paths import collision_key

_DIGEST = 32


@dataclass(frozen=True, slots=True)
class Marks:
    """By the task's `index`: its identity, and a hash of its output. 40 bytes a task."""

    _identities: bytes = field(repr=False)
    _outputs: array[int] = field(repr=False)

    def __len__(self) -> int:
        return len(self._outputs)

    def identity(self, index: int) -> str:
        """64 hex digits."""
        return self._identities[index * _DIGEST : (index + 1) * _DIGEST].hex()

    def may_be_output(self, index: int, path: str) -> bool:
        """Whether `path` is the task's output, but for letter case and chance."""
        return self._outputs[index] == hash(collision_key(path))
