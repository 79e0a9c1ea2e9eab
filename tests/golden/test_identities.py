"""Identities and output paths never change: a changed one would buy again what is paid for.

`identities.json` is written by `python -m tests.golden.freeze identities`, never by hand. That command adds
new files of `project/` and refuses to change an old entry.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden.frozen import IDENTITIES, PROJECT, identities, job_files, plan_of

GOLDEN = json.loads(IDENTITIES.read_text(encoding="utf-8"))


def test_every_frozen_job_is_in_the_golden_file_and_the_other_way_round() -> None:
    assert list(GOLDEN) == job_files()
    assert all(job["tasks"] for job in GOLDEN.values())


@pytest.mark.parametrize("file", GOLDEN)
def test_a_job_plans_the_same_cells_identities_and_paths(file: str) -> None:
    plan = plan_of(file)
    assert [[task.identity, task.cell_name, task.output] for task in plan.tasks] == GOLDEN[file]["tasks"]
    assert (plan.origin, plan.edition) == (GOLDEN[file]["origin"], GOLDEN[file]["edition"])


@pytest.mark.parametrize("file", GOLDEN)
def test_names_end_as_their_outputs_do_and_tell_the_tasks_apart(file: str) -> None:
    tasks = plan_of(file).tasks
    assert len({task.name for task in tasks}) == len(tasks)
    assert all(task.name.endswith(Path(task.output).stem) for task in tasks)


def test_the_golden_file_is_the_same_to_the_byte() -> None:
    assert IDENTITIES.read_bytes() == identities(job_files()).encode()


def test_what_is_no_part_of_the_picture_names_the_same_tasks() -> None:
    """Defaults written out, and fields outside the identity."""
    kettles = {
        name: [task[0] for task in GOLDEN[f"forms/{name}.yaml"]["tasks"]]
        for name in ("defaults-left-out", "defaults-written", "outside-the-identity", "edition-fixed")
    }
    assert kettles["defaults-written"] == kettles["outside-the-identity"] == kettles["defaults-left-out"]
    assert not set(kettles["edition-fixed"]) & set(kettles["defaults-left-out"])


def test_a_job_is_the_same_under_another_root(tmp_path: Path) -> None:
    """Where the project lies, and what its files are called, is no part of an identity."""
    for picture in ("lake-day.png", "lake-dusk.png"):
        target = tmp_path / "jobs" / "assets" / picture
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((PROJECT / "jobs" / "assets" / picture).read_bytes())
    moved = tmp_path / "else" / "renamed.yaml"
    moved.parent.mkdir()
    moved.write_bytes((PROJECT / "forms" / "local-files.yaml").read_bytes())
    plan = plan_of("else/renamed.yaml", root=tmp_path)
    assert [task.identity for task in plan.tasks] == [
        task[0] for task in GOLDEN["forms/local-files.yaml"]["tasks"]
    ]
