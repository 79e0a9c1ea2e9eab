"""`lease`: which machine drives which account of a shared ledger, and a person's word that one has ended."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common, common_options
from runner.cli.options import output_format
from runner.cli.runs import reading
from runner.errors import UsageError
from runner.lane.lease import PATIENCE, sign_off_host
from runner.lane.machine import boottime
from runner.ledger.caps import Budgets
from runner.ledger.leases import host_name
from runner.ledger.ledger import open_ledger
from runner.ledger.open import is_shared
from runner.plural import count
from runner.project import Project, find_project
from runner.run.ownership import check_is_own


@click.command()
@click.argument("action", type=click.Choice(["sign-off"]), required=False)
@click.argument("host", required=False)
@output_format("json", "jsonl")
@common_options
def lease(action: str | None, host: str | None, output_format: str) -> None:
    """List which machine drives which account, where several share one ledger.

    `sign-off` is your word that every callsheet on HOST (default: this machine) has ended, after a crash for
    example: others may then go on there at once, and submits that it left unclear may turn out never to have
    been accepted. It is refused while one of them gives a sign of life, for which it looks for 25 seconds.
    A callsheet that ends by itself, or by Ctrl-C, signs off by itself.

    \b
    Examples:
      callsheet lease
      callsheet lease sign-off            this machine: the last step in CI
      callsheet lease sign-off studio-2
    """
    project = find_project(Path(), root=common().root)
    if not is_shared(project):
        raise UsageError(
            "this project's ledger is its own, so no other machine drives anything of it",
            hint="`ledger: {url_env: CALLSHEET_LEDGER}` in callsheet.yaml names one to share",
        )
    if action is None:
        _list(project, output_format)
    else:
        _sign_off(project, host or host_name())


def _list(project: Project, output_format: str) -> None:
    with reading(project) as reader:
        found = [] if reader is None else [row for row in reader.leases() if not row.is_free]
    rows = [row.as_json() for row in found]
    if console.for_programs(output_format, rows, rows):
        return
    for row in found:
        console.result(row.words)
    console.summary(f"{count(len(found), 'account')} driven")


def _sign_off(project: Project, host: str) -> None:
    # without the project's lock: a run of this very root may go on meanwhile, with other accounts
    with closing(open_ledger(project, Budgets())) as ledger:
        check_is_own(project, ledger.read)
        if any(row.host == host and not row.is_free for row in ledger.read.leases()):
            console.note(f"looks for a sign of life of {host} for {PATIENCE:.0f} s")
        signed = sign_off_host(ledger, host, clock=boottime, sleep=time.sleep)
    for row in signed:
        console.result(f"signed off: {row.account} at {row.origin}")
    console.summary(f"{host}: {count(len(signed), 'account')} signed off")
