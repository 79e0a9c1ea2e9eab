"""`ledger copy`: from the project's own file into a database that several machines share, or back."""

from __future__ import annotations

import enum
from contextlib import closing
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common, common_options
from runner.cli.options import output_format, wait_option
from runner.errors import NoProjectError, UsageError
from runner.job.project.load_project import readable_project_file
from runner.ledger.copy import Moved, move
from runner.ledger.database import open_for_writing
from runner.ledger.leases import host_name
from runner.ledger.ledger import Ledger
from runner.ledger.open import shared_address
from runner.plural import count
from runner.project import PROJECT_FILE, Project, find_project
from runner.run.lock import project_lock
from runner.run.ownership import check_is_own
from runner.run.remembered import check_is_recovered


class _To(enum.StrEnum):
    SHARED = "shared"
    LOCAL = "local"


@click.command()
@click.argument("action", type=click.Choice(["copy"]))
@click.option(
    "--to",
    type=click.Choice([str(each) for each in _To]),
    required=True,
    help="Where the ledger is from then on.",
)
@wait_option
@output_format("json")
@common_options
def ledger(action: str, to: str, wait: float, output_format: str) -> None:
    """Move the project's ledger: `--to shared` into the PostgreSQL that `ledger:` in callsheet.yaml names,
    `--to local` back into the project's own file.

    All rows arrive in one transaction and are compared, and the ledger that they came from is closed: no
    command uses it any more, whatever callsheet.yaml says. It is refused while another machine drives an
    account. Cut off, it can be run again.

    \b
    Examples:
      callsheet ledger copy --to shared
      callsheet ledger copy --to local
    """
    project = find_project(Path(), root=common().root)
    with project_lock(project, wait=wait):
        moved = _move(project, _To(to))
    rows = dict(moved.rows)
    if console.for_programs(output_format, [rows], {"to": to, "rows": rows, "was_done": moved.was_done}):
        return
    told = (
        f"{count(rows['tasks'], 'task')}, {count(rows['attempts'], 'attempt')}, {count(rows['runs'], 'run')}"
    )
    console.summary(f"the ledger is {'already ' if moved.was_done else ''}{to}: {told}")
    if to == _To.LOCAL:
        console.note(f"remove `ledger:` from {PROJECT_FILE}, here and in every clone")


def _move(project: Project, to: _To) -> Moved:
    address = shared_address(project)
    if address is None:
        raise UsageError(
            f"{PROJECT_FILE} names no shared ledger",
            hint="add `ledger: {url_env: CALLSHEET_LEDGER}` to it, and set that variable to the URL",
        )
    if to is _To.SHARED and not project.ledger_path.exists():
        raise NoProjectError(
            f"{project.ledger_path}: there is no ledger to copy; nothing was changed",
            hint="a new project needs no copy: the first run makes the shared ledger",
        )
    # imported here: an optional extra
    from runner.ledger.shared import open_shared

    own = open_for_writing(project.ledger_path, readable_project_file(project.root).timezone)
    with closing(own), closing(open_shared(address)) as shared:
        shared.writes_where_moved = shared.takes_its_time = True
        source, target = (own, shared) if to is _To.SHARED else (shared, own)
        # each has its salt and its id before it is compared
        reader = Ledger(source).read
        check_is_own(project, reader)
        # a file of its own waits for no machine
        check_is_recovered(project, reader)
        Ledger(target)
        words = address.words if to is _To.SHARED else f"the project's own file on {host_name()}"
        moved = move(source, target, to=words)
    if to is _To.LOCAL:
        project.shared_mark.unlink(missing_ok=True)
    return moved
