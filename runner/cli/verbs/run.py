"""`run`, `resume` and `retry`: the verbs that submit."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.bring import Work, bring_all_to_done
from runner.cli.completion import complete_task
from runner.cli.fetching import fetch_first
from runner.cli.found import find_run_here
from runner.cli.options import (
    JobOptions,
    RunOptions,
    ServiceOptions,
    common,
    common_options,
    job_options,
    jobs_argument,
    run_argument,
    run_options,
    service_options,
)
from runner.cli.service import Loaded, load
from runner.errors import ExitCode, JobError, UsageError
from runner.ledger.states import Reason
from runner.project import find_project
from runner.run.prepare import Resubmit


@click.command()
@jobs_argument
@service_options
@job_options
@run_options
@click.option(
    "--again",
    multiple=True,
    metavar="TASK",
    shell_complete=complete_task,
    help="Pay for a new take of this task (a name with * and ?, or an identity); may be repeated.",
)
@common_options
def run(
    jobs: tuple[Path, ...],
    service: ServiceOptions,
    job_options: JobOptions,
    run_options: RunOptions,
    again: tuple[str, ...],
) -> ExitCode:
    """Bring each JOB to done: submit what is new, collect what is in flight, download and check it.

    An unfinished run of the same job goes on; what is done is never submitted again. Several jobs run
    one after the other, once all of them are valid.

    --only limits what is submitted now, and nothing else: the run stays the whole job's, with one
    manifest, one date and one cap, and the next `run` without it goes on with the rest.

    \b
    Examples:
      callsheet run jobs/hello.yaml --sandbox        rehearse it, free and offline
      callsheet run jobs/hello.yaml                  for real
      callsheet run jobs/hello.yaml --only '*-s1'    the first seed of each shot
    """
    for option, given in (("--again", again), ("--only", run_options.only)):
        if given and len(jobs) > 1:
            raise UsageError(f"{option} is about one job", hint="give one JOB with it")
    resubmit = Resubmit(Reason.AGAIN, again) if again else None
    works = [Work(_load(job, service, job_options, run_options), service, resubmit=resubmit) for job in jobs]
    return bring_all_to_done(works, job_options, run_options)


@click.command()
@run_argument
@service_options
@job_options
@run_options
@common_options
def resume(
    run_name: str, service: ServiceOptions, job_options: JobOptions, run_options: RunOptions
) -> ExitCode:
    """Go on with RUN (an id, a path to a run, or `latest`), from the copy of the job that it kept.

    \b
    Examples:
      callsheet resume
      callsheet resume 20260531T220000Z-a1b2c3
    """
    return _go_on(run_name, service, job_options, run_options, None)


@click.command()
@run_argument
@service_options
@job_options
@run_options
@common_options
def retry(
    run_name: str,
    service: ServiceOptions,
    job_options: JobOptions,
    run_options: RunOptions,
) -> ExitCode:
    """Submit the failed, expired and written-off tasks of RUN once more, and pay for them again.

    RUN is an id, a path to a run, or `latest`. What is in flight is collected as always; tasks that were
    never submitted are left to `run`, except those that need a retried task. With --only, only the tasks
    that it names are submitted.

    \b
    Examples:
      callsheet retry
      callsheet retry --only 'pour-*'
    """
    return _go_on(run_name, service, job_options, run_options, Resubmit(Reason.RETRY))


def _go_on(
    run_name: str,
    service: ServiceOptions,
    job_options: JobOptions,
    run_options: RunOptions,
    resubmit: Resubmit | None,
) -> ExitCode:
    found = find_run_here(run_name, service)
    loaded = _load(found.job_file, service, job_options, run_options, text=found.job_text)
    return bring_all_to_done([Work(loaded, service, found.run, resubmit)], job_options, run_options)


def _load(
    job: Path,
    service: ServiceOptions,
    job_options: JobOptions,
    options: RunOptions,
    *,
    text: bytes | None = None,
) -> Loaded:
    """`load`, which raises only once what is in flight has been fetched."""
    try:
        return load(job, service, job_options, text=text)
    except JobError as error:
        project = find_project(job, root=common().root)
        error.exit_code = fetch_first(error, project, service, options, deadline=options.deadline)
        raise
