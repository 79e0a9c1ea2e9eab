"""The note in the lock file: whose process took it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runner.errors import BusyError
from runner.project import Project, init_project
from runner.run.lock import is_holder_gone, project_lock


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return init_project(tmp_path)


def test_the_note_names_the_process_and_the_lock_holds_still(project: Project) -> None:
    with project_lock(project):
        assert project.lock_path.read_text() == f"{os.getpid()} {socket.gethostname()}"
        assert not is_holder_gone(project)
        with pytest.raises(BusyError), project_lock(project):
            raise AssertionError("two at once")
        assert not is_holder_gone(project)


def test_a_process_that_has_ended_is_gone(project: Project) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    project.lock_path.write_text(f"{ended.stdout.decode().strip()} {socket.gethostname()}")
    assert is_holder_gone(project)


@pytest.mark.parametrize(
    "note", ["", "12", "no number here", f"{10**30} {socket.gethostname()}", "1 other-machine"]
)
def test_what_cannot_be_told_is_not_gone(project: Project, note: str) -> None:
    project.lock_path.write_text(note)
    assert not is_holder_gone(project)
