"""Every example job file, run to its end as a person would run it."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import pytest

from tests.support.command_process import CHECKOUT, callsheet
from tests.support.evidence import evidence_but
from tests.support.process_bench import ProcessBench

JOBS = sorted((CHECKOUT / "jobs").glob("*.yaml"))


def _assert_plays(video: Path) -> None:
    with av.open(str(video)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert frames > 24


EACH_TIME = ("quickstart", "storyboard")


@pytest.mark.parametrize(
    "job", evidence_but(lambda job: job.stem in EACH_TIME, JOBS), ids=lambda job: job.stem
)
def test_every_example_runs_to_the_end_and_a_second_run_submits_nothing(
    job: Path, film: ProcessBench
) -> None:
    first = film.call("run", film.root / "jobs" / job.name)
    assert (first.returncode, first.stderr.count("failed")) == (0, 0), first.stderr
    tasks = film.manifest()["tasks"]
    assert {task["state"] for task in tasks} == {"done"}
    videos = [film.base / output["path"] for task in tasks for output in task["outputs"]]
    assert len(videos) >= len(tasks) == film.server.accepted
    for video in videos:
        if video.suffix == ".mp4":
            _assert_plays(video)

    second = film.call("run", film.root / "jobs" / job.name)
    assert second.returncode == 0
    assert film.server.accepted == len(tasks)
    assert {task["state"] for task in film.manifest()["tasks"]} == {"done"}


def test_the_quickstart_is_rehearsed_without_a_key_or_a_server(tmp_path: Path) -> None:
    """The demo: `--sandbox` brings its own service, and says where the results are."""
    assert callsheet("init", tmp_path, cwd=tmp_path).returncode == 0
    shutil.copytree(CHECKOUT / "jobs", tmp_path / "jobs", dirs_exist_ok=True)
    first = callsheet("run", "jobs/quickstart.yaml", "--sandbox", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    videos = sorted((tmp_path / "rehearsal" / "out" / "quickstart").glob("*.mp4"))
    assert len(videos) == 6
    assert "rehearsal/out/quickstart" in first.stdout
    assert "manifest.json" in first.stdout
    before = [video.stat().st_mtime_ns for video in videos]

    second = callsheet("run", "jobs/quickstart.yaml", "--sandbox", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "was accepted" not in second.stderr
    assert [video.stat().st_mtime_ns for video in videos] == before


def test_the_first_job_of_a_new_project_runs_as_it_is(film: ProcessBench) -> None:
    shutil.rmtree(film.root / "jobs")
    assert callsheet("init", film.root, cwd=film.root).returncode == 0
    assert film.call("run", film.root / "jobs" / "hello.yaml").returncode == 0
    assert film.server.accepted == 4
