"""The project root: found from the job file upwards, made by `init` alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runner.errors import ExitCode, NoProjectError
from runner.project import find_project, init_project


def test_the_root_is_the_nearest_parent_of_the_job_file(tmp_path: Path) -> None:
    init_project(tmp_path)
    inner = init_project(tmp_path / "inner")
    job = tmp_path / "inner" / "jobs" / "deep" / "a.yaml"
    assert find_project(job).root == inner.root


def test_the_working_directory_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cron run from inside another project must not start on that project's ledger."""
    init_project(tmp_path / "mine")
    init_project(tmp_path / "other")
    monkeypatch.chdir(tmp_path / "other")
    assert find_project(tmp_path / "mine" / "a.yaml").root == (tmp_path / "mine").resolve()


def test_a_given_root_wins_over_a_nearer_one(tmp_path: Path) -> None:
    outer = init_project(tmp_path)
    init_project(tmp_path / "inner")
    assert find_project(tmp_path / "inner" / "a.yaml", root=tmp_path).root == outer.root


def test_without_a_root_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(NoProjectError, match="callsheet init") as caught:
        find_project(tmp_path / "a.yaml")
    assert caught.value.exit_code is ExitCode.NO_PROJECT


def test_a_given_root_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(NoProjectError, match="not a callsheet project"):
        find_project(tmp_path, root=tmp_path)


def test_a_file_named_like_the_state_directory_is_no_root(tmp_path: Path) -> None:
    (tmp_path / ".callsheet").write_text("")
    with pytest.raises(NoProjectError):
        find_project(tmp_path)


@pytest.mark.security(6)
def test_a_link_named_like_the_state_directory_is_no_root(tmp_path: Path) -> None:
    """A pre-planted link would put the ledger where somebody else can write it."""
    (tmp_path / "elsewhere").mkdir()
    project = tmp_path / "project"
    project.mkdir()
    (project / ".callsheet").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NoProjectError):
        find_project(project)
    with pytest.raises(NoProjectError, match="symbolic link"):
        init_project(project)


def test_a_rehearsal_keeps_everything_of_its_own_below_the_root(tmp_path: Path) -> None:
    real = init_project(tmp_path)
    rehearsal = real.rehearsal()
    places = ["state_dir", "ledger_path", "lock_path", "inputs_dir", "runs_dir"]
    assert {getattr(rehearsal, place) for place in places}.isdisjoint(
        getattr(real, place) for place in places
    )
    assert all(getattr(rehearsal, place).is_relative_to(tmp_path.resolve() / "rehearsal") for place in places)
    assert rehearsal.root == real.root
    assert (rehearsal.is_rehearsal, real.is_rehearsal) == (True, False)


def test_a_job_file_inside_a_rehearsal_belongs_to_the_real_root(tmp_path: Path) -> None:
    real = init_project(tmp_path)
    real.rehearsal().make_state_dir()
    assert find_project(tmp_path / "rehearsal" / "runs" / "job.yaml").root == real.root


def test_a_project_may_be_called_rehearsal(tmp_path: Path) -> None:
    """Only one inside a project is a rehearsal's."""
    project = init_project(tmp_path / "rehearsal")
    assert find_project(tmp_path / "rehearsal" / "a.yaml").root == project.root


@pytest.mark.security(6)
def test_the_state_directory_is_private_and_ignores_itself(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        project = init_project(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(project.state_dir.stat().st_mode) == 0o700
    assert (project.state_dir / ".gitignore").read_text() == "*\n"


def test_init_again_changes_nothing(tmp_path: Path) -> None:
    project = init_project(tmp_path)
    (project.state_dir / ".gitignore").write_text("mine\n")
    assert init_project(tmp_path) == project
    assert (project.state_dir / ".gitignore").read_text() == "mine\n"


def test_a_state_directory_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    project = find_project(init_project(tmp_path).root).rehearsal()
    (tmp_path / "rehearsal").write_text("in the way")
    with pytest.raises(NoProjectError, match="cannot write"):
        project.make_state_dir()
