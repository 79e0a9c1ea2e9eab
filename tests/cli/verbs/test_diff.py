"""`callsheet diff`: what changed from one run to another."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runner.errors import ExitCode
from runner.sandbox import Kind
from tests.support.verb_bench import JOB, VerbBench


@pytest.fixture
def two(verbs: VerbBench) -> tuple[VerbBench, str, str]:
    """A run of seeds 1 and 2, and one of 2 and 3 with another length, of which one failed."""
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    first = verbs.manifest()["run"]["id"]
    edited = JOB.replace("seeds: 1..2", "seeds: 2..3").replace("duration: 4", "duration: 5")
    verbs.write(edited.replace("out/", "new/"))
    verbs.fault(Kind.OUTCOME, text="failed", code="internal_error", message="try later")
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    return verbs, first, verbs.manifest()["run"]["id"]


def _diff(verbs: VerbBench, *runs: str) -> Any:
    assert verbs.call("diff", *runs, "--output-format", "json") == ExitCode.DONE, verbs.err
    return json.loads(verbs.out)


def test_tasks_requests_outcomes_and_files_are_compared_by_name(two: tuple[VerbBench, str, str]) -> None:
    verbs, first, second = two
    found = _diff(verbs, first, second)
    assert found["counts"] == {"added": 1, "removed": 1, "changed": 1, "same": 0}
    by_task = {row["task"]: row for row in found["tasks"]}
    assert (by_task["s3"]["what"], by_task["s1"]["what"]) == ("added", "removed")
    changed = by_task["s2"]["changes"]
    assert changed[0] == {"what": "request", "words": "request.duration is 5, was 4"}
    assert {"request", "files"} <= {change["what"] for change in changed}
    assert "job file sha256" in {row["what"] for row in found["runs"]}


def test_a_run_and_itself_have_no_difference(two: tuple[VerbBench, str, str]) -> None:
    verbs, _, second = two
    found = _diff(verbs, second, "latest")
    assert found["counts"] == {"added": 0, "removed": 0, "changed": 0, "same": 2}
    assert found["runs"] == []


def test_a_person_reads_a_line_for_each_task(two: tuple[VerbBench, str, str]) -> None:
    verbs, first, second = two
    assert verbs.call("diff", first, second) == ExitCode.DONE
    lines = verbs.out.splitlines()
    assert lines[0] == f"from {first} to {second}"
    assert lines[-1] == "3 tasks: 1 added, 1 removed, 1 changed, 0 same"
    assert any(line.startswith("changed  s2  request.duration is 5, was 4; ") for line in lines)


def test_a_run_that_has_no_manifest_yet_says_what_to_do(two: tuple[VerbBench, str, str]) -> None:
    verbs, first, second = two
    (verbs.root / "rehearsal/runs" / first / "manifest.json").unlink()
    assert verbs.call("diff", first, second) == ExitCode.CANNOT_WRITE
    assert "there is no manifest" in verbs.err


def test_one_run_is_compared_with_the_one_before_it_of_its_job(two: tuple[VerbBench, str, str]) -> None:
    verbs, first, second = two
    (verbs.root / "other.yaml").write_text(JOB.replace("out/", "elsewhere/").replace("boat", "ship"))
    assert verbs.call("run", "other.yaml") == ExitCode.DONE
    found = _diff(verbs, second)
    assert (found["from"], found["to"]) == (first, second)
    assert verbs.call("diff") == ExitCode.USAGE
    assert "has none before it to compare with; hint: give two runs" in verbs.err
    assert verbs.call("diff", first, second, "latest") == ExitCode.USAGE


def test_what_changed_alike_is_one_line_and_what_is_not_made_yet_is_not_gone(verbs: VerbBench) -> None:
    job = JOB.replace("seeds: 1..2", "seeds: 1..5")
    verbs.write(job)
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    verbs.write(job.replace("boat", "raft").replace("out/", "new/"))
    assert verbs.call("run", "boat.yaml", "--only", "s1") == ExitCode.DONE, verbs.err
    assert verbs.call("diff") == ExitCode.DONE, verbs.err
    shared, *each, _ = [line for line in verbs.out.splitlines() if not line.startswith((" ", "from"))]
    assert shared.startswith("changed  in 5 tasks (s1, s2, s3, ...)  content[0].text is ")
    assert [line for line in each if "s1" not in line] == [
        f"changed  s{seed}  not made yet" for seed in range(2, 6)
    ]
    assert "gone" not in verbs.out


def test_a_task_whose_name_has_the_date_is_compared_with_that_of_its_cell(verbs: VerbBench) -> None:
    verbs.write(
        JOB.replace("out/s${{ seed }}", "out/${{ run.date }}-${{ seed }}") + "edition: ${{ run.date }}\n"
    )
    for date in ("2026-05-30", "2026-05-31"):
        assert verbs.call("run", "boat.yaml", "--date", date) == ExitCode.DONE, verbs.err
    assert verbs.call("diff", "--output-format", "json") == ExitCode.DONE, verbs.err
    counts = json.loads(verbs.out)["counts"]
    assert (counts["added"], counts["removed"]) == (0, 0)
