"""What `callsheet validate` says for a person, a program and a pull request."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.cli.problems import show_warnings
from runner.errors import ExitCode, JobError, Problem, Severity

WRONG = """\
version: 1
models: [byteplus/seedance-1-0-pro]
sedes: 1..2
content:
  - type: text
    text: "100%: a, b"
"""


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job file with an unknown key, named from the working directory."""
    monkeypatch.chdir(tmp_path)
    assert main(["-q", "init"]) == 0
    Path("jobs/wrong.yaml").write_text(WRONG)
    return Path("jobs/wrong.yaml")


@pytest.fixture
def good(wrong: Path) -> Path:
    file = wrong.with_name("good.yaml")
    file.write_text(WRONG.replace("sedes", "seeds"))
    return file


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_for_programs_each_problem_is_an_object(
    wrong: Path, good: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["validate", "--output-format", form, str(wrong), str(good)])
    captured = capsys.readouterr()
    assert (code, captured.err) == (ExitCode.JOB_INVALID, "")
    (problem,) = json.loads(captured.out if form == "json" else f"[{captured.out}]")
    assert {name: problem[name] for name in ("file", "line", "column", "path", "severity", "hint")} == {
        "file": "jobs/wrong.yaml",
        "line": 3,
        "column": 1,
        "path": "sedes",
        "severity": "error",
        "hint": "did you mean `seeds`?",
    }


def test_github_shows_it_at_the_line_of_a_pull_request(
    wrong: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "--output-format", "github", str(wrong)]) == ExitCode.JOB_INVALID
    assert capsys.readouterr().out == (
        "::error file=jobs/wrong.yaml,line=3,col=1,title=callsheet::"
        "sedes: unknown key `sedes`; hint: did you mean `seeds`?\n"
    )


def test_nothing_wrong_is_an_empty_list(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--output-format", "json", str(good)]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_github_is_told_of_signs_that_would_end_a_property(
    wrong: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = wrong.with_name("a,b:50%.yaml")
    odd.write_text(WRONG)
    main(["validate", "--output-format", "github", str(odd)])
    assert "::error file=jobs/a%2Cb%3A50%25.yaml,line=3," in capsys.readouterr().out


def test_a_person_sees_the_line_and_a_caret(wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["validate", str(wrong)])
    assert capsys.readouterr().err.splitlines()[1:] == ["    3 | sedes: 1..2", "      | ^"]


def test_a_fresh_checkout_is_no_project_and_is_checked_all_the_same(
    wrong: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`.callsheet/` is not in git: CI and a hook see job files alone, and leave nothing behind."""
    shutil.rmtree(tmp_path / ".callsheet")
    (tmp_path / "callsheet.yaml").unlink()
    assert main(["validate", str(wrong)]) == ExitCode.JOB_INVALID
    assert "did you mean `seeds`?" in capsys.readouterr().err
    assert not (tmp_path / ".callsheet").exists()
    assert main(["--root", ".", "validate", str(wrong)]) == ExitCode.NO_PROJECT


def test_of_many_warnings_a_person_reads_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    warnings = [Problem(1, 1, "", f"cell {number}", severity=Severity.WARNING) for number in range(19_000)]
    show_warnings(warnings[:1], "a.yaml")
    assert capsys.readouterr().err == "a.yaml:1:1: warning: cell 0\n"
    show_warnings(warnings, "a.yaml")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == JobError.MOST_SHOWN + 1
    assert lines[-1] == "a.yaml: 18950 more warnings not shown"


def test_a_mistake_in_a_row_is_told_at_the_line_of_its_table(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good.with_name("shots.csv").write_text("id,prompt\na\n")
    text = "version: 1\nmodels: [byteplus/seedance-1-0-pro]\nmatrix: {shot: {from: shots.csv}}\n"
    good.write_text(text + "content: [{type: text, text: '${{ shot.prompt }}'}]\n")
    assert main(["validate", "--output-format", "github", str(good)]) == ExitCode.JOB_INVALID
    assert capsys.readouterr().out.startswith(
        "::error file=jobs/shots.csv,line=2,col=1,title=callsheet::this row"
    )
    main(["validate", "--output-format", "json", str(good)])
    assert json.loads(capsys.readouterr().out)[0]["file"] == "jobs/shots.csv"


def test_a_server_of_one_s_own_needs_no_address_to_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_VIDEOS_BASE_URL", raising=False)
    job = "version: 1\nprovider: openai\nmodels: [Wan-AI/Wan2.2-T2V-A14B]\nseeds: 1..8\n"
    Path("sweep.yaml").write_text(job + "content: [{type: text, text: A boat}]\n")
    assert main(["validate", "sweep.yaml"]) == ExitCode.DONE
    assert "valid, 8 tasks" in capsys.readouterr().out


def test_no_hint_about_the_project_file_is_taken_for_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("callsheet.yaml").write_text(
        "version: 1\n"
        "accounts:\n"
        "  acme: {provider: mesh, api_key: hush}\n"
        "  two: {provider: mesh, api_key_env: MESHAPI_API_KEY}\n"
        "ledger: postgres://studio:secret@db/ledger\n"
        "store: bucket\n"
    )
    assert main(["validate", "callsheet.yaml"]) == ExitCode.JOB_INVALID
    said = capsys.readouterr().err
    assert "accounts.acme.api_key: unknown key `api_key`; hint: did you mean `api_key_env`?" in said
    assert "hint: give it a key of its own: `{api_key_env: TWO_KEY}`" in said
    assert "hint: write `ledger: {url_env: CALLSHEET_LEDGER}`" in said
    assert "az://CONTAINER/PREFIX, without credentials, not the text `bucket`" in said
    assert "hush" not in said
    assert "studio" not in said
