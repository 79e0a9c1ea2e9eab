"""The folder of a run: private, found again by `latest`, never through a planted link."""

from __future__ import annotations

import stat
from hashlib import sha256
from pathlib import Path

import pytest

from runner.errors import StateError, UsageError
from runner.job.files.sources import JobCopy
from runner.project import Project, init_project
from runner.record.folder import RunFolder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return init_project(tmp_path / "project")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_job_is_kept_as_run_in_a_private_folder(project: Project) -> None:
    folder = RunFolder(project, "20261121-1")
    folder.make(JobCopy(b"version: 1\r\n"))

    assert folder.job.read_bytes() == b"version: 1\r\n"
    assert (mode(folder.path), mode(folder.job)) == (0o700, 0o600)
    assert folder.manifest == project.runs_dir / "20261121-1" / "manifest.json"
    assert folder.events == project.runs_dir / "20261121-1" / "events.jsonl"


def test_latest_is_a_relative_link_to_the_newest(project: Project) -> None:
    RunFolder(project, "r1").make(JobCopy(b"1"))
    RunFolder(project, "r2").make(JobCopy(b"2"))

    latest = project.runs_dir / "latest"
    assert latest.readlink() == Path("r2")
    assert (latest / "job.yaml").read_bytes() == b"2"
    assert sorted(path.name for path in project.runs_dir.iterdir()) == ["latest", "r1", "r2"]


def test_a_resume_writes_the_newest_text_and_keeps_the_rest(project: Project) -> None:
    folder = RunFolder(project, "r1")
    folder.make(JobCopy(b"1"))
    folder.manifest.write_text("{}")
    folder.make(JobCopy(b"2"))

    assert folder.job.read_bytes() == b"2"
    assert folder.manifest.exists()


def test_a_rehearsal_has_runs_of_its_own(project: Project) -> None:
    rehearsal = project.rehearsal()
    rehearsal.make_state_dir()
    RunFolder(rehearsal, "r1").make(JobCopy(b"1"))

    assert (project.root / "rehearsal" / "runs" / "latest" / "job.yaml").exists()
    assert not project.runs_dir.exists()


@pytest.mark.security(6)
@pytest.mark.parametrize("planted", ["runs", "runs/r1"])
def test_a_planted_link_is_refused(project: Project, tmp_path: Path, planted: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place = project.root / planted
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(elsewhere)

    with pytest.raises(StateError, match="is not a directory"):
        RunFolder(project, "r1").make(JobCopy(b"1"))

    assert list(elsewhere.iterdir()) == []


def test_a_planted_link_for_the_job_file_is_replaced_not_followed(project: Project, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = RunFolder(project, "r1")
    folder.path.mkdir(parents=True)
    folder.job.symlink_to(precious)
    folder.path.joinpath(".job.yaml.partial").symlink_to(precious)

    folder.make(JobCopy(b"1"))

    assert precious.read_text() == "mine"
    assert not folder.job.is_symlink()


def test_something_else_under_the_name_latest_is_refused(project: Project) -> None:
    project.runs_dir.mkdir()
    (project.runs_dir / "latest").write_text("mine")

    with pytest.raises(StateError, match=r"latest: is not a symbolic link"):
        RunFolder(project, "r1").make(JobCopy(b"1"))

    assert (project.runs_dir / "latest").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "latest", ".", "..", "../x", "a/b", "/etc", "a\0b", "a\n", "-r"])
def test_a_name_that_is_no_run_id_is_refused(project: Project, name: str) -> None:
    with pytest.raises(UsageError, match="not a run id"):
        RunFolder(project, name)


def test_a_directory_that_cannot_be_made_is_said_so(project: Project) -> None:
    with pytest.raises(StateError, match="cannot write: No such file"):
        RunFolder(project.rehearsal(), "r1").make(JobCopy(b"1"))


def test_a_link_that_cannot_be_made_is_said_so(project: Project) -> None:
    (project.runs_dir / ".latest.partial").mkdir(parents=True)

    with pytest.raises(StateError, match="cannot make the link"):
        RunFolder(project, "r1").make(JobCopy(b"1"))


def test_the_text_of_each_session_is_kept(project: Project) -> None:
    """Also the one that an older callsheet kept as job.yaml alone."""
    folder = RunFolder(project, "r1")
    folder.make(JobCopy(b"1"))
    folder.job_of(sha256(b"1").hexdigest()).unlink()
    for text in (b"2", b"3", b"2"):
        folder.make(JobCopy(text))
    kept = {path.name: path.read_bytes() for path in (folder.path / "jobs").iterdir()}
    assert kept == {f"{sha256(text).hexdigest()}.yaml": text for text in (b"1", b"2", b"3")}


def test_the_files_of_a_job_are_kept_with_the_job_that_read_them(project: Project) -> None:
    folder = RunFolder(project, "r1")
    first = JobCopy(b"extends: house.yaml\n", {"jobs/house.yaml": b"seeds: 1\n", "jobs/list.csv": b"id\n"})
    second = JobCopy(first.text, {**first.files, "jobs/house.yaml": b"seeds: 2\n"})

    folder.make(first)
    assert folder.job_copy() == first
    folder.make(second)
    assert folder.job_copy() == second
    folder.make(JobCopy(b"version: 1\n"))
    assert folder.job_copy() == JobCopy(b"version: 1\n")

    kept = {
        folder.file_of(sha256(content).hexdigest())
        for each in (first, second)
        for content in each.files.values()
    }
    assert set(folder.path.glob("jobs/files/*")) == kept


def test_a_kept_file_that_was_changed_is_not_run(project: Project) -> None:
    folder = RunFolder(project, "r1")
    folder.make(JobCopy(b"1", {"house.yaml": b"seeds: 1\n"}))
    folder.file_of(sha256(b"seeds: 1\n").hexdigest()).write_bytes(b"seeds: 9\n")

    with pytest.raises(StateError, match="not as it was"):
        folder.job_copy()
