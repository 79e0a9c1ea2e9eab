"""`callsheet init` and `schema --write`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.errors import ExitCode
from runner.job.project.load_project import load_project_file
from runner.resources import load_schema, schema_path


def test_init_makes_a_root_and_a_first_job_and_says_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert (tmp_path / ".callsheet").is_dir()
    assert (tmp_path / "jobs" / "hello.yaml").is_file()
    assert "next: callsheet run jobs/hello.yaml --sandbox" in capsys.readouterr().err


def test_the_first_job_s_schema_line_points_at_a_file(tmp_path: Path) -> None:
    """Editors complete and check the file from the first minute."""
    assert main(["init", str(tmp_path / "new")]) == 0
    hello = tmp_path / "new" / "jobs" / "hello.yaml"
    line = hello.read_text().splitlines()[0]
    schema = hello.parent / line.removeprefix("# yaml-language-server: $schema=")
    assert schema.resolve().read_bytes() == schema_path("job").read_bytes()


@pytest.mark.parametrize("arguments", [["init", "{}"], ["--root", "{}", "init"], ["init", "--root", "{}"]])
def test_the_directory_is_an_argument_or_the_root(arguments: list[str], tmp_path: Path) -> None:
    place = tmp_path / "film"
    assert main([argument.format(place) for argument in arguments]) == 0
    assert (place / ".callsheet").is_dir()


def test_job_files_that_are_there_stay_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    (jobs / "mine.yml").write_text("mine")
    assert main(["init", str(tmp_path)]) == 0
    assert [file.name for file in jobs.iterdir()] == ["mine.yml"]
    assert "next:" not in capsys.readouterr().err


def test_init_again_changes_nothing(tmp_path: Path) -> None:
    main(["init", str(tmp_path)])
    hello = tmp_path / "jobs" / "hello.yaml"
    hello.write_text("mine")
    assert main(["init", str(tmp_path)]) == 0
    assert hello.read_text() == "mine"


def test_what_does_not_belong_into_git_is_ignored_unless_the_root_says_itself(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path)]) == 0
    ignored = tmp_path / ".gitignore"
    assert {"/.env", "/rehearsal/", "/runs/", "/out/"} <= set(ignored.read_text().splitlines())
    ignored.write_text("mine\n")
    assert main(["init", str(tmp_path)]) == 0
    assert ignored.read_text() == "mine\n"


def test_quiet_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-q", "init", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_place_that_cannot_be_written_exits_73(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file" / "below")]) == ExitCode.NO_PROJECT
    assert "cannot make a project" in capsys.readouterr().err


def test_schema_write_puts_it_beside_the_jobs_and_prints_the_line_that_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From anywhere in the project, and again after an update."""
    assert main(["-q", "init", str(tmp_path)]) == 0
    monkeypatch.chdir(tmp_path / "jobs")
    for _ in range(2):
        assert main(["schema", "--write"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    name = line.removeprefix("# yaml-language-server: $schema=")
    assert (tmp_path / "jobs" / name).read_bytes() == schema_path("job").read_bytes()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("projct", "did you mean `project`?"), ("xyz", "the schemas are job, project, ")],
)
def test_a_schema_that_is_none_is_told_with_those_that_are(
    name: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", name]) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("target", ["", "schemas.json"])
def test_schema_write_takes_a_directory_or_a_file(target: str, tmp_path: Path) -> None:
    assert main(["schema", "manifest", "--write", str(tmp_path / target)]) == 0
    (written,) = tmp_path.iterdir()
    assert written.name == (target or "manifest.schema.json")
    assert written.read_bytes() == schema_path("manifest").read_bytes()


def test_schema_write_follows_no_planted_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    (tmp_path / "job.schema.json").symlink_to(kept)
    assert main(["schema", "--write", str(tmp_path)]) == 0
    assert kept.read_text() == "mine"


def test_schema_write_without_a_project_exits_73(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["schema", "--write"]) == ExitCode.NO_PROJECT
    assert "callsheet init" in capsys.readouterr().err


def test_schema_write_where_nothing_can_be_written_exits_74(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", "--write", str(tmp_path / "none" / "job.json")]) == ExitCode.CANNOT_WRITE
    assert "cannot write" in capsys.readouterr().err


def test_each_key_of_the_project_file_is_there_as_a_comment_that_can_be_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["-q", "init"]) == ExitCode.DONE
    file = tmp_path / "callsheet.yaml"
    first, *lines = file.read_text(encoding="utf-8").splitlines()
    settings = [line.removeprefix("# ") for line in lines[lines.index("version: 1") :] if line != "#"]
    file.write_text("\n".join([first, *settings]) + "\n", encoding="utf-8")
    found = load_project_file(tmp_path)
    assert (set(found.accounts), len(found.budgets)) == ({"acme", "gpu", "ark"}, 3)
    schema = load_schema("project")
    keys = {line.partition(":")[0] for line in settings if line[:1].isalpha()}
    assert keys == set(schema["properties"])
    words = set(re.findall(r"\w+", file.read_text(encoding="utf-8")))
    assert words >= set(schema["definitions"]["account"]["properties"])
