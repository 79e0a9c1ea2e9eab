"""A run that is in the ledger already, found by the name that a person gives it."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.cli.options import ServiceOptions, common
from runner.cli.service import choose_place
from runner.errors import StateError, UsageError
from runner.ledger.database import open_for_reading
from runner.ledger.read import LedgerReader
from runner.ledger.rows import RunRow
from runner.project import Project, find_project
from runner.providers import DEFAULT, find
from runner.providers.place import SANDBOX_ORIGIN, Place
from runner.record.folder import LATEST, RunFolder
from runner.run.prepare import find_run
from runner.run.remembered import check_is_remembered


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run of this project, with the job file as it was run."""

    run: RunRow
    place: Place
    job_file: Path
    job_text: bytes


def nothing_yet(project: Project) -> UsageError:
    """That `project`, or the rehearsal that it is, has no ledger yet; and where to look instead."""
    if project.is_rehearsal:
        return UsageError("nothing has been rehearsed here yet", hint="callsheet run JOB --sandbox")
    if project.rehearsal().ledger_path.exists():
        return UsageError(
            "nothing has been run for real here yet",
            hint="there are rehearsals: give --sandbox or --base-url URL",
        )
    return UsageError("nothing has been run here yet", hint="callsheet run JOB")


def find_run_here(name: str, service: ServiceOptions) -> FoundRun:
    """The run `name` (an id, a path, `latest`) of the project here, or at --root, or at that path.

    Raises NoProjectError, UsageError, StateError.
    """
    path = Path(name)
    project = find_project(path if path.exists() else Path(), root=common().root)
    place = choose_place(DEFAULT, project, service)
    with reading(place.project) as ledger:
        if ledger is None:
            raise nothing_yet(place.project)
        run = find_run(ledger, _meant(name, place.project))
    if (provider := find(run.provider)) is not None:
        place = choose_place(provider, project, service)
    if run.origin != place.origin:
        raise UsageError(
            f"run {run.id} was made at {run.origin}, not at {place.origin}",
            hint="give --sandbox" if run.origin == SANDBOX_ORIGIN else f"give --base-url {run.origin}",
        )
    folder = RunFolder(place.project, run.id)
    try:
        text = folder.job.read_bytes()
    except OSError as error:
        raise StateError(
            f"{folder.job}: cannot read: {error.strerror}", hint=f"callsheet run {shlex.quote(run.job_file)}"
        ) from error
    return FoundRun(run, place, project.root / run.job_file, text)


def _meant(name: str, project: Project) -> str:
    """`latest` is what runs/latest names: the run that was worked on last, whenever it began."""
    link = project.runs_dir / LATEST
    return link.readlink().name if name == LATEST and link.is_symlink() else name


@contextlib.contextmanager
def reading(project: Project) -> Iterator[LedgerReader | None]:
    """The project's ledger, read-only; None where nothing has run yet: a refused verb leaves one without
    any run. Also raises StateError where it was lost.
    """
    if not project.ledger_path.exists():
        check_is_remembered(project, None)
        yield None
        return
    ledger = LedgerReader(open_for_reading(project.ledger_path))
    try:
        is_empty = ledger.latest_run() is None
        if is_empty:
            check_is_remembered(project, None)
        yield None if is_empty else ledger
    finally:
        ledger.close()
