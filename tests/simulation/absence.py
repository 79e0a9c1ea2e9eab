"""Whether an attempt was taken for absent by the rules: judged at that moment, by what the service knows."""

from __future__ import annotations

import anyio

from runner.ledger.ledger import Ledger
from runner.ledger.rows import AttemptRow
from runner.ledger.states import Reason
from tests.simulation.bench import Absence, Bench
from tests.simulation.kinds import Kind
from tests.simulation.schedule import SETTLE_ALONE
from tests.simulation.service import RECORD_LIFE, Row

SEEN = 2.0
"""Seconds: what the list had so long ago must have been in the scans."""


def check_absence(bench: Bench, ledger: Ledger, attempt: AttemptRow) -> None:
    """When an attempt is taken for absent: the list had something to prove it by, and had the time."""
    now, settle = anyio.current_time(), bench.schedule.job.settle
    service = bench.at(attempt.origin)
    mine = [row for row in _rows_of(bench, attempt) if row.at <= now]
    was_listed = any(service.is_listed(row, now - SEEN) for row in mine if row.at <= now - SEEN)
    bench.absences[attempt.id] = Absence(now, was_listed)
    if attempt.reason is Reason.RECONCILE:
        bench.violate("absence", f"{attempt.id[:8]} is the second that was taken for absent for one task")
    witnesses = [
        row
        for row in service.accepted()
        if row.model == attempt.model
        and ledger.read.holder(attempt.origin, row.id) is not None
        and (service.is_listed(row, now) or service.is_listed(row, now - SEEN))
    ]
    if service.kind is Kind.HISTORY:
        bench.violate("absence", f"{attempt.id[:8]} was taken for absent by a history")
    began = bench.intended.get(attempt.id, 0.0)
    if not witnesses:
        bench.violate("absence", f"{attempt.id[:8]} was taken for absent, and nothing of ours was listed")
    elif now - began < settle:
        bench.violate("absence", f"{attempt.id[:8]} was taken for absent before run.settle")
    elif now - began < SETTLE_ALONE * settle and all(row.at < began for row in witnesses):
        bench.violate("absence", f"{attempt.id[:8]} was taken for absent early, with an early witness alone")


def may_turn_up(bench: Bench, ledger: Ledger) -> bool:
    """Whether the list may still show a row of what was taken for absent."""
    now = anyio.current_time()
    lost = [attempt for one in bench.absences if (attempt := ledger.read.attempt(one)) is not None]
    return any(
        now < row.at + RECORD_LIFE
        for attempt in lost
        if attempt.remote_id is None
        for row in _rows_of(bench, attempt)
    )


def _rows_of(bench: Bench, attempt: AttemptRow) -> list[Row]:
    return [row for row in bench.at(attempt.origin).accepted() if row.mark == attempt.body_sha256]
