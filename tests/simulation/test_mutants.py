"""Each safeguard is needed: without it the simulation finds what goes wrong, and soon."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from tests.simulation.mutants import MUTANTS, catch

MOST = 300


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    caught = catch(name, most=MOST)
    assert caught is not None, f"{name} survived {MOST} schedules"
    print(f"{name}: caught by schedule {caught.schedules}: {caught.violation}")


def test_every_mutant_of_the_fault_table_is_accounted_for() -> None:
    table = files("tests").joinpath("../docs/reference/faults.md").read_text(encoding="utf-8")
    listed = re.search(r"Mutants that the tests must catch: (.*)\.", table)
    assert listed is not None
    names = {name.strip() for name in listed[1].split(";")}
    assert names == {name for name in MUTANTS if not name.startswith("no cap ")}
