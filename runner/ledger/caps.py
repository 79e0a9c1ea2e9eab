"""What a job may spend, and whether its next task still may be sent."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from runner.errors import RefusedError
from runner.ledger.rows import Spend
from runner.money import usd_text


class Cap(enum.StrEnum):
    """What a job may cap, as it is written in the job file."""

    TASKS = "budget.max_tasks"
    USD = "budget.max_usd"


_RAISE = "raise the budget, then run again"
_COUNT = f"cap the number of tasks with {Cap.TASKS} instead, then run again"


class CapReachedError(RefusedError):
    """The next task would pass a cap of the job; nothing was written."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What a job may spend; None: no cap. `runs` are the earlier ones that count beside the run itself."""

    max_tasks: int | None = None
    max_micros: int | None = None
    runs: frozenset[str] = frozenset()

    @property
    def is_none(self) -> bool:
        return self.max_tasks is None and self.max_micros is None

    def check(self, spent: Spend, next_micros: int | None) -> None:
        """Raises CapReachedError where a task that is expected to cost so much, in micros, may not follow."""
        if self.max_tasks is not None and spent.tasks + 1 > self.max_tasks:
            raise CapReachedError(
                f"{Cap.TASKS} is {self.max_tasks}: {spent.tasks} submitted already", hint=_RAISE
            )
        if self.max_micros is None:
            return
        limit = f"{Cap.USD} is {usd_text(self.max_micros)}"
        # an unknown price is above every limit
        if next_micros is None:
            raise CapReachedError(f"{limit}: the price of the next task is not known", hint=_COUNT)
        if spent.unknown:
            unknown = f"the price of {spent.unknown} of {spent.tasks} submits is not known"
            raise CapReachedError(f"{limit}: {unknown}", hint=_COUNT)
        if spent.micros + next_micros > self.max_micros:
            raise CapReachedError(
                f"{limit}: {usd_text(spent.micros)} spent or in flight,"
                f" the next task is about {usd_text(next_micros)}",
                hint=_RAISE,
            )
