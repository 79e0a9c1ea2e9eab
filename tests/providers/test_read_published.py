"""What a service may say that a model costs, and what is not believed."""

from __future__ import annotations

import pytest

from runner.http.answers import read_usd
from runner.json_value import JsonValue
from runner.money import PriceUnit
from runner.providers.read_published import LeftOutError, published_price


@pytest.mark.parametrize("value", [0, 0.0, "0", 1e-7, "0.0000009", "1e-9"])
def test_a_price_of_next_to_nothing_is_left_out(value: JsonValue) -> None:
    """A cap that counts with it would let any number of tasks through."""
    with pytest.raises(LeftOutError, match="which no cap could hold"):
        published_price(value, PriceUnit.MTOK)


@pytest.mark.parametrize("value", ["1e-999999", "0e-999999", "-1", "NaN", "1e999999999", 1e300, True, None])
def test_what_is_not_a_price_is_left_out(value: JsonValue) -> None:
    """`1e-999999`, written out, made a lock file of megabytes that no plan could read again."""
    with pytest.raises(LeftOutError, match="is not a price"):
        published_price(value, PriceUnit.MTOK)


@pytest.mark.parametrize("value", ["1e-999999", "0e-999999", "1e-19"])
def test_a_cost_is_never_written_out_at_length(value: str) -> None:
    """A service's own cost of a task is kept as text, and shown."""
    assert read_usd(value) == ""
