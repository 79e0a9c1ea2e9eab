"""What Tab offers, as click asks for it on behalf of a shell."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from runner.__main__ import main
from runner.cli.main import VERBS, callsheet
from runner.ledger.ledger import Ledger
from runner.project import find_project
from tests.support.command_process import callsheet as callsheet_process

JOB = "version: 1\nmodels: [byteplus/seedance-1-0-pro]\ncontent: [{type: text, text: a}]\n"


def offered(*words: str) -> list[str]:
    """What the last of `words` could become."""
    completer = ShellComplete(callsheet, {}, "callsheet", "_CALLSHEET_COMPLETE")
    return [item.value for item in completer.get_completions(list(words[:-1]), words[-1])]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["-q", "init"]) == 0
    return tmp_path


def test_verbs_and_options_are_offered() -> None:
    assert set(offered("")) == set(VERBS)
    assert offered("va") == ["validate"]
    assert "--sandbox" in offered("run", "--sa")


def test_job_files_here_and_in_jobs_are_offered(project: Path) -> None:
    (project / "boat.yml").write_text(JOB)
    (project / "notes.txt").write_text("")
    assert offered("plan", "") == ["boat.yml", "jobs/hello.yaml"]
    assert offered("plan", "jobs/h") == ["jobs/hello.yaml"]
    assert offered("validate", "boat.yml", "jo") == ["jobs/hello.yaml"]


def test_runs_are_offered_newest_first(project: Path) -> None:
    for name in ("20260101T000000Z-a", "20260201T000000Z-b"):
        (project / "runs" / name).mkdir(parents=True)
    (project / "runs" / "latest").symlink_to("20260201T000000Z-b")
    assert offered("status", "") == ["latest", "20260201T000000Z-b", "20260101T000000Z-a"]
    assert offered("status", "202601") == ["20260101T000000Z-a"]


def test_task_names_come_from_the_ledger_alone(project: Path) -> None:
    """100,000 tasks that were asked for, by a job file that is not here: none is planned."""
    found = find_project(project)
    ledger = Ledger.open(found.ledger_path)
    with ledger.transaction():
        ledger._db.executemany(
            "INSERT INTO tasks VALUES (?, ?, '', 'a.yaml', 'mesh', 'o', 'm', 1, NULL, '', '{}', '{}', '')",
            ((f"{number:064x}", f"shot-{number:06}") for number in range(100_000)),
        )
    ledger.close()
    assert offered("plan", "--only", "shot-09999")[:2] == ["shot-099990", "shot-099991"]


@pytest.mark.security(22)
def test_a_name_that_a_shell_would_read_as_more_than_text_is_not_offered(project: Path) -> None:
    """bash puts on the command line what it is offered, without quotes."""
    (project / "boat-雨.yaml").write_text(JOB)
    for name in ("$(touch owned)", "`touch owned`", "a;b", "a b", "a\nplain,b", "-x", "a\x1b"):
        (project / f"{name}.yaml").write_text(JOB)
        (project / "runs" / name).mkdir(parents=True)
    assert offered("plan", "") == ["boat-雨.yaml", "jobs/hello.yaml"]
    assert offered("status", "") == ["latest"]


@pytest.mark.parametrize("words", [("status", "20"), ("plan", "--only", "x")])
def test_without_a_project_nothing_is_offered_and_nobody_is_told(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert offered(*words) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_command_prints_each_shell_s_script(shell: str, tmp_path: Path) -> None:
    told = callsheet_process(cwd=tmp_path, _CALLSHEET_COMPLETE=f"{shell}_source")
    assert told.returncode == 0, told.stderr
    assert "_CALLSHEET_COMPLETE" in told.stdout
    assert isinstance(callsheet, click.Group)


@pytest.mark.parametrize("before", [True, False])
def test_runs_are_those_of_the_root_that_was_typed(
    before: bool, project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "runs" / "20260101T000000Z-a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    root = ("--root", str(project))
    words = (*root, "status") if before else ("status", *root)
    assert offered(*words, "2026") == ["20260101T000000Z-a"]
