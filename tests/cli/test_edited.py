"""A job file that is edited between two sessions of one run: what left the plan was paid for, and is told."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from runner.errors import ExitCode
from runner.job.files.sources import JobCopy
from runner.project import find_project
from runner.record.folder import RunFolder
from runner.resources import load_schema
from runner.sandbox import Kind, SandboxServer
from tests.support.verb_bench import JOB, STORY, VerbBench

pytestmark = pytest.mark.fault(70)

BEFORE = JOB.replace("seeds: 1..2", "seeds: [1, 2, 3]").replace("settle: 0s", "settle: 0s, submit_slots: 1")
AFTER = BEFORE.replace("seeds: [1, 2, 3]", "seeds: [3, 4]")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def folder(verbs: VerbBench) -> Path:
    return verbs.root / "rehearsal/runs/latest"


def entries(verbs: VerbBench, *, in_plan: bool) -> dict[str, Any]:
    manifest = verbs.manifest()
    Draft7Validator(load_schema("manifest")).validate(manifest)
    return {task["name"]: task for task in manifest["tasks"] if task["in_plan"] is in_plan}


@pytest.fixture
def edited(verbs: VerbBench, server: SandboxServer) -> VerbBench:
    """One run: its first session paid for s1 and s2, and the second for s3 and s4 of another job file."""
    verbs.write(BEFORE)
    verbs.fault(Kind.ANSWER, status=402, code="insufficient_credits", after=2)
    assert verbs.call("run", "boat.yaml") == ExitCode.OUT_OF_MONEY
    verbs.write(AFTER)
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    assert server.accepted == 4
    return verbs


def test_every_paid_task_of_a_run_is_in_its_manifest(edited: VerbBench, server: SandboxServer) -> None:
    manifest = edited.manifest()
    departed, planned = entries(edited, in_plan=False), entries(edited, in_plan=True)
    assert (list(planned), list(departed)) == (["s3", "s4"], ["s1", "s2"])
    assert {attempt["remote_id"] for task in manifest["tasks"] for attempt in task["attempts"]} == {
        task.id for task in server.tasks()
    }
    for task in departed.values():
        assert (task["state"], task["index"], len(task["outputs"])) == ("done", None, 1)
    assert manifest["counts"]["total"] == manifest["counts"]["by_state"]["done"] == 2
    assert manifest["counts"]["not_in_plan"] == 2
    assert manifest["usage"]["cost"]["tasks"] == 4
    tokens = [task["usage"]["total_tokens"] for task in manifest["tasks"]]
    assert manifest["usage"]["reported"]["total_tokens"] == sum(tokens)


def test_each_session_has_its_job_file(edited: VerbBench) -> None:
    digests = [session["job_digest"] for session in edited.manifest()["run"]["sessions"]]
    assert digests == [sha256(BEFORE), sha256(AFTER)]
    for text in (BEFORE, AFTER):
        assert (folder(edited) / "jobs" / f"{sha256(text)}.yaml").read_text() == text
    assert (folder(edited) / "job.yaml").read_text() == AFTER


@pytest.mark.parametrize(
    ("lost", "finding"),
    [("out/s1.mp4", "missing"), (f"runs/latest/jobs/{sha256(BEFORE)}.yaml", "missing")],
)
def test_verify_looks_at_what_left_the_plan(edited: VerbBench, lost: str, finding: str) -> None:
    assert edited.call("verify") == ExitCode.DONE
    assert "7 files: 7 same" in edited.out + edited.err
    (edited.root / "rehearsal" / lost).unlink()
    assert edited.call("verify") == ExitCode.TASK_FAILED
    assert f"1 {finding}" in edited.out + edited.err


def test_a_changed_copy_is_found(edited: VerbBench) -> None:
    (folder(edited) / "jobs" / f"{sha256(BEFORE)}.yaml").write_text(AFTER)
    assert edited.call("verify") == ExitCode.TASK_FAILED
    assert "not the job file that the manifest names" in edited.out


@pytest.mark.parametrize(("name", "since", "text"), [("s1", "changed", BEFORE), ("s4", "same", AFTER)])
def test_show_knows_the_job_file_that_a_clip_was_made_from(
    edited: VerbBench, name: str, since: str, text: str
) -> None:
    assert edited.call("show", name, "--output-format", "json") == ExitCode.DONE
    [document] = json.loads(edited.out)
    [run] = document["runs"]
    assert (run["job_file_since"], run["job_sha256"]) == (since, sha256(text))
    assert (edited.root / run["job_kept"]).read_text() == text


def test_the_contact_sheet_shows_what_left_the_plan(edited: VerbBench) -> None:
    page = (folder(edited) / "report.html").read_text()
    [task] = [task for task in entries(edited, in_plan=False).values() if task["name"] == "s1"]
    assert f'"name":"s1 ({task["identity"][:8]})"' in page
    assert page.count('"in_plan":false') == 2
    assert edited.call("report") == ExitCode.DONE


def test_diff_tells_what_left_the_plan(edited: VerbBench) -> None:
    """Also where another request has its name by now."""
    before = edited.manifest()["run"]["id"]
    edited.write(
        AFTER.replace("A paper boat", "A tin boat").replace("out/", "tin/").replace("[3, 4]", "1..4")
    )
    assert edited.call("run", "boat.yaml") == ExitCode.DONE
    assert edited.call("diff", before, "latest", "--output-format", "json") == ExitCode.DONE
    rows = {
        row["task"]: [change["what"] for change in row["changes"]] for row in json.loads(edited.out)["tasks"]
    }
    assert rows["s1"][0] == "plan"
    assert "plan" not in rows["s3"]


def test_a_prompt_that_was_edited_leaves_two_tasks_of_one_name(verbs: VerbBench) -> None:
    verbs.write(BEFORE)
    verbs.fault(Kind.ANSWER, status=402, code="insufficient_credits", after=1)
    assert verbs.call("run", "boat.yaml") == ExitCode.OUT_OF_MONEY
    verbs.write(BEFORE.replace("A paper boat", "A tin boat").replace("out/", "tin/"))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert list(entries(verbs, in_plan=True)) == ["s1", "s2", "s3"]
    # the second was refused by the 402, and is an attempt of this run all the same
    departed = entries(verbs, in_plan=False)
    assert {name: task["state"] for name, task in departed.items()} == {"s1": "done", "s2": "planned"}
    run = verbs.manifest()["run"]["id"]
    assert verbs.call("diff", run, run) == ExitCode.DONE
    assert "5 tasks: 0 added, 0 removed, 0 changed, 5 same" in verbs.out


def test_an_attempt_stays_in_the_run_that_made_it(verbs: VerbBench) -> None:
    """Another run of the same task makes one of its own."""
    verbs.fault(Kind.ANSWER, status=402, code="insufficient_credits")
    assert verbs.call("run", "boat.yaml") == ExitCode.OUT_OF_MONEY
    first = folder(verbs).resolve().name
    (verbs.root / "boat.yaml").rename(verbs.root / "ship.yaml")
    assert verbs.call("run", "ship.yaml") == ExitCode.DONE
    tasks = [task for task in verbs.manifest()["tasks"] if len(task["attempts"]) > 1]
    for task in tasks:
        states = [(attempt["run_id"] == first, attempt["state"]) for attempt in task["attempts"]]
        assert states == [(True, "planned"), (False, "done")]
    assert tasks


def test_a_departed_task_in_flight_keeps_its_run_open(verbs: VerbBench) -> None:
    verbs.write(BEFORE)
    verbs.fault(Kind.OUTCOME, text="running")
    assert verbs.call("run", "boat.yaml", "--deadline", "2s") == ExitCode.TRY_AGAIN
    verbs.write(BEFORE.replace("seeds: [1, 2, 3]", "seeds: [4]"))
    assert verbs.call("run", "boat.yaml", "--deadline", "2s") == ExitCode.TRY_AGAIN
    departed = entries(verbs, in_plan=False)
    assert [task["state"] for task in departed.values()].count("submitted") == 1
    assert verbs.manifest()["run"]["finished_at"] is None


def test_a_step_that_left_the_plan_says_what_it_was_made_from(verbs: VerbBench) -> None:
    verbs.write(STORY)
    verbs.fault(Kind.ANSWER, status=402, code="insufficient_credits", after=2)
    verbs.write(STORY.replace("seeds: 7", "seeds: [7, 8]"))
    assert verbs.call("run", "boat.yaml") == ExitCode.OUT_OF_MONEY
    verbs.write(STORY.replace("seeds: 7", "seeds: 9"))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    departed = {task["identity"]: task for task in entries(verbs, in_plan=False).values()}
    needing = [task for task in departed.values() if task["step"] == "second"]
    assert all(task["needs"] in departed for task in needing)
    assert verbs.call("report") == verbs.call("verify") == ExitCode.DONE


def test_what_an_older_callsheet_kept_is_kept_and_its_manifest_is_valid(edited: VerbBench) -> None:
    """It kept the newest text alone, and noted for no session which one that was."""
    for copy in (folder(edited) / "jobs").iterdir():
        copy.unlink()
    manifest = edited.manifest()
    # as `resume` does: the finished run is opened again
    RunFolder(find_project(edited.root).rehearsal(), manifest["run"]["id"]).make(JobCopy(b"version: 2"))
    assert (folder(edited) / "jobs" / f"{sha256(AFTER)}.yaml").read_text() == AFTER
    for session in manifest["run"]["sessions"]:
        del session["job_digest"]
    del manifest["counts"]["not_in_plan"]
    manifest["tasks"] = [task for task in manifest["tasks"] if task.pop("in_plan")]
    Draft7Validator(load_schema("manifest")).validate(manifest)
