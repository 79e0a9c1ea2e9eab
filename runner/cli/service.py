"""From a job file and options to a plan, and where its requests would go."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.cli.options import JobOptions, ServiceOptions, common
from runner.errors import UsageError
from runner.job.load import LoadOptions, load_job, read_env
from runner.job.model import Job
from runner.job.plan import Plan, make_plan
from runner.job.rundate import RunDate
from runner.ledger.database import open_for_reading
from runner.ledger.read import LedgerReader
from runner.project import Project, find_project
from runner.providers import REGISTRY, ProviderSpec
from runner.providers.access import is_loopback, parse_origin

SANDBOX_ORIGIN = "sandbox"
"""The embedded sandbox in a task's identity: its port is another one at each start."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job's requests go and its files land. `url` is None for the embedded sandbox."""

    spec: ProviderSpec
    project: Project
    origin: str
    url: str | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A job that is ready to run. `environment` holds keys: it is never shown."""

    job: Job
    place: Place
    environment: Mapping[str, str]


def load(file: Path, service: ServiceOptions, options: JobOptions) -> Loaded:
    """Reads a job file and decides where it runs. Raises JobError, NoProjectError, UsageError."""
    project = find_project(file, root=common().root)
    job = load_job(file, root=project.root, options=_load_options(options))
    return Loaded(job, choose_place(job, project, service, options), read_env(project.root, os.environ))


def plan_of(loaded: Loaded, options: JobOptions) -> Plan:
    """The plan of a loaded job. Raises JobError, and UsageError for a date that is none."""
    return make_plan(loaded.job, origin=loaded.place.origin, run_date=run_date(options))


def run_date(options: JobOptions) -> RunDate:
    if options.date is None:
        return RunDate.today(time.time())
    try:
        return RunDate.parse(options.date)
    except ValueError as error:
        raise UsageError(
            f"--date {options.date}: not a date", hint="write it as 2026-05-31 or 2026-05-31+02:00"
        ) from error


def choose_place(job: Job, project: Project, service: ServiceOptions, options: JobOptions) -> Place:
    """A base URL comes from the command line, then the environment, then (trusted) the job file."""
    spec = REGISTRY[job.provider]
    if service.sandbox:
        return Place(spec, project.rehearsal(), SANDBOX_ORIGIN, None)
    origin = spec.find_origin(os.environ, base_url=service.base_url)
    if origin == spec.default_origin and service.base_url is None and job.base_url and options.trust_job:
        origin = parse_origin(job.base_url, source=f"{job.file}: base_url")
    return Place(spec, project.rehearsal() if is_loopback(origin) else project, origin, origin)


@contextlib.contextmanager
def reading(project: Project) -> Iterator[LedgerReader | None]:
    """The project's ledger, read-only; None where nothing has run yet. Raises StateError."""
    if not project.ledger_path.exists():
        yield None
        return
    ledger = LedgerReader(open_for_reading(project.ledger_path))
    try:
        yield ledger
    finally:
        ledger.close()


def _load_options(options: JobOptions) -> LoadOptions:
    return LoadOptions(environ=os.environ, allow_env=options.allow_env, trust_job=options.trust_job)
