"""One writer per root: an OS lock, held for as long as the ledger is open."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from runner.errors import BusyError, JobError, NoProjectError, StateError
from runner.job.project.load_project import load_project_file, readable_project_file
from runner.ledger.caps import Budgets
from runner.ledger.driver_lock import DriverLock
from runner.ledger.ledger import Ledger, open_ledger
from runner.ledger.open import has_ledger, is_shared, ledger_words, open_reader
from runner.project import Project
from runner.redact import Redactor, printable
from runner.run.ownership import claim
from runner.times import duration_words


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that last took the lock, by the note that it left. `started_at` is in Unix seconds."""

    number: int
    host: str
    started_at: float | None = None
    command: str = ""

    @classmethod
    def read(cls, project: Project) -> Holder | None:
        """None where there is no note, or none that can be read."""
        try:
            first, *rest = project.lock_path.read_text(encoding="utf-8").splitlines()
            number, _, host = first.partition(" ")
            started_at = float(rest[0]) if rest else None
            return cls(int(number), host, started_at, rest[1] if len(rest) > 1 else "")
        except (OSError, ValueError):
            return None

    @property
    def is_gone(self) -> bool:
        """Whether it is known to have ended. False where it lives, and where nobody can tell."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.number, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            return False
        return False

    @property
    def words(self) -> str:
        """`callsheet run jobs/hello.yaml`, process 4242, since 2026-11-26 23:59 (3 min 12 s)."""
        command = printable(self.command) or "a callsheet"
        process = f"process {self.number}"
        if self.host != socket.gethostname():
            process += f" on {printable(self.host)}"
        if self.started_at is None:
            return f"{command}, {process}"
        since = datetime.fromtimestamp(self.started_at)
        ago = duration_words(max(0.0, time.time() - self.started_at))
        return f"{command}, {process}, since {since:%Y-%m-%d %H:%M} ({ago})"


@contextlib.contextmanager
def locked_ledger(
    project: Project, *, wait: float, tell: Callable[[str], None] | None = None
) -> Iterator[Ledger]:
    """The ledger, open for writing behind the project's lock. Raises BusyError, StateError,
    and NoProjectError for the ledger of another project.

    `tell` hears once whom it waits for, if it waits.
    """
    with project_lock(project, wait=wait, tell=tell):
        ledger = open_ledger(project, budgets_of(project))
        try:
            claim(project, ledger)
            if ledger.leases is not None:
                ledger.driver_lock = DriverLock.take(project.driver_lock_path)
            yield ledger
        finally:
            ledger.close()


def budgets_of(project: Project) -> Budgets:
    """The caps of the project file as it is now, by which each intent is judged; none in a rehearsal."""
    try:
        said = load_project_file(project.root)
    except JobError:
        return Budgets(readable_project_file(project.root).timezone, is_readable=project.is_rehearsal)
    return Budgets(said.timezone, () if project.is_rehearsal else said.budgets)


def _is_begun(project: Project) -> bool:
    """Whether the machine that made the project has used the ledger: its first `run` or `collect` names it.

    Tables alone tell nothing: `lease sign-off` at a wrong URL makes them too.
    """
    if not has_ledger(project):
        return False
    with contextlib.closing(open_reader(project)) as reader:
        return bool(reader.project) or reader.latest_run() is not None


def check_is_made(project: Project) -> None:
    """Raises NoProjectError in a new clone whose ledger is not there: nobody knows what was paid for.

    A shared ledger is there for every clone, once it was made.
    """
    if not is_shared(project):
        project.check_is_made()
    elif not project.state_dir.is_dir() and not _is_begun(project):
        raise NoProjectError(
            f"{ledger_words(project)}: is empty, and this is a new clone, so no ledger says what was paid"
            " for; nothing was sent",
            hint="check the URL; to make the ledger of a new project there: callsheet init"
            f" {shlex.quote(str(project.root))}",
        )


@contextlib.contextmanager
def project_lock(
    project: Project, *, wait: float = 0.0, tell: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Holds the project's lock; waits up to `wait` seconds for another process to let go.

    Raises BusyError (row 30), NoProjectError for a state directory that cannot be written (row 31),
    StateError on a file system without locks: a marker file would outlive a kill.
    """
    check_is_made(project)
    project.make_state_dir()
    lock = FileLock(project.lock_path, mode=0o600, fallback_to_soft=False)
    try:
        if not _is_taken(lock, 0.0):
            if wait and tell is not None:
                tell(f"waits up to {duration_words(wait)} for {_holder_words(project)}")
            if not wait or not _is_taken(lock, wait):
                raise BusyError(
                    f"{project.base}: another callsheet is working here ({_holder_words(project)});"
                    " nothing was sent",
                    hint="try again when it is done, or let this one wait: --wait 6h",
                )
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


def _is_taken(lock: FileLock, wait: float) -> bool:
    """Whether the lock could be taken within `wait` seconds."""
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        return False
    return True


def is_holder_gone(project: Project) -> bool:
    """Whether the process that last took the lock is known to have ended; the lock is not asked for.

    False where it lives, and where nobody can tell: it ran on another machine, or left no note.
    """
    holder = Holder.read(project)
    return holder is not None and holder.is_gone


def _holder_words(project: Project) -> str:
    holder = Holder.read(project)
    # the note of the process that has the lock now may not be written yet
    return "one that has just begun" if holder is None or holder.is_gone else holder.words


def _note_holder(project: Project) -> None:
    # for people and for `status` alone, so a full disk is no reason to stop here
    with contextlib.suppress(OSError):
        program, *arguments = sys.argv or [""]
        shown = [Path(program).name, *(Redactor([]).foreign_text(word) for word in arguments)]
        # flock(2) belongs to the open file, so closing this one lets nothing go
        note = os.open(project.lock_path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        with os.fdopen(note, "w", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {socket.gethostname()}\n{time.time():.3f}\n{shlex.join(shown)}\n")
