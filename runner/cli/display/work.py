"""What is known of the work before it begins: for whoever shows how it goes on."""

from __future__ import annotations

import contextlib
import datetime
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from runner.errors import StateError
from runner.ledger.caps import Caps
from runner.ledger.open import open_reader
from runner.ledger.read import LedgerReader
from runner.ledger.rows import Kind, Spend
from runner.ledger.sqlite import translate_errors
from runner.project import Project
from runner.run.prepare import Prepared

T = TypeVar("T")

_MOST_KINDS = 6
"""Kinds of tasks, the most frequent ones, whose durations are looked up: 5 ms each in a large ledger."""
_NEWEST = 20


@dataclass(frozen=True, slots=True)
class Work:
    """`name` is the job's. `total` tasks are to be done, at most `at_once` at the same time. `zone` is the
    project's, None for this machine's.
    """

    name: str
    total: int = 0
    at_once: int = 1
    caps: Caps = field(default_factory=Caps)
    is_rehearsal: bool = False
    zone: datetime.tzinfo | None = None
    names_accounts: bool = False
    """It has several, so what happens at a service is told with the account."""
    spend: Callable[[], Spend | None] = lambda: None
    """What counts against the caps: this run and the earlier ones of its job."""
    usual_seconds: Callable[[], float | None] = lambda: None
    """How long one of its tasks usually takes at the service; None where the ledger knows too little."""


def together(works: Sequence[Work]) -> Work:
    """All of them as one. Each has its own caps, so no cap is shown."""
    if len(works) == 1:
        return works[0]

    def spend() -> Spend | None:
        found = [work.spend() for work in works]
        known = [each for each in found if each is not None]
        return Spend(*(sum(getattr(each, name) for each in known) for name in ("tasks", "micros", "unknown")))

    def usual_seconds() -> float | None:
        known = [(work.total, seconds) for work in works if (seconds := work.usual_seconds()) is not None]
        tasks = sum(total for total, _ in known)
        return sum(total * seconds for total, seconds in known) / tasks if tasks else None

    return Work(
        name="",
        total=sum(work.total for work in works),
        at_once=sum(work.at_once for work in works),
        is_rehearsal=works[0].is_rehearsal,
        zone=works[0].zone,
        spend=spend,
        usual_seconds=usual_seconds,
    )


def work_of(prepared: Prepared, project: Project) -> Work:
    """The work of a run. Its figures are read from the ledger beside the writer, from any thread."""
    job = prepared.plan.job
    kinds: Counter[Kind] = Counter()

    def usual_seconds(reader: LedgerReader) -> float | None:
        if not kinds:
            kinds.update(Kind.of(task.origin, task.request) for task in prepared.unsettled)
        return _usual_seconds(reader, kinds)

    return Work(
        name=job.name,
        total=len(prepared.unsettled),
        at_once=job.run.concurrency,
        caps=prepared.caps,
        is_rehearsal=project.is_rehearsal,
        zone=job.project_file.timezone,
        names_accounts=len(job.accounts) > 1,
        spend=lambda: _ask(project, lambda reader: reader.spend(*job_runs(prepared, reader))),
        usual_seconds=lambda: _ask(project, usual_seconds),
    )


def job_runs(prepared: Prepared, reader: LedgerReader) -> set[str]:
    """This run, and the earlier ones whose cost counts as this job's: those of its name and edition."""
    named = reader.billed_runs_named(prepared.plan.job.name, prepared.plan.edition)
    return {prepared.run.id, *prepared.caps.runs, *named}


def _ask(project: Project, query: Callable[[LedgerReader], T]) -> T | None:
    """None where the ledger cannot be read: a figure less is shown, and the run goes on."""
    try:
        with translate_errors(project.ledger_path), contextlib.closing(open_reader(project)) as reader:
            return query(reader)
    except StateError:
        return None


def _usual_seconds(reader: LedgerReader, kinds: Counter[Kind]) -> float | None:
    """The mean over the tasks of what their kind took of late; None where most kinds were never seen."""
    # here: a start where all is done does not load it
    from statistics import median

    known, seconds = 0, 0.0
    for kind, number in kinds.most_common(_MOST_KINDS):
        if durations := reader.durations(kind, _NEWEST):
            known += number
            seconds += number * median(durations)
    return seconds / known if 2 * known > kinds.total() else None
