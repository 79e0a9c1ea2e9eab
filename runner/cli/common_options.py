"""The options of every verb: --root, -q and -v, before the verb or after it."""

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
    """The options of every verb, given before it or after it."""

    root: Path | None = None
    quiet: bool = False
    verbosity: int = 0


def common(context: click.Context | None = None) -> Common:
    """The common options of the verb that runs, or of `context`; outside a verb their defaults."""
    context = context or click.get_current_context(silent=True)
    given = context.meta.get(_COMMON) if context else None
    return given if isinstance(given, Common) else Common()


def _keep(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Adds a given option to `common()`; the one that is nearer to the verb wins."""
    if value and option.name:
        before = context.meta.get(_COMMON, Common())
        if option.name == "verbosity":
            value += before.verbosity
        context.meta[_COMMON] = replace(before, **{option.name: value})


def common_options(command: Command) -> Command:
    """--root, -q and -v; their values are read with `common()`."""
    option = functools.partial(click.option, expose_value=False, callback=_keep)
    root = option(
        "--root",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The project root; default: the nearest parent of the job file that holds .callsheet/.",
    )
    quiet = option("-q", "--quiet", is_flag=True, help="Say nothing on success.")
    verbose = option(
        "-v",
        "--verbose",
        "verbosity",
        count=True,
        help="Print a line for each step of each task; -vv every event, with ids and sizes.",
    )
    return root(quiet(verbose(command)))
