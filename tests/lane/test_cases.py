"""When scans suffice to call a submit absent, held or neither; no clock runs here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.http.verdicts import Evidence
from runner.job.model import OnAmbiguous, RunPolicy
from runner.lane.clock import Passed
from runner.lane.control import Control
from runner.lane.evidence import Finding, Hope, Witness
from runner.lane.reconcile import SCANS, Case, Sight
from runner.lane.scan import DAY
from runner.ledger.rows import TAKEN_OVER, Doubt
from runner.ledger.states import Reason
from runner.redact import Redactor
from tests.support.unclear_attempts import unclear

pytestmark = pytest.mark.anyio

POLICY = RunPolicy(settle=300.0, settle_alone=3600.0)
LIFE = 6 * DAY
"""For which the list says something."""
EXCLUDED = Finding("a", is_excluded=True)


def sight(
    started: float, witness: Witness | None = Witness.LATE, finding: Finding = EXCLUDED, **changes: object
) -> Sight:
    made = Sight(finding, witness, started, Passed(started, started), is_clock_sure=True)
    return replace(made, **changes)  # type: ignore[arg-type]


def case(*sights: Sight) -> Case:
    """A case whose connection was closed at 0, after these scans."""
    made = Case(Doubt(1, 0.0), 0.0, Control(lambda _name, _fields: None, Redactor(())), since=0.0)
    for one in sights:
        made.count(one, POLICY)
    return made


@pytest.mark.parametrize(
    ("witness", "started", "is_absent"),
    [
        (Witness.LATE, 300.0, True),
        (Witness.LATE, 299.0, False),
        (Witness.EARLY, 3600.0, True),
        (Witness.EARLY, 3599.0, False),
        (Witness.NONE, 1e5, False),
        (None, 1e5, False),
    ],
)
async def test_three_scans_with_a_witness_are_absence_and_no_fewer(
    witness: Witness | None, started: float, is_absent: bool
) -> None:
    seen = sight(started, witness)
    assert case(*[seen] * SCANS).is_absent(seen, LIFE) is is_absent
    assert not case(*[seen] * (SCANS - 1)).is_absent(seen, LIFE)


async def test_a_row_that_may_be_ours_begins_the_count_anew() -> None:
    seen, open_ = sight(400.0), sight(400.0, finding=Finding("a", hope=Hope.ROWS))
    counted = case(seen, seen, open_, seen, seen)
    assert not counted.is_absent(seen, LIFE)
    counted.count(seen, POLICY)
    assert counted.is_absent(seen, LIFE)


async def test_neither_an_old_attempt_nor_an_unsure_clock_is_absence() -> None:
    counted = case(*[sight(400.0)] * SCANS)
    assert not counted.is_absent(sight(400.0, age=Passed(0.0, LIFE)), LIFE)
    assert not counted.is_absent(sight(400.0, is_clock_sure=False), LIFE)
    old = sight(400.0, age=Passed(LIFE, LIFE + DAY))
    assert "so old" in str(counted.hold_reason(unclear(), old, POLICY, LIFE))


async def test_the_second_doubt_of_one_decision_is_held() -> None:
    seen = sight(400.0)
    counted, first = case(*[seen] * SCANS), unclear()
    assert counted.hold_reason(first, seen, POLICY, LIFE) is None
    second = replace(first, attempt=replace(first.attempt, reason=Reason.RECONCILE))
    assert "once for each decision" in str(counted.hold_reason(second, seen, POLICY, LIFE))
    holding = replace(POLICY, on_ambiguous=OnAmbiguous.HOLD)
    assert "run.on_ambiguous" in str(counted.hold_reason(first, seen, holding, LIFE))


@pytest.mark.fault(128)
async def test_what_a_silent_machine_was_to_send_is_held_and_never_absent() -> None:
    one = unclear()
    silent = Evidence(row=TAKEN_OVER, headers_begun=None, reason="fell silent")
    attempt = replace(one.attempt, evidence=silent)
    for witness, started in ((Witness.LATE, 400.0), (Witness.EARLY, 4000.0)):
        seen = sight(started, witness)
        counted = case(*[seen] * SCANS)
        assert counted.hold_reason(one, seen, POLICY, LIFE) is None
        assert "may send it still" in str(
            counted.hold_reason(replace(one, attempt=attempt), seen, POLICY, LIFE)
        )


@pytest.mark.fault(107)
async def test_a_history_proves_no_absence_however_often_it_is_read() -> None:
    """It shows only what has ended: an answered or unanswered submit may be at work."""
    seen, one = sight(1e5, Witness.NEVER), unclear()
    answered = Evidence(row=16, headers_begun=True, reason="500", status=500)
    counted = case(*[seen] * 9)
    assert not counted.is_absent(seen, LIFE)
    for attempt in (one.attempt, replace(one.attempt, evidence=answered)):
        assert counted.hold_reason(replace(one, attempt=attempt), seen, POLICY, LIFE) is None
    assert "only what has ended" in counted.missing(seen, POLICY, LIFE).reason
    assert counted.missing(sight(400.0, Witness.NEVER), POLICY, LIFE).until == POLICY.settle_alone
    assert counted.missing(seen, POLICY, LIFE).is_for_others
    old = sight(1e5, Witness.NEVER, age=Passed(LIFE, LIFE))
    assert "so old" in str(counted.hold_reason(one, old, POLICY, LIFE))


async def test_what_the_service_answered_is_never_absent_by_its_list() -> None:
    """A 500 may be followed by its row later than any scan."""
    seen, first = sight(400.0, Witness.EARLY), unclear()
    answered = Evidence(row=16, headers_begun=True, reason="500", status=500)
    one = replace(first, attempt=replace(first.attempt, evidence=answered))
    assert case(*[seen] * 2).hold_reason(one, seen, POLICY, LIFE) is None
    assert "did not know" in str(case(*[seen] * SCANS).hold_reason(one, seen, POLICY, LIFE))


@pytest.mark.parametrize(
    ("seen", "until", "is_for_others"),
    [
        (sight(10.0), 300.0, False),
        (sight(400.0, Witness.EARLY), 3600.0, False),
        (sight(400.0, None), 3600.0, False),
        (sight(4000.0, None), None, True),
        (sight(400.0, Witness.NONE), None, True),
        (sight(400.0, is_clock_sure=False), None, True),
        (sight(400.0, finding=Finding("a", hope=Hope.BELIEF)), None, True),
        (sight(400.0, finding=Finding("a", hope=Hope.ROWS)), None, False),
    ],
)
async def test_what_is_missing_is_told_with_its_time(
    seen: Sight, until: float | None, is_for_others: bool
) -> None:
    wait = case(seen).missing(seen, POLICY, LIFE)
    assert (wait.until, wait.is_for_others) == (until, is_for_others)
