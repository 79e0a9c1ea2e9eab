"""What stops a lane, and what stops several: each job with tasks there hears of it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from runner.errors import ExitCode
from runner.job.project_file import Where
from runner.lane.control import Control
from runner.lane.gate import Gate
from runner.ledger.caps import CapReachedError
from runner.redact import Redactor

pytestmark = pytest.mark.anyio

LABELS: Mapping[str, Mapping[str, str]] = {"acme": {"client": "a"}, "gpu": {"client": "a"}, "orchid": {}}


def control() -> Control:
    return Control(lambda _name, _fields: None, Redactor(()), names_accounts=True)


def gates() -> list[Gate]:
    made = [Gate(account, lambda: 0.0, labels) for account, labels in LABELS.items()]
    for gate in made:
        gate.peers = made
    return made


@pytest.mark.parametrize(
    ("where", "stopped"),
    [
        (Where(), ["acme", "gpu", "orchid"]),
        (Where("acme"), ["acme"]),
        (Where("", {"client": "a"}), ["acme", "gpu"]),
    ],
)
async def test_a_budget_stops_each_lane_that_it_covers_whoever_meets_it(
    where: Where, stopped: list[str]
) -> None:
    made = gates()
    job, later = control(), control()
    for gate in made:
        gate.join(job)
    made[0].reach(CapReachedError("no money is left", where=where))
    for gate in made:
        gate.join(later)
    assert [gate.account for gate in made if not gate.may_submit] == stopped
    for each in (job, later):
        assert (each.may_submit, each.conditions) == (True, {ExitCode.REFUSED})
        assert each.reasons == ("no money is left",)
