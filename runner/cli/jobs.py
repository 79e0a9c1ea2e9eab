"""Loads a job file with the options of a verb, and plans it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.cli.common_options import common
from runner.cli.options import JobOptions, ServiceOptions
from runner.cli.place import choose_places, world_of
from runner.errors import CallsheetError, JobError, NoProjectError, Problem
from runner.job.expressions.rundate import RunDate
from runner.job.files.sources import JobCopy
from runner.job.load import LoadOptions, load_job
from runner.job.model import Job
from runner.job.project.environment import read_env
from runner.job.yaml.mend import Check, mended
from runner.job.yaml.source import MAX_BYTES
from runner.plan.plan import Plan, make_plan, most_cells
from runner.project import Project, find_project
from runner.providers.place import SANDBOX_ORIGIN, Place
from runner.providers.provider import Provider

_MOST_CELLS_OF_COPY = 200
"""Cells of a job whose copies are planned, to see whether a mend holds."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A job that is ready to run. `environment` holds keys, so it is never shown."""

    job: Job
    places: Mapping[str, Place]
    """By account, the job's own first."""
    environment: Mapping[str, str]

    @property
    def place(self) -> Place:
        """That of the job's own account; all lie in one project."""
        return next(iter(self.places.values()))

    @property
    def origins(self) -> dict[str, str]:
        return {name: place.origin for name, place in self.places.items()}


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
    is_rehearsal = False
    with contextlib.suppress(CallsheetError):  # told once the job is read
        is_rehearsal = world_of(project, service).is_rehearsal
    reading = LoadOptions(os.environ, allowed, options.trust_job, provider, is_rehearsal=is_rehearsal)
    with showing_lines(file if copy is None else copy, check_copy(file, project.root, reading, copy)):
        job = load_job(file, root=project.root, options=reading, copy=copy)
    own_base_url = job.base_url if options.trust_job else None
    accounts = job.accounts
    places = choose_places(accounts, project, service, job_base_url=own_base_url)
    named = (job.api_key_env, *(account.key_variable for account in accounts.values()))
    return Loaded(job, places, read_env(project.root, os.environ, allow=allowed.union(filter(None, named))))


def project_or_here(file: Path) -> Project:
    """The file's project. A checkout may have none, for `.callsheet/` is never in git: what sends nothing
    takes the working directory then. Raises NoProjectError for a --root that is none.
    """
    try:
        return find_project(file, root=common().root)
    except NoProjectError:
        if common().root is not None:
            raise
        return Project(root=Path.cwd(), base=Path.cwd())


def plan_of(loaded: Loaded, options: JobOptions) -> Plan:
    """The plan of a loaded job. Raises JobError."""
    zone = loaded.job.project_file.timezone
    date = options.run_date(zone) or RunDate.today(time.time(), zone)
    job = loaded.job
    reading = LoadOptions(loaded.environment, frozenset(options.allow_env), options.trust_job, job.provider)
    with showing_lines(job.copy, check_copy(job.root / job.file, job.root, reading, job.copy)):
        return make_plan(job, origins=loaded.origins, run_date=date)


@contextlib.contextmanager
def showing_lines(source: Path | JobCopy, check: Check | None = None) -> Iterator[None]:
    """Adds the text of the job file to a JobError raised in the block, so that its lines can be shown.

    Those of the further files are added where `source` has them. With `check` the problems of one slip of
    the hand become one, with a hint that was tried.
    """
    try:
        yield
    except JobError as error:
        if error.text:  # of another file, which the job's own reader has read
            raise
        text, files = b"", error.files
        if isinstance(source, JobCopy):
            text, files = source.text, source.files or error.files
        if isinstance(source, Path):
            with contextlib.suppress(OSError), source.open("rb") as stream:
                text = stream.read(MAX_BYTES)
        if check is not None:
            error = JobError(error.file, mended(text, error.problems, check))
        error.text, error.files = text, files
        raise error from None


def check_copy(file: Path, root: Path, options: LoadOptions, copy: JobCopy | None = None) -> Check:
    """What is wrong with another text of the job in `file`, or of its `copy`, as far as it costs little."""
    trial = dataclasses.replace(options, is_trial=True)

    def check(text: bytes) -> Sequence[Problem]:
        try:
            if copy is None:
                job = load_job(file, root=root, options=trial, text=text)
            else:
                job = load_job(file, root=root, options=trial, copy=JobCopy(text, copy.files))
            if most_cells(job) <= _MOST_CELLS_OF_COPY:
                make_plan(job, origin=SANDBOX_ORIGIN)
        except JobError as error:
            return error.problems
        return ()

    return check
