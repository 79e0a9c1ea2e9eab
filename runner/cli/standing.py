"""Where each task of a plan stands, by the ledger and the disk alone: nothing is asked or changed."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from runner.job.node import JsonValue
from runner.job.task import Task
from runner.ledger.database import open_for_reading
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow, TaskRow
from runner.ledger.states import TaskState
from runner.project import Project

_BATCH = 500
"""Tasks that one query asks about; SQLite allows 999 parameters at least."""
_SHOWN_CHANGES = 3


class Standing(enum.StrEnum):
    """What `run` would find. Only `new` tasks are submitted."""

    NEW = "new"
    DONE = "done"
    IN_FLIGHT = "in flight"
    ABSENT = "absent"
    """Done and paid, but its file is not here; `run` fetches it again while the service has it."""
    UNCLEAR = "unclear"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Row:
    """A task with its standing, and why that is so, in words."""

    task: Task
    standing: Standing
    reason: str


def open_ledger(project: Project) -> LedgerReader | None:
    """The ledger, read-only; None where nothing has run yet. Raises StateError."""
    if not project.ledger_path.exists():
        return None
    return LedgerReader(open_for_reading(project.ledger_path))


def standings(tasks: Iterable[Task], project: Project) -> Iterator[Row]:
    """One row per task, in order and lazily. Raises StateError."""
    ledger = open_ledger(project)
    if ledger is None:
        for task in tasks:
            yield Row(task, Standing.NEW, "nothing has been submitted from this project yet")
        return
    try:
        remaining = iter(tasks)
        while batch := list(itertools.islice(remaining, _BATCH)):
            attempts = ledger.latest([task.identity for task in batch])
            for task in batch:
                yield _row(task, attempts.get(task.identity), ledger, project)
    finally:
        ledger.close()


def _row(task: Task, attempt: AttemptRow | None, ledger: LedgerReader, project: Project) -> Row:
    if attempt is None:
        return Row(task, Standing.NEW, _why_new(task, ledger.task_at(task.output)))
    match attempt.state:
        case TaskState.PLANNED:
            return Row(task, Standing.NEW, "an earlier POST is proved not to have been accepted")
        case TaskState.SUBMITTED | TaskState.COLLECTING:
            return Row(task, Standing.IN_FLIGHT, f"accepted as {attempt.remote_id}")
        case TaskState.INTENDED | TaskState.AMBIGUOUS | TaskState.HELD:
            return Row(task, Standing.UNCLEAR, "a POST may have been accepted; it is not repeated")
        case TaskState.DONE:
            return _done(task, ledger, project)
        case _:
            why = attempt.error_message or attempt.error_code or str(attempt.state)
            return Row(task, Standing.FAILED, f"{why}; not submitted again by itself")


def _done(task: Task, ledger: LedgerReader, project: Project) -> Row:
    if (project.base / task.output).exists():
        return Row(task, Standing.DONE, "")
    for output in ledger.outputs(task.identity):
        if output.kind == "video" and (project.base / output.path).exists():
            return Row(task, Standing.DONE, f"here as {output.path}; `run` puts it under the new name too")
    return Row(
        task, Standing.ABSENT, "paid for, but its file is gone; `run` fetches it if the service has it"
    )


def _why_new(task: Task, before: TaskRow | None) -> str:
    if before is None:
        return "never submitted"
    changes = list(itertools.islice(_changes(task, before), _SHOWN_CHANGES + 1))
    shown = ", ".join(changes[:_SHOWN_CHANGES]) + (", ..." if len(changes) > _SHOWN_CHANGES else "")
    return f"differs from what was made under this path: {shown}"


def _changes(task: Task, before: TaskRow) -> Iterator[str]:
    if task.origin != before.origin:
        yield f"origin {before.origin} -> {task.origin}"
    if task.edition != before.edition:
        yield f"edition {before.edition or 'none'} -> {task.edition or 'none'}"
    if task.sample != before.sample:
        yield f"sample {before.sample} -> {task.sample}"
    yield from _differences("request", task.request, before.request)


def _differences(
    path: str, now: JsonValue | Mapping[str, JsonValue], before: JsonValue | Mapping[str, JsonValue]
) -> Iterator[str]:
    if now == before:
        return
    if isinstance(now, Mapping) and isinstance(before, Mapping):
        for key in sorted(now.keys() | before.keys()):
            yield from _differences(f"{path}.{key}", now.get(key), before.get(key))
    elif isinstance(now, list | tuple) and isinstance(before, list | tuple) and len(now) == len(before):
        for place, (new, old) in enumerate(zip(now, before, strict=True)):
            yield from _differences(f"{path}[{place}]", new, old)
    elif isinstance(now, str) and isinstance(before, str) and max(len(now), len(before)) > 40:
        yield f"{path} changed"
    else:
        yield f"{path} {before} -> {now}"
