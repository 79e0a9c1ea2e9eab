"""How far a run is, counted from its events, and how long it may still take. It draws nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

DONE, THERE, UNCLEAR, HELD, FAILED, ABSENT = "done", "at the service", "unclear", "held", "failed", "absent"

_STAGES: Mapping[str, str] = {
    "task.intended": THERE,
    "task.submitted": THERE,
    "task.adopted": THERE,
    "task.found": THERE,
    "task.reopened": THERE,
    "task.never_accepted": THERE,
    "task.download": THERE,
    "task.ambiguous": UNCLEAR,
    "task.held": HELD,
    "task.done": DONE,
    "task.failed": FAILED,
    "task.expired": FAILED,
    "task.absent": ABSENT,
}
"""The stage of a task after an event."""

STAGES = (DONE, THERE, FAILED, UNCLEAR, HELD, ABSENT)
_ENDS = frozenset({DONE, FAILED, ABSENT})


@dataclass(slots=True)
class Tally:
    """Counts tasks by stage. It remembers only tasks under way, so it stays small.

    `total` is how many there are; `at_once` how many the job allows at the service.
    """

    total: int = 0
    at_once: int = 1
    ended: Counter[str] = field(default_factory=Counter)
    _under_way: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By identity: the stage, and when the task came under way."""
    _cached: int = 0
    _most_there: int = 0

    def observe(self, name: str, fields: Mapping[str, object], now: float) -> None:
        """`now` is monotonic."""
        tasks = fields.get("tasks")
        if name == "run.cached" and isinstance(tasks, int):
            self._cached += tasks
            self.ended[DONE] += tasks
        task = str(fields.get("identity", ""))
        if name in ("task.refused", "task.left"):
            self._under_way.pop(task, None)
        stage = _STAGES.get(name)
        if stage is None:
            return
        if stage in _ENDS:
            self._under_way.pop(task, None)
            self.ended[stage] += 1
            return
        _, since = self._under_way.get(task, ("", now))
        self._under_way[task] = (stage, now if name == "task.submitted" else since)
        self._most_there = max(self._most_there, len(self._under_way))

    @property
    def counts(self) -> Counter[str]:
        """By stage."""
        return self.ended + Counter(stage for stage, _ in self._under_way.values())

    @property
    def all(self) -> int:
        """How many tasks the run has, those that were done before included."""
        return max(self.total + self._cached, self.counts.total())

    def seconds_to_go(self, usual: float | None, now: float) -> float | None:
        """How long it may still take where a task takes `usual` seconds; None where nothing tells.

        Tasks that wait for others make it longer.
        """
        if usual is None:
            return None
        there = [
            max(0.0, usual - (now - since)) for stage, since in self._under_way.values() if stage == THERE
        ]
        to_come = self.all - self.counts.total()
        if not there and not to_come:
            return None
        # what the service takes at once may be less than the job allows
        seen = self._most_there if self.ended.total() > self._cached else self.at_once
        width = max(1, min(self.at_once, seen, len(there) + to_come))
        seconds = max((sum(there) + to_come * usual) / width, *there, usual if to_come else 0.0)
        return seconds or None
