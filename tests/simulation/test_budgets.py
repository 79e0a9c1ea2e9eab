"""Caps of a day through crashes and faults, over two midnights: the service's own counts are the oracle."""

from __future__ import annotations

import datetime
import itertools

import pytest

from runner.ledger.ledger import Ledger
from runner.times import local_day
from tests.simulation.loops import Backend
from tests.simulation.midnight import MIDNIGHT, PUT_BACK, ZONE
from tests.simulation.schedule import Schedule, daily, draw
from tests.simulation.service import START
from tests.simulation.simulate import play
from tests.support.evidence import evidence_but

SCHEDULES = 12


def capped() -> list[Schedule]:
    drawn = (draw(seed) for seed in itertools.count())
    return [*itertools.islice((daily(each) for each in drawn if each.job.cap is not None), SCHEDULES)]


@pytest.mark.parametrize("backend", evidence_but(Backend.ASYNCIO.__eq__, Backend))
def test_no_schedule_passes_the_cap_of_a_day(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    days: set[str] = set()
    day_of = Ledger._check_budgets

    def checking(ledger: Ledger, intent: object, day: str) -> None:
        days.add(day)
        day_of(ledger, intent, day)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "_check_budgets", checking)
    for schedule in capped():
        verdict = play(schedule, backend)
        assert verdict.violations == (), f"daily, seed {schedule.seed}"
    assert len(days) > 1, "they pass midnight"


def test_midnight_comes_twice() -> None:
    seconds = (0, MIDNIGHT - 1, MIDNIGHT, PUT_BACK - 1, PUT_BACK, PUT_BACK + 2399, PUT_BACK + 2400)
    first, second = "2027-10-30", "2027-10-31"
    days = [local_day(START + after, ZONE) for after in seconds]
    assert days == [first, first, second, second, first, first, second]
    for after in range(0, 9000, 100):
        at = datetime.datetime.fromtimestamp(START + after, ZONE)
        assert at.timestamp() == START + after
