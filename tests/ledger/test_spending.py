"""What the ledger says was spent, and what it cannot say."""

from __future__ import annotations

import contextlib
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from runner.http.verdicts import Verdict
from runner.ledger.caps import Caps
from runner.ledger.database import SCHEMA_VERSION, open_for_reading
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Drift, Intent, Spend, SpendBy, SpendRow
from runner.ledger.states import Reason
from runner.money import Price, PriceUnit
from tests.support.ledger_rows import CUT, RUN, SENT, make_older, task

DAY = 86_400.0
NOTHING = Spend(0, 0, 0)


def submit(
    ledger: Ledger, number: int, *, usd: str | None = "0.5", cost: int | None = None, at: float = 0.0
) -> str:
    price = Price(PriceUnit.TASK, Decimal(usd)) if usd else None
    estimate = int(Decimal(usd) * 1_000_000) if usd else None
    intent = Intent(f"attempt-{number}", Reason.RUN, "mesh", "key", number, "b" * 64, 999.0, estimate, price)
    with ledger.transaction():
        attempt = ledger.intend(task(number), RUN.job_file, RUN.id, intent, Caps(), at)
        ledger.accept(attempt, f"t-{number}", SENT, at)
        if cost is not None:
            ledger.settle_cost(attempt, cost)
    return attempt


def end(ledger: Ledger, attempt: str) -> None:
    with ledger.transaction():
        ledger.collect(attempt, 1.0)
        ledger.finish(attempt, [], 2.0)


def test_an_attempt_keeps_the_price_it_was_bought_at(ledger: Ledger) -> None:
    found = ledger.read.attempt(submit(ledger, 1, usd="0.10"))
    assert found is not None
    assert (found.price, found.estimate_micros) == (Price(PriceUnit.TASK, Decimal("0.10")), 100_000)


def test_an_intent_that_goes_again_takes_the_price_of_today(ledger: Ledger) -> None:
    first = Intent("attempt-1", Reason.RUN, "mesh", "key", 1, "b" * 64, 999.0)
    second = Intent(
        "attempt-2",
        Reason.RUN,
        "mesh",
        "key",
        1,
        "b" * 64,
        999.0,
        250_000,
        Price(PriceUnit.TASK, Decimal("0.25")),
    )
    with ledger.transaction():
        attempt = ledger.intend(task(1), RUN.job_file, RUN.id, first, Caps(), 1.0)
        ledger.withdraw(attempt, Verdict.NOT_SENT, CUT, 2.0)
        assert ledger.intend(task(1), RUN.job_file, RUN.id, second, Caps(max_micros=250_000), 3.0) == attempt
    assert ledger.read.spend(RUN.id) == Spend(1, 250_000, 0)


def test_settled_in_flight_and_possibly_billed_are_told_apart(ledger: Ledger) -> None:
    end(ledger, submit(ledger, 1, cost=400_000))
    end(ledger, submit(ledger, 2, usd=None))
    submit(ledger, 3)
    for number in (4, 5):
        intent = Intent(f"attempt-{number}", Reason.RUN, "mesh", "key", number, "b" * 64, 999.0, 500_000)
        with ledger.transaction():
            attempt = ledger.intend(task(number), RUN.job_file, RUN.id, intent, Caps(), 0.0)
            if number == 4:
                ledger.leave_unclear(attempt, CUT, 1.0)
            else:
                ledger.reject(attempt, CUT, 1.0)
    expected = SpendRow("", Spend(2, 400_000, 1), Spend(1, 500_000, 0), Spend(1, 500_000, 0))
    assert ledger.read.spending() == [expected]


def test_nothing_spent_is_one_row_in_all_and_no_group(ledger: Ledger) -> None:
    assert ledger.read.spending() == [SpendRow("", NOTHING, NOTHING, NOTHING)]
    assert ledger.read.spending(SpendBy.DAY) == []


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (SpendBy.JOB, [("jobs/a.yaml", 2)]),
        (SpendBy.MODEL, [("seedance-1-0-pro", 2)]),
        (SpendBy.DAY, [("1970-01-01", 1), ("1970-01-03", 1)]),
    ],
)
def test_spending_by_group(ledger: Ledger, by: SpendBy, groups: list[tuple[str, int]]) -> None:
    submit(ledger, 1)
    submit(ledger, 2, at=2 * DAY)
    assert [(row.group, row.in_flight.tasks) for row in ledger.read.spending(by)] == groups


def test_spending_since_a_time(ledger: Ledger) -> None:
    submit(ledger, 1)
    submit(ledger, 2, at=2 * DAY)
    (row,) = ledger.read.spending(since=DAY)
    assert row.in_flight == Spend(1, 500_000, 0)


def test_drift_compares_only_what_is_known_twice(ledger: Ledger) -> None:
    submit(ledger, 1, cost=600_000)
    submit(ledger, 2)
    submit(ledger, 3, usd=None, cost=100_000)
    assert ledger.read.drift(RUN.id) == Drift(1, 500_000, 600_000)


def test_an_older_ledger_is_brought_up_to_date_by_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    opened = Ledger.open(path)
    with opened.transaction():
        make_older(opened._db, 6)
    opened.close()
    with contextlib.closing(open_for_reading(path)) as read:
        assert read.execute("SELECT count(*) FROM claims").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError):
            read.execute("DELETE FROM runs")
    opened = Ledger.open(path)
    with opened.transaction():
        opened.begin_run(RUN)
    submit(opened, 1)
    assert opened.read.meta("schema") == SCHEMA_VERSION
    opened.close()
    open_for_reading(path).close()
