"""The note in the lock file: whose process took it."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runner.errors import BusyError
from runner.project import Project, init_project
from runner.run.lock import Holder, is_holder_gone, project_lock


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return init_project(tmp_path)


def test_the_note_names_the_process_and_the_lock_holds_still(project: Project) -> None:
    with project_lock(project):
        first, started, command = project.lock_path.read_text().splitlines()
        assert first == f"{os.getpid()} {socket.gethostname()}"
        assert abs(float(started) - time.time()) < 60
        assert command == shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
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


def test_whoever_waits_hears_once_and_at_once_for_whom(project: Project) -> None:
    held, told = threading.Event(), []
    go = threading.Event()

    def hold() -> None:
        with project_lock(project):
            held.set()
            go.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(20)

    def tell(words: str) -> None:
        told.append(words)
        go.set()

    with project_lock(project, wait=20, tell=tell):
        holder.join(20)
    (words,) = told
    assert words.startswith("waits up to 20.0 s for ")
    assert f"process {os.getpid()}, since " in words


def test_whoever_is_refused_hears_who_is_at_work(project: Project) -> None:
    with project_lock(project):
        note = f"{os.getpid()} {socket.gethostname()}\n{time.time() - 192}\ncallsheet run jobs/hello.yaml\n"
        project.lock_path.write_text(note)
        with (
            pytest.raises(
                BusyError, match=r"\(callsheet run jobs/hello.yaml, process \d+, since .*3 min 12 s\)"
            ),
            project_lock(project, wait=0.01),
        ):
            raise AssertionError("two at once")


def test_the_note_of_an_older_callsheet_names_the_process(project: Project) -> None:
    project.lock_path.write_text(f"{os.getpid()} {socket.gethostname()}")
    holder = Holder.read(project)
    assert holder is not None
    assert holder.words == f"a callsheet, process {os.getpid()}"
    assert not holder.is_gone
