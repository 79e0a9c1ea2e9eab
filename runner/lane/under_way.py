"""Attempts of earlier sessions that need attention: in flight, in doubt, taken for absent, soon lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow
from runner.ledger.states import AWAITED, IN_FLIGHT, TaskState
from runner.providers import every, find
from runner.providers.account import Account


def is_quiet(reader: LedgerReader, place: tuple[str, str], now: float) -> bool:
    """Whether a run has nothing to ask of the service at a (provider, origin) but what is new in its plan."""
    provider, origin = place
    left = reader.in_state(TaskState.INTENDED, *AWAITED, origin=origin, provider=provider)
    return next(left, None) is None and not _given_up(reader, provider, origin, now)


def open_attempts(reader: LedgerReader, place: tuple[str, str], now: float) -> Iterator[AttemptRow]:
    """The attempts that matter to `collect` at a (provider, origin): in flight, unclear or held, and those
    taken for absent, for as long as a service may keep their record.
    """
    provider, origin = place
    yield from reader.in_state(*AWAITED, TaskState.HELD, origin=origin, provider=provider)
    for attempt in _given_up(reader, provider, origin, now):
        task = reader.task(attempt.identity)
        if task is not None and task.provider == provider:
            yield attempt


def open_services(reader: LedgerReader, now: float) -> Iterator[tuple[str, str]]:
    """(provider, origin) of each attempt that `collect` works on or speaks of, wherever it was sent."""
    oldest = now - max(provider.record_life for provider in every().values())
    late = reader.looked_for(None, None, oldest, is_by_tag=False)
    for attempt in (*reader.in_state(*AWAITED, TaskState.HELD), *late):
        task = reader.task(attempt.identity)
        assert task is not None
        provider = find(task.provider)
        # without a tag only an input tells whose a row is
        is_told = attempt.tag is not None or (provider is not None and bool(provider.input_fields))
        if is_told or attempt.state in (*AWAITED, TaskState.HELD):
            yield task.provider, attempt.origin


def _given_up(reader: LedgerReader, provider: str, origin: str, now: float) -> list[AttemptRow]:
    """What was taken for absent or written off, while the service may have a record of it after all."""
    found = find(provider)
    assert found is not None
    return reader.looked_for(origin, None, now - found.record_life, is_by_tag=not found.input_fields)


NOTICE = 6 * 3600.0
"""Seconds before that in which a person is told."""


@dataclass(frozen=True, slots=True)
class NearingExpiry:
    """`count` tasks in flight whose results end within the notice; the first at `ends` (Unix seconds)."""

    count: int
    ends: float


def nearing_expiry(reader: LedgerReader, now: float, accounts: Mapping[str, Account]) -> NearingExpiry | None:
    """Tasks in flight for so long that a result's URL nears its end; None if there are none. `accounts` are
    those of the project file: each kind of server has a life of its own for what it made.

    Reckoned from the acceptance, so a result is never older than this says.
    """
    named = {(name, each.provider.name): each.provider for name, each in accounts.items()}
    ends = [
        attempt.accepted_at + provider.url_life
        for attempt in reader.in_state(*IN_FLIGHT)
        if attempt.accepted_at is not None
        if (task := reader.task(attempt.identity)) is not None
        if (provider := named.get((attempt.account, task.provider)) or find(task.provider)) is not None
    ]
    near = [end for end in ends if end - NOTICE <= now]
    return NearingExpiry(len(near), min(near)) if near else None
