"""A run's folder becomes its page."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from runner.cli.closing import endings as cli
from runner.desk.report import make_report
from runner.errors import ExitCode, StateError, UsageError
from runner.job.files.sources import JobCopy
from runner.project import Project, init_project
from runner.record.folder import RunFolder
from tests.support.clips import make_clip, with_noise_for_pictures
from tests.support.ledger_story import Story, make_task


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A run of two tasks: one has its file, the other's is gone."""
    project = init_project(tmp_path)
    story = Story()
    tasks = [make_task(1), make_task(2)]
    for task in tasks:
        story.finish(task)
    (tmp_path / "out").mkdir()
    (tmp_path / tasks[0].output).write_bytes(make_clip())
    folder = RunFolder(project, story.run.id)
    folder.make(JobCopy(b"version: 1\n"))
    story.write(folder.manifest, tasks)
    story.ledger.close()
    return project


def test_the_page_holds_the_picture_of_a_file_that_is_there(project: Project) -> None:
    made = make_report(project, "r1", patience=60)
    assert (made.path, made.without_poster) == (project.runs_dir / "r1" / "report.html", 0)
    page = made.path.read_text(encoding="utf-8")
    assert '"out/s1.mp4":"data:image/webp;base64,' in page
    assert '"missing":["out/s2.mp4"]' in page
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600


def test_both_tasks_have_one_digest_and_so_one_picture_is_kept(project: Project) -> None:
    make_report(project, "r1", patience=60)
    assert len(list((project.state_dir / "posters").iterdir())) == 1


def test_what_lacks_a_picture_is_counted_and_told(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_report(project, "r1", patience=-1)
    assert made.without_poster == 1
    cli.tell_missing(made)
    assert "lacks 1 picture; hint: `callsheet report` makes more" in capsys.readouterr().err


def test_a_run_without_its_job_file_has_a_page_too(project: Project) -> None:
    RunFolder(project, "r1").job.unlink()
    assert make_report(project, "r1", patience=60).path.exists()


def test_a_run_that_is_none_is_told(project: Project) -> None:
    with pytest.raises(StateError, match="there is no manifest"):
        make_report(project, "r2", patience=60)
    with pytest.raises(UsageError, match="not a run id"):
        make_report(project, "../r1", patience=60)


@pytest.mark.fault(79)
def test_a_video_that_ffmpeg_cannot_read_is_told(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.base / "out" / "s1.mp4").write_bytes(with_noise_for_pictures(make_clip()))
    cli.report_after_runs([(project, "r1")], ExitCode.DONE, is_told=True)
    told = capsys.readouterr()
    assert told.err.startswith("out/s1.mp4: FFmpeg ")
    assert "1 video cannot be read" in told.err
    assert "lacks" not in told.err
    assert "report:   " in told.out


@pytest.mark.parametrize("code", [ExitCode.DONE, ExitCode.INTERRUPTED])
def test_after_a_run_the_page_is_told_of(
    code: ExitCode, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.report_after_runs([(project, "r1")], code, is_told=True)
    assert "report:   " in capsys.readouterr().out
    cli.report_after_runs([(project, "r1")], code, is_told=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("error", [StateError("the disk is full"), KeyError("a bug"), KeyboardInterrupt()])
def test_whatever_is_wrong_with_the_page_the_run_ends_as_it_did(
    error: BaseException,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(cli, "make_report", fail)
    cli.report_after_runs([(project, "r1")], ExitCode.DONE, is_told=True)
    told = capsys.readouterr()
    assert "no contact sheet: " in told.err
    assert told.out == ""
