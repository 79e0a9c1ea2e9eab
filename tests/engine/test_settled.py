"""Which tasks are done and in place, told without building them; everything else is left to `standing`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.fill import fill
from benchmarks.throughput import JOB
from runner.engine.settled import settled
from runner.engine.standing import standings
from runner.job.load import LoadOptions, load_job
from runner.job.plan import Plan, make_plan
from runner.job.rundate import RunDate
from runner.ledger.ledger import Ledger
from runner.ledger.states import TaskState

ORIGIN = "http://127.0.0.1:1"
TASKS = 6


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A rehearsal whose tasks are all done."""
    fill(tmp_path, TASKS, ORIGIN)
    return tmp_path / "rehearsal"


def plan_of(root: Path, tasks: int = TASKS) -> Plan:
    file = root / "job.yaml"
    file.write_text(JOB.format(tasks=tasks, in_flight=8), encoding="utf-8")
    job = load_job(file, root=root, options=LoadOptions(environ={}))
    return make_plan(job, origin=ORIGIN, run_date=RunDate.parse("2026-11-21+00:00"))


def flags_of(plan: Plan, base: Path) -> list[int]:
    """What `settled` says, checked against what `standing` says of each task."""
    ledger = Ledger.open(base / ".callsheet/ledger.db")
    assert plan.marks is not None
    flags = settled(plan.marks, ledger.read, base)
    stand = [
        standing.state is TaskState.DONE and not standing.elsewhere
        for standing in standings(plan.tasks(), ledger.read, base)
    ]
    ledger.close()
    assert [bool(flag) for flag in flags] == stand
    return list(flags)


def test_what_is_done_and_in_place_is_settled(base: Path) -> None:
    assert flags_of(plan_of(base.parent), base) == [1] * TASKS


def test_a_new_task_is_not(base: Path) -> None:
    plan = plan_of(base.parent, TASKS + 1)
    assert flags_of(plan, base) == [1] * TASKS + [0]
    assert [task.index for task in plan.roots([1] * TASKS + [0])] == [TASKS]


@pytest.mark.parametrize("harm", ["missing", "shorter", "written since"])
def test_a_file_that_is_not_as_it_was_is_left_to_standing(base: Path, harm: str) -> None:
    file = base / "out/s3.mp4"
    content = file.read_bytes()
    file.unlink()
    if harm == "shorter":
        file.write_bytes(content[:-1])
    elif harm == "written since":
        file.write_bytes(bytes(len(content)))
        os.utime(file, (4e9, 4e9))
    assert flags_of(plan_of(base.parent), base) == [1, 1, 0, 1, 1, 1]


def test_a_file_that_stands_elsewhere_is_left_to_standing(base: Path) -> None:
    plan = plan_of(base.parent)
    file = base.parent / "job.yaml"
    file.write_text(file.read_text().replace("out/s", "out/take-"), encoding="utf-8")
    job = load_job(file, root=base.parent, options=LoadOptions(environ={}))
    moved = make_plan(job, origin=ORIGIN, run_date=plan.run_date)
    assert flags_of(moved, base) == [0] * TASKS
