"""A power cut as SQLite's files see it: the end of the log is gone, or is not what was written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.ledger.ledger import Ledger
from runner.ledger.states import TaskState
from tests.support.ledger_rows import RUN, SENT, intend

TASKS = 6


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, list[tuple[int, int, int]]]:
    """The two files before any checkpoint, and after each commit: bytes of log, intents, remote ids."""
    path = tmp_path_factory.mktemp("power") / "ledger.db"
    log = path.with_name("ledger.db-wal")
    ledger = Ledger.open(path)
    ledger._db.execute("PRAGMA wal_autocheckpoint = 0")
    with ledger.transaction():
        ledger.begin_run(RUN)
    commits = [(log.stat().st_size, 0, 0)]
    for number in range(1, TASKS + 1):
        attempt = intend(ledger, number)
        commits.append((log.stat().st_size, number, number - 1))
        with ledger.transaction():
            ledger.accept(attempt, f"t-{number}", SENT, 1010.0)
        commits.append((log.stat().st_size, number, number))
    files = path.read_bytes(), log.read_bytes()
    ledger.close()
    return *files, commits


@pytest.mark.fault(26)
@settings(max_examples=60)
@given(data=st.data(), tail=st.sampled_from(["lost", "zeros", "junk"]))
def test_a_cut_takes_back_only_what_was_not_yet_synced(
    written: tuple[bytes, bytes, list[tuple[int, int, int]]],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    tail: str,
) -> None:
    """Every commit whose bytes are there is there, in order; what is torn is as if it never began.

    So an intent whose sync came back is seen (row 23), and so is an id (row 25).
    """
    database, log, commits = written
    at = data.draw(st.integers(commits[0][0], len(log)))
    rest = len(log) - at
    ends = {"lost": b"", "zeros": bytes(rest), "junk": b"\x5a" * rest}
    path = tmp_path_factory.mktemp("cut") / "ledger.db"
    path.write_bytes(database)
    path.with_name("ledger.db-wal").write_bytes(log[:at] + ends[tail])
    ledger = Ledger.open(path)
    found = ledger.read.count_states()
    ledger.close()
    _, intents, ids = max(commit for commit in commits if commit[0] <= at)
    assert sum(found.values()) == intents
    assert found.get(TaskState.SUBMITTED, 0) == ids
