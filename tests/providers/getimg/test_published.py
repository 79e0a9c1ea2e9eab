"""The rates that getimg publishes: what a second costs, by resolution and sound."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from runner.money import Price, PriceUnit
from runner.providers.getimg.client import read_rates
from runner.providers.published import Rate, dearest
from runner.providers.read_published import LeftOutError


def row(*rates: Any, currency: str = "USD") -> dict[str, Any]:
    return {"id": "m", "pricing": {"currency": currency, "rates": list(rates)}}


def rate(**changes: Any) -> dict[str, Any]:
    return {
        "billable_unit": "video_second",
        "resolution": "720p",
        "sound": "sound_on",
        "unit_price": "0.05",
        **changes,
    }


def test_a_rate_is_read_with_what_it_is_for() -> None:
    price = Price(PriceUnit.SECOND, Decimal("0.05"))
    rows = row(rate(), rate(sound="sound_off"), rate(resolution=None, sound="not_applicable"))
    assert list(read_rates(rows)) == [Rate(price, "720p", True), Rate(price, "720p", False), Rate(price)]


def test_no_rates_are_not_free() -> None:
    assert list(read_rates(row())) == []
    assert list(read_rates({"id": "m"})) == []
    assert dearest((), "720p", None, False) is None


@pytest.mark.parametrize(
    "changed",
    [
        row(rate(billable_unit="image")),
        row(rate(sound="loud")),
        row(rate(unit_price="-1")),
        row(rate(unit_price=None)),
        row(rate(resolution=["720p"])),
        row(rate(resolution='7"20p')),
        row("rate"),
        row(rate(), currency="EUR"),
        {"id": "m", "pricing": {"currency": "USD"}},
        {"id": "m", "pricing": "0.05"},
    ],
)
def test_a_rate_that_is_not_understood_leaves_the_model_without_a_price(changed: dict[str, Any]) -> None:
    with pytest.raises(LeftOutError):
        list(read_rates(changed))
