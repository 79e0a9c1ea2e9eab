"""What the project file says, as frozen dataclasses: it holds for all jobs of a project."""

from __future__ import annotations

import datetime
import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from runner.money import Price
from runner.providers import find
from runner.providers.account import Account
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


class Window(enum.StrEnum):
    """For how long a budget holds, in the project's time zone."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Where:
    """Whose attempts a budget is for: those of an account, and of accounts with these labels; all of the
    project's where neither is given.
    """

    account: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def covers(self, account: str, labels: Mapping[str, str]) -> bool:
        """Whether what this account, with these labels, pays for counts."""
        return self.account in ("", account) and self.labels.items() <= labels.items()

    @property
    def words(self) -> str:
        """`the project`, `account acme`, `label.client acme`."""
        account = [f"account {self.account}"] if self.account else []
        labels = [f"label.{name} {value}" for name, value in self.labels.items()]
        return " and ".join([*account, *labels]) or "the project"


@dataclass(frozen=True, slots=True)
class WindowCap:
    """What may be spent in one day, or in one month; None: no limit. `path` is its place in the file."""

    path: str
    where: Where
    window: Window
    max_micros: int | None = None
    max_tasks: int | None = None


@dataclass(frozen=True)
class ProjectFile:
    """A valid project file; the defaults are those of a project without one.

    `project` is the project's id, empty where none is given. `timezone` is None for this machine's.
    `accounts` are those that the file names, and `budgets` stand in the order of the file. `prices` are by
    model id or family, as they are written. `ledger_variable` holds the URL of a shared ledger; empty for one
    of this project alone. `store` and `uploads` are URLs of object storage; empty for none. `store_keep` is
    in seconds, None for ever. Below
    `inputs`, which are URLs too, jobs may name objects.
    """

    project: str = ""
    timezone: datetime.tzinfo | None = None
    accounts: Mapping[str, Account] = field(default_factory=lambda: MappingProxyType({}))
    budgets: tuple[WindowCap, ...] = ()
    prices: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType({}))
    trust_env: bool = False
    notify: Notify | None = None
    ledger_variable: str = ""
    store: str = ""
    store_keep: float | None = None
    uploads: str = ""
    inputs: tuple[str, ...] = ()

    def account(self, name: str) -> Account | None:
        """The account of this name: one that the file names, else a provider's own; None for neither."""
        if name in self.accounts:
            return self.accounts[name]
        provider = find(name)
        return None if provider is None else Account(name, provider)

    @property
    def key_variables(self) -> frozenset[str]:
        """The variables that hold the keys of the named accounts."""
        return frozenset(each.key_variable for each in self.accounts.values() if each.key_variable)

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
