"""`report`: writes the contact sheet of a run again."""

from __future__ import annotations

import click

from runner.cli import console
from runner.cli.closing.endings import tell_missing, tell_progress
from runner.cli.common_options import common_options
from runner.cli.humanize import shown_path
from runner.cli.options import ServiceOptions, run_argument, service_options, workers_option
from runner.cli.runs import find_folder
from runner.desk.report import make_report
from runner.work.hire import Workers

POSTER_SECONDS = 600.0
"""Seconds for pictures when a person asks for the page; a thousand take about ten."""


@click.command()
@run_argument
@service_options
@workers_option
@common_options
def report(run_name: str, service: ServiceOptions, workers: Workers | None) -> None:
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
    made = make_report(
        folder.project, folder.run_id, patience=POSTER_SECONDS, tell=tell_progress, workers=workers
    )
    tell_missing(made)
    console.result(shown_path(made.path))
