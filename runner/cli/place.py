"""The service that a verb asks, and the project or rehearsal that keeps what comes of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from runner.cli.common_options import common
from runner.cli.options import ServiceOptions
from runner.errors import NoProjectError, StateError, UsageError
from runner.http.access import is_loopback, parse_origin
from runner.job.project.load_project import readable_project_file
from runner.ledger.open import is_shared, open_reader
from runner.plan.words import TaskWords
from runner.project import Project, find_project
from runner.providers import DEFAULT, every
from runner.providers.account import Account, replaced_origins
from runner.providers.place import SANDBOX_ORIGIN, Place, as_known, parted
from runner.providers.provider import Provider
from runner.run.only import Named


def here(service: ServiceOptions) -> Project:
    """The project here or at --root, or its rehearsal, as the options say."""
    return world_of(find_project(Path(), root=common().root), service)


def world_of(project: Project, service: ServiceOptions) -> Project:
    """The project, or its rehearsal where the options lead to the sandbox or to loopback."""
    return choose_place(DEFAULT, project, service).project


def worlds(service: ServiceOptions) -> list[Project]:
    """Where a run or a video may be: in the project or the rehearsal that the options lead to, and in the
    other one too where no option says which is meant.
    """
    own = here(service)
    if service.sandbox or service.base_url is not None:
        return [own]
    return [own, Project(own.root, own.root) if own.is_rehearsal else own.rehearsal()]


def leading_to(origins: str, project: Project, service: ServiceOptions) -> ServiceOptions:
    """The options that lead to the services of a run's row; `service` where it does already."""
    accounts = accounts_here(project, service)
    real = Project(project.root, project.root)
    places = [choose_places({name: each}, real, service)[name] for name, each in accounts.items()]
    # a server of one's own is real, and what was rehearsed there is not
    known = {place.origin for place in places if place.project == project}
    # in a rehearsal each server of one's own has a name of its own
    wanted = [
        next((origin.removesuffix(f":{name}") for name in accounts if origin.endswith(f":{name}")), origin)
        for origin in parted(origins)
    ]
    if known.issuperset(wanted):
        return service
    if any(origin.partition(":")[0] == SANDBOX_ORIGIN for origin in wanted):
        return replace(service, sandbox=True, base_url=None)
    others = [origin for origin in wanted if origin not in known]
    return replace(service, sandbox=False, base_url=next(iter(others), None))


def accounts_here(project: Project, service: ServiceOptions) -> dict[str, Account]:
    """Each provider's own account, and those of the project file; not those whose address nobody knows."""
    own = {name: Account(name, provider) for name, provider in every().items()}
    named = own | dict(readable_project_file(project.root).accounts)
    is_replaced = service.sandbox or service.base_url is not None
    return {
        name: account
        for name, account in named.items()
        if is_replaced or account.origin or os.environ.get(account.provider.url_variable)
    }


def world_words(project: Project) -> str:
    """Whether what is in it was rehearsed or made for real, in words."""
    return "a rehearsal" if project.is_rehearsal else "for real"


def named(patterns: Iterable[str], project: Project) -> Named:
    """Tasks as they were typed in this directory."""
    return Named(tuple(patterns), str(project.base), str(Path.cwd()))


def task_words(typed: str, project: Project) -> TaskWords:
    """One task as it was typed in this directory."""
    return TaskWords(typed, str(project.base), str(Path.cwd()))


def choose_place(provider: Provider, project: Project, service: ServiceOptions) -> Place:
    """That of a provider's own account."""
    (place,) = choose_places({provider.name: Account(provider.name, provider)}, project, service).values()
    return place


def choose_places(
    accounts: Mapping[str, Account],
    project: Project,
    service: ServiceOptions,
    *,
    job_base_url: str | None = None,
    known: Sequence[str] | None = None,
) -> dict[str, Place]:
    """Where each account of a job goes. A base URL comes from the command line, then the environment, then a
    trusted job file; it is that of the job's own account, the first. One on loopback is for all of them:
    a job is rehearsed as a whole.

    `known` are the origins of the runs' rows, None for those that the ledger has.

    Raises UsageError where half of it would be real.
    """
    if service.sandbox:
        return {
            name: Place.at(accounts[name], project, origin)
            for name, origin in replaced_origins(accounts, SANDBOX_ORIGIN).items()
        }
    own = next(iter(accounts))
    named = {
        name: _named_origin(account, service, job_base_url if name == own else None)
        for name, account in accounts.items()
    }
    rehearsed = next((origin for origin in named.values() if origin and is_loopback(origin)), "")
    real = sorted(name for name, origin in named.items() if origin and not is_loopback(origin))
    if rehearsed and real:
        raise UsageError(
            f"half of this job would be a rehearsal at {rehearsed}, and half real: {', '.join(real)}",
            hint="rehearse all of it with --sandbox or --base-url, or unset the variable of the base URL",
        )
    if service.base_url is not None and real and len(accounts) > 1:
        raise UsageError(
            f"--base-url names one service, and the job has {len(accounts)} accounts: {', '.join(accounts)}",
            hint="give an account its base_url in callsheet.yaml",
        )
    trust_env = does_trust_env(project, service)
    places: dict[str, Place] = {}
    for name, account in accounts.items():
        asked = named[name] or rehearsed
        place = Place.at(account, project, asked or account.origin, trust_env=trust_env)
        if asked and is_loopback(asked):
            # also where the account itself names that address
            place = replace(place, project=project.rehearsal())
        if place.project.is_rehearsal:
            known = replaced_origins({name: account}, _as_known(place, known))[name]
            place = replace(place, origin=known)
        elif is_loopback(place.origin):
            place = replace(place, origin=_as_known(place, known))
        places[name] = place
    return places


def _named_origin(account: Account, service: ServiceOptions, job_base_url: str | None) -> str:
    """The origin that stands in for the account's own one; empty for none."""
    provider = account.provider
    if service.base_url is not None:
        return parse_origin(service.base_url, source="--base-url")
    if account.base_url:
        return ""
    if named := os.environ.get(provider.url_variable, "").strip():
        return parse_origin(named, source=provider.url_variable)
    return parse_origin(job_base_url, source="the job file's base_url") if job_base_url else ""


def does_trust_env(project: Project, service: ServiceOptions) -> bool:
    """Whether a person has asked for the proxy and the certificates of the environment."""
    return service.trust_env or readable_project_file(project.root).trust_env


def _as_known(place: Place, known: Sequence[str] | None) -> str:
    """The origin as this project's tasks spell it."""
    rows = _origins(place.project) if known is None else known
    return as_known(place.origin, place.account, rows)


def _origins(project: Project) -> Sequence[str]:
    try:
        reader = open_reader(project)
    except NoProjectError:  # nothing was written there yet, or the next reader says what is wrong
        return ()
    except (StateError, OSError):
        # a server that is away for a moment knows the other name: nothing may be paid for under this one
        if is_shared(project):
            raise
        return ()
    with contextlib.closing(reader):
        return reader.origins()
