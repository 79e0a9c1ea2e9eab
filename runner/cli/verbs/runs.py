"""`runs`: the runs of a project, newest first, rehearsals too."""

from __future__ import annotations

import heapq
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.humanize import shown_path
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.cli.place import here, worlds
from runner.cli.run_state import RunState, run_state, seconds_since_last_event
from runner.cli.runs import nothing_yet, reading
from runner.cli.task_list import counts_words
from runner.errors import StateError
from runner.json_value import JsonValue
from runner.ledger.read import LedgerReader
from runner.ledger.rows import RunRow, Spend
from runner.ledger.states import TaskState
from runner.money import usd_words
from runner.plural import count
from runner.project import Project
from runner.record.folder import RunFolder
from runner.record.manifest import read_manifest
from runner.times import iso_time, iso_time_or_none


@click.command()
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Show this many, the newest."
)
@service_options
@output_format("json", "jsonl")
@common_options
def runs(limit: int, service: ServiceOptions, output_format: str) -> None:
    """List the runs of this project, newest first: job, state, what became of the tasks, and cost.

    Rehearsals are listed too; with --sandbox or --base-url alone those that went there. Each line begins
    with the id that `status`, `report`, `resume` and others take; its beginning will do.

    \b
    Examples:
      callsheet runs
      callsheet runs --limit 5 --output-format jsonl
    """
    listed: list[ListedRun] = []
    number = 0
    for project in worlds(service):
        with reading(project) as ledger:
            if ledger is not None:
                number += ledger.count_runs()
                listed += _read(project, ledger, limit)
    if not listed:
        raise nothing_yet(here(service))
    newest = heapq.nlargest(limit, listed, key=lambda one: (one.row.started_at, one.row.id))
    rows = [one.as_json() for one in newest]
    if console.for_programs(output_format, rows, rows):
        return
    for line in _lines(newest):
        console.block(line)
    if number > len(newest):
        console.note(f"{count(number - len(newest), 'older run')}; hint: --limit {number} lists all")


@dataclass(frozen=True, slots=True)
class ListedRun:
    """One line: what the ledger knows of a run, and what became of its tasks by the newest word on it."""

    project: Project
    row: RunRow
    state: RunState
    counts: Mapping[TaskState, int]
    spent: Spend

    @property
    def world(self) -> str:
        return "rehearsal" if self.project.is_rehearsal else "real"

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "run": self.row.id,
            "world": self.world,
            "job_file": self.row.job_file,
            "origin": self.row.origin,
            "edition": self.row.edition,
            "date": self.row.run_date,
            "started_at": iso_time(self.row.started_at),
            "finished_at": iso_time_or_none(self.row.finished_at),
            "state": self.state,
            "counts": {str(state): number for state, number in self.counts.items() if number},
            "usd": self.spent.usd,
            "unpriced_tasks": self.spent.unknown,
        }


def _read(project: Project, ledger: LedgerReader, limit: int) -> Iterator[ListedRun]:
    rows = list(islice(ledger.newest_runs(), limit))
    at_work = _at_work(project, rows)
    for row in rows:
        state = run_state(row, RunFolder(project, row.id))
        if state is RunState.UNDER_WAY and row is not at_work:
            state = RunState.UNFINISHED
        yield ListedRun(project, row, state, _counts(project, ledger, row, state), ledger.spend(row.id))


def _at_work(project: Project, rows: list[RunRow]) -> RunRow | None:
    """The unfinished run with the newest event: one process works in a project at a time."""
    since = {row.id: seconds_since_last_event(RunFolder(project, row.id)) for row in rows}
    unfinished = [row for row in rows if row.finished_at is None and since[row.id] is not None]
    return min(unfinished, key=lambda row: since[row.id] or 0.0, default=None)


def _counts(project: Project, ledger: LedgerReader, row: RunRow, state: RunState) -> Mapping[TaskState, int]:
    """By the manifest, which counts the whole plan; by the run's own attempts where there is none yet."""
    if state is not RunState.UNDER_WAY:
        try:
            return read_manifest(RunFolder(project, row.id).manifest).counts.by_state
        except StateError:
            pass
    return ledger.states_of_run(row.id)


def _lines(listed: list[ListedRun]) -> Iterator[str]:
    """A table; two lines for each run where the terminal is too narrow for it."""
    table = list(console.table([*map(_columns, listed)]))
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    if max(map(console.width, table)) <= room:
        yield from table
        return
    for one in listed:
        run_id, when, job, state, counts, cost, world = _columns(one)
        yield f"{run_id}  {when}  {world}"
        told = f"{job}: {', '.join(filter(None, (state, counts, cost)))}"
        yield f"  {console.wrapped(told, 4)}"


def _columns(one: ListedRun) -> tuple[str, ...]:
    row, spent = one.row, one.spent
    cost = "" if not spent.tasks else "cost unknown" if spent.usd is None else usd_words(spent.micros)
    return (
        row.id,
        f"{datetime.fromtimestamp(row.started_at):%Y-%m-%d %H:%M}",
        shown_path(one.project.root / row.job_file),
        one.state,
        counts_words(one.counts),
        cost,
        one.world,
    )
