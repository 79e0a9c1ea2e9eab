"""From a job file and options to a plan, and where its requests would go."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from runner.cli.options import JobOptions, ServiceOptions, common
from runner.errors import JobError, StateError, UsageError
from runner.http.access import is_loopback, is_same_loopback, parse_origin
from runner.job.environment import read_env
from runner.job.load import LoadOptions, load_job
from runner.job.model import Job
from runner.job.rundate import RunDate
from runner.job.yaml.source import MAX_BYTES
from runner.ledger.database import open_for_reading
from runner.ledger.read import LedgerReader
from runner.plan.plan import Plan, make_plan
from runner.project import Project, find_project
from runner.providers.place import SANDBOX_ORIGIN, Place
from runner.providers.provider import Provider


@dataclass(frozen=True, slots=True)
class Loaded:
    """A job that is ready to run. `environment` holds keys: it is never shown."""

    job: Job
    place: Place
    environment: Mapping[str, str]


def load(
    file: Path,
    service: ServiceOptions,
    options: JobOptions,
    *,
    text: bytes | None = None,
    provider: Provider | None = None,
    project: Project | None = None,
) -> Loaded:
    """Reads a job file (or `text`, the copy that a run kept) and decides where it runs.

    `provider` takes the place of the job's own, and `project` of the one that the file lies in.

    Raises JobError, NoProjectError, UsageError.
    """
    project = project or find_project(file, root=common().root)
    with showing_lines(file if text is None else text):
        job = load_job(file, root=project.root, options=_load_options(options, provider), text=text)
    own_base_url = job.base_url if options.trust_job else None
    place = choose_place(job.provider, project, service, job_base_url=own_base_url)
    named = frozenset({job.api_key_env} if job.api_key_env else ())
    return Loaded(job, place, read_env(project.root, os.environ, allow=options.allow_env | named))


def plan_of(loaded: Loaded, options: JobOptions) -> Plan:
    """The plan of a loaded job. Raises JobError, and UsageError for a date that is none."""
    date = given_date(options) or RunDate.today(time.time())
    with showing_lines(loaded.job.text):
        return make_plan(loaded.job, origin=loaded.place.origin, run_date=date)


@contextlib.contextmanager
def showing_lines(source: Path | bytes) -> Iterator[None]:
    """Lets a JobError that is raised in here carry the job file's text, so that its lines can be shown."""
    try:
        yield
    except JobError as error:
        error.text = source if isinstance(source, bytes) else _read_or_nothing(source)
        raise


def _read_or_nothing(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES)
    except OSError:
        return b""


def given_date(options: JobOptions) -> RunDate | None:
    """What --date says; None without it. Raises UsageError."""
    if options.date is None:
        return None
    try:
        return RunDate.parse(options.date)
    except ValueError as error:
        raise UsageError(
            f"--date {options.date}: not a date", hint="write it as 2026-05-31 or 2026-05-31+02:00"
        ) from error


def choose_place(
    provider: Provider, project: Project, service: ServiceOptions, *, job_base_url: str | None = None
) -> Place:
    """A base URL comes from the command line, then the environment, then a trusted job file."""
    if service.sandbox:
        return Place.at(provider, project, SANDBOX_ORIGIN)
    if service.base_url is None and job_base_url and not os.environ.get(provider.url_variable):
        origin = parse_origin(job_base_url, source="the job file's base_url")
    else:
        origin = provider.find_origin(os.environ, base_url=service.base_url)
    place = Place.at(provider, project, origin)
    return replace(place, origin=_as_known(place)) if is_loopback(origin) else place


def _as_known(place: Place) -> str:
    """The origin as this project's tasks name it: `localhost` and `127.0.0.1` are one server, and what was
    made under one spelling is not made again under the other.
    """
    try:
        reader = LedgerReader(open_for_reading(place.project.ledger_path))
    except (StateError, OSError):  # none yet, or whoever opens it next tells what is wrong
        return place.origin
    with contextlib.closing(reader):
        known = reader.origins()
    same = [origin for origin in known if is_same_loopback(origin, place.origin)]
    return place.origin if place.origin in same else next(iter(same), place.origin)


def read_keys(place: Place) -> Mapping[str, str]:
    """The environment with the keys of the root's `.env` below it."""
    return read_env(place.project.root, os.environ)


def _load_options(options: JobOptions, provider: Provider | None = None) -> LoadOptions:
    return LoadOptions(os.environ, options.allow_env, options.trust_job, provider)
