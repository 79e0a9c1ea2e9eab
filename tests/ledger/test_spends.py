"""What a run has spent is kept by triggers: it is always what adding up its attempts gives."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from runner.ledger.caps import Caps
from runner.ledger.database import open_for_writing
from runner.ledger.engine import ConflictError
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Intent, RunRow, Spend
from runner.ledger.spending import _POSSIBLY_BILLED
from runner.ledger.states import Reason, TaskState
from tests.support.ledger_rows import RUN, make_older, task

OTHER = RunRow("r2", "b.yaml", "b", "0" * 64, "", "2026-05-31+00:00", "mesh", "o", 2.0)
ATTEMPTS = 4

SPANS = (
    RUN.id,
    OTHER.id,
    "1970-01-01",
    "2026-11-30",
    "2026-12-01",
    "2026-12-02",
    "1970-01",
    "2026-11",
    "2026-12",
)

Change = tuple[int, str, str | None, str | None, int | None, int | None, str, str, str]

changes = st.tuples(
    st.integers(0, ATTEMPTS - 1),
    st.sampled_from([*TaskState]).map(str),
    st.sampled_from([None, "accepted", "rejected", "ambiguous", "not_sent"]),
    st.sampled_from([None, "again", "absent", "adopted"]),
    st.none() | st.integers(0, 10_000_000),
    st.none() | st.integers(0, 10_000_000),
    st.sampled_from([RUN.id, OTHER.id]),
    st.sampled_from(["mesh", "acme"]),
    st.sampled_from(["2026-11-30", "2026-12-01", "2026-12-02"]),
)


def filled() -> Ledger:
    ledger = Ledger(open_for_writing(None))
    with ledger.transaction():
        ledger.begin_run(RUN)
        ledger.begin_run(OTHER)
        for number in range(ATTEMPTS):
            estimate = 500 if number % 2 else None
            intent = Intent(f"a{number}", Reason.RUN, "mesh", "key", number + 1, "b" * 64, 1.0, estimate)
            ledger.intend(task(number), RUN.job_file, RUN.id, intent, Caps(), 1.0)
    return ledger


def added_up(db: sqlite3.Connection, span: str) -> dict[str, Spend]:
    """By account, of those that have any."""
    rows = db.execute(
        "SELECT account, count(*), sum(coalesce(cost_micros, estimate_micros, 0)),"
        " count(*) FILTER (WHERE coalesce(cost_micros, estimate_micros) IS NULL)"
        f" FROM attempts WHERE ? IN (run_id, day, month) AND {_POSSIBLY_BILLED} GROUP BY account",
        (span,),
    )
    return {account: Spend(*row) for account, *row in rows}


def kept(db: sqlite3.Connection, span: str) -> dict[str, Spend]:
    rows = db.execute("SELECT account, tasks, micros, unknown FROM spends WHERE span = ? AND tasks", (span,))
    return {account: Spend(*row) for account, *row in rows}


@given(changed=st.lists(changes, max_size=12))
def test_the_kept_sums_are_those_of_the_attempts(changed: list[Change]) -> None:
    """Whatever state, verdict, resolution, cost, run, account or day an attempt gets, and goes back to."""
    ledger = filled()
    db = ledger._db
    for number, *values in changed:
        try:
            with ledger.transaction():
                db.execute(
                    "UPDATE attempts SET state = ?, verdict = ?, resolution = ?, cost_micros = ?,"
                    " estimate_micros = ?, run_id = ?, account = ?, day = ? WHERE id = ?",
                    (*values, f"a{number}"),
                )
        except ConflictError:
            pass  # a terminal state stays
        for span in SPANS:
            assert kept(db, span) == added_up(db, span)
    ledger.close()


def test_a_step_that_is_undone_spends_nothing() -> None:
    ledger = filled()
    before = ledger.read.spend(RUN.id)
    try:
        with ledger.transaction(), ledger.savepoint():
            intent = Intent("a9", Reason.RUN, "mesh", "key", 9, "b" * 64, 1.0, 500)
            ledger.intend(task(9), RUN.job_file, RUN.id, intent, Caps(), 1.0)
            assert ledger.read.spend(RUN.id).tasks == before.tasks + 1
            raise ValueError
    except ValueError:
        pass
    assert ledger.read.spend(RUN.id) == before
    ledger.close()


def test_a_ledger_of_before_is_added_up_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger.open(path)
    with ledger.transaction():
        ledger.begin_run(RUN)
        for number in range(3):
            intent = Intent(f"a{number}", Reason.RUN, "mesh", "key", number + 1, "b" * 64, 1.0, 500)
            ledger.intend(task(number), RUN.job_file, RUN.id, intent, Caps(), 1.0)
        make_older(ledger._db, 6)
    ledger.close()
    ledger = Ledger.open(path)
    assert ledger.read.spend(RUN.id) == Spend(3, 1500, 0)
    ledger.close()
