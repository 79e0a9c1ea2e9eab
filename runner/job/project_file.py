"""What the project file says, as frozen dataclasses: it holds for all jobs of a project."""

from __future__ import annotations

import datetime
import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from runner.money import Price
from runner.providers.models import family_name


class NotifyOn(enum.StrEnum):
    """An end of a run that somebody may want to hear of."""

    FAILED = "failed"
    HELD = "held"
    BUDGET = "budget"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Notify:
    """Who hears how a run ended: the URL that the variable `url_env` holds, or else `command`."""

    on: frozenset[NotifyOn]
    url_env: str = ""
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProjectFile:
    """A valid project file; the defaults are those of a project without one.

    `project` is the project's id, empty where none is given. `timezone` is None for this machine's.
    `prices` are by model id or family, as they are written.
    """

    project: str = ""
    timezone: datetime.tzinfo | None = None
    prices: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType({}))
    trust_env: bool = False
    notify: Notify | None = None

    def price_of(self, model: str) -> Price | None:
        """The price of `model`: by its id, else by its family behind the same prefix, else by its family."""
        if model in self.prices:
            return self.prices[model]
        prefix, family = model_key(model)
        return self._by_family.get((prefix, family)) or self._by_family.get(("", family))

    @functools.cached_property
    def _by_family(self) -> Mapping[tuple[str, str], Price]:
        return {model_key(name): price for name, price in self.prices.items()}


def model_key(model: str) -> tuple[str, str]:
    """(prefix, family): what a price is for. The ids of a family differ in their dates."""
    prefix, _, name = model.rpartition("/")
    return prefix.casefold(), family_name(name)
