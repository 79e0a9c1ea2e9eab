"""The project root: what everything hangs on, never the working directory.

A root is a directory that holds `.callsheet/`, or the project file `callsheet.yaml`. A rehearsal (an
in-process sandbox, or an API on loopback) keeps its state, runs and outputs below `rehearsal/` in the
root, so that it is never taken for the real thing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runner.durable import make_directory
from runner.errors import NoProjectError
from runner.plain_file import read_plain

STATE_DIR = ".callsheet"
PROJECT_FILE = "callsheet.yaml"
REHEARSAL_DIR = "rehearsal"
_MOST_BYTES = 1 << 20
_LEDGER = re.compile(rb"ledger[\"']?\s*:|[\\?*]")
"""The key, or one of the ways in which YAML may spell it otherwise."""


@dataclass(frozen=True, slots=True)
class Project:
    """`root` confines inputs; `base` (the root, or `rehearsal/` in it) holds state, runs and outputs."""

    root: Path
    base: Path

    @property
    def state_dir(self) -> Path:
        return self.base / STATE_DIR

    @property
    def ledger_path(self) -> Path:
        return self.state_dir / "ledger.db"

    @property
    def shared_mark(self) -> Path:
        """Is there once a shared ledger with runs was used here: no other one is begun then."""
        return self.state_dir / "shared-ledger"

    @property
    def lock_path(self) -> Path:
        return self.state_dir / "lock"

    @property
    def driver_lock_path(self) -> Path:
        """Held by whoever drives lanes of a shared ledger."""
        return self.state_dir / "driver"

    @property
    def inputs_dir(self) -> Path:
        return self.state_dir / "inputs"

    @property
    def runs_dir(self) -> Path:
        return self.base / "runs"

    @property
    def is_rehearsal(self) -> bool:
        return self.base != self.root

    def may_share_its_ledger(self) -> bool:
        """False where the project file surely names no shared ledger, as most: YAML takes its time."""
        if self.is_rehearsal:
            return False
        try:
            text = read_plain(self.root / PROJECT_FILE, _MOST_BYTES)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        # no key stands in a line that begins with #
        return any(_LEDGER.search(line) and not line.lstrip().startswith(b"#") for line in text.splitlines())

    def rehearsal(self) -> Project:
        return Project(root=self.root, base=self.root / REHEARSAL_DIR)

    def check_links(self) -> None:
        """Raises NoProjectError where a link stands in the place of the state directory or of what is in it.

        A checkout may bring links along, and state would be written through them.
        """
        for path in (self.base, self.state_dir, *self.state_dir.glob("*")):
            if path.is_symlink():
                raise NoProjectError(
                    f"{path}: is a symbolic link",
                    hint="remove the link; state is kept in real files and directories",
                )

    def check_is_made(self) -> None:
        """Raises NoProjectError where a project file alone marks the root, as in a fresh clone.

        Nothing but `init` makes the state of real runs, so a cron run in the wrong place, or in a second
        clone, never starts on an empty ledger.
        """
        if not self.is_rehearsal and not self.state_dir.is_dir():
            raise NoProjectError(
                f"{self.root}: has {PROJECT_FILE} and no {STATE_DIR}/, so no ledger says what was paid for;"
                " nothing was sent",
                hint=f"put {STATE_DIR}/ back if there was one; in a new clone: callsheet init"
                f" {shlex.quote(str(self.root))}",
            )

    def make_state_dir(self) -> None:
        """Makes the state directory (0700, ignored by git). Raises NoProjectError where that fails."""
        try:
            self.check_links()
            self.base.mkdir(parents=True, exist_ok=True)
            make_directory(self.state_dir, 0o700)
            os.chmod(self.state_dir, 0o700)  # noqa: PTH101  mkdir's mode is cut by the umask
            # made exclusively: a dangling link in its place would be written through
            with contextlib.suppress(FileExistsError), (self.state_dir / ".gitignore").open("x") as ignore:
                ignore.write("*\n")
        except OSError as error:
            raise NoProjectError(
                f"{self.state_dir}: cannot write: {error.strerror}",
                hint="make the directory writable for this user, or give another --root",
            ) from error


def find_project(start: Path, *, root: Path | None = None) -> Project:
    """The project of the file or directory `start`, or the one at `root` where that is given.

    Raises NoProjectError (exit 73) where neither holds `.callsheet/` or a project file.
    """
    if root is not None:
        resolved = root.resolve()
        if not is_project(resolved):
            raise NoProjectError(
                f"{root}: not a callsheet project (neither {STATE_DIR}/ nor {PROJECT_FILE} in it)",
                hint=f"callsheet init {shlex.quote(str(root))}",
            )
        return Project(root=resolved, base=resolved)
    absolute = start.resolve()
    for directory in (absolute, *absolute.parents):
        # a rehearsal has a state directory of its own, and is not a root
        is_rehearsal = directory.name == REHEARSAL_DIR and is_project(directory.parent)
        if is_project(directory) and not is_rehearsal:
            return Project(root=directory, base=directory)
    raise NoProjectError(
        f"{start}: no callsheet project here or above (looked for {STATE_DIR}/ and {PROJECT_FILE})",
        hint="run `callsheet init` in the directory that holds your job files, or give --root DIR",
    )


def init_project(directory: Path) -> Project:
    """Makes `directory` a project root; does nothing where it is one already."""
    directory.mkdir(parents=True, exist_ok=True)
    resolved = directory.resolve()
    project = Project(root=resolved, base=resolved)
    project.make_state_dir()
    return project


def is_project(directory: Path) -> bool:
    """Whether `directory` is a project's root."""
    return _is(stat.S_ISDIR, directory / STATE_DIR) or _is(stat.S_ISREG, directory / PROJECT_FILE)


def _is(kind: Callable[[int], bool], path: Path) -> bool:
    try:
        return kind(path.lstat().st_mode)
    except OSError:
        return False
