"""What a run may spend, and what it is asked about, before anything is sent."""

from __future__ import annotations

from runner.errors import RefusedError
from runner.job.cost import MICROS, Total, estimate, usd_words
from runner.job.model import Job
from runner.job.task import Task
from runner.ledger.rows import Caps

PRICE_FORMS = "`price: {usd_per_mtok: N}`, `price: {usd_per_second: N}` or `price: {usd_per_task: N}`"


def caps_of(job: Job, new: Total, unpriced: Task | None) -> Caps:
    """The caps of `job`. `new` is what would be submitted, `unpriced` the first of it without a price.

    Raises RefusedError for a cap in dollars that could not be held.
    """
    budget = job.budget
    if budget.max_usd is not None and unpriced is not None:
        why = estimate(unpriced.provider, unpriced.request, unpriced.price).note
        raise RefusedError(
            f"{job.file}: budget.max_usd: the price of {new.without_price} of {new.tasks} new tasks is not"
            f" known, so the cap cannot be held ({unpriced.name}: {why})",
            hint=f"add {PRICE_FORMS}, or cap the number of tasks with budget.max_tasks",
        )
    return Caps(
        max_tasks=budget.max_tasks,
        max_micros=None if budget.max_usd is None else int(budget.max_usd * MICROS),
    )


def question(job: Job, new: Total) -> str:
    """What a person has to agree to first; empty where nothing. Only known prices count."""
    limit = job.budget.confirm_usd
    if limit is None or new.usd <= limit:
        return ""
    unknown = f", and {new.without_price} of unknown price" if new.without_price else ""
    known = new.tasks - new.without_price
    return (
        f"{job.file}: {known} new tasks for about USD {usd_words(new.usd)}{unknown};"
        f" budget.confirm_usd is {usd_words(limit)}"
    )
