"""What a task cost in the end, and how that compares to what was expected."""

from __future__ import annotations

from decimal import Decimal

from runner.ledger.ledger import Ledger
from runner.ledger.rows import AttemptRow, Drift, TaskRow
from runner.money import MOST_USD, PriceUnit, micros
from runner.plan.cost import seconds_of
from runner.providers.base import Generation, GenerationStatus
from runner.providers.provider import Provider

MOST_DRIFT = Decimal("0.1")
"""Of the estimate. Beyond it prices, or the formula for tokens, are no longer those of models.yaml."""


def note_cost(ledger: Ledger, provider: Provider, attempt_id: str, generation: Generation) -> None:
    """Notes what an ended generation cost, in the caller's transaction; nothing where it is not known.

    The service's own figure comes first, then its usage at the price that the attempt was bought at.
    """
    attempt = ledger.read.attempt(attempt_id)
    assert attempt is not None
    task = ledger.read.task(attempt.identity)
    assert task is not None
    usd = _cost(provider, attempt, task, generation)
    if usd is not None and usd < MOST_USD:
        ledger.settle_cost(attempt_id, micros(usd))


def has_drifted(drift: Drift) -> bool:
    """Whether estimate and actual cost are more than a tenth of the estimate apart."""
    return abs(drift.cost_micros - drift.estimate_micros) > MOST_DRIFT * drift.estimate_micros


def _cost(provider: Provider, attempt: AttemptRow, task: TaskRow, generation: Generation) -> Decimal | None:
    if generation.cost_usd:
        return Decimal(generation.cost_usd)
    if attempt.price is None:
        return None
    if generation.status is not GenerationStatus.SUCCEEDED and attempt.price.unit is not PriceUnit.MTOK:
        return None  # only its tokens say whether a failed one is billed
    # a video without tokens would cost nothing against a cap
    is_free = generation.status is GenerationStatus.SUCCEEDED and not generation.billed_tokens
    return attempt.price.cost(
        tokens=None if is_free else generation.billed_tokens,
        seconds=seconds_of(provider, generation.echo) or seconds_of(provider, task.request),
    )
