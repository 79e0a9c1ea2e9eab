"""The service that a verb asks, and the project or rehearsal that keeps what comes of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from runner.cli.common_options import common
from runner.cli.options import ServiceOptions
from runner.errors import StateError
from runner.http.access import is_loopback, is_same_loopback, parse_origin
from runner.job.load_project import readable_project_file
from runner.ledger.database import open_for_reading
from runner.ledger.read import LedgerReader
from runner.plan.words import TaskWords
from runner.project import Project, find_project
from runner.providers import DEFAULT, every
from runner.providers.place import SANDBOX_ORIGIN, Place
from runner.providers.provider import Provider
from runner.run.only import Named


def here(service: ServiceOptions) -> Project:
    """The project here or at --root; its rehearsal where the service is the sandbox or on loopback."""
    return choose_place(DEFAULT, find_project(Path(), root=common().root), service).project


def worlds(service: ServiceOptions) -> list[Project]:
    """Where a run or a video may be: in the project or the rehearsal that the options lead to, and in the
    other one too where no option says which is meant.
    """
    own = here(service)
    if service.sandbox or service.base_url is not None:
        return [own]
    return [own, Project(own.root, own.root) if own.is_rehearsal else own.rehearsal()]


def reachable(service: ServiceOptions) -> list[Provider]:
    """The providers that a request could go to: not those whose address only an account knows."""
    is_replaced = service.sandbox or service.base_url is not None
    return [
        each for each in every().values() if is_replaced or each.origin or os.environ.get(each.url_variable)
    ]


def leading_to(origin: str, project: Project, service: ServiceOptions) -> ServiceOptions:
    """The options that lead to the service at `origin`; `service` where it does already."""
    for provider in reachable(service):
        if choose_place(provider, Project(project.root, project.root), service).origin == origin:
            return service
    sandbox = origin == SANDBOX_ORIGIN
    return replace(service, sandbox=sandbox, base_url=None if sandbox else origin)


def world_words(project: Project) -> str:
    """Whether what is in it was rehearsed or made for real, in words."""
    return "a rehearsal" if project.is_rehearsal else "for real"


def named(patterns: Iterable[str], project: Project) -> Named:
    """Tasks as they were typed in this directory."""
    return Named(tuple(patterns), str(project.base), str(Path.cwd()))


def task_words(typed: str, project: Project) -> TaskWords:
    """One task as it was typed in this directory."""
    return TaskWords(typed, str(project.base), str(Path.cwd()))


def choose_place(
    provider: Provider, project: Project, service: ServiceOptions, *, job_base_url: str | None = None
) -> Place:
    """A base URL comes from the command line, then the environment, then a trusted job file."""
    if service.sandbox:
        return Place.at(provider, project, SANDBOX_ORIGIN)
    trust_env = does_trust_env(project, service)
    if service.base_url is None and job_base_url and not os.environ.get(provider.url_variable):
        origin = parse_origin(job_base_url, source="the job file's base_url")
    else:
        origin = provider.find_origin(os.environ, base_url=service.base_url)
    place = Place.at(provider, project, origin, trust_env=trust_env)
    return replace(place, origin=_as_known(place)) if is_loopback(origin) else place


def does_trust_env(project: Project, service: ServiceOptions) -> bool:
    """Whether a person has asked for the proxy and the certificates of the environment."""
    return service.trust_env or readable_project_file(project.root).trust_env


def _as_known(place: Place) -> str:
    """The origin as this project's tasks spell it.

    `localhost` and `127.0.0.1` are one server: what was made under one name is not made again under the
    other.
    """
    try:
        reader = LedgerReader(open_for_reading(place.project.ledger_path))
    except (StateError, OSError):  # none yet, or the next reader says what is wrong
        return place.origin
    with contextlib.closing(reader):
        known = reader.origins()
    same = [origin for origin in known if is_same_loopback(origin, place.origin)]
    return place.origin if place.origin in same else next(iter(same), place.origin)
