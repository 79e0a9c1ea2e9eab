"""Events as plain lines with a time and the job's name: for logs, cron, and terminals that cannot draw."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runner.cli import console
from runner.cli.display.event_words import Known, Weight, raw, with_account, words
from runner.plural import count
from runner.redact import printable
from runner.times import local_time


@dataclass(slots=True)
class EventLines:
    """Prints events on stderr: `2026-05-31 22:00:07 harbour: boat-s1 was accepted`.

    `verbosity` 1 adds each step of each task, 2 prints every event by its own name with all its fields. Times
    are those of `zone`, None for this machine's.
    """

    name: str
    verbosity: int = 0
    zone: datetime.tzinfo | None = None
    names_accounts: bool = False
    wall: Callable[[], float] = time.time
    now: Callable[[], float] = time.monotonic
    _known: Known = field(default_factory=Known)
    _statuses: dict[str, object] = field(default_factory=dict)

    def observe(self, name: str, fields: Mapping[str, object]) -> None:
        if self.verbosity > 1:
            self._tell(raw(name, fields))
            return
        is_new = self._known.is_new(name, fields, self.now()) and self._is_new_status(name, fields)
        told = words(name, fields)
        if told is not None and is_new and (told.weight is not Weight.DETAIL or self.verbosity):
            self._tell(with_account(name, fields, told.text, self.names_accounts))

    def close(self) -> None:
        """Says how much was not told because it repeated what stands above."""
        if repeats := self._known.repeats():
            self._tell(f"{count(repeats, 'repetition')} of the service's answers above not shown")

    def _is_new_status(self, name: str, fields: Mapping[str, object]) -> bool:
        """Whether it is not the status that was told of this task last."""
        task = str(fields.get("identity", ""))
        before = self._statuses.pop(task, None)
        if name != "task.status":
            return True
        self._statuses[task] = fields.get("status")
        return before != fields.get("status")

    def _tell(self, text: str) -> None:
        at = local_time(self.wall(), self.zone)
        console.note(f"{at:%Y-%m-%d %H:%M:%S} {printable(self.name)}: {text}")
