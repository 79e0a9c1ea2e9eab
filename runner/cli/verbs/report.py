"""`report`: writes the contact sheet of a run again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.humanize import count, shown_path
from runner.cli.options import ServiceOptions, run_argument, service_options
from runner.cli.runs import find_folder
from runner.desk.report import Report, make_report
from runner.errors import INTERRUPTS, CallsheetError, ExitCode
from runner.media.video import has_pyav
from runner.project import Project
from runner.redact import printable

POSTER_SECONDS = 600.0
"""Seconds for pictures when a person asks for the page; a thousand take about ten."""
AFTER_RUN_SECONDS = 30.0
AFTER_STOP_SECONDS = 2.0
"""After a signal a person or a supervisor waits for the process to end."""
_MOST_TOLD = 5


@click.command()
@run_argument
@service_options
@common_options
def report(run_name: str, service: ServiceOptions) -> None:
    """Write the contact sheet of RUN again, and print where it is.

    One page for a browser: the takes side by side, to play, compare, mark and pick. RUN is an id or
    its beginning, a path to a run, or `latest`. Each run writes its page at its end. Write it again
    when files have moved, or to add pictures that are still missing.

    \b
    Examples:
      callsheet report
      xdg-open "$(callsheet report --sandbox)"
    """
    folder = find_folder(run_name, service)
    made = make_report(folder.project, folder.run_id, patience=POSTER_SECONDS, tell=_tell_progress)
    tell_missing(made)
    console.result(shown_path(made.path))


def report_after_runs(runs: Sequence[tuple[Project, str]], code: ExitCode, *, is_told: bool) -> None:
    """Writes the page of each run that has ended, and says where it is. It never fails a run."""
    patience = AFTER_STOP_SECONDS if code in INTERRUPTS else AFTER_RUN_SECONDS
    try:
        for project, run_id in runs:
            _report_after_run(project, run_id, patience, is_told=is_told)
    except KeyboardInterrupt:  # the exit code of the runs stands
        console.note("no contact sheet: interrupted; hint: `callsheet report` makes it")


def _report_after_run(project: Project, run_id: str, patience: float, *, is_told: bool) -> None:
    try:
        made = make_report(project, run_id, patience=patience, tell=_tell_progress)
    except CallsheetError as error:
        console.error(f"no contact sheet: {error}")
        return
    except Exception as error:  # the videos are on the disk; the exit code of the run stands
        first, *rest = console.bug_report(error)
        for line in (f"no contact sheet: {first}", *rest):
            console.error(line)
        return
    tell_missing(made)
    if is_told:
        console.summary(f"report:   {shown_path(made.path)}")


def _tell_progress(made: int, of: int) -> None:
    console.status(f"report: {made} of {count(of, 'poster')}")


def tell_missing(made: Report) -> None:
    """Says what is missing from the page, and what to do."""
    for path, why in islice(made.unreadable.items(), _MOST_TOLD):
        console.error(f"{printable(path)}: {printable(why)}")
    if made.unreadable:
        videos = count(len(made.unreadable), "video")
        console.error(f"{videos} cannot be read; hint: `callsheet verify` says whether it has changed")
    if made.without_poster and not has_pyav():
        console.note("the contact sheet has no pictures; hint: pip install 'callsheet[media]'")
    elif made.without_poster:
        pictures = count(made.without_poster, "picture")
        console.note(f"the contact sheet lacks {pictures}; hint: `callsheet report` makes more")
