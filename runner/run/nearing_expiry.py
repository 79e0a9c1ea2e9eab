"""Which paid results may soon be out of reach."""

from __future__ import annotations

from dataclasses import dataclass

from runner.ledger.read import LedgerReader
from runner.ledger.states import IN_FLIGHT
from runner.providers import find

NOTICE = 6 * 3600.0
"""Seconds before that in which a person is told."""


@dataclass(frozen=True, slots=True)
class NearingExpiry:
    """`count` tasks in flight whose results end within the notice; the first at `ends` (Unix seconds)."""

    count: int
    ends: float


def nearing_expiry(reader: LedgerReader, now: float) -> NearingExpiry | None:
    """What has been in flight for so long that its result's URL nears its end; None where nothing has.

    Reckoned from the acceptance, so a result is never older than this says.
    """
    ends = [
        attempt.accepted_at + provider.url_life
        for attempt in reader.in_state(*IN_FLIGHT)
        if attempt.accepted_at is not None
        if (task := reader.task(attempt.identity)) is not None
        if (provider := find(task.provider)) is not None
    ]
    near = [end for end in ends if end - NOTICE <= now]
    return NearingExpiry(len(near), min(near)) if near else None
