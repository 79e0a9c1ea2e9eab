"""`report`: the contact sheet of a run, written again."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli import console
from runner.cli.options import ServiceOptions, common, common_options, service_options
from runner.cli.service import choose_place
from runner.cli.words import count, shown_path
from runner.engine.media import has_pyav
from runner.engine.report import Report, make_report
from runner.errors import CallsheetError, ExitCode, UsageError
from runner.job.load import DEFAULT_PROVIDER
from runner.project import Project, find_project
from runner.record.folder import LATEST

POSTER_SECONDS = 600.0
"""For somebody who asks for the page; its first thousand pictures take some ten seconds."""
AFTER_RUN_SECONDS = 30.0
AFTER_STOP_SECONDS = 2.0
"""After a signal a person or a supervisor waits for the process to end."""


@click.command()
@click.argument("run_name", metavar="[RUN]", default=LATEST)
@service_options
@common_options
def report(run_name: str, service: ServiceOptions) -> None:
    """Write the contact sheet of RUN (an id, a path to a run, or `latest`) again, and print its path.

    It is one page for a browser: the takes side by side, to play, compare and mark. Each run writes
    it at its end; write it again after files have moved, or with a newer callsheet.
    """
    project, run_id = _find(run_name, service)
    made = make_report(project, run_id, patience=POSTER_SECONDS)
    tell_lacking(made)
    console.result(shown_path(made.path))


def report_after_run(project: Project, run_id: str, code: ExitCode, *, is_told: bool) -> None:
    """Writes the page of a run that has ended, and tells where it is; a failure of it fails no run."""
    was_stopped = code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
    try:
        made = make_report(project, run_id, patience=AFTER_STOP_SECONDS if was_stopped else AFTER_RUN_SECONDS)
    except CallsheetError as error:
        console.error(f"no contact sheet: {error}")
        return
    tell_lacking(made)
    if is_told:
        console.summary(f"report:   {shown_path(made.path)}")


def tell_lacking(made: Report) -> None:
    """What is missing from the page, and what to do."""
    if made.without_poster and not has_pyav():
        console.note("the contact sheet has no pictures; hint: pip install 'callsheet[media]'")
    elif made.without_poster:
        pictures = count(made.without_poster, "picture")
        console.note(f"the contact sheet lacks {pictures}; hint: `callsheet report` makes more")


def _find(name: str, service: ServiceOptions) -> tuple[Project, str]:
    """The run's project and id, by its folder alone: the ledger may be gone, or at work."""
    path = Path(name)
    if name != LATEST and len(path.parts) > 1:
        folder = path.resolve()
        folder = folder if folder.is_dir() else folder.parent
        project = find_project(folder, root=common().root)
        base = folder.parent.parent
        return (project if base == project.root else project.rehearsal()), folder.name
    project = choose_place(DEFAULT_PROVIDER, find_project(Path(), root=common().root), service).project
    folder = project.runs_dir / name
    if not folder.is_dir():
        is_rehearsed = (project.rehearsal().runs_dir / name).is_dir() and not project.is_rehearsal
        hint = "give --sandbox: it is a rehearsal" if is_rehearsed else "`callsheet run JOB` makes one"
        raise UsageError(f"no run `{name}` in {shown_path(project.runs_dir)}", hint=hint)
    return project, folder.resolve().name
