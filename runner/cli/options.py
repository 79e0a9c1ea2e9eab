"""Options that several verbs share, and the frozen objects in which a verb receives them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from runner.cli.common_options import Command
from runner.cli.completion import complete_job, complete_run, complete_task
from runner.errors import UsageError
from runner.job.rundate import RunDate


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Where requests go: to the embedded sandbox, to another base URL, or else to the real service."""

    sandbox: bool = False
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a job file is read. `date` is that of `run.date`, None for today."""

    date: RunDate | None
    allow_env: frozenset[str]
    trust_job: bool


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How the verbs that submit do it. `wait` and `deadline` are seconds; `format` is text, json or jsonl."""

    service: ServiceOptions
    job: JobOptions
    only: tuple[str, ...]
    wait: float
    deadline: float | None
    yes: bool
    ping: bool
    format: str


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--sandbox and --base-url, as the argument `service`."""

    @click.option("--sandbox", is_flag=True, help="Rehearse against the embedded sandbox: free, offline.")
    @click.option(
        "--base-url", metavar="URL", help="Send requests there instead; default: the provider's own."
    )
    @functools.wraps(command)
    def wrapped(*args: Any, sandbox: bool, base_url: str | None, **kwargs: Any) -> Any:
        if sandbox and base_url:
            raise click.UsageError("--sandbox and --base-url exclude each other; hint: give one of them")
        return command(*args, service=ServiceOptions(sandbox, base_url), **kwargs)

    return wrapped


def trust_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--allow-env and --trust-job, as the arguments `allow_env` and `trust_job`."""
    allow_env = click.option(
        "--allow-env",
        multiple=True,
        metavar="NAME",
        help="Let the job file use this environment variable, and .env set it; may be repeated.",
    )
    trust_job = click.option(
        "--trust-job",
        is_flag=True,
        help="Let the job file use any variable, its own base_url and its own callback addresses.",
    )
    return allow_env(trust_job(command))


def _read_date(_context: click.Context, _option: click.Parameter, text: str | None) -> RunDate | None:
    if text is None:
        return None
    try:
        return RunDate.parse(text)
    except ValueError as error:
        raise UsageError(
            f"--date {text}: not a date", hint="write it as 2026-05-31 or 2026-05-31+02:00"
        ) from error


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--date, --allow-env and --trust-job, as the argument `job_options`."""

    @click.option(
        "--date",
        metavar="DATE",
        callback=_read_date,
        help="The value of run.date, such as 2026-05-31 or 2026-05-31+02:00.",
    )
    @trust_options
    @functools.wraps(command)
    def wrapped(
        *args: Any, date: RunDate | None, allow_env: tuple[str, ...], trust_job: bool, **kwargs: Any
    ) -> Any:
        options = JobOptions(date, frozenset(allow_env), trust_job)
        return command(*args, job_options=options, **kwargs)

    return wrapped


def _read_duration(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    # imported here: it loads jinja2 and more, and `--help` needs none of it
    from runner.job.policy import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


wait_option = click.option(
    "--wait",
    metavar="DURATION",
    default="0s",
    callback=_read_duration,
    help="Wait this long for another callsheet at work in this project, for example 10m or 6h.",
)


def deadline_option(default: str | None) -> Callable[[Command], Command]:
    """--deadline, as the argument `deadline`: seconds, or None."""
    return click.option(
        "--deadline",
        metavar="DURATION",
        default=default,
        show_default=default is not None,
        callback=_read_duration,
        help="Stop after this long, for example 50m, with exit code 75; the next run goes on.",
    )


ping_option = click.option(
    "--ping", is_flag=True, help="Report the start and the exit code to the monitor at CALLSHEET_PING_URL."
)

only_option = click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    shell_complete=complete_task,
    help="Only tasks of this name (with * and ?; or an identity's first 8 digits); may be repeated.",
)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the verbs that submit, as the argument `options`."""

    @service_options
    @job_options
    @only_option
    @wait_option
    @deadline_option(None)
    @click.option(
        "--yes", is_flag=True, help="Agree to the cost of the new tasks, even above budget.confirm_usd."
    )
    @ping_option
    @output_format("json", "jsonl")
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        service: ServiceOptions,
        job_options: JobOptions,
        only: tuple[str, ...],
        wait: float,
        deadline: float | None,
        yes: bool,
        ping: bool,
        output_format: str,
        **kwargs: Any,
    ) -> Any:
        options = RunOptions(service, job_options, only, wait, deadline, yes, ping, output_format)
        return command(*args, options=options, **kwargs)

    return wrapped


def output_format(*more: str) -> Callable[[Command], Command]:
    """--output-format, as the argument `output_format`: `text`, or one of `more`."""
    told = [_FORMATS[name] for name in more]
    return click.option(
        "--output-format",
        type=click.Choice(["text", *more]),
        default="text",
        show_default=True,
        help=f"For programs: {'; '.join(told)}.",
    )


_FORMATS = {
    "json": "json is one document",
    "jsonl": "jsonl one object a line",
    "github": "github annotates the lines of a pull request",
}

job_argument = click.argument(
    "job", type=click.Path(path_type=Path), metavar="JOB", shell_complete=complete_job
)

jobs_argument = click.argument(
    "jobs",
    type=click.Path(path_type=Path),
    nargs=-1,
    required=True,
    metavar="JOB...",
    shell_complete=complete_job,
)

run_argument = click.argument("run_name", metavar="[RUN]", default="latest", shell_complete=complete_run)
