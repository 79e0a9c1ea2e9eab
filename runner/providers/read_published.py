"""Reads what services publish of models and prices, with suspicion: a price that is too low weakens caps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal

from runner.http.answers import clean, read_usd
from runner.http.verdicts import ProviderError, Trouble
from runner.json_value import JsonValue
from runner.money import MICROS, Price, PriceUnit
from runner.providers.published import Published, PublishedModel, Rate

MOST_MODELS = 1000
"""Of one service. No catalogue that we know of has a hundred."""
MOST_RATES = 64
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class LeftOutError(Exception):
    """A price or a model that cannot be used; the text says why."""


ReadRates = Callable[[dict[str, JsonValue]], Iterator[Rate]]
"""The rates of one model's row. Raises LeftOutError; the model stays, without a price."""


def read_published(rows: JsonValue, read_rates: ReadRates, *, source: str) -> Published:
    """The rows of an answer as models. Raises ProviderError for what is no list of models at all."""
    if not isinstance(rows, list) or not rows:
        raise ProviderError(Trouble.UNAVAILABLE, "the answer lists no models")
    if len(rows) > MOST_MODELS:
        told = f"the answer lists {len(rows)} models, more than the {MOST_MODELS} that are believed"
        raise ProviderError(Trouble.UNAVAILABLE, told)
    models: dict[str, PublishedModel] = {}
    twice: set[str] = set()
    left_out: list[str] = []
    for number, row in enumerate(rows):
        model_id = row.get("id") if isinstance(row, dict) else None
        if not isinstance(row, dict) or not isinstance(model_id, str) or not _ID.fullmatch(model_id):
            left_out.append(f"row {number + 1}: has no usable id ({clean(model_id, 40)})")
            continue
        if model_id in models:
            twice.add(model_id)
        try:
            rates = tuple(dict.fromkeys(read_rates(row)))
        except LeftOutError as error:
            left_out.append(f"{model_id}: no price: {error}")
            rates = ()
        if len(rates) > MOST_RATES:
            left_out.append(f"{model_id}: no price: it has {len(rates)} rates")
            rates = ()
        models[model_id] = PublishedModel(model_id, rates)
    for model_id in sorted(twice):
        left_out.append(f"{model_id}: no price: it is listed twice")
        models[model_id] = PublishedModel(model_id)
    if not models:
        raise ProviderError(Trouble.UNAVAILABLE, "the answer lists no model with a usable id")
    return Published(source, tuple(models[name] for name in sorted(models)), tuple(left_out))


def published_price(value: JsonValue, unit: PriceUnit) -> Price:
    """The price that `value` says. Raises LeftOutError, for next to nothing too: free is what `price:` may
    say.
    """
    text = read_usd(value)
    if not text:
        raise LeftOutError(f"`{clean(str(value), 40)}` is not a price")
    usd = Decimal(text)
    if usd * MICROS < 1:
        told = "0" if usd == 0 else "less than a millionth of a dollar"
        raise LeftOutError(f"it is given as {told}, which no cap could hold; `price:` may say so")
    return Price(unit, usd)


def published_word(value: JsonValue) -> str | None:
    """A short word such as `720p`; None where there is none. Raises LeftOutError for anything else."""
    if value is None:
        return None
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise LeftOutError(f"`{clean(str(value), 40)}` is not a resolution")
    return value
