"""Where the requests of a job's accounts go, and where its files land because of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from runner.errors import KeyRefusedError, UsageError
from runner.http.access import NO_KEY, ApiKey, is_loopback, is_same_server, parse_base_url
from runner.project import Project
from runner.providers.account import Account, refuse_twins
from runner.providers.provider import Provider

SANDBOX_ORIGIN = "sandbox"
"""The embedded sandbox in a task's identity: its port is another one at each start."""

_SEPARATOR = ", "

REHEARSAL_KEY = "rsk_sandbox"
"""The embedded sandbox takes any key that begins so."""


def joined(names: Iterable[str]) -> str:
    """The distinct ones, as a run's row keeps them."""
    return _SEPARATOR.join(dict.fromkeys(names))


def parted(origins: str) -> list[str]:
    """The distinct origins of a run's row."""
    return origins.split(_SEPARATOR)


def as_known(origin: str, account: Account, known: Iterable[str]) -> str:
    """`origin`, where requests of `account` go, as the tasks of a project spell it: `known` are the origins
    of its runs' rows. Where none is that server, in lower case and without a slash at its end.

    `localhost` and `127.0.0.1` are one server: what was made under one name is not made again under the
    other. Raises UsageError for what is neither SANDBOX_ORIGIN nor the URL of a server.
    """
    own = f":{account.name}"
    plain = origin.removesuffix(own)
    if plain in ("", SANDBOX_ORIGIN):
        return origin
    asked, end = "".join(parse_base_url(plain, source="origin")), origin[len(plain) :]
    same = {
        spelled: None
        for row in known
        for spelled in (each.removesuffix(own) for each in parted(row))
        if _is_server(spelled, asked)
    }
    return (plain if plain in same else next(iter(same), asked)) + end


def _is_server(spelled: str, asked: str) -> bool:
    try:
        return is_same_server("".join(parse_base_url(spelled, source="origin")), asked)
    except UsageError:  # the sandbox, or another account's `<origin>:<name>`
        return False


def origins_of(accounts: Mapping[str, Account], origins: str) -> dict[str, str]:
    """The origin of each account of a run, by those of its row."""
    known = parted(origins)
    own = {
        name: next((each for each in known if each == account.origin or each.endswith(f":{name}")), "")
        for name, account in accounts.items()
    }
    others = [each for each in known if each not in own.values()] or known
    return {name: origin or others[0] for name, origin in own.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """A service as an account reaches it, and a project. `url` is None for the embedded sandbox.

    What goes to the sandbox, or to a loopback address that no account names, is a rehearsal. `trust_env`:
    whether the proxy and the certificates of the environment are used on the way.
    """

    account: Account
    project: Project
    origin: str
    url: str | None
    trust_env: bool = False

    @classmethod
    def at(cls, account: Account, project: Project, origin: str, *, trust_env: bool = False) -> Place:
        """The place of an origin as plans name it: SANDBOX_ORIGIN, or scheme, host and port, with a path
        where the account has one. Raises UsageError for an account without an address.
        """
        plain = origin.removesuffix(f":{account.name}")
        if plain == SANDBOX_ORIGIN:
            return cls(account, project.rehearsal(), origin, None, trust_env)
        if not plain:
            raise UsageError(
                f"account {account.name}: {account.provider.name} has no address of its own",
                hint=f"say in callsheet.yaml where it runs: {_address_of(account)}",
            )
        if origin == account.origin:
            return cls(account, project, origin, origin, trust_env)
        at = project.rehearsal() if is_loopback(plain) else project
        return cls(account, at, origin, plain + account.provider.base_path, trust_env)

    @property
    def provider(self) -> Provider:
        return self.account.provider

    def find_key(self, environment: Mapping[str, str], *, variable: str | None = None) -> ApiKey:
        """The account's key, from `variable` where that is given. In a rehearsal, one of the provider's own.

        Raises KeyRefusedError.
        """
        if self.url is None:
            return ApiKey.load(REHEARSAL_KEY, source="the sandbox")
        variable = variable or (None if self.project.is_rehearsal else self.account.key_variable) or None
        names = (variable,) if variable else self.provider.key_variables
        if not self.provider.needs_key and not any(environment.get(name, "").strip() for name in names):
            return NO_KEY
        try:
            return self.provider.find_key(environment, variable=variable)
        except KeyRefusedError as error:
            if self.account.is_own:
                raise
            raise KeyRefusedError(f"account {self.account.name}: {error.message}", hint=error.hint) from error


def _address_of(account: Account) -> str:
    """An address of this machine for the account, as it may be pasted."""
    dialect = "".join(f", dialect: {name}" for name in list(account.provider.dialects)[:1])
    url = f"http://127.0.0.1:8000{account.provider.base_path}"
    return f'`accounts: {{{account.name}: {{base_url: "{url}"{dialect}}}}}`'


def _without_keys(missing: Sequence[KeyRefusedError]) -> KeyRefusedError:
    """One error for all keys that are missing."""
    if len(missing) == 1:
        return missing[0]
    return KeyRefusedError("; ".join(each.message for each in missing), hint=missing[0].hint)


def find_keys(
    places: Mapping[str, Place],
    environment: Mapping[str, str],
    variable: str | None,
    given: Mapping[str, str] = MappingProxyType({}),
    named: Iterable[Account] = (),
) -> dict[str, ApiKey | KeyRefusedError]:
    """The key of each account of a job, or why there is none. `variable` is the job's own, for its own
    account, which is the first; a key that is `given` is taken as it is. `named` are the accounts of the
    project file.

    Raises KeyRefusedError where there is no key at all, and where one of them is that of another account too.
    """
    own = next(iter(places))
    keys: dict[str, ApiKey | KeyRefusedError] = {}
    for name, place in places.items():
        try:
            if name in given:
                keys[name] = ApiKey.load(given[name], source="api_key")
            else:
                keys[name] = place.find_key(environment, variable=variable if name == own else None)
        except KeyRefusedError as error:
            keys[name] = error
    missing = [key for key in keys.values() if isinstance(key, KeyRefusedError)]
    if len(missing) == len(keys):
        raise _without_keys(missing)
    if not places[own].project.is_rehearsal:
        found = [(places[name].account, key) for name, key in keys.items() if isinstance(key, ApiKey)]
        refuse_twins(found)
        # another job may pay by the other name, which counts against other budgets
        others = {
            place.provider.name: Account(place.provider.name, place.provider) for place in places.values()
        }
        others |= {account.name: account for account in named}
        for account in others.values():
            if account.name not in places and (key := _key_of(account, environment)) is not None:
                refuse_twins([*found, (account, key)])
    return keys


def _key_of(account: Account, environment: Mapping[str, str]) -> ApiKey | None:
    """None where it is not here."""
    try:
        return account.provider.find_key(environment, variable=account.key_variable or None)
    except KeyRefusedError:
        return None
