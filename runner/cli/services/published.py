"""`models --refresh`: asks the services what they sell, writes it down, and says what is different now."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from runner.cli import console
from runner.cli.common_options import common
from runner.cli.humanize import shown_path
from runner.cli.options import ServiceOptions
from runner.cli.place import choose_place, choose_places, world_of
from runner.cli.services.asking import access_to
from runner.cli.services.money_told import ask_money
from runner.durable import replace_file
from runner.errors import CallsheetError, ExitCode, ServiceUnreachableError
from runner.http.access import Access
from runner.http.route import find_route
from runner.http.verdicts import ProviderError
from runner.job.models_lock import LOCK_FILE, LockedService
from runner.job.project.environment import read_env
from runner.job.project.load_lock import load_models_lock
from runner.job.project.load_project import readable_project_file
from runner.json_value import JsonValue
from runner.money import PriceUnit
from runner.plural import count
from runner.project import Project, find_project
from runner.providers import DEFAULT, connect, every
from runner.providers.account import Account
from runner.providers.models import ListPrice
from runner.providers.place import Place
from runner.providers.provider import Provider
from runner.providers.published import UNIT_WORDS, Published, Rate, dearest, rate_words
from runner.redact import printable
from runner.times import iso_time


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What one service said, and what of it is different; `error` where it could not be asked."""

    provider: str
    changes: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()
    models: int = 0
    error: CallsheetError | None = None
    drift: str = ""
    """How far its costs are from those of the ledger; empty where they agree, or are not told."""


def refresh(service: ServiceOptions, output_format: str) -> ExitCode:
    """Writes models.lock.yaml with what each service answers that has a key here.

    A service that cannot be asked, or gives no list, keeps what stood there. Raises NoProjectError, JobError
    for a lock that cannot be read, KeyRefusedError where there is no key at all.
    """
    project = find_project(Path(), root=common().root)
    target = world_of(project, service).base / LOCK_FILE
    lock = load_models_lock(target.parent)
    results: list[Refreshed] = []
    for account in _asked(project, service):
        provider = account.provider
        try:
            place = choose_places({account.name: account}, project, service)[account.name]
            published, drift = _ask(place, project)
        except CallsheetError as error:
            results.append(Refreshed(provider.name, error=error))
            continue
        before = lock.services.get(provider.name)
        now = LockedService(
            asked=iso_time(time.time()),
            source=published.source if place.url is not None else place.origin,
            models={model.id: model.rates for model in published.models},
        )
        lock = replace(lock, services={**lock.services, provider.name: now})
        changes = tuple(_changes(provider, {} if before is None else before.models, now.models))
        results.append(Refreshed(provider.name, changes, published.left_out, len(now.models), drift=drift))
    if any(result.error is None for result in results):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(target) as file:
            file.write(lock.text().encode())
        target.chmod(0o644)
    _tell(results, target, output_format)
    return ExitCode.first(result.error.exit_code for result in results if result.error is not None)


def _asked(project: Project, service: ServiceOptions) -> list[Account]:
    """An account of each service that publishes models: the provider's own, else the first of the project
    file, where its key is set. The default one where none is.
    """
    able = {name: Account(name, each) for name, each in every().items() if each.publishes_models}
    if service.sandbox:
        return list(able.values())
    if not choose_place(DEFAULT, project, service).project.is_rehearsal:
        named = readable_project_file(project.root).accounts.items()
        able |= {name: each for name, each in named if each.provider.publishes_models}
    environment = read_env(project.root, os.environ)
    ready: dict[str, Account] = {}
    for account in able.values():
        if any(map(environment.get, account.key_variables)):
            ready.setdefault(account.provider.name, account)
    return list(ready.values()) or [able[DEFAULT.name]]


def _ask(place: Place, project: Project) -> tuple[Published, str]:
    key = place.find_key(read_env(project.root, os.environ))
    with access_to(place, key) as access:
        try:
            return anyio.run(_published, place, access)
        except ProviderError as error:
            told = f"{place.origin}: {printable(error.message)}; its part of {LOCK_FILE} stays as it was"
            raise ServiceUnreachableError(told) from error


async def _published(place: Place, access: Access) -> tuple[Published, str]:
    """The models, and how far the service's costs are from the ledger's."""
    route = find_route(os.environ, trust_env=place.trust_env)
    async with connect(place.provider, access, route=route) as client:
        published = await client.published_models()
        try:
            told = await ask_money(client, place, access.key)
        except ProviderError:  # the models are what was asked for; `doctor` says what is wrong
            return published, ""
        return published, told.drift if told is not None else ""


def _changes(
    provider: Provider, before: Mapping[str, tuple[Rate, ...]], now: Mapping[str, tuple[Rate, ...]]
) -> Iterator[tuple[str, str]]:
    """(kind, words) of each difference, sorted by id."""
    for model in sorted(before.keys() | now.keys()):
        if model not in now:
            yield "gone", model
        elif model not in before:
            yield "new", f"{model}: {rate_words(now[model])}"
        elif before[model] != now[model]:
            yield "price", f"{model}: {rate_words(before[model])} -> {rate_words(now[model])}"
        else:
            continue
        if model in now:
            yield from (("lower", words) for words in _lower(provider, model, now[model]))


def _lower(provider: Provider, model: str, rates: tuple[Rate, ...]) -> Iterator[str]:
    """Where a published price is below the public one, or cannot be compared: caps may let more through."""
    family = provider.catalogue.find(model)
    known: Mapping[str, ListPrice] = family.prices if family is not None else {}
    unit = provider.catalogue.price_unit or PriceUnit.MTOK
    for resolution, public in known.items():
        for sound, with_video, usd in (
            (True, False, public.plain),
            (False, False, public.silent),
            (True, True, public.with_video),
        ):
            price = dearest(rates, resolution, sound, with_video)
            if price is not None and usd is not None and (price.unit is not unit or price.usd < usd):
                told = f"USD {format(price.usd, 'f')} {UNIT_WORDS[price.unit]} at {resolution}"
                yield (
                    f"{model}: {told}, where USD {usd} {UNIT_WORDS[unit]} is public;"
                    " estimates and caps go by it, unless `price:` or `prices:` says more"
                )
                return


def _tell(results: list[Refreshed], target: Path, output_format: str) -> None:
    rows: list[dict[str, JsonValue]] = [
        {
            "provider": result.provider,
            "models": result.models,
            "changes": [{"kind": kind, "what": what} for kind, what in result.changes],
            "left_out": list(result.left_out),
            "drift": result.drift,
            "error": None if result.error is None else str(result.error),
        }
        for result in results
    ]
    if console.for_programs(output_format, rows, {"file": str(target), "services": list(rows)}):
        return
    for result in results:
        for kind, what in result.changes:
            console.result(f"{kind:6} {result.provider}: {what}")
        for what in result.left_out:
            console.error(f"{result.provider}: left out: {printable(what)}")
        if result.drift:
            console.error(f"{result.provider}: {result.drift}; hint: callsheet spend --by day")
        if result.error is not None:
            console.error(f"{result.provider}: {result.error}")
        else:
            changed = count(len(result.changes), "change") if result.changes else "nothing changed"
            console.summary(f"{result.provider}: {count(result.models, 'model')}, {changed}")
    if any(result.error is None for result in results):
        console.summary(f"written: {shown_path(target)}")
