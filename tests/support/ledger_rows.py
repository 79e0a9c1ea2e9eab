"""The least that a ledger takes: a run, tasks of one field, intents, and what was heard of them."""

from __future__ import annotations

import sqlite3

from runner.http.verdicts import Evidence
from runner.ledger.caps import Caps
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Intent, RunRow
from runner.ledger.states import Reason
from runner.plan.task import Task

RUN = RunRow(
    "run-1", "jobs/a.yaml", "a", "d" * 64, "", "2026-11-21+00:00", "mesh", "https://api.test", 1000.0
)
SENT = Evidence(row=0, headers_begun=True, reason="accepted", status=200)
CUT = Evidence(row=8, headers_begun=True, reason="closed before any response byte")


def task(number: int = 1) -> Task:
    return Task(
        identity=f"{number:064x}",
        index=number,
        step="",
        name=f"s{number}",
        cell={"seed": number},
        provider="mesh",
        account="mesh",
        origin=RUN.origin,
        edition="",
        model="seedance-1-0-pro",
        seed=number,
        sample=None,
        request={"model": "seedance-1-0-pro", "seed": number},
        inputs=(),
        output=f"out/s{number}.mp4",
    )


def intent(
    number: int = 1, *, estimate: int | None = None, reason: Reason = Reason.RUN, name: str = ""
) -> Intent:
    return Intent(name or f"attempt-{number}", reason, "mesh", "key", number, "b" * 64, 999.0, estimate)


def intend(
    ledger: Ledger,
    number: int = 1,
    *,
    caps: Caps = Caps(),  # noqa: B008
    reason: Reason = Reason.RUN,
    name: str = "",
) -> str:
    made = intent(number, reason=reason, name=name)
    with ledger.transaction():
        return ledger.intend(task(number), RUN.job_file, RUN.id, made, caps, 1000.0 + number)


def make_older(db: sqlite3.Connection, version: int) -> None:
    """Takes from a ledger what came with later versions than 8 or 6, in a transaction of the caller's."""
    for trigger in ("spend_begins", "spend_is_taken_back", "spend_is_added"):
        db.execute(f"DROP TRIGGER {trigger}")
    db.execute("DROP TABLE spends")
    db.execute("DROP INDEX attempts_given_up")
    db.execute("DROP INDEX attempts_lane")
    db.execute("DROP INDEX attempts_accepted")
    for column in ("echoed_input", "month", "day", "handle", "labels", "account"):
        db.execute(f"ALTER TABLE attempts DROP COLUMN {column}")
    # of the same names as the later ones
    db.execute("CREATE TABLE spends (run_id TEXT PRIMARY KEY, tasks INTEGER) STRICT, WITHOUT ROWID")
    db.execute(
        "CREATE TRIGGER spend_begins AFTER INSERT ON attempts BEGIN INSERT INTO spends VALUES (NEW.run_id, 1)"
        " ON CONFLICT DO UPDATE SET tasks = tasks + 1; END"
    )
    if version < 8:
        db.execute("DROP TRIGGER spend_begins")
        db.execute("DROP TABLE spends")
        db.execute("DROP TABLE claims")
        db.execute("ALTER TABLE attempts DROP COLUMN echoed_seed")
        for trigger in ("spend_begins", "spend_is_taken_back", "spend_is_added"):
            db.execute(f"CREATE TRIGGER {trigger} AFTER UPDATE OF seed ON attempts BEGIN SELECT 1; END")
    db.execute("DROP TABLE archived")
    db.execute("ALTER TABLE attempts DROP COLUMN decision")
    db.execute("DELETE FROM meta WHERE key = 'ledger_id'")
    db.execute(f"UPDATE meta SET value = '{version}' WHERE key = 'schema'")
