"""Loads a job file with the options of a verb, and plans it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.cli.common_options import common
from runner.cli.options import JobOptions, ServiceOptions
from runner.cli.place import choose_place
from runner.errors import JobError
from runner.job.environment import read_env
from runner.job.load import LoadOptions, load_job
from runner.job.model import Job
from runner.job.rundate import RunDate
from runner.job.sources import JobCopy
from runner.job.yaml.source import MAX_BYTES
from runner.plan.plan import Plan, make_plan
from runner.project import Project, find_project
from runner.providers.place import Place
from runner.providers.provider import Provider


@dataclass(frozen=True, slots=True)
class Loaded:
    """A job that is ready to run. `environment` holds keys, so it is never shown."""

    job: Job
    place: Place
    environment: Mapping[str, str]


def load(
    file: Path,
    service: ServiceOptions,
    options: JobOptions,
    *,
    copy: JobCopy | None = None,
    provider: Provider | None = None,
    project: Project | None = None,
) -> Loaded:
    """Reads a job file (or the `copy` that a run kept), and finds where it runs.

    `provider` replaces the job's own, `project` the one that holds the file.

    Raises JobError, NoProjectError, UsageError.
    """
    project = project or find_project(file, root=common().root)
    allowed = frozenset(options.allow_env)
    reading = LoadOptions(os.environ, allowed, options.trust_job, provider)
    with showing_lines(file if copy is None else copy):
        job = load_job(file, root=project.root, options=reading, copy=copy)
    own_base_url = job.base_url if options.trust_job else None
    place = choose_place(job.provider, project, service, job_base_url=own_base_url)
    named = frozenset({job.api_key_env} if job.api_key_env else ())
    return Loaded(job, place, read_env(project.root, os.environ, allow=allowed | named))


def plan_of(loaded: Loaded, options: JobOptions) -> Plan:
    """The plan of a loaded job. Raises JobError."""
    zone = loaded.job.project_file.timezone
    date = options.run_date(zone) or RunDate.today(time.time(), zone)
    with showing_lines(loaded.job.copy):
        return make_plan(loaded.job, origin=loaded.place.origin, run_date=date)


@contextlib.contextmanager
def showing_lines(source: Path | JobCopy) -> Iterator[None]:
    """Adds the text of the job file to a JobError raised in the block, so that its lines can be shown.

    Those of the further files are added where `source` has them.
    """
    try:
        yield
    except JobError as error:
        if error.text:  # of another file, which the job's own reader has read
            raise
        if isinstance(source, JobCopy):
            error.text, error.files = source.text, source.files or error.files
        if isinstance(source, Path):
            with contextlib.suppress(OSError), source.open("rb") as stream:
                error.text = stream.read(MAX_BYTES)
        raise
