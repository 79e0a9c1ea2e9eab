"""Finding a run by the name that a person gives it: in the ledger, or by its folder alone."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.cli.humanize import shown_path
from runner.cli.options import ServiceOptions, common
from runner.cli.place import choose_place, here
from runner.errors import StateError, UsageError
from runner.job.load import DEFAULT_PROVIDER
from runner.ledger.database import open_for_reading
from runner.ledger.read import LedgerReader
from runner.ledger.rows import RunRow
from runner.project import Project, find_project
from runner.providers import REGISTRY
from runner.providers.place import SANDBOX_ORIGIN, Place
from runner.record.folder import LATEST, RunFolder
from runner.run.prepare import find_run, run_hint
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
    place = choose_place(DEFAULT_PROVIDER, project, service)
    with reading(place.project) as ledger:
        if ledger is None:
            raise nothing_yet(place.project)
        run = find_run(ledger, _meant(name, place.project))
    if run.provider in REGISTRY:
        place = choose_place(run.provider, project, service)
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


def find_folder(name: str, service: ServiceOptions) -> RunFolder:
    """The folder of the run `name`: an id or its beginning, a path, or `latest`.

    Raises UsageError where there is none, NoProjectError.
    """
    path = Path(name)
    if name != LATEST and len(path.parts) > 1:
        folder = path.resolve()
        folder = folder if folder.is_dir() else folder.parent
        project = find_project(folder, root=common().root)
        own = project if folder.parent.parent == project.root else project.rehearsal()
        return RunFolder(own, folder.name)
    project = here(service)
    folders = [project.runs_dir / name] if (project.runs_dir / name).is_dir() else _beginning(project, name)
    if len(folders) > 1:
        raise UsageError(f"{name}: {len(folders)} runs begin so", hint="give more of the id")
    if not folders:
        raise UsageError(f"no run `{name}` in {shown_path(project.runs_dir)}", hint=_hint(project, name))
    return RunFolder(project, folders[0].resolve().name)


def _hint(project: Project, name: str) -> str:
    if not project.is_rehearsal and (project.rehearsal().runs_dir / name).is_dir():
        return "give --sandbox: it is a rehearsal"
    runs = sorted(path.name for path in _beginning(project, "2"))
    if runs:
        return run_hint(name, runs[-1])
    if not project.is_rehearsal and project.rehearsal().runs_dir.is_dir():
        return "there are rehearsals: give --sandbox or --base-url URL"
    return "`callsheet run JOB` makes one"


def _beginning(project: Project, name: str) -> list[Path]:
    """The folders of runs whose ids begin with `name`."""
    if not name or not project.runs_dir.is_dir():
        return []
    return [
        path for path in project.runs_dir.iterdir() if path.name.startswith(name) and not path.is_symlink()
    ]


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
