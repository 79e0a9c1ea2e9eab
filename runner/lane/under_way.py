"""Attempts of earlier sessions that still need attention: in flight, in doubt, or taken for absent."""

from __future__ import annotations

from collections.abc import Iterator

from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow
from runner.ledger.states import AWAITED, TaskState
from runner.providers import every, find


def is_quiet(reader: LedgerReader, place: tuple[str, str], now: float) -> bool:
    """Whether a run has nothing to ask of the service at a (provider, origin) but what is new in its plan."""
    provider, origin = place
    left = reader.in_state(TaskState.INTENDED, *AWAITED, origin=origin, provider=provider)
    return next(left, None) is None and not reader.looked_for(origin, None, _oldest_record(provider, now))


def open_attempts(reader: LedgerReader, place: tuple[str, str], now: float) -> Iterator[AttemptRow]:
    """What `collect` works on or speaks of at a (provider, origin): in flight, unclear or held, and what was
    taken for absent, for as long as a service may keep its record.
    """
    provider, origin = place
    yield from reader.in_state(*AWAITED, TaskState.HELD, origin=origin, provider=provider)
    for attempt in reader.looked_for(origin, None, _oldest_record(provider, now)):
        task = reader.task(attempt.identity)
        if task is not None and task.provider == provider:
            yield attempt


def open_services(reader: LedgerReader, now: float) -> Iterator[tuple[str, str]]:
    """(provider, origin) of each attempt that `collect` works on or speaks of, wherever it was sent."""
    late = reader.looked_for(None, None, now - max(provider.record_life for provider in every().values()))
    for attempt in (*reader.in_state(*AWAITED, TaskState.HELD), *late):
        task = reader.task(attempt.identity)
        assert task is not None
        yield task.provider, attempt.origin


def _oldest_record(provider: str, now: float) -> float:
    """Since when (Unix seconds) the service may still have a record."""
    found = find(provider)
    assert found is not None
    return now - found.record_life
