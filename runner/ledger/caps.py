"""What a job, and what a day or a month of the project, may spend, and whether the next task may be sent."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from runner.errors import RefusedError
from runner.job.project_file import Where, Window, WindowCap
from runner.ledger.rows import Attempted, Spend
from runner.money import usd_text
from runner.times import local_day, local_midnight


class Cap(enum.StrEnum):
    """What a job may cap, as it is written in the job file."""

    TASKS = "budget.max_tasks"
    USD = "budget.max_usd"


_RAISE = "raise the budget, then run again"
_COUNT = f"cap the number of tasks with {Cap.TASKS} instead, then run again"


class CapReachedError(RefusedError):
    """The next task would pass a cap; nothing was written.

    `where` is None for a cap of the job itself, which stops all of that job and no other. Else it says whose
    submits the cap stops, whatever their job: those without a price alone, where `is_of_unpriced`.
    """

    def __init__(
        self, message: str, *, hint: str = "", where: Where | None = None, is_of_unpriced: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.where = where
        self.is_of_unpriced = is_of_unpriced

    def stops(self, account: str, labels: Mapping[str, str]) -> bool:
        """Whether it stops the submits of this account, with these labels, in jobs that have not met it."""
        return self.where is not None and self.where.covers(account, labels)


OVERLAP = 1000
"""Numbers of attempts that are looked at again: a transaction that was taken back gives them to others."""


@dataclass(slots=True, eq=False)
class Elsewhere:
    """The runs that other machines begin meanwhile and that count as this job's: they have its name and
    edition, or an attempt at one of its tasks. `seen` is the number of the newest attempt looked at.
    """

    job_name: str
    edition: str
    identities: frozenset[str]
    seen: int
    runs: set[str] = field(default_factory=set)

    def catch_up(self, reader: Attempts) -> frozenset[str]:
        """Within the transaction of an intent: no other machine writes then."""
        for one in reader.attempted_since(max(0, self.seen - OVERLAP)):
            self.seen = max(self.seen, one.seq)
            if one.identity in self.identities or (one.job_name, one.edition) == (
                self.job_name,
                self.edition,
            ):
                self.runs.add(one.run_id)
        return frozenset(self.runs)


class Attempts(Protocol):
    """What `Elsewhere` asks of a ledger."""

    def attempted_since(self, seq: int) -> list[Attempted]: ...


@dataclass(frozen=True, slots=True)
class Caps:
    """What a job may spend; None: no cap. `runs` are the earlier ones that count beside the run itself, and
    `elsewhere` finds those of other machines.
    """

    max_tasks: int | None = None
    max_micros: int | None = None
    runs: frozenset[str] = frozenset()
    elsewhere: Elsewhere | None = None

    @property
    def is_none(self) -> bool:
        return self.max_tasks is None and self.max_micros is None

    def check(self, spent: Spend, next_micros: int | None) -> None:
        """Raises CapReachedError where a task that is expected to cost so much, in micros, may not follow."""
        reached = _why_reached(self.max_tasks, self.max_micros, spent, next_micros)
        if reached is not None:
            cap = Cap.TASKS if reached.is_of_tasks else Cap.USD
            raise CapReachedError(
                f"{cap} is {reached.limit}: {reached.why}", hint=_COUNT if reached.is_unpriced else _RAISE
            )


@dataclass(frozen=True, slots=True)
class _Reached:
    """Which limit a next task would pass, and why."""

    limit: str
    why: str
    is_of_tasks: bool = False
    is_unpriced: bool = False


def _why_reached(
    max_tasks: int | None, max_micros: int | None, spent: Spend, next_micros: int | None
) -> _Reached | None:
    """None where a task that is expected to cost so much may follow: an unknown price never may."""
    if max_tasks is not None and spent.tasks + 1 > max_tasks:
        return _Reached(f"{max_tasks}", f"{spent.tasks} submitted already", is_of_tasks=True)
    if max_micros is None:
        return None
    limit = usd_text(max_micros)
    if next_micros is None:
        return _Reached(limit, "the price of the next task is not known", is_unpriced=True)
    if spent.unknown:
        unknown = f"the price of {spent.unknown} of {spent.tasks} submits is not known"
        return _Reached(limit, unknown, is_unpriced=True)
    if spent.micros + next_micros > max_micros:
        so_far = f"{usd_text(spent.micros)} spent or in flight"
        return _Reached(limit, f"{so_far}, the next task is about {usd_text(next_micros)}")
    return None


@dataclass(frozen=True, slots=True)
class Budgets:
    """The caps of a project's days and months, in its `zone` (None: this machine's).

    `is_readable` is False where the project file has mistakes: nobody can say then what may be spent.
    """

    zone: datetime.tzinfo | None = None
    caps: tuple[WindowCap, ...] = ()
    is_readable: bool = True

    def day(self, at: float) -> str:
        """The day that a moment belongs to: `2026-11-27`."""
        return local_day(at, self.zone)

    def renewal(self, window: Window, day: str) -> datetime.datetime:
        """When the window that `day` is in ends, in the project's zone."""
        date = datetime.date.fromisoformat(day)
        first = date.replace(day=1) + datetime.timedelta(days=32)
        return local_midnight(
            first.replace(day=1) if window is Window.MONTH else date + datetime.timedelta(days=1), self.zone
        )

    def check(self, cap: WindowCap, day: str, spent: Spend, next_micros: int | None) -> None:
        """Raises CapReachedError if the next task, expected to cost `next_micros`, would pass the cap.

        `spent` is what the cap's window has used so far.
        """
        reached = _why_reached(cap.max_tasks, cap.max_micros, spent, next_micros)
        if reached is None:
            return
        limit = f"{cap.path}.{'max_tasks' if reached.is_of_tasks else 'max_usd'} is {reached.limit}"
        renews = f"; it renews at {moment_words(self.renewal(cap.window, day))}"
        hint = "raise it in callsheet.yaml or wait until then, and run again"
        is_of_unpriced = reached.is_unpriced and next_micros is None
        if is_of_unpriced:
            hint = ""  # it is about the task's model, which its submitter names
        elif reached.is_unpriced:
            hint = (
                "a price that is given now is not theirs: write `max_tasks` in place of `max_usd` until then,"
                " and run again"
            )
        raise CapReachedError(
            f"{limit} for {cap.where.words} {when_words(cap, day)}: {reached.why}"
            f"{'' if is_of_unpriced else renews}",
            hint=hint,
            where=cap.where,
            is_of_unpriced=is_of_unpriced,
        )


def span_of(cap: WindowCap, day: str) -> str:
    """The day or the month of `day` that a cap is for: `2026-11-27`, `2026-11`."""
    return day if cap.window is Window.DAY else day[:7]


def when_words(cap: WindowCap, day: str) -> str:
    """`on 2026-11-27`, or `in 2026-11`."""
    return f"{'on' if cap.window is Window.DAY else 'in'} {span_of(cap, day)}"


def moment_words(moment: datetime.datetime) -> str:
    """`2026-11-28 00:00 CET`."""
    return f"{moment:%Y-%m-%d %H:%M %Z}"


@dataclass(frozen=True, slots=True)
class Overshoot:
    """A cap that was passed, in the window of `day`: a settlement is never refused."""

    cap: WindowCap
    day: str
    spent: Spend

    @classmethod
    def of(cls, cap: WindowCap, day: str, spent: Spend) -> Overshoot | None:
        """None where the cap holds."""
        is_over = (cap.max_micros is not None and spent.micros > cap.max_micros) or (
            cap.max_tasks is not None and spent.tasks > cap.max_tasks
        )
        return cls(cap, day, spent) if is_over else None

    @property
    def words(self) -> str:
        cap, spent = self.cap, self.spent
        where = f"for {cap.where.words} {when_words(cap, self.day)}"
        if cap.max_micros is not None and spent.micros > cap.max_micros:
            more = usd_text(spent.micros - cap.max_micros)
            limit = f"{cap.path}.max_usd is {usd_text(cap.max_micros)} {where}"
            return f"{limit}: {usd_text(spent.micros)} spent or in flight, {more} above it"
        return f"{cap.path}.max_tasks is {cap.max_tasks} {where}: {spent.tasks} submitted"
