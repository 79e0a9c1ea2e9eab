"""Caps of days and months: reserved by the intent's own transaction, and never passed by one.

A naive oracle adds up all attempts at each step, by the zone's own clock.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import RefusedError
from runner.http.verdicts import Verdict
from runner.job.project_file import Where, Window, WindowCap
from runner.lane.commits import Commits
from runner.lane.machine import WorkerThreads
from runner.ledger.caps import Budgets, CapReachedError, Caps
from runner.ledger.database import open_for_writing
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Grounds, Spend
from runner.ledger.states import Basis, Resolution
from tests.support.ledger_rows import CUT, RUN, SENT, intent, task

ACCOUNTS: Mapping[str, Mapping[str, str]] = {
    "mesh": {},
    "acme": {"client": "a"},
    "gpu": {"client": "a", "film": "b"},
    "other": {"client": "c"},
}
CAPS = (
    WindowCap("budgets[0].month", Where(), Window.MONTH, 5_000_000, 12),
    WindowCap("budgets[1].day", Where("acme"), Window.DAY, 1_500_000),
    WindowCap("budgets[2].day", Where("", {"client": "a"}), Window.DAY, None, 3),
    WindowCap("budgets[3].month", Where("", {"client": "a"}), Window.MONTH, 3_000_000),
)

MOMENTS = {
    # clocks are put back at 03:00 on the 25th, and forward at 02:00 on the 29th of March
    "Europe/Berlin": [
        "2026-10-24T21:59:59",
        "2026-10-25T22:59:59",
        "2026-10-31T22:59:59",
        "2026-03-28T22:59:59",
    ],
    # half an hour beside the others, and half an hour of summer time
    "Australia/Lord_Howe": ["2026-04-04T12:59:59", "2026-10-03T13:29:59", "2026-11-30T12:59:59"],
    "Asia/Kolkata": ["2026-11-30T18:29:59", "2026-12-31T18:29:59"],
    # has no 30th of December 2011
    "Pacific/Apia": ["2011-12-30T09:59:59", "2011-12-31T09:59:59"],
    # its 4th of November 2018 began at one o'clock
    "America/Sao_Paulo": ["2018-11-04T02:59:59", "2018-02-18T01:59:59"],
}


def moment(text: str) -> float:
    return datetime.datetime.fromisoformat(text + "+00:00").timestamp()


@dataclass
class Kept:
    """An attempt as the oracle remembers it."""

    account: str
    micros: int | None
    day: str
    is_counted: bool = True


@dataclass
class Oracle:
    """Adds up everything each time."""

    zone: zoneinfo.ZoneInfo
    caps: tuple[WindowCap, ...] = CAPS
    attempts: list[Kept] = field(default_factory=list)

    def day(self, at: float) -> str:
        return str(datetime.datetime.fromtimestamp(at, self.zone).date())

    def spent(self, cap: WindowCap, day: str) -> list[int | None]:
        length = 10 if cap.window is Window.DAY else 7
        counted = (each for each in self.attempts if each.is_counted and self.covers(cap, each.account))
        return [each.micros for each in counted if each.day[:length] == day[:length]]

    def covers(self, cap: WindowCap, account: str) -> bool:
        labels = ACCOUNTS[account]
        is_named = all(labels.get(name) == value for name, value in cap.where.labels.items())
        return is_named and cap.where.account in ("", account)

    def allows(self, account: str, micros: int | None, at: float) -> bool:
        for cap in self.caps:
            spent = [*self.spent(cap, self.day(at)), micros]
            if not self.covers(cap, account):
                continue
            if cap.max_tasks is not None and len(spent) > cap.max_tasks:
                return False
            is_unknown = None in spent
            if cap.max_micros is not None and (is_unknown or sum(filter(None, spent)) > cap.max_micros):
                return False
        return True


OUTCOMES = ("sent", "put off", "rejected", "cut", "absent", "confirmed", "adopted", "dearer", "cheaper")
steps = st.lists(
    st.tuples(
        st.sampled_from(sorted(ACCOUNTS)),
        st.sampled_from([None, 0, 400_000, 700_000]) | st.integers(0, 2_000_000),
        st.sampled_from(OUTCOMES),
        st.sampled_from([0.0, 1.0, 3600.0, 86_400.0]),
    ),
    max_size=25,
)
starts = st.sampled_from([(zone, text) for zone, texts in MOMENTS.items() for text in texts])


@pytest.mark.fault(114)
@given(start=starts, steps=steps)
def test_an_intent_is_allowed_exactly_where_adding_up_says_so(
    start: tuple[str, str], steps: list[tuple[str, int | None, str, float]]
) -> None:
    """Over midnights, ends of months and changes of the clock, whatever becomes of each attempt."""
    zone, at = zoneinfo.ZoneInfo(start[0]), moment(start[1])
    ledger = Ledger(open_for_writing(None), budgets=Budgets(zone, CAPS))
    oracle = Oracle(zone)
    with ledger.transaction():
        ledger.begin_run(RUN)
    for number, (account, micros, outcome, wait) in enumerate(steps, 1):
        said = replace(intent(number, estimate=micros), account=account, labels=ACCOUNTS[account])
        is_allowed, refused = oracle.allows(account, micros, at), None
        try:
            with ledger.transaction():
                attempt = ledger.intend(task(number), RUN.job_file, RUN.id, said, Caps(), at)
        except CapReachedError as error:
            refused = error
        assert (refused is None) is is_allowed, refused
        if refused is not None:
            assert refused.stops(account, ACCOUNTS[account])
            continue
        kept = Kept(account, micros, oracle.day(at))
        oracle.attempts.append(kept)
        at += wait
        end(ledger, attempt, kept, outcome, at)
        if outcome == "put off" and oracle.allows(account, micros, at):
            with ledger.transaction():  # the same intent goes again, perhaps on another day
                assert ledger.intend(task(number), RUN.job_file, RUN.id, said, Caps(), at) == attempt
            kept.day, kept.is_counted = oracle.day(at), True
    for cap in CAPS:
        for day in {each.day for each in oracle.attempts}:
            spent = oracle.spent(cap, day)
            known = sum(each or 0 for each in spent)
            span = day if cap.window is Window.DAY else day[:7]
            assert ledger.read.spent_in(span, cap.where) == Spend(len(spent), known, spent.count(None))
    ledger.close()


def end(ledger: Ledger, attempt: str, kept: Kept, outcome: str, at: float) -> None:
    """What becomes of a submit, in the ledger and in the oracle's memory."""
    listed = Grounds.of(Basis.LIST)
    with ledger.transaction():
        match outcome:
            case "put off":
                ledger.withdraw(attempt, Verdict.NOT_SENT, CUT, at)
                kept.is_counted = False
            case "rejected":
                ledger.reject(attempt, CUT, at)
                kept.is_counted = False
            case "sent":
                ledger.accept(attempt, f"t-{attempt}", SENT, at)
            case "dearer" | "cheaper":
                ledger.accept(attempt, f"t-{attempt}", SENT, at)
                kept.micros = 1_900_000 if outcome == "dearer" else 10
                ledger.settle_cost(attempt, kept.micros)
            case _:
                ledger.leave_unclear(attempt, CUT, at)
                if outcome == "adopted":
                    ledger.resolve(attempt, Resolution.ADOPTED, listed, at, remote_id=f"t-{attempt}")
                elif outcome != "cut":
                    ledger.resolve(attempt, Resolution.ABSENT, listed, at)
                if outcome == "confirmed":
                    ledger.settle_absent(attempt, Resolution.CONFIRMED, listed)
                    kept.is_counted = False


@given(
    zone=st.sampled_from(sorted(zoneinfo.available_timezones() - {"Factory", "localtime"})),
    at=st.floats(moment("1995-01-01T00:00:00"), moment("2035-01-01T00:00:00")),
    window=st.sampled_from([*Window]),
)
def test_a_window_ends_where_its_span_does(zone: str, at: float, window: Window) -> None:
    """In every zone: the moment itself belongs to a later span, and the second before it does not."""
    budgets = Budgets(zoneinfo.ZoneInfo(zone))
    cap = WindowCap("", Where(), window)
    renewal = budgets.renewal(window, budgets.day(at)).timestamp()
    length = 10 if cap.window is Window.DAY else 7
    assert renewal > at
    assert budgets.day(renewal)[:length] > budgets.day(at)[:length]
    assert budgets.day(renewal - 1)[:length] <= budgets.day(at)[:length]


@pytest.mark.parametrize(
    ("zone", "day", "window", "renews"),
    [
        ("Europe/Berlin", "2026-10-25", Window.DAY, "2026-10-26 00:00 CET"),
        ("Europe/Berlin", "2026-03-28", Window.DAY, "2026-03-29 00:00 CET"),
        ("Europe/Berlin", "2026-12-31", Window.MONTH, "2027-01-01 00:00 CET"),
        ("Europe/Berlin", "2026-01-31", Window.MONTH, "2026-02-01 00:00 CET"),
        ("Pacific/Apia", "2011-12-29", Window.DAY, "2011-12-31 00:00 +14"),
        ("America/Sao_Paulo", "2018-11-03", Window.DAY, "2018-11-04 01:00 -02"),
        ("Asia/Kolkata", "2026-11-27", Window.DAY, "2026-11-28 00:00 IST"),
    ],
)
def test_a_refusal_says_which_cap_what_is_spent_and_when_it_renews(
    zone: str, day: str, window: Window, renews: str
) -> None:
    budgets = Budgets(zoneinfo.ZoneInfo(zone))
    cap = WindowCap("budgets[1].x", Where("acme"), window, 1_000_000)
    with pytest.raises(CapReachedError) as refused:
        budgets.check(cap, day, Spend(2, 800_000, 0), 300_000)
    span = f"on {day}" if window is Window.DAY else f"in {day[:7]}"
    assert refused.value.message == (
        f"budgets[1].x.max_usd is 1.00 for account acme {span}: 0.80 spent or in flight, the next task is"
        f" about 0.30; it renews at {renews}"
    )
    assert refused.value.where == Where("acme")


@pytest.mark.parametrize(
    ("spent", "micros", "told"),
    [
        (
            Spend(3, 0, 0),
            1,
            r"budgets\[0\].day.max_tasks is 3 for the project on 2026-11-27: 3 submitted already",
        ),
        (
            Spend(1, 0, 0),
            None,
            r"max_usd is 1.00 for the project on 2026-11-27: the price of the next task is not known",
        ),
        (Spend(2, 0, 1), None, r"the price of the next task is not known$"),
        (
            Spend(2, 0, 1),
            1,
            r"the price of 1 of 2 submits is not known; it renews.*write `max_tasks` in place",
        ),
    ],
)
def test_an_unknown_price_is_above_every_cap(spent: Spend, micros: int | None, told: str) -> None:
    cap = WindowCap("budgets[0].day", Where(), Window.DAY, 1_000_000, 3)
    with pytest.raises(CapReachedError, match=re.compile(told)):
        Budgets(datetime.UTC).check(cap, "2026-11-27", spent, micros)


def filled(*caps: WindowCap) -> Ledger:
    ledger = Ledger(open_for_writing(None), budgets=Budgets(datetime.UTC, caps))
    with ledger.transaction():
        ledger.begin_run(RUN)
        ledger.begin_run(replace(RUN, id="run-2", job_file="jobs/b.yaml", job_name="b"))
    return ledger


@pytest.mark.anyio
async def test_lanes_that_submit_at_once_pass_no_cap_together() -> None:
    """Their intents share commits: each still sees the ones before it."""
    ledger = filled(WindowCap("budgets[0].day", Where(), Window.DAY, 1_000_000))
    commits, threads = Commits(ledger, WorkerThreads()), 40
    outcomes: list[bool] = []

    async def submit(number: int) -> None:
        said = replace(intent(number, estimate=150_000), account=("mesh", "acme")[number % 2])
        run, step = ("run-1", "run-2")[number % 3 % 2], task(number)
        try:
            await commits.write(lambda ledger: ledger.intend(step, "a.yaml", run, said, Caps(), 1.0))
        except CapReachedError:
            outcomes.append(False)
        else:
            outcomes.append(True)

    async with anyio.create_task_group() as group:
        for number in range(1, threads + 1):
            group.start_soon(submit, number)
    assert (outcomes.count(True), len(outcomes)) == (6, threads)
    assert ledger.read.spent_in("1970-01-01", Where()) == Spend(6, 900_000, 0)
    ledger.close()


@pytest.mark.fault(116)
def test_a_settlement_is_never_refused_and_what_it_passes_is_told_once() -> None:
    cap = WindowCap("budgets[0].day", Where(), Window.DAY, 1_000_000)
    ledger = filled(cap)
    attempts = []
    with ledger.transaction():
        for number in (1, 2):
            said = intent(number, estimate=400_000)
            attempts.append(ledger.intend(task(number), RUN.job_file, RUN.id, said, Caps(), 1.0))
            ledger.accept(attempts[-1], f"t-{number}", SENT, 2.0)
        assert ledger.settle_cost(attempts[0], 500_000) == ()
        (passed,) = ledger.settle_cost(attempts[1], 700_000)
        assert ledger.settle_cost(attempts[0], 600_000) == ()
    assert passed.words == (
        "budgets[0].day.max_usd is 1.00 for the project on 1970-01-01: 1.20 spent or in flight, 0.20 above it"
    )
    ledger.close()


def test_what_is_found_after_all_is_paid_for_and_what_it_passes_is_told() -> None:
    """It was counted no more, and another task took its place."""
    ledger = filled(WindowCap("budgets[0].day", Where(), Window.DAY, None, 1))
    listed = Grounds.of(Basis.LIST)
    with ledger.transaction():
        gone = ledger.intend(task(1), RUN.job_file, RUN.id, intent(1), Caps(), 1.0)
        ledger.leave_unclear(gone, CUT, 2.0)
        ledger.resolve(gone, Resolution.ABSENT, listed, 3.0)
        ledger.settle_absent(gone, Resolution.CONFIRMED, listed)
        ledger.intend(task(2), RUN.job_file, RUN.id, intent(2), Caps(), 4.0)
        (passed,) = ledger.find(gone, "t-1", Grounds.of(Basis.TAG), 5.0)
    assert passed.words == "budgets[0].day.max_tasks is 1 for the project on 1970-01-01: 2 submitted"
    ledger.close()


@pytest.mark.fault(117)
def test_where_the_project_file_cannot_be_read_nothing_is_submitted() -> None:
    ledger = Ledger(open_for_writing(None), budgets=Budgets(is_readable=False))
    with ledger.transaction():
        ledger.begin_run(RUN)
    with pytest.raises(RefusedError, match=r"callsheet\.yaml cannot be read"), ledger.transaction():
        ledger.intend(task(1), RUN.job_file, RUN.id, intent(1), Caps(), 1.0)
    ledger.close()


@pytest.mark.parametrize(
    ("where", "stopped"),
    [
        (None, []),
        (Where(), ["mesh", "acme", "gpu", "other"]),
        (Where("acme"), ["acme"]),
        (Where("", {"client": "a"}), ["acme", "gpu"]),
    ],
)
def test_a_refusal_says_whose_submits_it_stops(where: Where | None, stopped: list[str]) -> None:
    reached = CapReachedError("told", where=where)
    assert [name for name, labels in ACCOUNTS.items() if reached.stops(name, labels)] == stopped


def test_a_check_looks_at_no_attempt() -> None:
    """At 100,000 attempts an intent costs what it costs at the first."""
    ledger = filled()
    plan = ledger._db.execute(
        "EXPLAIN QUERY PLAN SELECT account, labels, tasks, micros, unknown FROM spends WHERE span = ?", ("x",)
    ).fetchall()
    assert [row[3] for row in plan] == ["SEARCH spends USING PRIMARY KEY (span=?)"]
    ledger.close()
