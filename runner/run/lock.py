"""One writer per root: an OS lock, held for as long as the ledger is open."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from filelock import FileLock, Timeout

from runner.errors import BusyError, NoProjectError, StateError
from runner.ledger.ledger import Ledger
from runner.project import Project


@contextlib.contextmanager
def locked_ledger(project: Project, *, wait: float) -> Iterator[Ledger]:
    """The ledger, open for writing behind the project's lock. Raises BusyError, StateError."""
    with project_lock(project, wait=wait):
        ledger = Ledger.open(project.ledger_path)
        try:
            yield ledger
        finally:
            ledger.close()


@contextlib.contextmanager
def project_lock(project: Project, *, wait: float = 0.0) -> Iterator[None]:
    """Holds the project's lock; waits up to `wait` seconds for another process to let go.

    Raises BusyError (row 30), NoProjectError for a state directory that cannot be written (row 31),
    StateError on a file system without locks: a marker file would outlive a kill.
    """
    project.check_is_made()
    project.make_state_dir()
    lock = FileLock(project.lock_path, timeout=wait, mode=0o600, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(
            f"{project.base}: another callsheet is working here; nothing was sent",
            hint="try again when it is done, or let this one wait: --wait 6h",
        ) from error
    except PermissionError as error:
        raise NoProjectError(
            f"{project.lock_path}: cannot write: {error.strerror}",
            hint="make the directory writable for this user, or give another --root",
        ) from error
    except (OSError, NotImplementedError) as error:
        raise StateError(
            f"{project.lock_path}: cannot lock: {error}",
            hint="keep the project on a local file system that knows file locks",
        ) from error
    try:
        _note_holder(project)
        yield
    finally:
        lock.release()


def is_holder_gone(project: Project) -> bool:
    """Whether the process that last took the lock is known to have ended; the lock is not asked for.

    False where it lives, and where nobody can tell: it ran on another machine, or left no note.
    """
    try:
        number, _, host = project.lock_path.read_text(encoding="utf-8").partition(" ")
        if host != socket.gethostname():
            return False
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return False


def _note_holder(project: Project) -> None:
    # for people and for `status` alone, so a full disk is no reason to stop here
    with contextlib.suppress(OSError):
        # flock(2) belongs to the open file, so closing this one lets nothing go
        note = os.open(project.lock_path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        with os.fdopen(note, "w", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {socket.gethostname()}")
