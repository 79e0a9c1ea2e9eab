"""What a run may spend, what it is asked before anything is sent, and what its tasks cost in the end."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from runner.errors import RefusedError
from runner.job.model import Job
from runner.ledger.caps import Cap, Caps, Elsewhere, Overshoot
from runner.ledger.columns import batches
from runner.ledger.ledger import Ledger
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow, Drift, Spend, TaskRow
from runner.money import MOST_USD, PriceUnit, micros, usd_text
from runner.plan.cost import Total, estimate, seconds_of
from runner.plan.plan import Plan
from runner.plan.task import Task
from runner.project import PROJECT_FILE
from runner.providers.base import Generation, GenerationStatus
from runner.providers.provider import Provider

PRICE_FORMS = "`price: {usd_per_mtok: N}`, `price: {usd_per_second: N}` or `price: {usd_per_task: N}`"


def caps_of(job: Job, new: Total, unpriced: Task | None) -> Caps:
    """The caps of `job`. `new` is what would be submitted, `unpriced` the first of it without a price.

    Raises RefusedError for a cap in dollars that could not be held.
    """
    budget = job.budget
    if budget.max_micros is not None and unpriced is not None:
        why = estimate(job.accounts[unpriced.account].provider, unpriced.request, unpriced.price).note
        raise RefusedError(
            f"{job.file}: {Cap.USD}: {_unpriced(new)}, so the cap cannot be held ({unpriced.name}: {why})",
            hint=f"{_how_to_price(job, unpriced)}, or cap the number of tasks with {Cap.TASKS}",
        )
    return Caps(budget.max_tasks, budget.max_micros)


def _how_to_price(job: Job, task: Task) -> str:
    """Where the price of a task goes: one price of the job is for all its services."""
    if len(job.accounts) == 1:
        return f"add {PRICE_FORMS}"
    return f"add `prices: {{{task.model}: {{usd_per_second: N}}}}` to {PROJECT_FILE}"


def over_all_runs(caps: Caps, plan: Plan, reader: LedgerReader) -> Caps:
    """These caps over every run that counts as this job's.

    Those have its name and edition, or an attempt at one of its tasks: a file that was renamed or copied,
    another date or a retry has no cap of its own, and a new edition has.
    """
    if caps.is_none:
        return caps
    elsewhere = None
    if reader.is_shared:
        identities = frozenset(task.identity for task in plan.tasks)
        elsewhere = Elsewhere(plan.job.name, plan.edition, identities, reader.newest_seq())
    runs = reader.billed_runs_named(plan.job.name, plan.edition)
    for tasks in batches(plan.tasks):
        runs |= reader.billed_runs_of([task.identity for task in tasks])
    return replace(caps, runs=frozenset(runs), elsewhere=elsewhere)


def outlook(plan: Plan, new: Total, reader: LedgerReader | None) -> list[str]:
    """How the budget bites a run that would submit `new`: a sentence for each limit.

    Without a ledger nothing was spent yet.
    """
    budget = plan.job.budget
    caps = Caps(budget.max_tasks, budget.max_micros)
    spent = reader.spend(*over_all_runs(caps, plan, reader).runs) if reader is not None else Spend(0, 0, 0)
    found: list[str] = []
    if budget.max_micros is not None and new.tasks:
        limit = f"USD {usd_text(budget.max_micros)}"
        before = f", USD {usd_text(spent.micros)} of it spent or in flight" if spent.tasks else ""
        if new.without_price:
            found.append(f"`run` refuses: {_unpriced(new)} ({Cap.USD})")
        elif spent.unknown:
            unknown = f"the price of {spent.unknown} of {spent.tasks} submits is not known"
            found.append(f"`run` submits nothing: {unknown} ({Cap.USD})")
        elif spent.micros + new.micros > budget.max_micros:
            found.append(f"`run` stops before it exceeds {limit}{before} ({Cap.USD})")
    if budget.max_tasks is not None and spent.tasks + new.tasks > budget.max_tasks and new.tasks:
        left = max(0, budget.max_tasks - spent.tasks)
        before = f", for {spent.tasks} of {budget.max_tasks} are submitted" if spent.tasks else ""
        found.append(f"`run` stops after {left} of {_new_tasks(new.tasks)}{before} ({Cap.TASKS})")
    if budget.confirm_micros is not None and question(plan.job, new):
        more = f"more than USD {usd_text(budget.confirm_micros)}"
        why = _unpriced(new) if new.without_price else more
        found.append(f"`run` asks first: {why} (budget.confirm_usd); --yes agrees")
    return found


def question(job: Job, new: Total) -> str:
    """The question to ask a person first; empty if there is none. An unknown price is above every limit."""
    limit = job.budget.confirm_micros
    if limit is None or (new.micros <= limit and not new.without_price):
        return ""
    known = f"{_new_tasks(new.tasks - new.without_price)} for about USD {usd_text(new.micros)}"
    unknown = f"{_new_tasks(new.without_price)} of unknown price"
    asked = " and ".join(
        filter(None, ("" if new.is_unknown else known, unknown if new.without_price else ""))
    )
    return f"{job.file}: {asked}; budget.confirm_usd is {usd_text(limit)}"


def _new_tasks(number: int) -> str:
    return f"{number} new task{'' if number == 1 else 's'}"


def _unpriced(new: Total) -> str:
    return f"the price of {new.without_price} of {_new_tasks(new.tasks)} is not known"


MOST_DRIFT = Decimal("0.1")
"""A share of the estimate. Beyond it, prices or the token formula have changed since models.yaml."""


def note_cost(
    ledger: Ledger, provider: Provider, attempt_id: str, generation: Generation
) -> tuple[Overshoot, ...]:
    """Notes what an ended generation cost, in the caller's transaction; nothing where it is not known. Gives
    the caps that this passes.

    The service's own figure comes first, then its usage at the price that the attempt was bought at.
    """
    attempt = ledger.read.attempt(attempt_id)
    assert attempt is not None
    task = ledger.read.task(attempt.identity)
    assert task is not None
    usd = _cost(provider, attempt, task, generation)
    if usd is None or usd >= MOST_USD:
        return ()
    return ledger.settle_cost(attempt_id, micros(usd))


def has_drifted(drift: Drift) -> bool:
    """Whether estimate and actual cost are more than a tenth of the estimate apart."""
    return abs(drift.cost_micros - drift.estimate_micros) > MOST_DRIFT * drift.estimate_micros


def _cost(provider: Provider, attempt: AttemptRow, task: TaskRow, generation: Generation) -> Decimal | None:
    said = Decimal(generation.cost_usd) if generation.cost_usd else None
    # a bill that is not made out yet reads 0: a video that costs nothing would weaken a cap
    if said is not None and (said > 0 or generation.status is not GenerationStatus.SUCCEEDED):
        return said
    if generation.status in provider.free_ends:
        return Decimal(0)
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
