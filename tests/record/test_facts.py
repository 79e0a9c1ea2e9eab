"""What a session knows of its process and of the job file's commit; real git, or none."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runner import __version__
from runner.record.facts import session_facts
from runner.redact import REMOVED, Redactor

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(directory: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(directory), *identity, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def job(tmp_path: Path) -> Path:
    file = tmp_path / "repo" / "jobs" / "a [1].yaml"
    file.parent.mkdir(parents=True)
    file.write_text("version: 1\n")
    return file


@pytest.fixture
def root(job: Path) -> Path:
    return job.parent.parent


def git_facts(job: Path, root: Path) -> dict[str, Any]:
    facts = session_facts([], job, root, Redactor(()))["git"]
    assert isinstance(facts, dict)
    return facts


def commit(job: Path, root: Path) -> str:
    git(root, "init", "-q")
    git(root, "add", "--", "jobs")
    git(root, "commit", "-q", "-m", "first")
    return git(root, "rev-parse", "HEAD")


@needs_git
def test_a_committed_job_file_is_clean(job: Path, root: Path) -> None:
    head = commit(job, root)
    (root / "unrelated").write_text("not of this job")

    assert git_facts(job, root) == {"commit": head, "job_file_dirty": False, "note": ""}


@needs_git
@pytest.mark.parametrize("is_staged", [True, False])
def test_a_changed_job_file_is_dirty(job: Path, root: Path, is_staged: bool) -> None:
    head = commit(job, root)
    job.write_text("version: 1\nname: other\n")
    if is_staged:
        git(root, "add", "-A")

    assert git_facts(job, root) == {"commit": head, "job_file_dirty": True, "note": ""}


@needs_git
@pytest.mark.parametrize("is_ignored", [True, False])
def test_a_job_file_that_git_does_not_track_is_dirty(job: Path, root: Path, is_ignored: bool) -> None:
    commit(job, root)
    other = job.with_name("b.yaml")
    other.write_text("version: 1\n")
    if is_ignored:
        (root / ".gitignore").write_text("b.yaml\n")

    assert git_facts(other, root)["job_file_dirty"] is True


@needs_git
def test_a_repository_without_a_commit_is_said_so(job: Path, root: Path) -> None:
    git(root, "init", "-q")

    assert git_facts(job, root) == {
        "commit": None,
        "job_file_dirty": True,
        "note": "the repository has no commit yet",
    }


@needs_git
def test_no_repository_is_fine_and_said_so(job: Path, root: Path) -> None:
    assert git_facts(job, root) == {
        "commit": None,
        "job_file_dirty": None,
        "note": "not in a git repository",
    }


def test_no_git_is_fine_and_said_so(job: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(root))

    assert git_facts(job, root) == {"commit": None, "job_file_dirty": None, "note": "git is not installed"}


@needs_git
def test_a_hooks_own_git_dir_is_not_believed(
    job: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = commit(job, root)
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))

    assert git_facts(job, root)["commit"] == head


@needs_git
def test_a_repository_cannot_have_a_program_run(job: Path, root: Path) -> None:
    commit(job, root)
    trap = root / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {root}/sprung\n")
    trap.chmod(0o700)
    git(root, "config", "core.fsmonitor", str(trap))

    git_facts(job, root)

    assert not (root / "sprung").exists()


@needs_git
def test_a_job_file_whose_directory_is_gone_is_asked_for_at_the_root(job: Path, root: Path) -> None:
    head = commit(job, root)
    shutil.rmtree(job.parent)

    assert git_facts(job, root) == {"commit": head, "job_file_dirty": True, "note": ""}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exec sleep 9", "git did not answer within 0.02 s"),
        ("echo 'fatal: dubious ownership' >&2; exit 128", "git could not say: fatal: dubious ownership"),
        ("exit 1", "git could not say: no reason"),
    ],
)
def test_a_git_that_does_not_work_is_said_so(
    job: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o700)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    if "sleep" in script:
        monkeypatch.setattr("runner.record.facts._GIT_SECONDS", 0.02)

    assert git_facts(job, root)["note"] == said


def test_a_git_that_cannot_be_started_is_said_so(
    job: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text("#!/no/such/interpreter\n")
    fake.chmod(0o700)
    monkeypatch.setenv("PATH", str(fake.parent))

    assert git_facts(job, root)["note"].startswith("git could not be started")


@pytest.mark.security(20)
def test_the_command_line_is_kept_without_secrets(job: Path, root: Path) -> None:
    argv = ["run", "my job.yaml", "--base-url", "https://me:hidden@h.test/?k=hidden", "swordfish"]

    facts = session_facts(argv, job, root, Redactor(["swordfish"]))

    assert facts["command"] == ["callsheet", "run", "my job.yaml", "--base-url", "https://h.test/", REMOVED]


def test_versions_are_named_and_the_machine_is_not(job: Path, root: Path) -> None:
    facts = session_facts(["run"], job, root, Redactor(()))

    versions = facts["versions"]
    assert isinstance(versions, dict)
    assert versions["callsheet"] == __version__
    assert versions["python"] == platform.python_version()
    assert {"anyio", "httpx"} <= versions.keys()
    assert socket.gethostname() not in str(facts)
