"""Moments as they are written: every number has a form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.times import iso_time


@pytest.mark.fault(66)
@pytest.mark.parametrize(
    ("at", "written"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_790_000_000.125, "2026-09-21T14:13:20.125Z"),
        (253_402_345_199.0, "9999-12-31T23:59:59.999Z"),
        (float("inf"), "9999-12-31T23:59:59.999Z"),
        (-1e300, "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_moment_beyond_the_calendar_is_its_end(at: float, written: str) -> None:
    """A ledger of an earlier version may hold one, and its manifest has to be written."""
    assert iso_time(at) == written


@given(st.floats(allow_nan=False))
def test_every_number_has_a_form(at: float) -> None:
    assert iso_time(at).endswith("Z")
