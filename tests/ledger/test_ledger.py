"""Every durable fact, and what the ledger refuses to do."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from runner.errors import ExitCode, StateError
from runner.http.verdicts import Evidence, Verdict
from runner.job.project_file import Where
from runner.ledger.caps import CapReachedError, Caps
from runner.ledger.database import open_for_reading, open_for_writing
from runner.ledger.engine import ConflictError
from runner.ledger.ledger import Ledger, MadeElsewhereError, RemoteIdTakenError
from runner.ledger.read import LedgerReader
from runner.ledger.rows import (
    GIVEN_UP,
    ArchivedRow,
    Echoes,
    Grounds,
    Kind,
    OutputRow,
    SessionFacts,
    Spend,
)
from runner.ledger.sqlite import SqliteEngine
from runner.ledger.states import IN_FLIGHT, TRANSITIONS, Basis, Reason, Resolution, TaskState
from runner.media.video import MediaFacts
from runner.providers.base import Generation, GenerationStatus, RemoteFileKind
from runner.providers.provider import Listing
from tests.support.ledger_rows import CUT, RUN, SENT, intend, intent, make_older, task


def accept(ledger: Ledger, number: int = 1) -> str:
    attempt = intend(ledger, number)
    with ledger.transaction():
        ledger.accept(attempt, f"t-{number}", SENT, 1010.0)
    return attempt


def state(ledger: Ledger, attempt: str) -> TaskState:
    found = ledger.read.attempt(attempt)
    assert found is not None
    return found.state


def output(number: int = 1, path: str = "out/s1.mp4", attempt: str = "attempt-1") -> OutputRow:
    return OutputRow(
        path, task(number).identity, attempt, RemoteFileKind.VIDEO, 1, 10, "e" * 64, MediaFacts("mp4"), 1020.0
    )


@pytest.mark.security(6)
def test_the_files_are_private(tmp_path: Path, file_ledger: Ledger) -> None:
    intend(file_ledger)
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@pytest.mark.fault(29)
def test_a_second_name_of_the_ledger_is_refused(tmp_path: Path) -> None:
    """As in a project that was copied with `cp -al`: a killed run's rows lie in the -wal of one name."""
    path, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    with closing(Ledger.open(path)) as ledger:
        copy.hardlink_to(path)
        with ledger.transaction():
            ledger.begin_run(RUN)
        intend(ledger)
        for name in (path, copy):
            with pytest.raises(StateError, match="has a second name") as caught:
                Ledger.open(name)
            assert caught.value.exit_code is ExitCode.CANNOT_WRITE
            assert str(name) in caught.value.hint
    copy.unlink()
    with closing(Ledger.open(path)) as ledger:
        assert len([*ledger.read.in_state(TaskState.INTENDED)]) == 1


@pytest.mark.security(6)
def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "ledger.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="cannot write the ledger"):
        Ledger.open(tmp_path / "ledger.db")
    assert (tmp_path / "elsewhere").read_text() == ""


def test_a_commit_waits_for_the_disk(file_ledger: Ledger, tmp_path: Path) -> None:
    connection = file_ledger._db
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_intent_is_there_before_anything_else(file_ledger: Ledger, tmp_path: Path) -> None:
    attempt = intend(file_ledger)
    other = LedgerReader(open_for_reading(tmp_path / "ledger.db"))
    found = other.attempt(attempt)
    other.close()
    assert found is not None
    assert (found.state, found.tag, found.seed, found.server_time) == (TaskState.INTENDED, 1, 1, 999.0)


def test_what_a_kill_leaves_between_intent_and_outcome_is_ambiguous(ledger: Ledger) -> None:
    attempt = intend(ledger)
    with ledger.transaction():
        stranded = ledger.recover(1030.0)
    # where machines share the ledger, it may be under way at another one: its lease says
    left = [attempt] if ledger.leases is None else []
    assert [row.id for row in stranded] == left
    assert state(ledger, attempt) is (TaskState.AMBIGUOUS if left else TaskState.INTENDED)


def refuses_to_submit(ledger: Ledger) -> AbstractContextManager[object]:
    """A defect where no other machine can have submitted it meanwhile."""
    if ledger.leases is not None:
        return pytest.raises(MadeElsewhereError, match="another machine has submitted it")
    return pytest.raises(StateError, match="refused to submit")


@pytest.mark.parametrize(
    "left", ["intended", "submitted", "ambiguous", "held", "collecting", "done", "failed"]
)
def test_a_task_that_may_be_billed_is_never_intended_again(ledger: Ledger, left: str) -> None:
    attempt = intend(ledger)
    with ledger.transaction():
        match left:
            case "ambiguous" | "held":
                ledger.leave_unclear(attempt, CUT, 1.0, hold=left == "held")
            case "failed":
                ledger.reject(attempt, SENT, 1.0)
            case "submitted" | "collecting" | "done":
                ledger.accept(attempt, "t-1", SENT, 1.0)
                if left != "submitted":
                    ledger.collect(attempt, 2.0)
                if left == "done":
                    ledger.finish(attempt, [output()], 3.0)
    with refuses_to_submit(ledger), ledger.transaction():
        ledger.intend(task(), RUN.job_file, RUN.id, intent(2), Caps(), 5.0)
    assert len(ledger.read.attempts(task().identity)) == 1


def test_a_proved_unsent_intent_goes_again_as_itself(ledger: Ledger) -> None:
    attempt = intend(ledger)
    with ledger.transaction():
        ledger.withdraw(attempt, Verdict.NOT_SENT, Evidence(2, False, "connection refused"), 1.0)
    with ledger.transaction():
        again = ledger.intend(task(), RUN.job_file, RUN.id, intent(2), Caps(), 2.0)
    assert again == attempt
    assert [row.tag for row in ledger.read.attempts(task().identity)] == [2], "the tag that is sent now"


def test_an_intent_that_goes_again_has_the_seed_that_is_sent_now(ledger: Ledger) -> None:
    """Evidence by an older one would call the paid video another's."""
    attempt = intend(ledger)
    now = replace(task(), seed=9, request={**task().request, "seed": 9})
    with ledger.transaction():
        ledger.withdraw(attempt, Verdict.NOT_SENT, Evidence(2, False, "connection refused"), 1.0)
        again = ledger.intend(now, RUN.job_file, RUN.id, intent(2), Caps(), 2.0)
    found = ledger.read.attempt(again)
    assert found is not None
    assert (again, found.seed) == (attempt, 9)
    row = ledger.read.task(now.identity)
    assert row is not None
    assert (row.seed, row.request["seed"]) == (9, 9)


def test_a_submit_shown_to_be_absent_gets_a_new_attempt(ledger: Ledger) -> None:
    """The tag of the first one may still turn up: it must not name two attempts."""
    attempt = intend(ledger)
    with ledger.transaction():
        ledger.leave_unclear(attempt, CUT, 1.0)
        ledger.resolve(attempt, Resolution.ABSENT, Grounds({"scans": 3}), 2.0)
    with ledger.transaction():
        again = ledger.intend(task(), RUN.job_file, RUN.id, intent(2, reason=Reason.RECONCILE), Caps(), 3.0)
    assert again != attempt
    assert [row.state for row in ledger.read.attempts(task().identity)] == [
        TaskState.PLANNED,
        TaskState.INTENDED,
    ]


def test_a_failed_task_goes_again_only_when_somebody_asks(ledger: Ledger) -> None:
    attempt = accept(ledger)
    with ledger.transaction():
        ledger.fail(attempt, "content_policy_violation", "no", 2.0)
    with ledger.transaction():
        again = ledger.intend(task(), RUN.job_file, RUN.id, intent(2, reason=Reason.RETRY), Caps(), 3.0)
    found = ledger.read.attempt(again)
    assert found is not None
    assert (found.reason, state(ledger, attempt)) == ("retry", TaskState.FAILED)


def test_a_done_task_gets_a_new_take_only_by_again(ledger: Ledger) -> None:
    attempt = accept(ledger)
    with ledger.transaction():
        ledger.collect(attempt, 2.0)
        ledger.finish(attempt, [output()], 3.0)
    with pytest.raises((StateError, MadeElsewhereError)), ledger.transaction():
        ledger.intend(task(), RUN.job_file, RUN.id, intent(2, reason=Reason.RETRY), Caps(), 4.0)
    with ledger.transaction():
        ledger.intend(task(), RUN.job_file, RUN.id, intent(2, reason=Reason.AGAIN), Caps(), 4.0)
    assert [row.reason for row in ledger.read.attempts(task().identity)] == ["run", "again"]


@pytest.mark.fault(12)
def test_an_id_that_another_task_holds_is_refused(ledger: Ledger) -> None:
    accept(ledger, 1)
    second = intend(ledger, 2)
    with pytest.raises(RemoteIdTakenError), ledger.transaction():
        ledger.accept(second, "t-1", SENT, 1.0)
    assert state(ledger, second) is TaskState.INTENDED


def test_terminal_states_ids_and_rows_stay_even_against_sql(ledger: Ledger) -> None:
    attempt = accept(ledger)
    with ledger.transaction():
        ledger.fail(attempt, "x", "y", 2.0)
    for statement in (
        "UPDATE attempts SET state = 'submitted'",
        "UPDATE attempts SET remote_id = 't-9'",
        "DELETE FROM attempts",
    ):
        with pytest.raises(ConflictError), ledger.transaction():
            ledger._db.execute(statement)
    assert state(ledger, attempt) is TaskState.FAILED


def test_nothing_follows_a_terminal_state_but_what_the_service_turns_out_to_have() -> None:
    for before, after in TRANSITIONS.items():
        assert before not in after
        if before.is_terminal:
            assert before in (TaskState.EXPIRED, TaskState.WRITTEN_OFF)
            assert after == {TaskState.SUBMITTED}


def test_a_cap_on_tasks_holds_over_all_that_may_be_billed(ledger: Ledger) -> None:
    caps = Caps(max_tasks=3)
    accept(ledger, 1)
    unclear = intend(ledger, 2)
    refused = intend(ledger, 3)
    with ledger.transaction():
        ledger.leave_unclear(unclear, CUT, 1.0)
        ledger.reject(refused, SENT, 1.0)
    intend(ledger, 4, caps=caps)
    with pytest.raises(CapReachedError):
        intend(ledger, 5, caps=caps)
    assert ledger.read.spend(RUN.id).tasks == 3
    assert ledger.read.task(task(5).identity) is None


def test_a_dollar_cap_counts_estimates_until_the_cost_is_known(ledger: Ledger) -> None:
    caps = Caps(max_micros=1_000_000)

    def buy(number: int) -> str:
        with ledger.transaction():
            return ledger.intend(
                task(number), RUN.job_file, RUN.id, intent(number, estimate=400_000), caps, 1.0
            )

    first = buy(1)
    buy(2)
    with pytest.raises(CapReachedError, match=r"is 1\.00: 0\.80 spent or in flight"):
        buy(3)
    with ledger.transaction():
        ledger.accept(first, "t-1", SENT, 2.0)
        ledger.settle_cost(first, 100_000)
    buy(3)
    assert ledger.read.spend(RUN.id).micros == 900_000


@pytest.mark.parametrize(
    ("caps", "spent", "following", "said"),
    [
        (Caps(max_tasks=2), Spend(2, 0, 2), None, "budget.max_tasks is 2: 2 submitted already"),
        (
            Caps(max_micros=10_000),
            Spend(1, 8_000, 0),
            4_000,
            "budget.max_usd is 0.01: 0.008 spent or in flight, the next task is about 0.004",
        ),
        (
            Caps(max_micros=10_000),
            Spend(1, 8_000, 0),
            None,
            "budget.max_usd is 0.01: the price of the next task is not known",
        ),
        (
            Caps(max_micros=10_000),
            Spend(3, 8_000, 2),
            1,
            "budget.max_usd is 0.01: the price of 2 of 3 submits is not known",
        ),
    ],
)
def test_a_refusal_says_what_the_cap_is_and_what_was_spent(
    caps: Caps, spent: Spend, following: int | None, said: str
) -> None:
    with pytest.raises(CapReachedError) as refused:
        caps.check(spent, following)
    assert (refused.value.message, refused.value.exit_code) == (said, ExitCode.REFUSED)
    assert ("max_tasks" in refused.value.hint) is ("not known" in said)


def test_an_unknown_price_never_fits_under_a_dollar_cap(ledger: Ledger) -> None:
    with pytest.raises(CapReachedError, match="price"):
        intend(ledger, caps=Caps(max_micros=10_000_000))


def test_echoes_are_counted_once_the_service_has_decided_them(ledger: Ledger) -> None:
    """Another value than was sent is never forgotten, and counts for as long as is asked."""
    first, second = accept(ledger, 1), accept(ledger, 2)

    def tags(since: float = 0.0) -> Echoes:
        return ledger.read.echoes(RUN.origin, "key", since, range(1, 65_536))["seedance-1-0-pro"][0]

    def observe(attempt: str, tag: int | None, status: GenerationStatus = GenerationStatus.RUNNING) -> None:
        with ledger.transaction():
            ledger.observe(attempt, Generation("t", status, str(status), model="m", tag=tag), 5.0)

    assert tags() == Echoes()
    observe(first, 1, GenerationStatus.QUEUED)
    observe(first, None)
    assert tags() == Echoes()
    observe(first, 1)
    observe(first, None)
    assert tags() == Echoes(same=1)
    observe(second, 0)
    observe(second, 2)
    assert tags() == Echoes(same=1, other=1)
    assert tags(since=1e9) == Echoes(same=1)


def _absent(ledger: Ledger, number: int = 1) -> str:
    attempt = intend(ledger, number)
    with ledger.transaction():
        ledger.leave_unclear(attempt, CUT, 1.0)
        ledger.resolve(attempt, Resolution.ABSENT, Grounds({}), 2.0)
    return attempt


@pytest.mark.parametrize("settled", [Resolution.CONFIRMED, Resolution.NOT_BILLED])
def test_what_was_taken_for_absent_counts_until_it_is_settled(ledger: Ledger, settled: Resolution) -> None:
    """And its tag stays reserved, and its row is looked for, in any case."""
    attempt = _absent(ledger)
    tag = ledger.read.attempt(attempt).tag  # type: ignore[union-attr]
    assert ledger.read.spend(RUN.id).tasks == 1
    assert [one.id for one in ledger.read.counted_absences()] == [attempt]
    with ledger.transaction():
        ledger.settle_absent(attempt, settled, Grounds.of(Basis.PERSON))
    assert ledger.read.spend(RUN.id).tasks == 0
    assert ledger.read.counted_absences() == []
    assert ledger.read.open_tags(RUN.origin) == {tag}
    assert [one.id for one in ledger.read.looked_for(RUN.origin, "key", 0.0)] == [attempt]
    assert ledger.read.looked_for(RUN.origin, "key", 1e12) == []


@pytest.mark.parametrize("asked", [Reason.RUN, Reason.RECONCILE])
def test_the_attempt_after_an_absence_belongs_to_the_same_decision(ledger: Ledger, asked: Reason) -> None:
    """Also where another process makes it: absence is taken once for each decision."""
    _absent(ledger)
    second = intend(ledger, 1, reason=asked, name="later")
    assert ledger.read.attempt(second).reason == "reconcile"  # type: ignore[union-attr]


@pytest.mark.parametrize("later", ["none", "unsent", "accepted"])
def test_what_is_found_is_its_task_s_newest_attempt_unless_a_later_one_was_sent(
    ledger: Ledger, later: str
) -> None:
    first = _absent(ledger)
    if later != "none":
        second = intend(ledger, 1, name="later")
        with ledger.transaction():
            if later == "unsent":
                ledger.withdraw(second, Verdict.REJECTED, CUT, 3.0)
            else:
                ledger.accept(second, "t-2", SENT, 3.0)
    with ledger.transaction():
        ledger.find(first, "t-1", Grounds.of(Basis.TAG), 4.0)
    newest = ledger.read.latest([task(1).identity])[task(1).identity]
    assert (newest.id == first) is (later != "accepted")
    assert ledger.read.attempt(first).state is TaskState.SUBMITTED  # type: ignore[union-attr]
    with refuses_to_submit(ledger):
        intend(ledger, 1)


def test_a_task_that_was_given_up_is_opened_again_and_a_failed_one_never(ledger: Ledger) -> None:
    attempt = accept(ledger, 1)
    with ledger.transaction():
        ledger.fail(attempt, GIVEN_UP, "by a person", 2.0, expired=True)
    assert ledger.read.attempt(attempt).is_given_up  # type: ignore[union-attr]
    with ledger.transaction():
        ledger.reopen(attempt, 3.0)
        ledger.fail(attempt, "policy", "no", 4.0)
    with pytest.raises(StateError), ledger.transaction():
        ledger.reopen(attempt, 5.0)
    with pytest.raises(ConflictError), ledger.transaction():
        ledger._db.execute("UPDATE attempts SET state = 'submitted'")


def test_a_path_belongs_to_whom_wrote_it_last(ledger: Ledger) -> None:
    for number in (1, 2):
        attempt = accept(ledger, number)
        with ledger.transaction():
            ledger.collect(attempt, 2.0)
            ledger.finish(attempt, [output(number, "out/a.mp4", attempt)], 3.0)
    identities = [task(1).identity, task(2).identity]
    assert list(ledger.read.outputs(identities)) == [identities[1]]
    assert ledger.read.owners(["out/a.mp4"])["out/a.mp4"].identity == identities[1]


def test_a_history_tells_each_status_once(ledger: Ledger) -> None:
    attempt = accept(ledger)
    for status in (GenerationStatus.QUEUED, GenerationStatus.QUEUED, GenerationStatus.RUNNING):
        with ledger.transaction():
            ledger.observe(attempt, Generation("t-1", status, status.value), 5.0)
    assert [row.status or row.state for row in ledger.read.history(attempt)] == [
        "intended",
        "submitted",
        "queued",
        "running",
    ]


@pytest.mark.fault(26)
def test_the_image_is_what_a_crash_leaves() -> None:
    ledger = Ledger(open_for_writing(None))
    with ledger.transaction():
        ledger.begin_run(RUN)
    attempt = accept(ledger)
    connection = sqlite3.connect(":memory:", factory=SqliteEngine)
    connection.deserialize(ledger._db.serialize())
    found = LedgerReader(connection).attempt(attempt)
    connection.close()
    ledger.close()
    assert found is not None
    assert found.remote_id == "t-1"


@pytest.mark.fault(29)
def test_a_corrupt_ledger_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger.open(path).close()
    data = bytearray(path.read_bytes())
    data[100:4000] = b"\xff" * 3900
    path.write_bytes(data)
    with pytest.raises(StateError, match="corrupt") as caught:
        Ledger.open(path)
    assert "backup" in caught.value.hint
    assert caught.value.exit_code is ExitCode.CANNOT_WRITE


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    opened = Ledger.open(path)
    with opened.transaction():
        opened._db.execute("UPDATE meta SET value = '999' WHERE key = 'schema'")
    opened.close()
    with pytest.raises(StateError, match="version 999"):
        Ledger.open(path)


def test_a_step_that_raises_undoes_itself_alone(ledger: Ledger) -> None:
    with ledger.transaction():
        with ledger.savepoint():
            ledger.intend(task(1), RUN.job_file, RUN.id, intent(1), Caps(), 1.0)
        with pytest.raises(CapReachedError), ledger.savepoint():
            ledger.intend(task(2), RUN.job_file, RUN.id, intent(2), Caps(max_tasks=1), 1.0)
    assert ledger.read.count_states() == {TaskState.INTENDED: 1}


def test_sessions_tell_who_worked_on_a_run(ledger: Ledger) -> None:
    with ledger.transaction():
        session = ledger.begin_session(RUN.id, 1.0, {"command": ["callsheet", "run"]})
        ledger.begin_session(RUN.id, 5.0, {})
        ledger.end_session(session, 2.0, 130)
    first, second = ledger.read.sessions(RUN.id)
    assert (first.ended_at, first.exit_code, first.facts) == (2.0, 130, SessionFacts(("callsheet", "run")))
    assert (second.ended_at, second.facts) == (None, SessionFacts())


def test_a_ledger_of_version_6_is_brought_up_to_date_with_what_was_spent(tmp_path: Path) -> None:
    """What was possibly billed before the upgrade counts against the cap after it."""
    path = tmp_path / "ledger.db"
    older = Ledger.open(path)
    with older.transaction():
        older.begin_run(RUN)
    accept(older, 1)
    intend(older, 2)
    before = older.read.spend(RUN.id)
    make_older(older._db, 6)
    older.close()
    ledger = Ledger.open(path)
    assert before.tasks == 2
    assert ledger.read.spend(RUN.id) == before
    with pytest.raises(CapReachedError):
        intend(ledger, 3, caps=Caps(max_tasks=2))
    intend(ledger, 3, caps=Caps(max_tasks=3))
    assert ledger.read.spend(RUN.id).tasks == 3
    ledger.close()


def test_an_intent_that_is_used_again_is_as_old_as_its_last_post(ledger: Ledger) -> None:
    """Rows from before it are not its own: the list is searched from that time on."""
    attempt = intend(ledger, 1)
    with ledger.transaction():
        ledger.withdraw(attempt, Verdict.REJECTED, CUT, 1002.0)
        again = ledger.intend(task(1), RUN.job_file, RUN.id, intent(1), Caps(), 90_000.0)
    found = ledger.read.attempt(attempt)
    assert again == attempt
    assert found is not None
    assert found.intended_at == 90_000.0


def test_the_tag_of_an_intent_that_is_posted_again_stays_its_own(file_ledger: Ledger) -> None:
    """Two POSTs with one tag could not be told apart in the list; neither look-up reads every attempt."""
    attempt = intend(file_ledger, 1)
    with file_ledger.transaction():
        file_ledger.withdraw(attempt, Verdict.REJECTED, CUT, 1002.0)
    assert file_ledger.read.open_tags(RUN.origin) == {1}
    accept(file_ledger, 2)
    assert file_ledger.read.open_tags(RUN.origin) == {1}
    queried: list[str] = []
    file_ledger._db.set_trace_callback(queried.append)
    file_ledger.read.open_tags(RUN.origin)
    file_ledger._db.set_trace_callback(None)
    plan = [row[3] for row in file_ledger._db.execute(f"EXPLAIN QUERY PLAN {queried[0]}")]
    assert not any("SCAN" in step and "INDEX" not in step for step in plan), plan


def test_what_is_not_archived_is_the_newest_of_each_path(ledger: Ledger) -> None:
    """In that store: a row of another one says nothing, nor does what was published there before."""
    for number, digest in ((1, "a" * 64), (2, "b" * 64), (3, "c" * 64)):
        attempt = accept(ledger, number)
        path = "out/a.mp4" if number < 3 else "out/b.mp4"
        with ledger.transaction():
            ledger.collect(attempt, 3.0)
            ledger.finish(attempt, [replace(output(number, path, attempt), sha256=digest)], 3.0)

    def left(store: str) -> list[str]:
        return [row.sha256[0] for row in ledger.read.unarchived(store)]

    assert left("s3://x") == ["b", "c"]
    with ledger.transaction():
        ledger.add_archived(ArchivedRow("c" * 64, "s3://x", "k", 10, 4.0))
    assert (left("s3://x"), left("s3://y")) == (["b"], ["b", "c"])
    with ledger.transaction():
        ledger.add_archived(ArchivedRow("b" * 64, "s3://x", "k", 10, 4.0))
    assert left("s3://x") == []


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda reader: [*reader.in_state(*IN_FLIGHT)], "attempts_open"),
        (lambda reader: [*reader.in_state(TaskState.PLANNED, origin=RUN.origin)], "attempts_open"),
        (lambda reader: reader.counted_absences(), "attempts_open"),
        (lambda reader: reader.reserved_in("2026-11-27", Where()), "attempts_open"),
        (lambda reader: reader.accepted_since(RUN.origin, "key", Listing(), 1.0), "attempts_accepted"),
        (lambda reader: reader.newest_accepted(RUN.origin, "key", Listing(), "m", ""), "attempts_lane"),
        (lambda reader: reader.echoes(RUN.origin, "key", 1.0, range(1, 65_536)), "attempts_lane"),
        (lambda reader: reader.durations(Kind(RUN.origin, "m", "", ""), 5), "INTEGER PRIMARY KEY (rowid>?)"),
        (lambda reader: reader.unarchived("s3://a"), "COVERING INDEX outputs_sha256"),
    ],
)
def test_what_a_run_asks_reads_an_index_alone(
    file_ledger: Ledger, ask: Callable[[LedgerReader], object], index: str
) -> None:
    """A million attempts that are done cost it nothing, or as little as can be."""
    accept(file_ledger, 1)
    queried: list[str] = []
    file_ledger._db.set_trace_callback(queried.append)
    ask(file_ledger.read)
    file_ledger._db.set_trace_callback(None)
    plan = [row[3] for query in queried for row in file_ledger._db.execute(f"EXPLAIN QUERY PLAN {query}")]
    [asked] = [step for step in plan if index in step]
    assert asked.startswith("SCAN outputs" if "outputs" in index else "SEARCH attempts"), plan
    assert not any(step.startswith("SCAN") for step in plan if step != asked), plan


def test_an_intent_of_another_run_stays_that_run_s(ledger: Ledger) -> None:
    """Its manifest has it for good, and a cap that counts that run still finds it by this task."""
    later = replace(RUN, id="r2")
    first = intend(ledger, 1)
    with ledger.transaction():
        ledger.begin_run(later)
        ledger.withdraw(first, Verdict.NOT_SENT, CUT, 2.0)
        second = ledger.intend(task(1), RUN.job_file, later.id, intent(2), Caps(), 3.0)
    assert [(row.id, row.run_id) for row in ledger.read.attempts(task(1).identity)] == [
        (first, RUN.id),
        (second, later.id),
    ]


def test_a_cap_counts_each_attempt_of_its_runs_once(ledger: Ledger) -> None:
    with ledger.transaction():
        ledger.begin_run(replace(RUN, id="r2", job_name="renamed"))
        ledger.begin_run(replace(RUN, id="r3", edition="two"))
    intend(ledger, 1)
    intend(ledger, 2)
    reader = ledger.read
    assert reader.billed_runs_named(RUN.job_name, RUN.edition) == {RUN.id}
    assert reader.billed_runs_of([task(2).identity, task(9).identity]) == {RUN.id}
    caps = Caps(max_tasks=3, runs=frozenset({RUN.id, "r2"}))
    with ledger.transaction():
        ledger.intend(task(3), "b.yaml", "r2", intent(3), caps, 1.0)
    with pytest.raises(CapReachedError), ledger.transaction():
        ledger.intend(task(4), "b.yaml", "r2", intent(4), caps, 1.0)
    assert reader.spend(RUN.id, "r2", RUN.id) == reader.spend(RUN.id, "r2")
    assert reader.spend(RUN.id, "r2").tasks == 3
