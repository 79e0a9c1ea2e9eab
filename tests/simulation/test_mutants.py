"""Each safeguard is needed: without it the simulation finds what goes wrong, and soon."""

from __future__ import annotations

import itertools
import re
from importlib.resources import files

import pytest

from tests.simulation.mutants import CATCHING, MUTANTS, catch, schedule_of
from tests.simulation.simulate import play
from tests.support.evidence import evidence_but

MOST = 300


@pytest.mark.parametrize(
    "name",
    evidence_but(lambda name: name in itertools.islice(CATCHING, 0, None, 4), MUTANTS),
)
def test_a_mutant_is_caught(name: str) -> None:
    """By the schedule that is kept for it, which finds nothing without it; the others are looked for."""
    caught = catch(name, most=MOST, first=CATCHING.get(name, 0))
    assert caught is not None, f"{name} survived {MOST} schedules"
    print(f"{name}: caught by schedule {caught.schedules}, seed {caught.seed}: {caught.violation}")
    assert play(schedule_of(name, caught.seed)).violations == ()


@pytest.mark.evidence
@pytest.mark.parametrize("name", CATCHING)
def test_a_mutant_is_caught_soon_from_the_first_seed_on(name: str) -> None:
    assert catch(name, most=MOST) is not None, f"{name} survived {MOST} schedules"


def test_every_mutant_of_the_fault_table_is_accounted_for() -> None:
    table = files("tests").joinpath("../docs/reference/faults.md").read_text(encoding="utf-8")
    listed = re.search(r"Mutants that the tests must catch: (.*)\.", table)
    assert listed is not None
    names = {name.strip() for name in listed[1].split(";")}
    assert names == {name for name in MUTANTS if not name.startswith("no cap ")}
    assert CATCHING.keys() <= MUTANTS.keys()
