"""A project file alone marks a root, as in a fresh clone; the ledger's project must be the file's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.errors import ExitCode
from runner.job.project.load_project import load_project_file
from runner.ledger.ledger import Ledger
from runner.project import PROJECT_FILE, find_project


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert main(["-q", "init", str(tmp_path)]) == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHAPI_API_KEY", "rsk_test")
    monkeypatch.delenv("MESHAPI_BASE_URL", raising=False)
    return tmp_path


def name_in(root: Path) -> str:
    return load_project_file(root).project


def rename(root: Path, name: str) -> None:
    file = root / PROJECT_FILE
    file.write_text(file.read_text().replace(name_in(root), name))


def test_init_writes_a_valid_project_file_once(root: Path) -> None:
    first = (root / PROJECT_FILE).read_text()
    assert len(name_in(root)) == 8
    assert main(["-q", "init"]) == 0
    assert (root / PROJECT_FILE).read_text() == first
    assert main(["validate", PROJECT_FILE]) == 0


def test_every_line_that_init_left_as_a_comment_is_valid_too(root: Path) -> None:
    file = root / PROJECT_FILE
    head, _, rest = file.read_text().partition("# timezone")
    lines = [line.removeprefix("# ") for line in f"# timezone{rest}".splitlines()]
    file.write_text(head + "\n".join(lines))
    found = load_project_file(root)
    assert found.timezone is not None
    assert found.notify is not None
    assert found.trust_env
    assert found.prices


def test_a_fresh_clone_plans_and_rehearses_and_pays_for_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the ledger nobody knows what was paid for already."""
    shutil.rmtree(root / ".callsheet")
    assert find_project(root / "jobs").root == root
    assert main(["plan", "jobs/hello.yaml"]) == 0
    capsys.readouterr()
    assert main(["run", "jobs/hello.yaml"]) == ExitCode.NO_PROJECT
    told = capsys.readouterr().err
    assert "no ledger says what was paid for; nothing was sent" in told
    assert f"hint: put .callsheet/ back if there was one; in a new clone: callsheet init {root}" in told
    assert not (root / ".callsheet").exists()
    assert main(["-q", "run", "jobs/hello.yaml", "--sandbox"]) == 0
    assert not (root / ".callsheet").exists()
    name = name_in(root)
    assert main(["-q", "init", str(root)]) == 0
    assert name_in(root) == name


def test_the_ledger_takes_the_projects_name_and_refuses_another(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = name_in(root)
    assert main(["-q", "run", "jobs/hello.yaml", "--sandbox"]) == 0
    rename(root, "0123abcd")
    for verb in (["run", "jobs/hello.yaml"], ["plan", "jobs/hello.yaml"], ["status"], ["collect"]):
        capsys.readouterr()
        assert main([*verb, "--sandbox"]) == ExitCode.NO_PROJECT, verb
        told = capsys.readouterr().err
        assert f"is the ledger of project {name}, and callsheet.yaml names 0123abcd" in told
        assert f'write `project: "{name}"`' in told
    rename(root, name)
    assert main(["-q", "run", "jobs/hello.yaml", "--sandbox"]) == 0


def test_init_gives_a_project_without_the_file_the_name_that_its_ledger_has(root: Path) -> None:
    name = name_in(root)
    ledger = Ledger.open(find_project(root).ledger_path)
    ledger.name_project(name)
    ledger.close()
    (root / PROJECT_FILE).unlink()
    assert main(["-q", "init"]) == 0
    assert name_in(root) == name


def test_a_broken_project_file_keeps_nobody_from_fetching_what_was_paid_for(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-q", "run", "jobs/hello.yaml", "--sandbox"]) == 0
    (root / PROJECT_FILE).write_text("version: 1\ntimezone: Nowhere\n")
    assert main(["collect", "--sandbox"]) == 0
    capsys.readouterr()
    assert main(["run", "jobs/hello.yaml", "--sandbox"]) == ExitCode.JOB_INVALID
    assert "callsheet.yaml:2:11: timezone: `Nowhere` is not a time zone" in capsys.readouterr().err


def test_a_project_file_is_no_job(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", PROJECT_FILE]) == ExitCode.JOB_INVALID
    assert "this is the project file, not a job" in capsys.readouterr().err


def test_one_broken_project_file_is_told_once_for_many_jobs(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "jobs" / "b.yaml").write_text((root / "jobs" / "hello.yaml").read_text())
    (root / PROJECT_FILE).write_text("version: 1\nrate: 1\n")
    assert main(["validate", "jobs/hello.yaml", "jobs/b.yaml"]) == ExitCode.JOB_INVALID
    assert capsys.readouterr().err.count("unknown key `rate`") == 1
