"""Options that several verbs share, and the frozen objects they arrive as."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_COMMON = "callsheet.common"


@dataclass(frozen=True, slots=True)
class Common:
    """What holds for every verb, given before it or after it."""

    root: Path | None = None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Where requests go: the in-process sandbox, another base URL, or neither for the real service."""

    sandbox: bool
    base_url: str | None


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a job file is read. `date` is the text of `run.date`, None for today."""

    date: str | None
    allow_env: frozenset[str]
    trust_job: bool


def common() -> Common:
    """The common options of the verb that runs; the defaults outside of one."""
    context = click.get_current_context(silent=True)
    given = context.meta.get(_COMMON) if context else None
    return given if isinstance(given, Common) else Common()


def _set_root(context: click.Context, _option: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.meta[_COMMON] = replace(context.meta.get(_COMMON, Common()), root=value)


def _set_quiet(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.meta[_COMMON] = replace(context.meta.get(_COMMON, Common()), quiet=True)


def common_options(command: Command) -> Command:
    """--root and -q; their values are read with `common()`."""
    root = click.option(
        "--root",
        type=click.Path(path_type=Path),
        metavar="DIR",
        expose_value=False,
        callback=_set_root,
        help="The project root; default: the nearest parent of the job file that holds .callsheet/.",
    )
    quiet = click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_set_quiet,
        help="Say nothing on success.",
    )
    return root(quiet(command))


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


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--date, --allow-env and --trust-job, as the argument `job_options`."""

    @click.option("--date", metavar="DATE", help="The value of run.date, as 2026-05-31 or 2026-05-31+02:00.")
    @click.option(
        "--allow-env",
        multiple=True,
        metavar="NAME",
        help="Let the job file use this environment variable; may be repeated.",
    )
    @click.option("--trust-job", is_flag=True, help="Let the job file use any variable and its own base_url.")
    @functools.wraps(command)
    def wrapped(
        *args: Any, date: str | None, allow_env: tuple[str, ...], trust_job: bool, **kwargs: Any
    ) -> Any:
        options = JobOptions(date, frozenset(allow_env), trust_job)
        return command(*args, job_options=options, **kwargs)

    return wrapped


def output_format(command: Command) -> Command:
    """--output-format, as the argument `output_format` (`text` or `json`)."""
    return click.option(
        "--output-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="json is for programs.",
    )(command)


job_argument = click.argument("job", type=click.Path(path_type=Path), metavar="JOB")
