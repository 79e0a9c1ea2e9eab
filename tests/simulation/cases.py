"""What the simulation has found in the product: each defect can be put back, and a seed finds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from runner.lane import evidence, reconcile, scan
from runner.lane.evidence import SKEW, Finding, Unclear
from runner.ledger.ledger import Ledger
from runner.ledger.read import LedgerReader
from runner.providers.base import Generation
from tests.simulation.mutants import Mutant
from tests.simulation.schedule import JobSpec, ProcessSpec, Schedule, Shape
from tests.simulation.service import Echo, Habits
from tests.simulation.weather import Span, Weather


def _rivals_in_the_air() -> AbstractContextManager[object]:
    """Two prompts, one seed, no tag echoed: the row of a POST that still waited for its answer was
    adopted for another one that was unclear, so that both files held the wrong picture."""
    match_rows = evidence.match_rows

    def shortsighted(
        unclear: Sequence[Unclear], candidates: Sequence[Generation], _unresolved: Any
    ) -> list[Finding]:
        return match_rows(unclear, candidates, unclear)

    return patch.object(reconcile, "match_rows", shortsighted)


def _full_disk_untold() -> AbstractContextManager[object]:
    """SQLite's own error left the engine where a step of a group commit found the disk full: told as a
    defect of ours (70, not 74), and every other task stopped with it."""

    @contextmanager
    def savepoint(ledger: Ledger) -> Iterator[None]:
        ledger._db.execute("SAVEPOINT step")
        try:
            yield
        except BaseException:
            if ledger._db.in_transaction:
                ledger._db.execute("ROLLBACK TO step")
                ledger._db.execute("RELEASE step")
            raise
        ledger._db.execute("RELEASE step")

    return patch.object(Ledger, "savepoint", savepoint)


@contextmanager
def _clock_of_the_intent_believed() -> Iterator[None]:
    """The only Date header that was heard before the POSTs came from an edge an hour ahead, on a machine
    whose own clock was two hours ahead of the service's: the window of the list opened behind the paid
    rows, which were taken for absent and paid for again. Later answers tell both clocks wrong."""

    def believed(server_time: float, _intended_at: float, _offset: float) -> float:
        return server_time - SKEW

    with (
        patch.object(evidence, "created_after", believed),
        patch.object(scan, "created_after", believed),
        # what makes up for wrong clocks since then
        patch.object(scan, "MARGIN", 0.0),
        patch.object(scan.Scanner, "_behind", lambda *_: 0.0),
    ):
        yield


_JOB = JobSpec(
    shape=Shape.PROMPTS,
    tasks=4,
    settle=1,
    slots=4,
    concurrency=8,
    max_tasks=None,
    holds=False,
    last_frame=False,
)


@dataclass(frozen=True, slots=True)
class Case:
    """`putting_back` brings the defect again; then `schedule` ends in a violation."""

    putting_back: Mutant
    schedule: Schedule


CASES: Mapping[str, Case] = {
    "rivals whose POST is under way": Case(
        _rivals_in_the_air,
        Schedule(16, _JOB, Habits(echo=Echo.NEVER), (ProcessSpec(weather=Weather(submits=0.9)),), ()),
    ),
    "a full disk inside a group commit": Case(
        _full_disk_untold,
        Schedule(
            0,
            replace(_JOB, shape=Shape.SEEDS, tasks=12),
            Habits(),
            (ProcessSpec(weather=Weather(submits=0.3, full_ledger=Span(0.03, 8.0))),),
            (),
        ),
    ),
    "two wrong clocks": Case(
        _clock_of_the_intent_believed,
        Schedule(
            78,
            replace(_JOB, shape=Shape.SEEDS),
            Habits(clock_skew=-7200.0),
            (ProcessSpec(weather=Weather(submits=0.9, free=0.6)),),
            (),
        ),
    ),
    "a file published just before a kill, and its request edited": Case(
        lambda: patch.object(LedgerReader, "is_awaited_at", lambda *_: False),
        Schedule(
            82,
            replace(_JOB, shape=Shape.SEEDS, tasks=1),
            Habits(),
            (ProcessSpec(dies_at=58), ProcessSpec(is_edited=True)),
            (),
        ),
    ),
}
"""A schedule that once failed stays here."""
