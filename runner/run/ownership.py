"""Whether a ledger is this project's: the project file names the project, and its ledger keeps that name."""

from __future__ import annotations

import secrets

from runner.errors import NoProjectError
from runner.job.project.load_project import readable_project_file
from runner.ledger.ledger import Ledger
from runner.ledger.open import is_shared, ledger_words
from runner.ledger.read import LedgerReader
from runner.project import PROJECT_FILE, Project


def check_is_own(project: Project, reader: LedgerReader) -> None:
    """Raises NoProjectError where the ledger is another project's.

    A ledger that has no name yet is taken, and so is any where the project file names no project; a shared
    one is only taken by name.
    """
    named = readable_project_file(project.root).project
    kept = reader.project
    if not named and is_shared(project):
        raise NoProjectError(
            f"{PROJECT_FILE}: keeps its ledger with others and names no project; nothing was sent",
            hint=f'write `project: "{kept or secrets.token_hex(4)}"` into it',
        )
    if named and kept and named != kept:
        raise NoProjectError(
            f"{ledger_words(project)}: is the ledger of project {kept}, and {PROJECT_FILE} names {named};"
            " nothing was sent",
            hint=f"put this project's own ledger back; if {PROJECT_FILE} was copied from another project,"
            f' write `project: "{kept}"`',
        )


def claim(project: Project, ledger: Ledger) -> None:
    """The same, and gives a ledger without a name the project's."""
    check_is_own(project, ledger.read)
    named = readable_project_file(project.root).project
    if named and not ledger.read.project:
        ledger.name_project(named)
        # another machine may have been first, with another project
        check_is_own(project, ledger.read)
