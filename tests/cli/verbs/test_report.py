"""`callsheet report`, and the page that each run leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from runner.errors import ExitCode
from tests.support.command_process import callsheet

JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
request: {resolution: 480p, ratio: 1:1, duration: 4}
content: [{type: text, text: A paper boat}]
output: out/boat.mp4
run: {poll: {first: 200ms, min: 100ms, max: 200ms}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one rehearsed run, of one task."""
    root = tmp_path_factory.mktemp("film")
    assert callsheet("init", root, cwd=root).returncode == 0
    (root / "jobs" / "boat.yaml").write_text(JOB, encoding="utf-8")
    ran = callsheet("run", "jobs/boat.yaml", "--sandbox", cwd=root)
    assert ran.returncode == 0, ran.stderr
    [run] = [folder for folder in (root / "rehearsal" / "runs").iterdir() if not folder.is_symlink()]
    assert f"report:   rehearsal/runs/{run.name}/report.html" in ran.stdout
    assert "data:image/webp;base64," in (run / "report.html").read_text(encoding="utf-8")
    return root


def latest(project: Path) -> Path:
    return (project / "rehearsal" / "runs" / "latest").resolve()


def test_the_page_is_made_again_from_the_folder_alone(project: Path) -> None:
    """No ledger, no key, no network, and the same page."""
    page = latest(project) / "report.html"
    before = page.read_bytes()
    page.unlink()
    state = project / "rehearsal" / ".callsheet"
    ledger = state.with_name("elsewhere")
    shutil.move(state, ledger)
    try:
        made = callsheet("report", "--sandbox", cwd=project)
    finally:
        shutil.rmtree(state, ignore_errors=True)
        shutil.move(ledger, state)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == f"rehearsal/runs/{page.parent.name}/report.html\n"
    assert page.read_bytes() == before


@pytest.mark.parametrize("how", ["id", "path", "link", "manifest"])
def test_a_run_is_named_by_its_id_or_its_path(how: str, project: Path) -> None:
    run = latest(project)
    name = {
        "id": run.name,
        "path": str(run),
        "link": "rehearsal/runs/latest",
        "manifest": str(run / "manifest.json"),
    }[how]
    option = ["--sandbox"] if how == "id" else []
    made = callsheet("report", name, *option, cwd=project)
    assert (made.returncode, made.stdout) == (0, f"rehearsal/runs/{run.name}/report.html\n"), made.stderr


def test_a_run_that_is_not_there_is_told_with_where_it_may_be(project: Path) -> None:
    made = callsheet("report", "no-such-run", "--sandbox", cwd=project)
    assert made.returncode == ExitCode.USAGE
    assert "no run `no-such-run` in rehearsal/runs" in made.stderr
    made = callsheet("report", cwd=project)
    assert made.returncode == ExitCode.USAGE
    assert "there are rehearsals: give --sandbox" in made.stderr


def test_a_run_without_a_manifest_is_told(project: Path) -> None:
    empty = latest(project).with_name("20260101T000000Z-000000")
    empty.mkdir()
    made = callsheet("report", empty, cwd=project)
    empty.rmdir()
    assert made.returncode == ExitCode.CANNOT_WRITE
    assert "there is no manifest" in made.stderr
    assert "Traceback" not in made.stderr


def test_a_page_that_cannot_be_written_fails_no_run(project: Path) -> None:
    page = latest(project) / "report.html"
    page.unlink()
    page.mkdir()
    try:
        ran = callsheet("run", "jobs/boat.yaml", "--sandbox", cwd=project)
        again = latest(project) / "report.html"
        if again == page:
            assert "no contact sheet" in ran.stderr
        assert ran.returncode == 0
    finally:
        page.rmdir()
        callsheet("report", page.parent, cwd=project)
