"""Finding a run by its folder alone: its ledger may be gone, or at work."""

from __future__ import annotations

from pathlib import Path

from runner.cli.options import ServiceOptions, common
from runner.cli.service import choose_place
from runner.cli.words import shown_path
from runner.errors import UsageError
from runner.project import Project, find_project
from runner.providers import DEFAULT
from runner.record.folder import LATEST, RunFolder
from runner.run.prepare import run_hint


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


def here(service: ServiceOptions) -> Project:
    """The project of the working directory or of --root; its rehearsal where the service is one."""
    return choose_place(DEFAULT, find_project(Path(), root=common().root), service).project


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
