"""Who drives a lane of a shared ledger: taking, renewing, losing and signing off, on a real PostgreSQL."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest

from runner.errors import ExitCode, StateError
from runner.lane.lease import GUARD, PATIENCE, TAKEOVER, Lease, Leases, sign_off_host
from runner.ledger.caps import CapReachedError, Caps, Elsewhere
from runner.ledger.driver_lock import DriverLock
from runner.ledger.leases import LaneHeldError, LaneKey, LeaseRow, LeaseTable, host_name
from runner.ledger.ledger import MadeElsewhereError
from runner.ledger.states import TaskState
from tests.support.ledger_rows import CUT, RUN, SENT, intend, intent, task
from tests.support.shared_bench import LANE, Host, database, hosts

__all__ = ["database"]

OTHER = LaneKey("mesh", LANE.origin, "another key")


def write(host: Host, number: int = 1) -> None:
    """An intent as a lane writes it: its fence first."""
    with host.ledger.transaction():
        host.lease().check(host.ledger)
    intend(host.ledger, number)


@pytest.mark.fault(136)
def test_a_lane_that_is_driven_is_refused_with_who_drives_it_and_since_when(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_HOST", "ci-7")
    with hosts(database, "a", "b") as (first, second):
        first.take()
        began = second.clock
        with pytest.raises(
            LaneHeldError, match=r"driven by ci-7 \(.*process \d+\) since .*--wait 6h"
        ) as told:
            second.take(beside=first)
        assert told.value.exit_code is ExitCode.TRY_AGAIN
        assert second.clock - began < 10, "a heartbeat shows that it is alive"
        second.start()
        assert second.take(key=OTHER, beside=first).is_fresh(), "another lane is free"


@pytest.mark.fault(136)
def test_a_wait_ends_with_the_sign_off(database: str) -> None:
    with hosts(database, "a", "b") as (first, second):
        first.take()
        second.lease()
        began = second.clock

        def sleep(seconds: float) -> None:
            second.clock += seconds
            if second.clock - began > 100:
                first.leases.sign_off()
            else:
                first.beat()

        second.leases.take_now(sleep, second.told.append, wait=3600)
        assert 100 < second.clock - began < 105
        assert len(second.told) == 1
        assert second.told[0].startswith("waits up to 1 h 0 min for acme at https://api.test: driven by")


@pytest.mark.fault(128)
def test_a_silent_driver_is_taken_over_after_a_minute_and_its_intents_are_marked(database: str) -> None:
    with hosts(database, "a", "b") as (first, second):
        first.take()
        write(first)
        began = second.clock
        second.take()
        assert TAKEOVER <= second.clock - began <= TAKEOVER + 2
        assert ["silent" in said for said in second.told] == [True]
        found = second.ledger.read.attempt("attempt-1")
        assert found is not None
        assert found.state is TaskState.AMBIGUOUS
        assert found.is_taken_over


def hold(host: Host, own: str, *ended: str) -> None:
    """A lock as the host's process would have it."""
    host.ledger.driver_lock = DriverLock(own, frozenset(ended), os.open(os.devnull, os.O_RDONLY))


@pytest.mark.fault(160)
def test_a_driver_whose_lock_was_let_go_is_taken_over_at_once_and_its_intents_are_not_marked(
    database: str,
) -> None:
    with hosts(database, "a", "b") as (first, second):
        hold(first, "its lock")
        hold(second, "a later one", "an earlier one", "its lock")
        first.take()
        write(first)
        began = second.clock
        second.take()
        assert second.clock == began, "nobody has to be waited for"
        assert ["it has ended, and is taken over at once" in said for said in second.told] == [True]
        found = second.ledger.read.attempt("attempt-1")
        assert found is not None
        assert found.state is TaskState.AMBIGUOUS
        assert not found.is_taken_over, "nothing more comes of it"
        with pytest.raises(LaneHeldError, match="lost to"), first.ledger.transaction():
            first.lease().check(first.ledger)


@pytest.mark.fault(160)
@pytest.mark.parametrize("lock", ["", "another lock"])
def test_a_driver_of_whom_no_lock_tells_is_waited_for_and_its_intents_are_marked(
    database: str, lock: str
) -> None:
    with hosts(database, "a", "b") as (first, second):
        if lock:
            hold(first, lock)
        hold(second, "a later one", "its lock")
        first.take()
        write(first)
        began = second.clock
        second.take()
        assert second.clock - began >= TAKEOVER
        found = second.ledger.read.attempt("attempt-1")
        assert found is not None
        assert found.is_taken_over


@pytest.mark.fault(160)
def test_who_took_the_lane_over_meanwhile_is_not_taken_for_the_one_that_ended(database: str) -> None:
    with hosts(database, "a", "b", "c") as (first, second, third):
        hold(first, "its lock")
        hold(second, "a later one", "its lock")
        first.take()
        second.lease()
        second.leases._find_earlier()
        assert second.leases._may_decide(second.clock, 0.0, second.told.append)
        third.take()
        second.leases._take_all()
        assert second.lease().refusal is not None
        assert third.lease().is_fresh()
        second.start()
        with pytest.raises(LaneHeldError):
            second.take(beside=third)


@pytest.mark.fault(138)
def test_what_a_driver_that_signed_off_has_left_is_not_marked(database: str) -> None:
    with hosts(database, "a", "b") as (first, second):
        first.take()
        write(first)
        with first.ledger.transaction():
            first.ledger.leave_unclear("attempt-1", CUT, 2000.0)
        first.leases.sign_off()
        assert not first.lease().is_fresh()
        began = second.clock
        second.take()
        assert second.clock == began, "nobody has to be waited for"
        found = second.ledger.read.attempt("attempt-1")
        assert found is not None
        assert not found.is_taken_over


@pytest.mark.fault(138)
def test_nobody_signs_off_while_an_intent_stands(database: str) -> None:
    with hosts(database, "a", "b") as (first, second):
        first.take()
        write(first)
        first.leases.sign_off()
        began = second.clock
        second.take()
        assert second.clock - began >= TAKEOVER
        found = second.ledger.read.attempt("attempt-1")
        assert found is not None
        assert found.is_taken_over


@pytest.mark.fault(132)
def test_a_holder_that_wakes_can_neither_post_nor_write_nor_renew(database: str) -> None:
    with hosts(database, "a", "b") as (first, second):
        lease = first.take()
        lost: list[LaneHeldError] = []
        lease.when_lost.append(lost.append)
        second.take()
        first.clock += TAKEOVER
        assert not lease.is_fresh()
        with pytest.raises(LaneHeldError, match="lost to"), first.ledger.transaction():
            lease.check(first.ledger)
        first.beat()
        assert [error.exit_code for error in lost] == [ExitCode.TRY_AGAIN]
        assert not lease.is_fresh()
        assert second.lease().is_fresh()
        second.beat()
        assert second.lease().held


@pytest.mark.fault(132)
def test_a_lease_whose_row_was_deleted_by_hand_is_no_longer_its_drivers(database: str) -> None:
    """The row is made anew for whoever comes next: the two must not have one fence."""
    with hosts(database, "a", "b") as (first, second):
        first.take()
        with first.ledger.transaction():
            first.ledger._db.execute("DELETE FROM leases")
        second.take()
        with pytest.raises(LaneHeldError, match="lease was lost"):
            write(first)
        first.beat()
        assert not first.lease().is_fresh()
        write(second)


@pytest.mark.fault(133)
def test_a_guard_runs_out_without_heartbeats_and_a_heartbeat_brings_it_back(database: str) -> None:
    with hosts(database, "a") as (first,):
        lease = first.take()
        first.clock += GUARD - 0.1
        assert lease.is_fresh()
        first.clock += 0.1
        assert not lease.is_fresh()
        first.beat()
        assert lease.is_fresh()


@pytest.mark.fault(133)
def test_the_guard_counts_from_before_the_renewal_was_sent(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hosts(database, "a") as (first,):
        lease = first.take()
        renew = Leases._renew

        def slow(leases: Leases, lease: Lease) -> LaneHeldError | None:
            first.clock += GUARD
            return renew(leases, lease)

        monkeypatch.setattr(Leases, "_renew", slow)
        first.beat()
        assert not lease.is_fresh()


@pytest.mark.fault(134)
def test_a_renewal_whose_answer_is_lost_is_none_and_the_next_one_reads_the_counter_anew(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hosts(database, "a", "b") as (first, second):
        lease = first.take()
        first.beat()
        assert first.leases._renewing is not None
        table = type(first.leases._renewing)
        renew = table.renew

        def unheard(*args: object) -> bool:
            renew(*args)  # type: ignore[arg-type]
            raise StateError("the connection was lost")

        monkeypatch.setattr(table, "renew", unheard)
        first.clock += GUARD
        with pytest.raises(StateError):
            first.beat()
        assert not lease.is_fresh()
        monkeypatch.setattr(table, "renew", renew)
        first.beat()
        assert lease.is_fresh()
        with pytest.raises(LaneHeldError):
            second.take(beside=first)


@pytest.mark.fault(135)
def test_of_two_takers_at_once_one_has_it(database: str) -> None:
    with hosts(database, "a", "b", "c") as (dead, first, second):
        dead.take()
        for host in (first, second):
            began = host.clock
            host.lease()
            host.leases._find_earlier()
            while not host.leases._may_decide(began, 0.0, host.told.append):
                host.clock += 1
        both = [threading.Thread(target=host.leases._take_all) for host in (first, second)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert sorted(bool(host.lease().held) for host in (first, second)) == [False, True]
        loser = first if second.lease().held else second
        assert loser.lease().refusal is not None


@pytest.mark.fault(135)
def test_a_takeover_is_off_where_the_counter_moves_at_the_last_moment(database: str) -> None:
    with hosts(database, "a", "b") as (first, second):
        first.take()
        began = second.clock
        second.lease()
        second.leases._find_earlier()
        while not second.leases._may_decide(began, 0.0, second.told.append):
            second.clock += 1
        first.beat()
        second.leases._take_all()
        assert second.lease().refusal is not None
        assert first.lease().is_fresh()


@pytest.mark.fault(130)
def test_no_takeover_comes_between_a_fence_and_its_write(database: str) -> None:
    """The fence is read with a lock: whoever takes over waits for the transaction."""
    with hosts(database, "a", "b") as (first, second):
        first.take()
        taken = threading.Event()

        def take_over() -> None:
            second.take()
            taken.set()

        thread = threading.Thread(target=take_over)
        with first.ledger.transaction():
            first.lease().check(first.ledger)
            thread.start()
            assert not taken.wait(0.3)
        thread.join()
        with pytest.raises(LaneHeldError), first.ledger.transaction():
            first.lease().check(first.ledger)


@pytest.mark.fault(137)
def test_a_person_signs_off_only_for_who_gives_no_sign_of_life(database: str) -> None:
    with hosts(database, "a", "b") as (first, second):
        first.take()
        write(first)
        assert second.ledger.leases is not None
        (row,) = second.ledger.leases.rows()
        first.beat()
        with second.ledger.transaction():
            assert not second.ledger.leases.sign_off_for(row)
        (row,) = second.ledger.leases.rows()
        with second.ledger.transaction():
            assert second.ledger.leases.sign_off_for(row)
        first.beat()
        assert not first.lease().is_fresh(), "it can neither renew nor write once it wakes"
        second.take()
        found = second.ledger.read.attempt("attempt-1")
        assert found is not None
        assert found.state is TaskState.AMBIGUOUS
        assert not found.is_taken_over, "by a person's word nothing more comes of it"
        assert PATIENCE > GUARD


@pytest.mark.fault(137)
def test_a_sign_off_for_a_host_looks_for_longer_than_its_guard(database: str) -> None:
    with hosts(database, "a", "b", "c") as (first, second, third):
        first.take()
        host, began = host_name(), second.clock

        def wait(seconds: float) -> None:
            second.clock += seconds

        def live(seconds: float) -> None:
            wait(seconds)
            if second.clock - began > GUARD:
                first.beat()

        with pytest.raises(LaneHeldError, match="it is alive; nothing was changed"):
            sign_off_host(second.ledger, host, clock=lambda: second.clock, sleep=live)
        assert first.lease().is_fresh()
        third.take(key=replace(LANE, key_hash="other"))
        began = second.clock

        def last_moment() -> float:
            if second.clock - began >= PATIENCE:
                third.beat()
            return second.clock

        with pytest.raises(LaneHeldError, match="it is alive; nothing was changed"):
            sign_off_host(second.ledger, host, clock=last_moment, sleep=wait)
        assert second.ledger.leases is not None
        assert not any(row.is_free for row in second.ledger.leases.rows()), "one account of two beats still"
        assert sign_off_host(second.ledger, "elsewhere", clock=lambda: second.clock, sleep=wait) == []
        began = second.clock
        signed = sign_off_host(second.ledger, host, clock=lambda: second.clock, sleep=wait)
        assert second.clock - began > GUARD
        assert {row.key for row in signed} == {LANE, replace(LANE, key_hash="other")}
        began = second.clock
        second.take()
        assert second.clock == began


@pytest.mark.fault(137)
def test_a_look_that_takes_an_hour_is_no_hour_of_silence(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row that comes back may be as fresh as can be."""
    with hosts(database, "a", "b") as (first, second):
        first.take()
        rows, is_first = LeaseTable.rows, [True]

        def slow(table: LeaseTable) -> list[LeaseRow]:
            found = rows(table)
            if is_first.pop() if is_first else False:
                second.clock += 3600
            return found

        def live(_seconds: float) -> None:
            second.clock += 1
            first.beat()

        monkeypatch.setattr(LeaseTable, "rows", slow)
        with pytest.raises(LaneHeldError, match="it is alive"):
            sign_off_host(second.ledger, host_name(), clock=lambda: second.clock, sleep=live)
        is_first.append(True)
        with pytest.raises(LaneHeldError, match="driven by"):
            second.take(beside=first)


def test_a_cap_counts_what_another_machine_has_begun_meanwhile(database: str) -> None:
    """Its run did not exist when this one's cap was worked out."""
    with hosts(database, "a", "b") as (first, second):
        caps = Caps(max_tasks=2, elsewhere=Elsewhere(RUN.job_name, RUN.edition, frozenset(), 0))
        other = replace(RUN, id="run-2")
        with second.ledger.transaction():
            second.ledger.begin_run(other)
            second.ledger.intend(task(1), other.job_file, other.id, intent(1), Caps(), 1000.0)
        intend(first.ledger, 2, caps=caps)
        with pytest.raises(CapReachedError):
            intend(first.ledger, 3, caps=caps)


def test_a_task_that_another_account_has_begun_is_left_to_it(database: str) -> None:
    with hosts(database, "a", "b") as (first, second):
        intend(first.ledger, 1)
        with pytest.raises(MadeElsewhereError, match="another machine") as told:
            intend(second.ledger, 1, name="another")
        assert told.value.exit_code is ExitCode.TRY_AGAIN


@pytest.mark.fault(128)
def test_the_mark_outlives_drivers_that_sign_off(database: str) -> None:
    with hosts(database, "a", "b", "c") as (first, second, third):
        first.take()
        write(first)
        second.take()
        second.leases.sign_off()
        third.take()
        found = third.ledger.read.attempt("attempt-1")
        assert found is not None
        assert found.is_taken_over


@pytest.mark.fault(52)
def test_what_is_under_way_under_an_earlier_key_goes_to_one_machine(database: str) -> None:
    with hosts(database, "a", "b", "c") as (first, second, third):
        first.take()
        write(first)
        with first.ledger.transaction():
            first.ledger.accept("attempt-1", "t-1", SENT, 2000.0)
        held = second.take(key=OTHER, beside=first)
        assert not held.covers("key"), "whoever still has the earlier key fetches it"
        second.leases.sign_off()
        first.leases.sign_off()
        first.start()
        third.take(key=OTHER)
        assert third.lease(OTHER).covers("key")
        with pytest.raises(LaneHeldError):
            first.take(beside=third)
