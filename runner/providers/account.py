"""A name for a key at a service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runner.errors import KeyRefusedError
from runner.http.access import ApiKey, is_same_server
from runner.providers.provider import Provider


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays, and where. Each provider is an account of its own name; a project file adds further ones.

    `provider` is the service as this account speaks to it, its dialect and its tag chosen. `key_variable`
    holds the key, empty for the provider's own variables. `base_url` is where requests go, empty for the
    provider's own origin; it may lie on loopback and still be real. `rate` is requests a second, None for no
    limit of ours. `labels` are what spending is told by.
    """

    name: str
    provider: Provider
    key_variable: str = ""
    base_url: str = ""
    rate: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Where requests go for real, as identities name it; empty where nobody says."""
        if not self.provider.origin:
            return self.base_url
        return self.base_url or self.provider.origin + self.provider.base_path

    @property
    def is_own(self) -> bool:
        """Whether it is the provider's own account, which no project file needs to name."""
        return self.name == self.provider.name

    @property
    def key_variables(self) -> tuple[str, ...]:
        """The variables that may hold its key, in the order in which they are asked."""
        return (self.key_variable,) if self.key_variable else self.provider.key_variables

    def is_at(self, other: Account) -> bool:
        """Whether both lead to one server, `localhost` and `127.0.0.1` being one."""
        return is_same_server(self.origin, other.origin)


def refuse_twins(keys: Iterable[tuple[Account, ApiKey]]) -> None:
    """Raises KeyRefusedError where two accounts have one origin and one key: each would keep a pace, a budget
    and an evidence of its own for what the service takes for one customer.
    """
    seen: list[tuple[Account, ApiKey]] = []
    for account, key in keys:
        for other, known in seen:
            if account.name != other.name and known.value == key.value and account.is_at(other):
                raise KeyRefusedError(
                    f"the accounts `{other.name}` and `{account.name}` have the same key at {account.origin}"
                    f" ({' or '.join(other.key_variables)}; {' or '.join(account.key_variables)})",
                    hint="give one of them a key of its own, or remove it from callsheet.yaml",
                )
        seen.append((account, key))


def replaced_origins(accounts: Mapping[str, Account], origin: str) -> dict[str, str]:
    """The origin of each account, by its name, where all requests go to `origin` instead: a rehearsal.

    Two servers of one's own stay two: one that an account names is `<origin>:<account>`.
    """
    return {
        name: origin if account.is_own or not account.base_url else f"{origin}:{name}"
        for name, account in accounts.items()
    }
