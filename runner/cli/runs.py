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
from runner.job.sources import JobCopy
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
    job_copy: JobCopy


def find_folder(name: str, service: ServiceOptions) -> RunFolder:
    """The folder of the run `name`: an id or its beginning, a path, or `latest`.

    No ledger is read: it may be gone, or at work. Raises UsageError, NoProjectError.
    """
    path = Path(name)
    project, run_id = _meant(path, service)
    if len(path.parts) > 1:
        return RunFolder(project, run_id)
    ids = sorted(run_ids(project))
    found = [run_id] if run_id in ids else [each for each in ids if name and each.startswith(name)]
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


def _meant(path: Path, service: ServiceOptions) -> tuple[Project, str]:
    """The project and the id that a path, an id or `latest` means; the run's folder may be gone.

    The id stays `latest` where no link says which run that is.
    """
    if len(path.parts) > 1 and path.exists():
        folder = path.resolve() if path.is_dir() else path.resolve().parent
        project = find_project(folder, root=common().root)
        own = project if folder.parent.parent == project.root else project.rehearsal()
        return own, folder.name
    project = here(service)
    link = project.runs_dir / LATEST
    return project, link.readlink().name if path == Path(LATEST) and link.is_symlink() else path.name


def run_ids(project: Project) -> Iterator[str]:
    """The ids of the runs that left a folder, in no order."""
    if project.runs_dir.is_dir():
        for entry in project.runs_dir.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                yield entry.name


def find_run(name: str, service: ServiceOptions) -> FoundRun:
    """The run `name`, as `find_folder` takes it, by its ledger: its folder may be gone.

    Raises UsageError too where it was made at another service, and StateError where the ledger or the
    copy of the job file cannot be read.
    """
    project, run_id = _meant(Path(name), service)
    with reading(project) as ledger:
        if ledger is None:
            raise nothing_yet(project)
        run = ledger.latest_run() if run_id == LATEST else ledger.run(run_id)
        if run is None:  # the beginning of an id, perhaps
            run_id = find_folder(name, service).run_id
            run = ledger.run(run_id)
        if run is None:
            check_is_remembered(project, ledger)
            raise UsageError(f"the ledger knows no run {run_id}", hint="callsheet run JOB")
    root = project.root
    place = choose_place(find(run.provider) or DEFAULT, Project(root, root), service)
    if run.origin != place.origin:
        raise UsageError(
            f"run {run.id} was made at {run.origin}, not at {place.origin}",
            hint="give --sandbox" if run.origin == SANDBOX_ORIGIN else f"give --base-url {run.origin}",
        )
    try:
        copy = RunFolder(project, run.id).job_copy()
    except StateError as error:
        raise StateError(error.message, hint=f"callsheet run {shlex.quote(run.job_file)}") from error
    return FoundRun(run, place, root / run.job_file, copy)


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
    with contextlib.closing(LedgerReader(open_for_reading(project.ledger_path))) as ledger:
        is_empty = ledger.latest_run() is None
        if is_empty:
            check_is_remembered(project, None)
        yield None if is_empty else ledger
