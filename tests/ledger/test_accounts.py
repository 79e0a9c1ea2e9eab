"""Of an attempt: who pays, by which labels it is told, which day it belongs to, and what a GET needs."""

from __future__ import annotations

import contextlib
import datetime
import zoneinfo
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runner.http.verdicts import Verdict
from runner.ledger.caps import Budgets, Caps
from runner.ledger.database import open_for_reading, open_for_writing
from runner.ledger.ledger import Ledger
from runner.ledger.rows import AttemptRow, Spend
from tests.support.ledger_rows import CUT, RUN, SENT, intent, make_older, task

KIRITIMATI = zoneinfo.ZoneInfo("Pacific/Kiritimati")
"""14 hours ahead of UTC."""
LATE = datetime.datetime(2026, 11, 30, 23, 59, tzinfo=KIRITIMATI).timestamp()


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    opened = Ledger(open_for_writing(None), budgets=Budgets(KIRITIMATI))
    with opened.transaction():
        opened.begin_run(RUN)
    yield opened
    opened.close()


def days(ledger: Ledger) -> list[tuple[str, str]]:
    return ledger._db.execute("SELECT day, month FROM attempts ORDER BY seq").fetchall()


def attempt_of(ledger: Ledger, attempt_id: str) -> AttemptRow:
    found = ledger.read.attempt(attempt_id)
    assert found is not None
    return found


def test_an_attempt_knows_its_account_its_labels_and_its_day(ledger: Ledger) -> None:
    labelled = replace(intent(1), account="acme", labels={"client": "Acme", "b": "Zoë"})
    with ledger.transaction():
        ours = ledger.intend(task(1), RUN.job_file, RUN.id, labelled, Caps(), LATE)
        plain = ledger.intend(task(2), RUN.job_file, RUN.id, intent(2), Caps(), LATE + 60)
    assert (attempt_of(ledger, ours).account, attempt_of(ledger, ours).labels) == (
        "acme",
        {"client": "Acme", "b": "Zoë"},
    )
    assert (attempt_of(ledger, plain).account, attempt_of(ledger, plain).labels) == ("mesh", {})
    assert days(ledger) == [("2026-11-30", "2026-11"), ("2026-12-01", "2026-12")]


@pytest.mark.fault(115)
def test_an_intent_that_goes_again_after_midnight_belongs_to_the_new_day(ledger: Ledger) -> None:
    """Its account is that of the last intent, too: the project file may have changed meanwhile."""
    with ledger.transaction():
        attempt = ledger.intend(task(1), RUN.job_file, RUN.id, intent(1), Caps(), LATE)
        ledger.withdraw(attempt, Verdict.NOT_SENT, CUT, LATE)
        moved = replace(intent(1), account="acme")
        assert ledger.intend(task(1), RUN.job_file, RUN.id, moved, Caps(), LATE + 60) == attempt
        ledger.accept(attempt, "t-1", SENT, LATE + 90_000)
    assert days(ledger) == [("2026-12-01", "2026-12")]
    assert ledger.read.spend("2026-11-30", "2026-11").tasks == 0
    assert ledger.read.spend("2026-12-01") == ledger.read.spend("2026-12") == Spend(1, 0, 1)


def test_the_handle_of_an_accepted_task_is_kept_and_not_shown(ledger: Ledger) -> None:
    with ledger.transaction():
        attempt = ledger.intend(task(1), RUN.job_file, RUN.id, intent(1), Caps(), LATE)
        assert attempt_of(ledger, attempt).handle == {}
        ledger.accept(attempt, "t-1", SENT, LATE, {"status_url": "https://queue.test/secret"})
    kept = attempt_of(ledger, attempt)
    assert kept.handle == {"status_url": "https://queue.test/secret"}
    assert "secret" not in repr(kept)


@pytest.mark.parametrize("version", [6, 8])
def test_attempts_of_an_older_ledger_are_the_provider_s_own_and_of_their_day_here(
    version: int, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    older = Ledger.open(path)
    with older.transaction():
        older.begin_run(RUN)
        older.intend(task(1), RUN.job_file, RUN.id, intent(1, estimate=500), Caps(), LATE)
        older.intend(task(2), RUN.job_file, RUN.id, intent(2), Caps(), LATE + 60)
        make_older(older._db, version)
    older.close()
    with contextlib.closing(open_for_reading(path, KIRITIMATI)) as read:
        assert read.execute("SELECT DISTINCT account, labels, handle FROM attempts").fetchall() == [
            ("mesh", "{}", "{}")
        ]
    ledger = Ledger.open(path, Budgets(KIRITIMATI))
    assert days(ledger) == [("2026-11-30", "2026-11"), ("2026-12-01", "2026-12")]
    assert ledger.read.spend("2026-11-30") == ledger.read.spend("2026-11") == Spend(1, 500, 0)
    assert ledger.read.spend(RUN.id) == Spend(2, 500, 1)
    ledger.close()
