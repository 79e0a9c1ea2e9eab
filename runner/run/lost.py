"""The files of an embedded ledger that was lost: what is left of it, and how another takes its place.

Nothing is deleted except what an earlier try of ours left. The old ledger is moved aside under a number of
its own, its `-wal` and `-shm` first: whatever step a kill comes at, the next try goes on.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import os
import shutil
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.durable import sync, sync_directory
from runner.errors import StateError
from runner.project import Project

_ENDS = ("-wal", "-shm", "")
"""Of the files of a ledger, in the order in which they are moved."""

_KEPT = ("salt", "project")


class Remains(enum.StrEnum):
    """What is left of the ledger."""

    NOTHING = "lost"
    DAMAGED = "damaged"
    WHOLE = "older than the runs"


@dataclass(frozen=True, slots=True)
class Old:
    """What is left; `meta` are facts of a damaged one that could be read all the same."""

    remains: Remains
    meta: Mapping[str, str] = field(default_factory=dict)


def staging_path(project: Project) -> Path:
    """Where the new ledger is made."""
    return project.state_dir / "ledger.db.recovering"


def drop_staging(project: Project) -> None:
    """Removes what an earlier try has left."""
    for end in _ENDS:
        with contextlib.suppress(FileNotFoundError):
            _file(staging_path(project), end).unlink()


def copy_to_staging(project: Project) -> Old:
    """Copies the ledger to where the new one is made, unless it is lost or damaged; it is not touched itself.

    Enter it under the lock. Raises StateError where it cannot be read.
    """
    drop_staging(project)
    path, target = project.ledger_path, staging_path(project)
    try:
        if not path.is_file() or path.stat().st_size == 0:
            return Old(Remains.NOTHING)
        for end in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(_file(path, end), _private(_file(target, end)), follow_symlinks=False)
    except OSError as error:
        drop_staging(project)
        raise StateError(
            f"{error.filename or path}: cannot copy the ledger: {error.strerror}",
            hint="make room, or mend the permissions of this directory",
        ) from error
    meta, is_whole = _look(target)
    if is_whole:
        return Old(Remains.WHOLE)
    drop_staging(project)
    return Old(Remains.DAMAGED, meta)


def _private(path: Path) -> Path:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    return path


def _look(path: Path) -> tuple[dict[str, str], bool]:
    """What the copy of a ledger says of itself, and whether it is whole."""
    meta: dict[str, str] = {}
    try:
        with contextlib.closing(sqlite3.connect(path)) as copy:
            rows = dict(copy.execute("SELECT key, value FROM meta").fetchall())
            meta = {key: rows[key] for key in _KEPT if isinstance(rows.get(key), str)}
            return meta, copy.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok"
    except sqlite3.Error:
        return meta, False


def put_in_place(project: Project) -> Path | None:
    """The new ledger takes its place, durably. Gives where the old one is now; None where there was none.

    Enter it under the lock, with both closed. Raises StateError.
    """
    path, new = project.ledger_path, staging_path(project)
    try:
        descriptor = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)
        aside = _aside(path)
        moved = [end for end in _ENDS if _file(path, end).exists()]
        for end in moved:
            _file(path, end).rename(_file(aside, end))
            sync_directory(path.parent)
        new.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StateError(
            f"{path}: cannot put the new ledger there: {error.strerror}",
            hint="mend that, then `callsheet recover` again",
        ) from error
    return aside if moved else None


def _aside(path: Path) -> Path:
    """The first free name, or that of a move which was killed before its last step."""
    for number in itertools.count(1):
        aside = path.with_name(f"{path.name}.lost-{number}")
        taken = {end for end in _ENDS if _file(aside, end).exists()}
        if "" not in taken and not any(_file(path, end).exists() for end in taken):
            return aside
    raise AssertionError("numbers do not end")


def _file(ledger: Path, end: str) -> Path:
    return ledger.with_name(ledger.name + end)
