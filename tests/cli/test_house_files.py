"""A job on a house file, through the verbs: what is told of it, what is kept, and what a resume runs."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from runner.errors import ExitCode
from tests.support.verb_bench import JOB, VerbBench

HOUSE = JOB.partition("content:")[0]
OWN = "version: 1\nextends: house.yaml\ncontent: [{type: text, text: A paper boat}]\n"
OWN += "output: out/s${{ seed }}.mp4\nrun: {settle: 0s, poll: {first: 20ms, min: 20ms, max: 50ms}}\n"


@pytest.fixture
def housed(verbs: VerbBench) -> VerbBench:
    (verbs.root / "house.yaml").write_text(HOUSE, encoding="utf-8")
    verbs.write(OWN)
    return verbs


def folder(verbs: VerbBench) -> Path:
    return (verbs.root / "rehearsal" / "runs" / "latest").resolve()


def test_a_resume_runs_what_was_run_whatever_became_of_the_house_file(housed: VerbBench) -> None:
    assert housed.call("run", "boat.yaml", "--only", "s1") == ExitCode.DONE
    digest = sha256(HOUSE.encode()).hexdigest()
    assert [session["files"] for session in housed.manifest()["run"]["sessions"]] == [{"house.yaml": digest}]
    assert (folder(housed) / "jobs" / "files" / digest).read_bytes() == HOUSE.encode()
    (housed.root / "house.yaml").write_text(HOUSE.replace("1:1", "16:9"), encoding="utf-8")

    assert housed.call("status") == ExitCode.DONE
    assert "1 done" in housed.out
    assert housed.call("resume", "latest") == ExitCode.DONE
    assert [task["request"]["ratio"] for task in housed.manifest()["tasks"]] == ["1:1", "1:1"]
    assert housed.server.accepted == 2
    assert housed.call("verify") == ExitCode.DONE
    assert housed.call("report") == ExitCode.DONE
    (housed.root / "house.yaml").unlink()
    assert housed.call("resume", "latest") == ExitCode.DONE
    assert housed.server.accepted == 2


def test_a_copy_of_the_house_file_that_was_changed_is_found(housed: VerbBench) -> None:
    assert housed.call("run", "boat.yaml") == ExitCode.DONE
    copy = folder(housed) / "jobs" / "files" / sha256(HOUSE.encode()).hexdigest()
    copy.write_text("seeds: 9\n")
    assert housed.call("verify") == ExitCode.TASK_FAILED
    assert "not the file that the manifest names" in housed.out
    assert housed.call("resume", "latest") == ExitCode.CANNOT_WRITE


def test_the_next_run_reads_the_house_file_again(housed: VerbBench) -> None:
    assert housed.call("run", "boat.yaml", "--only", "s1") == ExitCode.DONE
    changed = HOUSE.replace("1..2", "1..3")
    (housed.root / "house.yaml").write_text(changed, encoding="utf-8")
    assert housed.call("run", "boat.yaml") == ExitCode.DONE
    sessions = housed.manifest()["run"]["sessions"]
    digests = [sha256(text.encode()).hexdigest() for text in (HOUSE, changed)]
    assert [session["files"]["house.yaml"] for session in sessions] == digests
    assert housed.server.accepted == 3
    assert housed.call("verify") == ExitCode.DONE


def test_a_problem_in_the_house_file_shows_its_line_there(housed: VerbBench) -> None:
    (housed.root / "house.yaml").write_text(HOUSE.replace("480p", "481p"), encoding="utf-8")
    assert housed.call("validate", "boat.yaml") == ExitCode.JOB_INVALID
    assert housed.err.startswith("house.yaml:4:23: request.resolution: ")
    assert "    4 | request: {resolution: 481p" in housed.err
    assert housed.call("validate", "boat.yaml", "--output-format", "github") == ExitCode.JOB_INVALID
    assert housed.out.startswith("::error file=house.yaml,line=4,col=23,")
    assert housed.call("validate", "boat.yaml", "--output-format", "json") == ExitCode.JOB_INVALID
    assert [problem["file"] for problem in json.loads(housed.out)] == ["house.yaml"]


def test_a_problem_of_a_cell_shows_its_line_in_the_house_file(housed: VerbBench) -> None:
    (housed.root / "house.yaml").write_text(HOUSE.replace("480p", "4k"), encoding="utf-8")
    assert housed.call("plan", "boat.yaml") == ExitCode.JOB_INVALID
    assert housed.err.startswith("house.yaml:4:23: request.resolution: Seedance 1.0 pro does not make 4k")
    assert "    4 | request: {resolution: 4k" in housed.err


def test_the_whole_job_is_printed_and_is_a_job_file(housed: VerbBench) -> None:
    assert housed.call("plan", "boat.yaml", "--output-format", "jsonl") == ExitCode.DONE
    planned = housed.out
    assert housed.call("plan", "boat.yaml", "--resolved") == ExitCode.DONE
    assert housed.out.startswith('version: 1\nname: "boat"\nmodels:\n- byteplus/seedance-1-0-pro\n')
    assert "extends" not in housed.out
    (housed.root / "house.yaml").unlink()
    (housed.root / "whole.yaml").write_text(housed.out, encoding="utf-8")
    assert housed.call("plan", "whole.yaml", "--output-format", "jsonl") == ExitCode.DONE
    assert housed.out == planned


def test_a_house_file_that_is_missing_is_told_at_the_key(housed: VerbBench) -> None:
    (housed.root / "house.yaml").unlink()
    assert housed.call("validate", "boat.yaml") == ExitCode.INPUT_MISSING
    assert housed.err.startswith("boat.yaml:2:10: extends: house.yaml: no such file")


def test_a_house_file_that_changed_since_is_told(housed: VerbBench) -> None:
    assert housed.call("run", "boat.yaml") == ExitCode.DONE
    assert housed.call("show", "s1") == ExitCode.DONE
    assert "unchanged since" in housed.out
    (housed.root / "house.yaml").write_text(HOUSE + "# a note\n", encoding="utf-8")
    assert housed.call("show", "s1") == ExitCode.DONE
    assert "unchanged since" not in housed.out
    assert "changed since" in housed.out
