"""Writes docs/reference/commands.md from the commands themselves: every verb, argument and option."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from runner.cli.main import SECTIONS, VERBS, callsheet

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "commands.md"
HEAD = """\
# Commands

Written by `python scripts/write_reference.py` from the commands themselves; a test holds this page to
it. Results go to stdout, everything else to stderr. What each exit code means is in
[exit-codes.md](exit-codes.md), what each error looks like in [errors.md](errors.md).

RUN is a run's id or its beginning, a path to its folder, or `latest`, which is the default. JOB is a job
file.
"""
TAIL = """\
## Machine output

`--output-format json` is one document, `jsonl` one object a line as soon as it is known, and
`github` (of `validate`) annotates the lines of a pull request. Neither holds colours, secrets or
characters that a terminal would act on. Advice such as `next: callsheet retry` stands on stderr.

## Environment variables

| variable | what it holds |
|---|---|
| `MESHAPI_API_KEY`, or else `MESHAPI_TOKEN` | the key for Mesh API |
| `GETIMG_API_KEY` | the key for getimg |
| `MESHAPI_BASE_URL`, `GETIMG_AI_BASE_URL` | where to send requests instead: https, or a loopback address |
| `HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` | with `--trust-env`: see [proxies](../how-to/proxies.md) |
| `CALLSHEET_PING_URL` | the monitor that `--ping` tells |

The file `.env` in the project root may hold keys too; a variable that is set comes first. It cannot
hold a base URL, and a monitor only with `--allow-env CALLSHEET_PING_URL`. A key is never written
to a ledger, a manifest or a log.

## Colour

`NO_COLOR` takes all colour away. Else `FORCE_COLOR` and `CLICOLOR_FORCE` put it everywhere. Else there
is colour on a terminal, unless `CLICOLOR=0` or `TERM=dumb`.

## Completion with Tab

Verbs, options, job files, run ids and the names of tasks that were asked for before:

| shell | file | line |
|---|---|---|
| bash | `~/.bashrc` | `eval "$(_CALLSHEET_COMPLETE=bash_source callsheet)"` |
| zsh | `~/.zshrc` | `eval "$(_CALLSHEET_COMPLETE=zsh_source callsheet)"` |
| fish | `~/.config/fish/config.fish` | `_CALLSHEET_COMPLETE=fish_source callsheet \\| source` |

## What `--only` means

A pattern is a task's name with `*`, `?` and `[...]`, or the first 8 digits of its identity; one that
names no task is an error. It limits what is submitted now, and nothing else:

- The run is the whole job's. Its manifest lists every task, those that were left out as `planned`; it
  stays unfinished, and the next `run` without `--only` goes on with them under the same id and date.
- `budget` is the whole run's: what `--only s1` spent counts when `--only s2` is run. What is asked by
  `budget.confirm_usd`, and what needs a price, are only the tasks that are named.
- A task that needs another one waits until that is done; it is not chosen with it.
- What is in flight is collected whatever `--only` says, because result URLs die in 24 hours. `collect`
  has no `--only` for that reason, and `validate` none because a job file is right or wrong as a whole.
"""

_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")
"""What GitHub leaves out of a heading's anchor."""


def render() -> str:
    """The whole page."""
    with click.Context(callsheet, info_name="callsheet") as context:
        shared = [option for option in callsheet.params if _name(option) not in ("--version",)]
        parts = [HEAD, *_overview(context)]
        parts += ["\n## Everywhere\n", "Before the verb or after it.\n", *_options(shared, context)]
        for title, names in SECTIONS.items():
            parts.append(f"\n## {title}\n")
            for name in names:
                parts += _verb(name, context, {_name(option) for option in shared})
    return "\n".join(parts) + "\n" + TAIL


def _overview(above: click.Context) -> Iterator[str]:
    """A table of all verbs, each a link to its section."""
    yield "| verb | what it does |"
    yield "|---|---|"
    for name in (name for names in SECTIONS.values() for name in names):
        anchor = _NOT_IN_ANCHORS.sub("", _usage(_context(name, above))).lower().replace(" ", "-")
        yield f"| [`{name}`](#{anchor}) | {_cell(VERBS[name].summary)} |"


def _context(name: str, above: click.Context) -> click.Context:
    command = callsheet.get_command(above, name)
    assert command is not None
    return click.Context(command, info_name=name, parent=above)


def _usage(context: click.Context) -> str:
    """`callsheet plan JOB`: the verb and its arguments."""
    pieces = context.command.collect_usage_pieces(context)
    return " ".join(["callsheet", str(context.info_name), *(one for one in pieces if one != "[OPTIONS]")])


def _verb(name: str, above: click.Context, shared: set[str]) -> Iterator[str]:
    context = _context(name, above)
    command = context.command
    yield f"### `{_usage(context)}`\n"
    text, _, examples = inspect.cleandoc(command.help or VERBS[name].summary).partition("\b\nExamples:\n")
    for paragraph in text.replace("\b\n", "").strip().split("\n\n"):
        yield " ".join(paragraph.split()) + "\n"
    own = [
        parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and _name(parameter) not in shared
    ]
    if own:
        yield from _options(own, context)
        yield ""
    if examples:
        yield "```text\n" + inspect.cleandoc(examples) + "\n```\n"


def _options(options: list[click.Parameter], context: click.Context) -> Iterator[str]:
    yield "| option | what it does |"
    yield "|---|---|"
    for option in options:
        record = option.get_help_record(context)
        if record is not None:
            names, told = record
            yield f"| `{_cell(names)}` | {_cell(told)} |"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _name(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
