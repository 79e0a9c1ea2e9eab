"""`budget`: what is left of each cap of the project file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common, common_options
from runner.cli.humanize import shown_path
from runner.cli.options import output_format
from runner.cli.runs import reading
from runner.job.project.load_project import load_project_file
from runner.job.project_file import WindowCap
from runner.json_value import JsonValue
from runner.ledger.caps import Budgets, moment_words, span_of
from runner.ledger.read import LedgerReader
from runner.ledger.rows import Spend
from runner.money import usd_text
from runner.project import PROJECT_FILE, find_project
from runner.redact import escape

_HEAD = ("budget", "limit", "spent", "in flight", "left", "renews at")
_NOTHING = Spend(0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Limit:
    """One limit in its window of now. `taken` is all that counts, `pending` what of it has not ended; the
    amounts are in micros, or in tasks.
    """

    cap: WindowCap
    span: str
    is_of_tasks: bool
    taken: Spend
    pending: Spend
    renews_at: datetime

    @property
    def path(self) -> str:
        return f"{self.cap.path}.{'max_tasks' if self.is_of_tasks else 'max_usd'}"

    @property
    def most(self) -> int:
        most = self.cap.max_tasks if self.is_of_tasks else self.cap.max_micros
        assert most is not None
        return most

    @property
    def spent(self) -> int:
        return self._amount(self.taken) - self._amount(self.pending)

    @property
    def in_flight(self) -> int:
        return self._amount(self.pending)

    @property
    def left(self) -> int:
        """Zero where a price is not known: nothing more is submitted then."""
        if self.taken.unknown and not self.is_of_tasks:
            return 0
        return max(0, self.most - self._amount(self.taken))

    def _amount(self, spend: Spend) -> int:
        return spend.tasks if self.is_of_tasks else spend.micros

    def row(self) -> tuple[str, ...]:
        amounts = (self.most, self.spent, self.in_flight, self.left)
        if self.is_of_tasks:
            shown = [f"{amount:,} tasks" if amount != 1 else "1 task" for amount in amounts]
        else:
            shown = [f"USD {usd_text(amount)}" for amount in amounts]
            if self.taken.unknown:
                shown[1] += f" and {self.taken.unknown} of unknown price"
        name = f"{escape(self.cap.where.words)}, {self.span}"
        return (name, *shown, moment_words(self.renews_at))

    def fields(self) -> dict[str, JsonValue]:
        where: dict[str, JsonValue] = {"account": self.cap.where.account} if self.cap.where.account else {}
        where |= {f"label.{name}": value for name, value in self.cap.where.labels.items()}
        unit = "tasks" if self.is_of_tasks else "usd"
        names = (f"max_{unit}", f"spent_{unit}", f"in_flight_{unit}", f"left_{unit}")
        amounts = (self.most, self.spent, self.in_flight, self.left)
        shown = [amount if self.is_of_tasks else usd_text(amount) for amount in amounts]
        return {
            "cap": self.path,
            "where": where,
            "window": self.cap.window,
            "span": self.span,
            **dict(zip(names, shown, strict=True)),
            "unpriced_tasks": self.taken.unknown,
            "renews_at": self.renews_at.isoformat(),
        }


@click.command()
@output_format("json", "jsonl")
@common_options
def budget(output_format: str) -> None:
    """Show what is left of each of the project's `budgets`, and when it renews.

    Spent is what has ended, and what may have been billed; in flight what is reserved for submits that have
    not ended. Times are those of the project's `timezone`. What a job may spend stands in its own `budget`;
    `callsheet plan JOB` tells about both. Rehearsals count for nothing here.

    \b
    Examples:
      callsheet budget
      callsheet budget --output-format json
    """
    project = find_project(Path(), root=common().root)
    said = load_project_file(project.root)
    if not said.budgets:
        hint = "add `budgets: [{day: {max_usd: 50}}]`"
        console.note(f"{shown_path(project.root / PROJECT_FILE)}: has no budgets; hint: {hint}")
    budgets = Budgets(said.timezone, said.budgets)
    with reading(project) as ledger:
        limits = [*_limits(budgets, ledger, time.time())]
    listed = [limit.fields() for limit in limits]
    if console.for_programs(output_format, listed, {"budgets": listed}) or not limits:
        return
    table: list[Sequence[str]] = [limit.row() for limit in limits]
    for line in console.headed_table(_HEAD, table):
        console.result(line)


def _limits(budgets: Budgets, ledger: LedgerReader | None, at: float) -> Iterator[_Limit]:
    day = budgets.day(at)
    for cap in budgets.caps:
        span = span_of(cap, day)
        taken = ledger.spent_in(span, cap.where) if ledger is not None else _NOTHING
        pending = ledger.reserved_in(span, cap.where) if ledger is not None else _NOTHING
        renews_at = budgets.renewal(cap.window, day)
        for is_of_tasks, most in ((False, cap.max_micros), (True, cap.max_tasks)):
            if most is not None:
                yield _Limit(cap, span, is_of_tasks, taken, pending, renews_at)
