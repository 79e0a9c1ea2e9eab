"""Files that change their place: linked under a task's new path, or moved out of another's way."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runner.errors import ExitCode, StateError
from runner.ledger.rows import OutputRow
from runner.plan.task import Task
from runner.run.progress import Progress
from runner.run.session import Session, Tools
from runner.store.files import place_copy


async def put_in_place(session: Session, progress: Progress) -> None:
    """A known identity under a new path: linked or copied, never bought again."""
    tools, task = session.tools, progress.task
    stem = task.output.removesuffix(".mp4")
    rows: dict[str, OutputRow] = {}
    for row in progress.elsewhere:
        suffix = "" if row.ordinal == 1 else f"-{row.ordinal}"
        path = f"{stem}{suffix}{'.last.png' if row.path.endswith('.png') else '.mp4'}"
        if path in rows:
            continue
        try:
            await _copy(tools, row.path, path)
        except (OSError, StateError) as error:
            _leave(session, task, f"{path}: cannot place {row.path} there: {error}")
            return
        rows[path] = replace(row, path=path, created_at=tools.machine.wall())
    await tools.commits.write(lambda ledger: ledger.add_outputs([*rows.values()]))
    tools.observe("task.placed", {"task": task.name, "path": task.output})


async def move_aside(session: Session, task: Task, rows: Sequence[OutputRow]) -> bool:
    """Moves what a rehearsal at another server left where the task's own files will stand.

    A kill on the way leaves a file under both names, and a row in the ledger for each that it has.
    """
    if not rows:
        return True
    tools = session.tools
    moved = await tools.machine.threads.run(_free_names, rows, tools.project.base)
    try:
        for row, to in zip(rows, moved, strict=True):
            await _copy(tools, row.path, to.path)
    except (OSError, StateError) as error:
        _leave(session, task, f"{task.name}: {row.path} cannot be moved aside: {error}")
        return False
    await tools.commits.write(lambda ledger: ledger.add_outputs(moved))
    for row, to in zip(rows, moved, strict=True):
        await tools.machine.threads.run(tools.files.remove, tools.project.base / row.path)
        tools.observe("task.moved_aside", {"task": task.name, "path": row.path, "to": to.path})
    return True


def _free_names(rows: Sequence[OutputRow], base: Path) -> list[OutputRow]:
    """The same files where they are kept when they give way: `out/s1.mp4` as `out/s1.v1.mp4`, or the next
    number that is free for all of them.
    """
    for number in itertools.count(1):
        moved = [replace(row, path=_numbered(row.path, number)) for row in rows]
        if not any(os.path.lexists(base / row.path) for row in moved):
            return moved
    raise AssertionError("unreachable")


def _numbered(path: str, number: int) -> str:
    suffix = ".last.png" if path.endswith(".last.png") else ".mp4"
    return f"{path.removesuffix(suffix)}.v{number}{suffix}"


async def _copy(tools: Tools, source: str, target: str) -> None:
    base = tools.project.base
    await tools.machine.threads.run(place_copy, tools.files, base / source, base / target)


def _leave(session: Session, task: Task, reason: str) -> None:
    session.control.condition(ExitCode.CANNOT_WRITE, reason)
    session.control.left(task.name, reason, task.identity)
