"""Reads `accounts` and `budgets` of the project file."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from types import MappingProxyType

from runner.errors import UsageError
from runner.http.access import parse_base_url
from runner.job.policy import parse_rate, read_budget
from runner.job.problems import Checked
from runner.job.project_file import Where, Window, WindowCap
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.job.yaml.nodes import Node, cut, entries_of, items_of, text_of
from runner.providers import every, find
from runner.providers.account import Account
from runner.providers.provider import Provider
from runner.spelling import did_you_mean

LABEL = "label."
"""Begins the name of a label where it stands beside `account`."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")


def read_accounts(node: Node | None) -> Checked[Mapping[str, Account]]:
    """The accounts that the file names. One that is wrong is left out."""
    found: dict[str, Account] = {}
    for key, value in entries_of(node):
        name = str(key.value)
        if not isinstance(value, MappingNode) or not _NAME.fullmatch(name):
            continue  # the schema reports it
        account = yield from _account(name, value)
        if account is None:
            continue
        if twin := _twin(account, found):
            yield key.location.error(
                f"`{name}` is the account `{twin}` by another name: the same service and the same key",
                f"give it a key of its own: `{{api_key_env: {name.upper().replace('-', '_')}_KEY}}`",
            )
        found[name] = account
    return MappingProxyType(found)


def _account(name: str, node: MappingNode) -> Checked[Account | None]:
    provider = yield from _provider(name, node)
    if provider is None:
        return None
    provider = yield from _dialect(provider, node)
    if provider is None:
        return None
    provider = yield from _tag(provider, node)
    base_url = yield from _base_url(provider, node)
    if base_url is None:
        return None
    rate = text_of(node.get("rate"))
    labels = {
        str(key.value): text for key, value in entries_of(node.get("labels")) if (text := text_of(value))
    }
    return Account(
        name,
        provider,
        key_variable=text_of(node.get("api_key_env")) or "",
        base_url=base_url,
        rate=_rate(rate) if rate else None,
        labels=MappingProxyType(labels),
    )


def _provider(name: str, node: MappingNode) -> Checked[Provider | None]:
    """The one that is named; else the one that the account refines."""
    said = node.get("provider")
    named = text_of(said)
    own = find(name)
    if said is None:
        if own is None:
            known = ", ".join(every())
            yield node.location.error("`provider` is missing", f"add `provider:`, one of {known}")
        return own
    if named is None:
        return None  # the schema reports it
    provider = find(named)
    if provider is None:
        hint = did_you_mean(named, every()) or f"the providers here: {', '.join(every())}"
        yield said.location.error(f"`{cut(named)}` is not a provider that is installed", hint)
    elif own is not None and own is not provider:
        hint = f"call the account another name, such as `{provider.name}_{name}`"
        yield said.location.error(f"`{name}` is the name of another provider", hint)
        return None
    return provider


def _dialect(provider: Provider, node: MappingNode) -> Checked[Provider | None]:
    said = node.get("dialect")
    word = text_of(said)
    known = ", ".join(provider.dialects)
    if said is None:
        if not provider.origin and provider.dialects:
            yield node.location.error("`dialect` is missing", f"add `dialect:`, one of {known}")
            return None
        return provider
    if word is None:
        return None
    if word in provider.dialects:
        return provider.dialects[word]
    hint = did_you_mean(word, provider.dialects) or (f"one of {known}" if known else "delete it")
    told = f"has no dialect `{cut(word)}`" if known else "has no dialects"
    yield said.location.error(f"{provider.name} {told}", hint)
    return None


def _tag(provider: Provider, node: MappingNode) -> Checked[Provider]:
    said = node.get("tag")
    word = text_of(said)
    if said is None or word is None:
        return provider
    if word in provider.tags:
        return _tagged(provider, word)
    known = ", ".join(provider.tags)
    hint = did_you_mean(word, provider.tags) or (f"one of {known}" if known else "delete it")
    told = f"has no tag `{cut(word)}`" if known else "has no tags to choose from"
    yield said.location.error(f"{provider.name} {told}", hint)
    return provider


@functools.cache
def _tagged(provider: Provider, tag: str) -> Provider:
    """One object for all readings of the file: checks of requests are kept by provider."""
    return replace(provider, tag=provider.tags[tag])


def _base_url(provider: Provider, node: MappingNode) -> Checked[str | None]:
    """Where requests go, the provider's path included; empty for the provider's own origin."""
    said = node.get("base_url")
    url = text_of(said)
    if said is None:
        if not provider.origin:
            hint = 'add where it runs: `base_url: "http://127.0.0.1:8000/v1"`'
            yield node.location.error(
                f"`base_url` is missing: {provider.name} has no address of its own", hint
            )
            return None
        return ""
    if url is None:
        return None
    try:
        origin, path = parse_base_url(url, source="base_url")
    except UsageError as error:
        yield said.location.error(error.message.removeprefix("base_url: "), error.hint)
        return None
    return origin + (path or provider.base_path)


def _rate(text: str) -> float | None:
    try:
        return parse_rate(text)
    except ValueError:
        return None  # the schema reports it


def _twin(account: Account, named: Mapping[str, Account]) -> str:
    """Another account with the same origin and a variable of the same name; empty for none."""
    own = find(account.provider.name)
    others = dict(named)
    if own is not None and own.name not in others and not account.is_own:
        others[own.name] = Account(own.name, own)
    variables = {*account.key_variables}
    return next(
        (name for name, each in others.items() if each.is_at(account) and variables & {*each.key_variables}),
        "",
    )


def read_budgets(
    node: Node | None, accounts: Mapping[str, Account], written: Node | None
) -> Checked[tuple[WindowCap, ...]]:
    """The caps of each entry, its day's before its month's. `accounts` are those of the node `written` that
    could be read.
    """
    names = frozenset(str(key.value) for key, _ in entries_of(written))
    caps: list[WindowCap] = []
    for number, item in enumerate(items_of(node)):
        if not isinstance(item, MappingNode):
            continue
        where = yield from _where(item.get("where"), accounts, names)
        windows = [(window, item.get(window)) for window in Window]
        # a window that is misspelt is told by the schema
        is_misspelt = any(did_you_mean(str(key.value), [*Window]) for key, _ in item)
        if not is_misspelt and not any(found for _, found in windows):
            yield item.location.error("has neither `day` nor `month`", "add `month: {max_usd: 300}`")
        for window, limits in windows:
            if limits is None:
                continue
            budget = yield from read_budget(limits)
            path = f"budgets[{number}].{window}"
            caps.append(WindowCap(path, where, window, budget.max_micros, budget.max_tasks))
    return tuple(caps)


def _where(node: Node | None, accounts: Mapping[str, Account], names: Set[str]) -> Checked[Where]:
    """A budget that could count nothing is a mistake. `names` are those of all accounts, also of a wrong one,
    whose labels are not known.
    """
    name, labels = "", {}
    for key, value in entries_of(node):
        word, said = str(key.value), text_of(value)
        if said is None:
            continue
        if word == "account":
            name = said
            yield from _one_of(value, "no account", said, [*names, *every()])
        elif word.startswith(LABEL):
            label = word.removeprefix(LABEL)
            labels[label] = said
            values = {each.labels[label] for each in accounts.values() if label in each.labels}
            known = {each for account in accounts.values() for each in account.labels}
            if names != accounts.keys():
                continue
            if values:
                yield from _one_of(value, f"no account has the label `{label}`", said, values)
            else:
                near = did_you_mean(word, [LABEL + each for each in known])
                hint = near or f"give an account `labels: {{{label}: {said}}}`"
                yield key.location.error(f"no account has a label `{cut(label)}`", hint)
    where = Where(name, MappingProxyType(labels))
    if node is not None and names == accounts.keys():
        own = [Account(each.name, each) for each in every().values() if each.name not in accounts]
        everyone = [*accounts.values(), *own]
        parts = [Where(name), *(Where(labels={label: said}) for label, said in labels.items())]
        if all(_counts(part, everyone) for part in parts) and not _counts(where, everyone):
            told = f"it would count nothing: no account is {where.words}"
            yield node.location.error(told, "write a budget for each of them")
    return where


def _counts(where: Where, accounts: Iterable[Account]) -> bool:
    """Whether what one of these accounts pays for counts there."""
    return any(where.covers(each.name, each.labels) for each in accounts)


def _one_of(node: Node, told: str, said: str, known: Iterable[str]) -> Checked[None]:
    choices = sorted({*known})
    if said not in choices:
        hint = did_you_mean(said, choices) or f"one of {', '.join(choices[:10])}"
        yield node.location.error(f"{told} `{cut(said)}`", hint)
