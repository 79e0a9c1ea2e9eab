"""Amounts and prices. An amount is a whole number of millionths of a US dollar (micros) everywhere, and
`usd_text` alone turns one into text; a price for one unit is Decimal.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

MICROS = 1_000_000
"""Of one US dollar."""
MOST_USD = Decimal(MICROS)
"""A price or cost at or above this is ignored: it would only spoil the sums, which hold 64 bits."""
_DECIMALS = 6
_FEWEST_DECIMALS = 2
_CENT = 10_000
"""In micros."""
_TOKENS_PER_PRICE = Decimal(1_000_000)


class PriceUnit(enum.StrEnum):
    """What a price is for; the keys of `price:` in a job file."""

    MTOK = "usd_per_mtok"
    SECOND = "usd_per_second"
    TASK = "usd_per_task"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, per second of output, or per task."""

    unit: PriceUnit
    usd: Decimal

    def cost(self, *, tokens: int | None, seconds: Decimal | None) -> Decimal | None:
        """US dollars; None where what the price is for is not known."""
        match self.unit:
            case PriceUnit.MTOK:
                return None if tokens is None else self.usd * tokens / _TOKENS_PER_PRICE
            case PriceUnit.SECOND:
                return None if seconds is None else self.usd * seconds
            case PriceUnit.TASK:
                return self.usd


def micros(usd: Decimal) -> int:
    """What something costs, rounded up, so that a cap holds."""
    return int((usd * MICROS).to_integral_value(rounding=ROUND_CEILING))


def limit_micros(usd: Decimal) -> int:
    """What may be spent, rounded down."""
    return int((usd * MICROS).to_integral_value(rounding=ROUND_FLOOR))


def usd_text(amount: int) -> str:
    """Micros in US dollars, never rounded, for people and programs alike: `1204.50`, `0.008`, `0.7623`."""
    decimals = f"{amount % MICROS:0{_DECIMALS}}".rstrip("0")
    return f"{amount // MICROS}.{decimals:0<{_FEWEST_DECIMALS}}"


def usd_words(amount: int) -> str:
    """Micros for people, rounded to cents: `USD 27.44`; below a cent as they are, `USD 0.0046`."""
    cents = (amount + _CENT // 2) // _CENT * _CENT
    return f"USD {usd_text(cents if amount >= _CENT else amount)}"


def usd_or_null(amount: int | None) -> str | None:
    """The same for a document; None where it is not known, which is not zero."""
    return None if amount is None else usd_text(amount)
