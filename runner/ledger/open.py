"""Where a project's ledger is (its own file, or the one that `ledger:` names) and how it is read.

`open_ledger` in ledger.py opens it for writing.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.util
import os
from typing import TYPE_CHECKING, TypeVar

from runner.durable import sync_directory
from runner.errors import JobError, NoProjectError, StateError
from runner.job.project.load_project import ledger_variable
from runner.ledger.database import open_for_reading
from runner.ledger.engine import Engine
from runner.ledger.read import LedgerReader
from runner.ledger.search import LedgerSearch
from runner.project import PROJECT_FILE, Project

if TYPE_CHECKING:
    from runner.ledger.postgres import Address

R = TypeVar("R", bound=LedgerReader)

MOVED = "moved"
"""The key of `meta` that says where this ledger was moved to: nothing is read or written here any more."""

ARRIVES = "arrives"
"""The key of `meta` that names the move which this ledger waits for."""


def has_ledger(project: Project) -> bool:
    """Whether there is one: a project that has run nothing has none. Raises StateError, NoProjectError."""
    address = shared_address(project)
    if address is None:
        check_is_not_shared(project)
        return project.ledger_path.exists()
    # imported here: an optional extra
    from runner.ledger.shared import open_shared_for_reading

    engine = open_shared_for_reading(address)
    if engine is None:
        _check_own_is_moved(project)
        _check_is_begun(project, None)
        return False
    engine.close()
    return True


def open_reader(project: Project, zone: datetime.tzinfo | None = None) -> LedgerReader:
    """The ledger for reading beside a writer. Raises StateError, NoProjectError.

    An older one is read as its upgrade will have it, with the days of `zone`.
    """
    return _opened(LedgerReader, project, zone)


def open_search(project: Project, *, seconds: int | None = None) -> LedgerSearch:
    """The same, for finding tasks by what a person has in hand; a server is waited for so long."""
    return _opened(LedgerSearch, project, None, seconds)


def ledger_words(project: Project) -> str:
    """Where it is, for a person; never a URL."""
    address = shared_address(project)
    return str(project.ledger_path) if address is None else address.words


def is_shared(project: Project) -> bool:
    """Whether other machines may write to it. A rehearsal's never is."""
    return bool(_variable(project))


def shared_address(project: Project) -> Address | None:
    """Where the shared ledger of a project is; None where it has one of its own.

    Raises NoProjectError where its variable is not set, or no such URL, and JobError where nobody can say.
    """
    variable = _variable(project)
    if not variable:
        return None
    # not by `.env`: it may have come with a checkout, and this is where all that is asked for is sent
    url = os.environ.get(variable, "").strip()
    if not url:
        raise NoProjectError(
            f"{PROJECT_FILE} keeps the ledger at the URL in {variable}, which is not set; nothing was sent",
            hint=f"export {variable}=postgresql://USER:PASSWORD@HOST/DATABASE",
        )
    return _address(variable, url)


@functools.lru_cache(maxsize=4)
def _address(variable: str, url: str) -> Address:
    if importlib.util.find_spec("psycopg") is None:
        raise NoProjectError(
            "a shared ledger needs the extra `postgres`", hint="pip install 'callsheet[postgres]'"
        )
    # imported here: an optional extra
    from runner.ledger.postgres import Address

    try:
        return Address.parse(url)
    except ValueError as error:
        raise NoProjectError(
            f"{variable}: {error}", hint=f"export {variable}=postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from None


def _variable(project: Project) -> str:
    if not project.may_share_its_ledger():
        return ""
    try:
        return ledger_variable(project.root)
    except JobError:
        # with mistakes in it, the file may name one: what is here, and was never moved, is the project's own
        if project.ledger_path.exists():
            return ""
        raise


def _opened(kind: type[R], project: Project, zone: datetime.tzinfo | None, seconds: int | None = None) -> R:
    address = shared_address(project)
    engine: Engine | None
    if address is None:
        check_is_not_shared(project)
        engine = open_for_reading(project.ledger_path, zone)
    else:
        # imported here: an optional extra
        from runner.ledger.shared import open_shared_for_reading

        engine = open_shared_for_reading(address, seconds=seconds)
        if engine is None:
            _check_own_is_moved(project)
            _check_is_begun(project, None)
            raise NoProjectError(
                f"{address.words}: nothing was ever written there",
                hint="check the URL; the first run makes the ledger",
            )
    reader = kind(engine)
    try:
        check_is_here(project, reader)
    except BaseException:
        reader.close()
        raise
    return reader


def check_is_here(project: Project, reader: LedgerReader) -> None:
    """Raises NoProjectError where the ledger was moved away from here, or is still to be moved here."""
    moved = reader.meta(MOVED)
    if moved is None:
        if reader.meta(ARRIVES) is not None and reader.latest_run() is None:
            to = "shared" if reader.is_shared else "local"
            raise NoProjectError(
                f"{ledger_words(project)}: a copy of a ledger to here was cut off; nothing was sent",
                hint=f"on the machine where it began: callsheet ledger copy --to {to}",
            )
        if reader.is_shared:
            _check_own_is_moved(project)
            _check_is_begun(project, reader)
        return
    if reader.is_shared:
        raise NoProjectError(
            f"{ledger_words(project)}: was moved to {moved}; nothing was sent",
            hint=f"there, remove `ledger:` from {PROJECT_FILE}, or move it back: callsheet ledger copy --to"
            " shared",
        )
    raise NoProjectError(
        f"{project.ledger_path}: was moved to {moved}; nothing was sent",
        hint=f"put `ledger: {{url_env: NAME}}` back into {PROJECT_FILE}",
    )


def check_is_not_shared(project: Project) -> None:
    """Raises NoProjectError where the project has no ledger with runs of its own, and has used a shared one
    here.
    """
    if project.shared_mark.exists() and not _has_own_runs(project):
        raise NoProjectError(
            f"{project.root}: has used a shared ledger, and {PROJECT_FILE} names none any more; nothing was"
            " sent",
            hint=f"put `ledger: {{url_env: NAME}}` back into {PROJECT_FILE}, or move the ledger here first:"
            " callsheet ledger copy --to local",
        )


def _has_own_runs(project: Project) -> bool:
    """A `ledger copy` that came no further leaves a file without any; a damaged one tells of none."""
    if not project.ledger_path.exists():
        return False
    try:
        with contextlib.closing(LedgerReader(open_for_reading(project.ledger_path))) as own:
            return own.latest_run() is not None
    except StateError:
        return False


def write_shared_mark(project: Project) -> None:
    """Notes that a shared ledger with runs is used here. Raises StateError."""
    mark = project.shared_mark
    if mark.exists():
        return
    try:
        mark.touch(mode=0o600)
        sync_directory(mark.parent)
    except OSError as error:
        raise StateError(
            f"{mark}: cannot write: {error.strerror}; nothing was sent", hint="make room, then run again"
        ) from error


def _check_is_begun(project: Project, reader: LedgerReader | None) -> None:
    """Raises NoProjectError where a shared ledger has no run, and one with runs was used here."""
    if project.shared_mark.exists() and (reader is None or reader.latest_run() is None):
        raise NoProjectError(
            f"{ledger_words(project)}: knows of no run, and this project has used a shared ledger with runs;"
            " nothing was sent",
            hint="check the URL; after a loss, put the newest backup there, then `callsheet recover`",
        )


def _check_own_is_moved(project: Project) -> None:
    """Raises NoProjectError where the project's own file has runs, and was never moved."""
    if not project.ledger_path.exists():
        return
    own = LedgerReader(open_for_reading(project.ledger_path))
    try:
        is_used = own.meta(MOVED) is None and own.latest_run() is not None
    finally:
        own.close()
    if is_used:
        raise NoProjectError(
            f"{project.ledger_path}: knows of runs that {ledger_words(project)} does not; nothing was sent",
            hint="callsheet ledger copy --to shared",
        )
