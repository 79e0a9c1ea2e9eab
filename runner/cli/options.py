"""Options that several verbs share, and the frozen objects in which a verb receives them."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.common_options import Command
from runner.cli.completion import complete_job, complete_run, complete_task
from runner.errors import UsageError
from runner.job.expressions.rundate import RunDate

if TYPE_CHECKING:
    from runner.work.hire import Workers


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Where requests go: to the embedded sandbox, to another base URL, or else to the real service.

    `trust_env`: through the environment's proxy, by the environment's certificates.
    """

    sandbox: bool = False
    base_url: str | None = None
    trust_env: bool = False

    def __post_init__(self) -> None:
        if self.sandbox and self.base_url:
            raise click.UsageError("--sandbox and --base-url exclude each other; hint: give one of them")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a job file is read. `date` is that of `run.date` as it was given, empty for today."""

    date: str
    allow_env: tuple[str, ...]
    trust_job: bool

    def run_date(self, zone: datetime.tzinfo | None) -> RunDate | None:
        """The date, None for today; `zone` (None: this machine's) is of a date without an offset."""
        return RunDate.parse(self.date, zone) if self.date else None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How the verbs that submit do it. `wait` and `deadline` are seconds."""

    service: ServiceOptions
    job_options: JobOptions
    only: tuple[str, ...]
    wait: float
    deadline: float | None
    yes: bool
    accept_edits: bool
    ping: bool
    output_format: str


def _all(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """One decorator for all of them; the first is the outermost."""

    def decorate(command: Command) -> Command:
        return functools.reduce(lambda inner, option: option(inner), reversed(options), command)

    return decorate


def gathered(argument: str, kind: type[Any]) -> Callable[[Command], Any]:
    """Hands the options that are named as the fields of `kind` to the verb as one `argument`."""
    names = [one.name for one in fields(kind)]

    def decorate(command: Command) -> Any:
        @functools.wraps(command)
        def wrapped(*args: Any, **given: Any) -> Any:
            made = kind(**{name: given.pop(name) for name in names if name in given})
            return command(*args, **given, **{argument: made})

        return wrapped

    return decorate


service_options = _all(
    click.option("--sandbox", is_flag=True, help="Rehearse against the embedded sandbox: free, offline."),
    click.option(
        "--base-url", metavar="URL", help="Send requests there instead; default: the provider's own."
    ),
    click.option(
        "--trust-env",
        is_flag=True,
        help="Use the proxy and certificates of HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE.",
    ),
    gathered("service", ServiceOptions),
)
"""As the argument `service`."""

trust_options = _all(
    click.option(
        "--allow-env",
        multiple=True,
        metavar="NAME",
        help="Let the job file use this environment variable, and .env set it; may be repeated.",
    ),
    click.option(
        "--trust-job",
        is_flag=True,
        help="Let the job file use any variable and stored object, its own base_url and callback addresses.",
    ),
)


def _check_date(_context: click.Context, _option: click.Parameter, text: str) -> str:
    try:
        if text:
            RunDate.parse(text)
    except ValueError as error:
        raise UsageError(
            f"--date {text}: not a date", hint="write it as 2026-05-31 or 2026-05-31+02:00"
        ) from error
    return text


job_options = _all(
    click.option(
        "--date",
        metavar="DATE",
        default="",
        callback=_check_date,
        help="The value of run.date, such as 2026-05-31 or 2026-05-31+02:00.",
    ),
    trust_options,
    gathered("job_options", JobOptions),
)
"""As the argument `job_options`."""


def _read_duration(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    # imported here: it loads jinja2 and more, and `--help` needs none of it
    from runner.job.policy import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_duration_option = functools.partial(click.option, metavar="DURATION", callback=_read_duration)

wait_option = _duration_option(
    "--wait",
    default="0s",
    help="Wait this long for another callsheet at work in this project, for example 10m or 6h.",
)


older_option = _duration_option(
    "--older", default="90d", show_default=True, help="Only files made longer ago than this, for example 30d."
)


def deadline_option(default: str | None) -> Callable[[Command], Command]:
    """--deadline, as the argument `deadline`: seconds, or None."""
    return _duration_option(
        "--deadline",
        default=default,
        show_default=default is not None,
        help="Stop after this long, for example 50m, with exit code 75; the next run goes on.",
    )


def _read_workers(_context: click.Context, _option: click.Parameter, text: str | None) -> Workers | None:
    if text is None:
        return None
    # imported here: few starts need it
    from runner.work.hire import Workers

    try:
        return Workers.parse(text)
    except ValueError as error:
        raise UsageError(
            f"--workers {text}: {error}", hint="write it as 4, or as tcp://scheduler:8786"
        ) from error


workers_option = click.option(
    "--workers",
    metavar="N|URL",
    callback=_read_workers,
    help="Work on N files at once, or with the workers of the Dask scheduler at tcp://host:port.",
)
"""As the argument `workers`: None where nothing is asked for."""

ping_option = click.option(
    "--ping", is_flag=True, help="Report the start and the exit code to the monitor at CALLSHEET_PING_URL."
)

only_option = click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    shell_complete=complete_task,
    help="Only tasks of this name or output path (with * and ?); may be repeated.",
)


_FORMATS = {
    "json": "json is one document",
    "jsonl": "jsonl one object a line",
    "csv": "csv one line a group",
    "markdown": "markdown a comment for a pull request",
    "github": "github annotates the lines of a pull request",
}


def output_format(*more: str) -> Callable[[Command], Command]:
    """--output-format, as the argument `output_format`: `text`, or one of `more`."""
    return click.option(
        "--output-format",
        type=click.Choice(["text", *more]),
        default="text",
        show_default=True,
        help=f"For programs: {'; '.join(_FORMATS[name] for name in more)}.",
    )


run_options = _all(
    service_options,
    job_options,
    only_option,
    wait_option,
    deadline_option(None),
    click.option(
        "--yes", is_flag=True, help="Agree to the cost of the new tasks, even above budget.confirm_usd."
    ),
    click.option(
        "--accept-edits",
        is_flag=True,
        help="Submit tasks whose path holds a take of another request, and keep that take as a version.",
    ),
    ping_option,
    output_format("json", "jsonl"),
    gathered("options", RunOptions),
)
"""Those of the verbs that submit, as the argument `options`."""

_job_files = functools.partial(click.argument, type=click.Path(path_type=Path), shell_complete=complete_job)
job_argument = _job_files("job", metavar="JOB")
jobs_argument = _job_files("jobs", metavar="JOB...", nargs=-1, required=True)

run_argument = click.argument("run_name", metavar="[RUN]", default="latest", shell_complete=complete_run)
