"""A project of an earlier version is read as that version read it: ledger, runs, manifests and picks.

Nothing writes `rehearsed/project.tar.xz` again. `python -m tests.golden.freeze answers` writes the answers
again where a sentence in them was reworded, and then `git diff` has to show that sentence and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from runner import load_job, make_plan
from tests.golden.rehearsed import ANSWERS, ASKED, Rehearsed

STATES = {
    "planned", "waiting", "intended", "submitted", "ambiguous", "held", "written_off", "collecting", "done",
    "failed", "expired", "skipped", "absent",
}  # fmt: skip
RESOLUTIONS = {"adopted", "absent", "confirmed", "found", "held", "written_off", "again", "not_billed"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rehearsed:
    project = Rehearsed.unpack(tmp_path)
    monkeypatch.chdir(project.root)
    return project


def _answers(name: str) -> list[Any]:
    found: list[Any] = json.loads((ANSWERS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def test_every_file_of_answers_is_asked_for() -> None:
    assert {path.stem for path in ANSWERS.iterdir()} == set(ASKED)


@pytest.mark.parametrize("name", ASKED)
def test_the_command_line_answers_as_it_did_and_buys_nothing(name: str, project: Rehearsed) -> None:
    accepted = project.count_accepted()
    asked = _answers(name)
    assert [answer["command"] for answer in asked] == project.commands(name)
    for answer in asked:
        assert project.ask(answer["command"]) == answer
    assert project.count_accepted() == accepted > 0


def test_the_project_has_tasks_in_every_state(project: Rehearsed) -> None:
    """The task in `intended` stands in no manifest: its run was killed."""
    tasks = [task for manifest in project.manifests for task in manifest["tasks"]]
    attempts = [attempt for task in tasks for attempt in task["attempts"]]
    assert {task["state"] for task in tasks} == STATES - {"intended"}
    assert "intended" in {row["state"] for row in _answers("reconcile")[0]["answer"]}
    assert {attempt["resolution"] for attempt in attempts} == {None, *RESOLUTIONS}
    assert any(task["missing"] for task in tasks)
    assert not all(task["in_plan"] for task in tasks)


def test_its_manifests_have_the_form_that_is_documented(project: Rehearsed) -> None:
    schema = json.loads("\n".join(project.ask(["schema", "manifest"])["answer"]))
    for manifest in project.manifests:
        jsonschema.validate(manifest, schema)


def test_each_page_shows_every_task_of_its_run(project: Rehearsed) -> None:
    for manifest in project.manifests:
        run = manifest["run"]["id"]
        (page,) = project.ask(["report", run, "--sandbox"])["answer"]
        assert page == f"rehearsal/runs/{run}/report.html"
        text = (project.root / page).read_text(encoding="utf-8")
        assert [task["name"] for task in manifest["tasks"] if task["name"] not in text] == []


def test_a_pick_of_the_job_file_is_understood() -> None:
    (answer,) = [one["answer"] for one in _answers("plan") if one["command"][1] == "jobs/story.yaml"]
    above = [task["upstream"]["name"] for task in answer["tasks"] if task["upstream"] is not None]
    assert above == ["harbour-s2", "harbour-s2"]


def test_a_program_plans_the_same_tasks(project: Rehearsed) -> None:
    for one in _answers("plan"):
        file, answer = one["command"][1], one["answer"]
        if answer["edition"] == "":
            plan = make_plan(load_job(Path(file), root=Path()), origin="sandbox")
            assert [task.identity for task in plan.tasks] == [task["identity"] for task in answer["tasks"]]
