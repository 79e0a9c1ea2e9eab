"""Which models a job asks, at which accounts, and whose account is the job's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from runner.job.merge import STEPS
from runner.job.model import ModelChoice
from runner.job.problems import Checked
from runner.job.project_file import ProjectFile
from runner.job.yaml.nodes import Location, Node, Scalar, entries_of, items_of, text_of
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.providers import DEFAULT, every, find
from runner.providers.account import Account
from runner.providers.provider import Provider
from runner.slug import slug
from runner.spelling import did_you_mean

PROVIDER = "provider"


def read_accounts(
    document: MappingNode, project_file: ProjectFile, replaced: Provider | None
) -> Checked[Mapping[str, Account]]:
    """The accounts of a job's models by name, its own first; `replaced` stands in for its own provider.

    The job's own is that of `provider`, at which each model is that names no other one; where all models name
    others it is the first of those.
    """
    node = document.get(PROVIDER)
    provider = replaced or find(text_of(node) or "") or DEFAULT  # the schema has reported another name
    own = project_file.account(provider.name) or Account(provider.name, provider)
    accounts: dict[str, Account] = {}
    is_own_used = False
    bodies = (body for _, body in entries_of(document.get(STEPS)) if isinstance(body, MappingNode))
    for level in (document, *bodies):
        for item in items_of(level.get("models")):
            at = item.get("at") if isinstance(item, MappingNode) else None
            name = text_of(at)
            is_own_used |= name is None
            if at is None or name is None or name in accounts:
                continue
            account = own if name == own.name else project_file.account(name)
            if account is not None:
                accounts[name] = account
                continue
            known = {*every(), *project_file.accounts}
            hint = did_you_mean(name, known) or f"accounts here: {', '.join(sorted(known))}"
            yield at.location.error(f"no account `{name}`, in callsheet.yaml or of a provider's name", hint)
    if is_own_used or not accounts:
        return {own.name: own, **accounts}
    if node is not None and replaced is None and own.name not in accounts:
        told = f"no model is asked at `{own.name}`: each names another account"
        yield node.location.warning(told, "remove it")
    return accounts


def read_models(nodes: Iterable[Node], accounts: Mapping[str, Account]) -> Checked[tuple[ModelChoice, ...]]:
    """The entries of `models`; those at an account that is not known are left out, and have been reported."""
    own = next(iter(accounts))
    choices: list[ModelChoice] = []
    names: dict[str, ModelChoice] = {}
    for node in nodes:
        if isinstance(node, Scalar):
            choices.append(ModelChoice(str(node.value), node.location, own, str(node.value)))
        elif isinstance(node, MappingNode) and (model := text_of(node.get("id"))) is not None:
            at, name = text_of(node.get("at")) or own, text_of(node.get("name")) or model
            if name != model and slug(name) != name:
                hint = f"write `{slug(name) or 'a-name'}` instead of `{name}`"
                yield _entry(node, "name").error(f"the name `{name}` cannot stand in paths as it is", hint)
            elif at in accounts:
                choices.append(ModelChoice(model, _entry(node, "id"), at, name))
        if choices:
            yield from _check_name(choices[-1], node, names)
    return tuple(choices)


def providers_of(models: Iterable[ModelChoice], accounts: Mapping[str, Account]) -> tuple[Provider, ...]:
    """The providers of the models, each once; the job's own provider if there are no models."""
    names = dict.fromkeys(choice.account for choice in models) or [next(iter(accounts))]
    return tuple(dict.fromkeys(accounts[name].provider for name in names))


def _entry(node: MappingNode, name: str) -> Location:
    value = node.get(name)
    return node.location if value is None else value.location


def _check_name(choice: ModelChoice, node: Node, names: dict[str, ModelChoice]) -> Checked[None]:
    """A model's name tells it from the others, in paths as well; `names` are those before it, without case.
    (The schema reports an id that is written twice without one.)
    """
    first = names.setdefault(choice.name.casefold(), choice)
    if first is choice or (choice.is_plain and first.is_plain and choice.account == first.account):
        return
    what = "are both called" if choice.name == first.name else "are told apart by letter case alone:"
    stem = slug(choice.name.rpartition("/")[2])
    other = next(
        name
        for name in (f"{stem}-{choice.account}", *(f"{stem}-{number}" for number in range(2, 99_999)))
        if name.casefold() not in names
    )
    written = node.get("name") if isinstance(node, MappingNode) else None
    location = choice.location if written is None else written.location
    hint = f"add `name: {other}`" if written is None else f"write `{other}` instead of `{choice.name}`"
    yield replace(location.error(f"two models {what} `{choice.name}`", hint), is_clash=True)
