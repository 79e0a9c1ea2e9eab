"""A task that is done and in place is told by one query and one look at each file; the rest takes more."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.ledger.ledger import Ledger
from runner.ledger.states import TaskState
from runner.plan.plan import Plan, make_plan
from runner.project import init_project
from runner.run.task import progress as module
from runner.run.task.progress import Progress, progress_of
from tests.support.ledger_story import Story, make_run, output_row
from tests.support.run_bench import job_text

ORIGIN = "http://127.0.0.1:1"
TASKS = 6
CONTENT = b"done"
DONE, ABSENT, PLANNED = TaskState.DONE, TaskState.ABSENT, TaskState.PLANNED


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A rehearsal whose tasks are all done."""
    project = init_project(tmp_path).rehearsal()
    project.state_dir.mkdir(parents=True)
    story = Story(Ledger.open(project.ledger_path), make_run(origin=ORIGIN))
    (project.base / "out").mkdir()
    for task in plan_of(tmp_path).tasks:
        (project.base / task.output).write_bytes(CONTENT)
        attempt = story.submit(task)
        row = output_row(task, attempt, time.time())
        sha256 = hashlib.sha256(CONTENT).hexdigest()
        story.finish(task, attempt=attempt, file=replace(row, bytes=len(CONTENT), sha256=sha256))
    story.ledger.close()
    return project.base


def plan_of(root: Path, tasks: int = TASKS, output: str = "out/s") -> Plan:
    file = root / "job.yaml"
    file.write_text(job_text(seeds=tasks).replace("out/s", output), encoding="utf-8")
    job = load_job(file, root=root, options=LoadOptions(environ={}))
    return make_plan(job, origin=ORIGIN, run_date=RunDate.parse("2026-11-21+00:00"))


def all_progress(plan: Plan, base: Path, monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """How the tasks stand; the short way and the long one say the same."""
    ledger = Ledger.open(base / ".callsheet/ledger.db")
    short = list(progress_of(plan.tasks, ledger.read, base))
    with monkeypatch.context() as patch:
        patch.setattr(module, "_in_place", lambda *_: {})
        long = list(progress_of(plan.tasks, ledger.read, base))
    ledger.close()
    assert [replace(each, attempt=None) for each in short] == [replace(each, attempt=None) for each in long]
    return short


def states_of(plan: Plan, base: Path, monkeypatch: pytest.MonkeyPatch) -> list[TaskState]:
    return [each.state for each in all_progress(plan, base, monkeypatch)]


def test_what_is_done_and_in_place_is_done(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = all_progress(plan_of(base.parent), base, monkeypatch)
    assert [(each.state, each.video) for each in found] == [(DONE, f"out/s{n}.mp4") for n in range(1, 7)]
    assert all(each.attempt is None for each in found)


def test_a_new_task_is_new(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert states_of(plan_of(base.parent, TASKS + 1), base, monkeypatch) == [DONE] * TASKS + [PLANNED]


@pytest.mark.parametrize(
    ("harm", "state"),
    [("missing", ABSENT), ("shorter", ABSENT), ("another", ABSENT), ("written anew", DONE)],
)
def test_a_file_that_is_not_as_it_was_is_looked_at(
    base: Path, harm: str, state: TaskState, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = base / "out/s3.mp4"
    content = file.read_bytes()
    if harm == "missing":
        file.unlink()
    elif harm == "shorter":
        file.write_bytes(content[:-1])
    else:
        file.write_bytes(bytes(len(content)) if harm == "another" else content)
        os.utime(file, (4e9, 4e9))
    expected = [DONE, DONE, state, DONE, DONE, DONE]
    assert states_of(plan_of(base.parent), base, monkeypatch) == expected


def test_a_file_that_stands_elsewhere_is_told(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = all_progress(plan_of(base.parent, output="out/take-"), base, monkeypatch)
    assert [[row.path for row in each.elsewhere] for each in found] == [
        [f"out/s{n}.mp4"] for n in range(1, 7)
    ]
