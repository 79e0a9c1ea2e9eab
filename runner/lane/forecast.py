"""Whether the project's budgets hold what is about to be submitted: told before anything is."""

from __future__ import annotations

from collections.abc import Iterator

from runner.job.project_file import ProjectFile, WindowCap
from runner.ledger.caps import Budgets, moment_words, span_of, when_words
from runner.ledger.read import LedgerReader
from runner.ledger.rows import Spend
from runner.money import usd_text
from runner.plan.cost import Total
from runner.plural import count


def budget_outlook(
    project_file: ProjectFile, new: Total, reader: LedgerReader | None, at: float
) -> list[str]:
    """How the budgets bite a run that would submit `new` at this moment: a sentence for each cap that does.

    Without a ledger nothing was spent yet.
    """
    budgets = Budgets(project_file.timezone, project_file.budgets)
    day = budgets.day(at)
    found: list[str] = []
    for cap in budgets.caps:
        covered = Total()
        for name, part in new.accounts.items():
            account = project_file.account(name)
            if cap.where.covers(name, account.labels if account is not None else {}):
                covered += part
        if covered.tasks:
            spent = reader.spent_in(span_of(cap, day), cap.where) if reader is not None else Spend(0, 0, 0)
            until = moment_words(budgets.renewal(cap.window, day))
            found += _sentences(cap, f"for {cap.where.words} {when_words(cap, day)}", covered, spent, until)
    return found


def _sentences(cap: WindowCap, whose: str, new: Total, spent: Spend, until: str) -> Iterator[str]:
    renews = f"it renews at {until}"
    tasks = count(new.tasks, "new task")
    if cap.max_micros is not None:
        where = f"({cap.path}.max_usd)"
        if new.without_price:
            unpriced = f"the price of {new.without_price} of {tasks} is not known"
            yield f"`run` cannot submit all {whose}: {unpriced} {where}"
        elif spent.unknown:
            unpriced = f"the price of {spent.unknown} of {count(spent.tasks, 'submit')} is not known"
            yield f"`run` submits nothing {whose}: {unpriced}; {renews} {where}"
        elif spent.micros + new.micros > cap.max_micros:
            before = f", USD {usd_text(spent.micros)} of it spent or in flight" if spent.tasks else ""
            limit = f"USD {usd_text(cap.max_micros)}"
            yield f"`run` stops before it exceeds {limit} {whose}{before}; {renews} {where}"
    if cap.max_tasks is not None and spent.tasks + new.tasks > cap.max_tasks:
        left = max(0, cap.max_tasks - spent.tasks)
        before = f", for {spent.tasks} of {cap.max_tasks} are submitted" if spent.tasks else ""
        yield f"`run` stops after {left} of {tasks} {whose}{before}; {renews} ({cap.path}.max_tasks)"
