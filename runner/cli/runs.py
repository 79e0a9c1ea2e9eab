"""Finding a run by the name that a person gives it, and reading the project's ledger."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.cli.common_options import common
from runner.cli.humanize import shown_path
from runner.cli.options import ServiceOptions
from runner.cli.place import choose_place, here
from runner.errors import StateError, UsageError
from runner.ledger.database import open_for_reading
from runner.ledger.read import LedgerReader
from runner.ledger.rows import RunRow
from runner.project import Project, find_project
from runner.providers import DEFAULT, find
from runner.providers.place import SANDBOX_ORIGIN, Place
from runner.record.folder import LATEST, RunFolder
from runner.run.remembered import check_is_remembered


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run of this project, with the job file as it was run."""

    run: RunRow
    place: Place
    job_file: Path
    job_text: bytes


def find_folder(name: str, service: ServiceOptions) -> RunFolder:
    """The folder of the run `name`: an id or its beginning, a path, or `latest`.

    No ledger is read: it may be gone, or at work. Raises UsageError, NoProjectError.
    """
    path = Path(name)
    if len(path.parts) > 1:
        folder = path.resolve()
        folder = folder if folder.is_dir() else folder.parent
        project = find_project(folder, root=common().root)
        own = project if folder.parent.parent == project.root else project.rehearsal()
        return RunFolder(own, folder.name)
    project = here(service)
    link = project.runs_dir / LATEST
    meant = link.readlink().name if name == LATEST and link.is_symlink() else name
    ids = sorted(run_ids(project))
    found = [meant] if meant in ids else [run_id for run_id in ids if name and run_id.startswith(name)]
    if len(found) > 1:
        raise UsageError(f"{name}: {len(found)} runs begin so", hint="give more of the id")
    if found:
        return RunFolder(project, found[0])
    if not project.is_rehearsal and (project.rehearsal().runs_dir / name).is_dir():
        hint = "give --sandbox: it is a rehearsal"
    elif path.suffix in (".yaml", ".yml"):
        hint = "this verb takes a run, not a job file: `latest`, or an id"
    elif ids:
        hint = f"the newest is {ids[-1]}"
    else:
        raise nothing_yet(project)
    raise UsageError(f"no run `{name}` in {shown_path(project.runs_dir)}", hint=hint)


def run_ids(project: Project) -> Iterator[str]:
    """The ids of the runs that left a folder, in no order."""
    if project.runs_dir.is_dir():
        for entry in project.runs_dir.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                yield entry.name


def find_run(name: str, service: ServiceOptions) -> FoundRun:
    """The run `name`, as `find_folder` takes it, by its ledger.

    Raises UsageError too where it was made at another service, and StateError where the ledger or the
    copy of the job file cannot be read.
    """
    folder = find_folder(name, service)
    with reading(folder.project) as ledger:
        if ledger is None:
            raise nothing_yet(folder.project)
        run = ledger.run(folder.run_id)
        if run is None:
            check_is_remembered(folder.project, ledger)
            raise UsageError(f"the ledger knows no run {folder.run_id}", hint="callsheet run JOB")
    root = folder.project.root
    place = choose_place(find(run.provider) or DEFAULT, Project(root, root), service)
    if run.origin != place.origin:
        raise UsageError(
            f"run {run.id} was made at {run.origin}, not at {place.origin}",
            hint="give --sandbox" if run.origin == SANDBOX_ORIGIN else f"give --base-url {run.origin}",
        )
    try:
        text = folder.job.read_bytes()
    except OSError as error:
        raise StateError(
            f"{folder.job}: cannot read: {error.strerror}", hint=f"callsheet run {shlex.quote(run.job_file)}"
        ) from error
    return FoundRun(run, place, root / run.job_file, text)


def nothing_yet(project: Project) -> UsageError:
    """That nothing has run in `project`, or in the rehearsal that it is, and where to look instead."""
    if project.is_rehearsal:
        return UsageError("nothing has been rehearsed here yet", hint="callsheet run JOB --sandbox")
    if project.rehearsal().ledger_path.exists():
        return UsageError(
            "nothing has been run for real here yet",
            hint="there are rehearsals: give --sandbox or --base-url URL",
        )
    return UsageError("nothing has been run here yet", hint="callsheet run JOB")


@contextlib.contextmanager
def reading(project: Project) -> Iterator[LedgerReader | None]:
    """The project's ledger, read-only; None where nothing has run yet. Raises StateError where it was lost.

    A ledger without any run is what a refused verb leaves.
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
