"""Schedules that once failed, and the defects that they found."""

from __future__ import annotations

import pytest

from tests.simulation.cases import CASES
from tests.simulation.simulate import play


@pytest.mark.parametrize("name", CASES)
def test_a_defect_that_was_found_stays_away(name: str) -> None:
    assert play(CASES[name].schedule).violations == ()


@pytest.mark.parametrize("name", CASES)
def test_its_schedule_still_finds_it(name: str) -> None:
    """Or the test above has lost its meaning: then look for another seed."""
    with CASES[name].putting_back():
        assert play(CASES[name].schedule).violations
