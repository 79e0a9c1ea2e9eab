"""`prune`: files that may go, never a row of the ledger."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common, common_options
from runner.cli.humanize import shown_path, size
from runner.cli.options import older_option, output_format, wait_option
from runner.cli.runs import reading, run_ids
from runner.desk.contact_sheet import Choice, read_choice
from runner.errors import ExitCode, StateError
from runner.json_value import JsonValue
from runner.ledger.open import has_ledger
from runner.plural import count
from runner.project import Project, find_project
from runner.record.folder import RunFolder
from runner.redact import printable
from runner.run.files.prune import Prunable, find_prunable, remove, standing
from runner.run.lock import project_lock

_PICKED = "picked"


@click.command()
@older_option
@click.option(
    "--keep",
    type=click.Choice(["takes", _PICKED]),
    default="takes",
    show_default=True,
    help="`takes` keeps each task's newest video; `picked` not those that a job's `pick` passed over.",
)
@click.option("--yes", is_flag=True, help="Remove the files; without it they are listed.")
@wait_option
@output_format("json", "jsonl")
@common_options
def prune(older: float, keep: str, yes: bool, wait: float, output_format: str) -> ExitCode:
    """List or remove old files: those of rehearsals, older versions, and takes that were not picked.

    The ledger and the runs' manifests stay as they are, so a task whose file is gone stays done: `run`
    buys nothing for it, and fetches it again while the service still has it. A file that was changed
    since it was published is left, and so is every copy in a store: `fetch` brings it back.

    \b
    Examples:
      callsheet prune --older 30d
      callsheet prune --older 90d --keep picked --yes
    """
    root = find_project(Path(), root=common().root)
    before = time.time() - older
    rows: list[JsonValue] = []
    found = freed = 0
    code = ExitCode.DONE
    for project in (root, root.rehearsal()):
        if not has_ledger(project):
            continue
        # without the lock a run could be reading a file, or putting it back
        with project_lock(project, wait=wait) if yes else contextlib.nullcontext():
            prunable = _prunable(project, before, takes=keep == _PICKED)
            for one, why in remove(prunable, project) if yes else ((one, "") for one in prunable):
                path = shown_path(project.base / one.row.path)
                rows.append(_fields(one, path, is_removed=yes and not why, error=why))
                if why:
                    code = ExitCode.CANNOT_WRITE
                    console.error(f"{path}: cannot be removed: {why}")
                    continue
                found, freed = found + 1, freed + one.row.bytes
                if output_format == "text":
                    made = datetime.fromtimestamp(one.row.created_at).strftime("%Y-%m-%d")
                    console.result(f"{path}  {size(one.row.bytes)}, {made}, {one.why}")
    if console.for_programs(output_format, rows, {"files": rows, "removed": yes}):
        return code
    told = f"{count(found, 'file')}, {size(freed)}"
    console.summary(f"removed {told}" if yes else f"{told} may go; nothing was removed")
    if found and not yes:
        console.next_step(_again(older, keep), "removes it" if found == 1 else "removes them")
    return code


def _prunable(project: Project, before: float, *, takes: bool) -> list[Prunable]:
    with reading(project) as ledger:
        if ledger is None:
            return []
        choices = [] if project.is_rehearsal else [*_choices(project)]
        picked = {video for choice in choices for video in choice.picked}
        passed_over = {video for choice in choices if takes for video in choice.passed_over}
        found = find_prunable(ledger, project, before=before, picked=picked, passed_over=passed_over)
        return standing(found, project)


def _choices(project: Project) -> Iterator[Choice]:
    """What each run's job picks. Raises StateError where a run's record cannot be read: it may have picks."""
    for run_id in sorted(run_ids(project)):
        folder = RunFolder(project, run_id)
        if not folder.manifest.exists():  # killed before its first manifest: nothing was done by then
            continue
        try:
            yield read_choice(folder.manifest, folder.job_copy(), root=project.root)
        except StateError as error:
            raise StateError(
                f"{shown_path(folder.path)}: cannot tell which takes it picks: {error}",
                hint="move the run's folder away to prune without it",
            ) from error


def _again(older: float, keep: str) -> str:
    days, rest = divmod(older, 86_400)
    age = f"{days:g}d" if days and not rest else f"{older:g}s"
    return f"callsheet prune --older {age}{f' --keep {keep}' if keep == _PICKED else ''} --yes"


def _fields(one: Prunable, path: str, *, is_removed: bool, error: str) -> dict[str, JsonValue]:
    return {
        "path": printable(path),
        "bytes": one.row.bytes,
        "why": str(one.why),
        "removed": is_removed,
        "error": printable(error) or None,
    }
