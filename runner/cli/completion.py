"""What Tab offers in a shell: job files, run ids and task names.

It has to be as fast as listing a directory, so no job is planned: a plan of 100,000 tasks takes seconds,
and the ledger has the names of tasks that were submitted before. On any error nothing is offered.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from runner.cli.common_options import common
from runner.errors import CallsheetError
from runner.project import PROJECT_FILE, Project, find_project

MOST_OFFERED = 200
_PATIENCE = 2
"""Seconds for the server of a shared ledger, the least that PostgreSQL's clients know."""
_TYPABLE = re.compile(r"[\w@%+=:,./~-]+")
"""Text that no shell reads as more than text: bash puts what it is offered on the command line unquoted."""

_SUFFIXES = {".yaml", ".yml"}


def complete_job(context: click.Context, _option: click.Parameter, typed: str) -> list[CompletionItem]:
    """Job files that begin as typed; with nothing typed those here and in jobs/."""
    found = [CompletionItem(path) for path in _job_files(typed)]
    # where none is found, the shell offers its own files
    return found or [CompletionItem(typed, type="file")]


def complete_run(context: click.Context, _option: click.Parameter, typed: str) -> list[CompletionItem]:
    """`latest`, and the ids of the runs, newest first."""
    names = ["latest"]
    with contextlib.suppress(CallsheetError, OSError):
        folders = {
            entry.name
            for project in _projects(context)
            if project.runs_dir.is_dir()
            for entry in project.runs_dir.iterdir()
            if not entry.is_symlink()
        }
        names += sorted((name for name in folders if _is_offered(name)), reverse=True)
    return [CompletionItem(name) for name in names if name.startswith(typed)][:MOST_OFFERED]


def complete_task(context: click.Context, _option: click.Parameter, typed: str) -> list[CompletionItem]:
    """The names of the tasks in the ledger."""
    query = "SELECT DISTINCT name FROM tasks WHERE substr(name, 1, ?) = ? ORDER BY name LIMIT ?"
    names: set[str] = set()
    with contextlib.suppress(CallsheetError, OSError):
        for project in _projects(context):
            if project.may_share_its_ledger():
                names.update(name for name in _shared_names(project) if name.startswith(typed))
                continue
            ledger = f"{project.ledger_path.absolute().as_uri()}?mode=ro"
            with (
                contextlib.suppress(sqlite3.Error),
                contextlib.closing(sqlite3.connect(ledger, uri=True, timeout=0.2)) as connection,
            ):
                names.update(name for (name,) in connection.execute(query, (len(typed), typed, MOST_OFFERED)))
    return [CompletionItem(name) for name in sorted(names) if _is_offered(name)][:MOST_OFFERED]


def _shared_names(project: Project) -> list[str]:
    # imported here: reading the project file takes 0.2 s
    from runner.ledger.open import open_search

    with contextlib.closing(open_search(project, seconds=_PATIENCE)) as search:
        return [*search.names()]


def _job_files(typed: str) -> Iterator[str]:
    above = typed.rpartition("/")[0]
    folders = [f"{above}/" if above else ("/" if typed.startswith("/") else "")]
    if not above:
        folders.append("jobs/")
    for folder in folders:
        with contextlib.suppress(OSError):
            for path in sorted(Path(folder or ".").expanduser().iterdir()):
                shown = f"{folder}{path.name}"
                is_job = path.suffix in _SUFFIXES and path.name != PROJECT_FILE
                if shown.startswith(typed) and is_job and _is_offered(path.name):
                    yield shown


def _is_offered(name: str) -> bool:
    return not name.startswith((".", "-")) and _TYPABLE.fullmatch(name) is not None


def _projects(context: click.Context) -> list[Project]:
    """The project here or at --root, and its rehearsal, which is found without --sandbox too."""
    project = find_project(Path(), root=common(context).root)
    rehearsal = project.rehearsal()
    return [rehearsal] if context.params.get("sandbox") else [project, rehearsal]
