"""What the log tells of an intent: enough to make its rows again where the ledger is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runner.json_value import JsonValue
from runner.ledger.rows import KEY_HASH_SHOWN, Intent
from runner.ledger.states import Reason
from runner.money import usd_or_null
from runner.plan.task import Task
from runner.times import iso_time


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """What was asked for under an identity."""

    step: str
    provider: str
    origin: str
    model: str
    seed: int | None
    sample: int | None
    edition: str
    cell: Mapping[str, JsonValue]
    request: Mapping[str, JsonValue]
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIntent(TaskFacts):
    """The field `intent` of `task.intended`. Times are ISO 8601, amounts US dollars as text; `key` is the
    start of the key's salted hash, and `reason` that of the attempt.
    """

    at: str
    reason: Reason
    key: str
    tag: int | None
    body_sha256: str
    server_time: str
    price: Mapping[str, str] | None
    estimate_usd: str | None
    taken: Mapping[str, JsonValue] | None
    labels: Mapping[str, str]


def logged_intent(task: Task, intent: Intent, reason: Reason, at: float) -> LoggedIntent:
    """`intent` at `task`, made at `at` (Unix seconds)."""
    return LoggedIntent(
        at=iso_time(at),
        reason=reason,
        key=intent.key_hash[:KEY_HASH_SHOWN],
        tag=intent.tag,
        body_sha256=intent.body_sha256,
        server_time=iso_time(intent.server_time),
        price=None if intent.price is None else {intent.price.unit: str(intent.price.usd)},
        estimate_usd=usd_or_null(intent.estimate_micros),
        taken=intent.taken,
        labels=intent.labels,
        step=task.step,
        provider=task.provider,
        origin=task.origin,
        model=task.model,
        seed=task.seed,
        sample=task.sample,
        edition=task.edition,
        cell=task.cell,
        request=task.request,
        output=task.output,
    )
