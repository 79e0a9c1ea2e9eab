"""Finding a run by the name that a person gives it, and reading the project's ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.cli.common_options import common
from runner.cli.humanize import shown_path
from runner.cli.next_commands import command
from runner.cli.options import ServiceOptions
from runner.cli.place import here, leading_to, world_words, worlds
from runner.errors import StateError, UsageError
from runner.job.files.sources import JobCopy
from runner.job.project.load_project import readable_project_file
from runner.ledger.open import has_ledger, is_shared, open_reader
from runner.ledger.read import LedgerReader
from runner.ledger.rows import RunRow
from runner.project import Project, find_project
from runner.record.folder import LATEST, RunFolder
from runner.run.ownership import check_is_own
from runner.run.remembered import check_is_remembered

_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run of this project, with the job file as it was run. `service` are the options that lead to it."""

    run: RunRow
    project: Project
    service: ServiceOptions
    job_file: Path
    job_copy: JobCopy


def find_folder(name: str, service: ServiceOptions) -> RunFolder:
    """The folder of the run `name`: an id or its beginning, a path, or `latest`.

    Where `service` says nothing, a rehearsal is found too. No ledger is read: it may be gone, or at work.
    Raises UsageError, NoProjectError.
    """
    path = Path(name)
    if len(path.parts) > 1:
        return RunFolder(*_at(path, service))
    if name == LATEST:
        project = here(service)
        link = project.runs_dir / LATEST
        if link.is_symlink():
            return RunFolder(project, link.readlink().name)
        raise _no_run(name, [project])
    projects = worlds(service)
    found = [(project, each) for project in projects for each in run_ids(project) if each == name]
    found = found or _beginning_with(name, ((p, each) for p in projects for each in run_ids(p)))
    if not found:
        raise _no_run(name, projects)
    return RunFolder(*found[0])


_OF_JOBS = (".yaml", ".yml")


def _at(path: Path, service: ServiceOptions) -> tuple[Project, str]:
    """The project and the id that a path means; the run's folder may be gone."""
    if path.suffix in _OF_JOBS and path.is_file():
        raise _no_run(str(path), worlds(service))
    folder = path.parent.resolve() if path.is_file() else path.resolve()
    if not path.exists():
        project = here(service)
        return next((each for each in worlds(service) if each.runs_dir == folder.parent), project), path.name
    project = find_project(folder, root=common().root)
    return project if folder.parent.parent == project.root else project.rehearsal(), folder.name


def _beginning_with(name: str, runs: Iterable[tuple[Project, str]]) -> list[tuple[Project, str]]:
    """The one run whose id begins with `name`, or none. Raises UsageError where several do."""
    found = sorted(
        ((project, each) for project, each in runs if name and each.startswith(name)),
        key=lambda one: one[1],
        reverse=True,
    )
    if len(found) > 1:
        shown = ", ".join(f"{each} ({world_words(project)})" for project, each in found[:_MOST_SHOWN])
        more = ", ..." if len(found) > _MOST_SHOWN else ""
        raise UsageError(f"{name}: {len(found)} runs begin so: {shown}{more}", hint="give more of the id")
    return found


def _no_run(name: str, projects: list[Project]) -> UsageError:
    """That no run is called `name`, with the newest one that there is."""
    ids = [max(run_ids(project), default="") for project in projects]
    if Path(name).suffix in _OF_JOBS:
        hint = "this verb takes a run, not a job file: `latest`, or an id"
    elif newest := max(ids, default=""):
        hint = f"the newest is {newest}"
    else:
        return nothing_yet(projects[0])
    where = " or ".join(shown_path(project.runs_dir) for project in projects if project.runs_dir.is_dir())
    return UsageError(f"no run `{name}` in {where}", hint=hint)


def run_ids(project: Project) -> Iterator[str]:
    """The ids of the runs that left a folder, in no order."""
    if project.runs_dir.is_dir():
        for entry in project.runs_dir.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                yield entry.name


def find_run(name: str, service: ServiceOptions) -> FoundRun:
    """The run `name`, as `find_folder` takes it, by its ledger: its folder may be gone.

    Raises UsageError, and StateError where the ledger or the copy of the job file cannot be read.
    """
    project, run = _row(name, service)
    root = project.root
    try:
        copy = RunFolder(project, run.id).job_copy()
    except StateError as error:
        line = command(
            "run", shown_path(root / run.job_file), service=leading_to(run.origin, project, service)
        )
        is_elsewhere = is_shared(project) and not RunFolder(project, run.id).path.exists()
        said = (
            f"run {run.id} was made on another machine, which has its folder"
            if is_elsewhere
            else error.message
        )
        raise StateError(said, hint=line) from error
    return FoundRun(run, project, leading_to(run.origin, project, service), root / run.job_file, copy)


def find_run_to_go_on(name: str, service: ServiceOptions, verb: str) -> FoundRun:
    """`find_run`, of the service that the options lead to: what is submitted goes nowhere else.

    Raises UsageError too where the run was made at another service.
    """
    found = find_run(name, service)
    if found.service != service:
        line = command(verb, name, service=found.service)
        raise UsageError(
            f"run {found.run.id} is {world_words(found.project)}, made at {found.run.origin}", hint=line
        )
    return found


def _row(name: str, service: ServiceOptions) -> tuple[Project, RunRow]:
    """The run by the ledger that knows it."""
    path = Path(name)
    if len(path.parts) > 1:
        project, run_id = _at(path, service)
        sought = [(project, RunFolder(project, run_id).run_id)]
    elif name == LATEST:
        project = here(service)
        link = project.runs_dir / LATEST
        sought = [(project, link.readlink().name if link.is_symlink() else LATEST)]
    else:
        sought = [(project, name) for project in worlds(service)]
    begun: list[tuple[Project, str]] = []
    rows: dict[str, tuple[Project, RunRow]] = {}
    for project, run_id in sought:
        with reading(project) as ledger:
            if ledger is None:
                continue
            run = ledger.latest_run() if run_id == LATEST else ledger.run(run_id)
            if run is not None:
                return project, run
            for each in ledger.runs_beginning(run_id):
                rows[each.id] = project, each
                begun.append((project, each.id))
    if not rows and not any(has_ledger(project) for project, _ in sought):
        raise nothing_yet(sought[0][0])
    if found := _beginning_with(name, begun):
        return rows[found[0][1]]
    for project, _ in sought:
        with reading(project) as ledger:
            if ledger is not None:
                check_is_remembered(project, ledger)
    folder = find_folder(name, service)
    raise UsageError(f"the ledger knows no run {folder.run_id}", hint="callsheet run JOB")


def nothing_yet(project: Project) -> UsageError:
    """That nothing has run in `project`, or in the rehearsal that it is, and where to look instead."""
    if project.is_rehearsal:
        return UsageError("nothing has been rehearsed here yet", hint="callsheet run JOB --sandbox")
    if has_ledger(project.rehearsal()):
        return UsageError(
            "nothing has been run for real here yet",
            hint="there are rehearsals: give --sandbox or --base-url URL",
        )
    return UsageError("nothing has been run here yet", hint="callsheet run JOB")


@contextlib.contextmanager
def reading(project: Project) -> Iterator[LedgerReader | None]:
    """The project's ledger, read-only; None where nothing has run yet. Raises StateError where it was
    lost, NoProjectError where it is another project's.

    A ledger without any run is what a refused verb leaves.
    """
    if not has_ledger(project):
        check_is_remembered(project, None)
        yield None
        return
    zone = readable_project_file(project.root).timezone
    with contextlib.closing(open_reader(project, zone=zone)) as ledger:
        check_is_own(project, ledger)
        is_empty = ledger.latest_run() is None
        if is_empty:
            check_is_remembered(project, None)
        yield None if is_empty else ledger
