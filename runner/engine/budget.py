"""What a run may spend, and what it is asked about, before anything is sent."""

from __future__ import annotations

import itertools
from dataclasses import replace

from runner.errors import RefusedError
from runner.job.cost import MICROS, Total, estimate, usd_words
from runner.job.model import Job
from runner.job.plan import Plan
from runner.job.task import Task
from runner.ledger.read import LedgerReader
from runner.ledger.rows import Caps

PRICE_FORMS = "`price: {usd_per_mtok: N}`, `price: {usd_per_second: N}` or `price: {usd_per_task: N}`"


_BATCH = 500


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


def over_all_runs(caps: Caps, plan: Plan, reader: LedgerReader) -> Caps:
    """The same caps over every run that counts as this job's.

    Those have its name and edition, or an attempt at one of its tasks: a file that was renamed or copied,
    another date or a retry has no cap of its own, and a new edition has.
    """
    if caps.is_none:
        return caps
    runs = reader.billed_runs_named(plan.job.name, plan.edition)
    identities = plan.identities()
    while batch := list(itertools.islice(identities, _BATCH)):
        runs |= reader.billed_runs_of(batch)
    return replace(caps, runs=frozenset(runs))


def outlook(job: Job, new: Total) -> list[str]:
    """What the budget does to a run that would submit `new`: a sentence for each limit that bites."""
    budget = job.budget
    found: list[str] = []
    if budget.max_usd is not None and new.without_price:
        unpriced = f"the price of {new.without_price} of {new.tasks} new tasks is not known"
        found.append(f"`run` refuses: {unpriced} (budget.max_usd)")
    elif budget.max_usd is not None and new.usd > budget.max_usd:
        found.append(f"`run` stops before it exceeds USD {usd_words(budget.max_usd)} (budget.max_usd)")
    if budget.max_tasks is not None and new.tasks > budget.max_tasks:
        found.append(f"`run` stops after {budget.max_tasks} of {new.tasks} new tasks (budget.max_tasks)")
    if budget.confirm_usd is not None and question(job, new):
        limit = usd_words(budget.confirm_usd)
        found.append(f"`run` asks first: more than USD {limit} (budget.confirm_usd); --yes agrees")
    return found


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
