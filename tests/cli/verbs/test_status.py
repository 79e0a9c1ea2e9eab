"""`callsheet status` beside a run, after one, and without a ledger."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator

import pytest
from PIL import Image

from runner.errors import ExitCode
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.command_process import command, environment
from tests.support.deadline import deadline_once
from tests.support.verb_bench import JOB, VerbBench


@pytest.fixture
def slow() -> Iterator[SandboxServer]:
    """Shows no generation as done until its faults are cleared."""
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.05)) as server:
        server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
        yield server


@pytest.fixture
def worker(
    verbs: VerbBench, slow: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[bytes]]:
    """Another process in the middle of its run: what is accepted is in the ledger, and none is done."""
    monkeypatch.setenv("MESHAPI_BASE_URL", slow.url)
    working = subprocess.Popen(
        command("-q", "run", "boat.yaml"), cwd=verbs.root, env=environment(), stderr=subprocess.DEVNULL
    )
    # a look comes after the id is in the ledger
    while slow.accepted < 2 or not slow.faults.struck:
        assert working.poll() is None
        time.sleep(0.01)
    yield working
    working.kill()
    working.wait(20)


def test_a_run_that_is_under_way_is_told_as_such_and_goes_on(
    verbs: VerbBench, slow: SandboxServer, worker: subprocess.Popen[bytes]
) -> None:
    """Status takes no lock and tells what is in flight."""
    assert verbs.call("status") == ExitCode.DONE, verbs.err
    title, first, *_ = verbs.out.splitlines()
    assert "under way (last event" in title
    assert first.startswith("in flight")
    assert "next:" not in verbs.err, "it is at work already"
    slow.faults.clear()
    assert worker.wait(60) == 0


def test_a_run_that_was_killed_just_now_is_not_under_way(
    verbs: VerbBench, worker: subprocess.Popen[bytes]
) -> None:
    worker.kill()
    worker.wait(20)
    assert verbs.call("status") == ExitCode.DONE
    assert "unfinished (last event" in verbs.out
    assert "next: callsheet run boat.yaml    goes on" in verbs.err


def test_a_run_that_was_killed_is_unfinished_and_says_how_to_go_on(verbs: VerbBench) -> None:
    verbs.write(JOB.replace("settle: 0s", "settle: 0s, deadline: 0.2s"))
    verbs.fault(Kind.ANSWER, status=429, retry_after=5.0, times=None)
    verbs.call("run", "boat.yaml")
    old = time.time() - 3 * 3600
    os.utime(verbs.root / "rehearsal/runs/latest/events.jsonl", (old, old))
    assert verbs.call("status") == ExitCode.DONE
    assert "unfinished (last event 3 h 0 min ago)" in verbs.out
    assert "next: callsheet run boat.yaml    goes on" in verbs.err


def test_a_failed_task_is_told_with_retry(verbs: VerbBench) -> None:
    verbs.fault(Kind.OUTCOME, text="failed", code="internal_error", message="try later")
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert verbs.call("status") == ExitCode.DONE
    assert "internal_error try later" in verbs.out
    assert "next: callsheet retry" in verbs.err


def test_after_a_refused_prompt_the_advice_is_to_change_it(verbs: VerbBench) -> None:
    """The same request is refused again, so nobody is told to retry it."""
    (verbs.root / "boat.yaml").write_text(JOB.replace("A paper boat", "'A paper boat [violate]'"))
    assert verbs.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert verbs.call("status") == ExitCode.DONE
    assert "next: callsheet run boat.yaml    after you change the prompt or input" in verbs.err
    assert "retry" not in verbs.err


def test_failed_says_of_how_many_tasks(verbs: VerbBench) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert verbs.call("status", "--failed") == ExitCode.DONE
    assert verbs.out.splitlines()[1:] == ["0 tasks", "of 2 tasks: 2 done"]


def test_people_read_unclear_and_programs_ambiguous(verbs: VerbBench, server: SandboxServer) -> None:
    """As the contact sheet and the line of a run under way say it."""
    verbs.write(JOB.replace("settle: 0s", "settle: 60s"))
    verbs.fault(Kind.CUT, accept=True, times=None)
    server.faults.add(Fault(where=Where.LIST, kind=Kind.LAG, seconds=3600, times=None))
    with deadline_once(lambda: server.accepted == 2):
        verbs.call("run", "boat.yaml", "--deadline", "60s")
    assert "2 unclear" in verbs.out
    assert verbs.call("status") == ExitCode.DONE
    assert "2 tasks: 2 unclear" in verbs.out
    assert "ambiguous" not in verbs.out + verbs.err
    assert verbs.call("status", "--output-format", "json") == ExitCode.DONE
    assert json.loads(verbs.out)["counts"] == {"ambiguous": 2}
    assert verbs.call("reconcile") == ExitCode.DONE
    assert verbs.out.startswith("unclear  s1")


def test_without_a_readable_ledger_the_manifest_is_shown(verbs: VerbBench) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    for file in (verbs.root / "rehearsal/.callsheet").glob("ledger.db*"):
        file.unlink()
    (verbs.root / "rehearsal/.callsheet/ledger.db").write_text("junk" * 1000)
    assert verbs.call("status", "--output-format", "json") == ExitCode.DONE
    assert "the ledger is corrupt" in verbs.err
    assert "manifest.json, as of its writing" in verbs.err
    document = json.loads(verbs.out)
    assert [(task["name"], task["state"]) for task in document["tasks"]] == [("s1", "done"), ("s2", "done")]
    assert document["is_finished"] is True


def test_without_ledger_and_manifest_the_trouble_is_told(verbs: VerbBench) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    for file in (verbs.root / "rehearsal/.callsheet").glob("ledger.db*"):
        file.unlink()
    (verbs.root / "rehearsal/.callsheet/ledger.db").write_text("junk" * 1000)
    (verbs.root / "rehearsal/runs/latest/manifest.json").unlink()
    assert verbs.call("status") == ExitCode.CANNOT_WRITE
    assert "the ledger is corrupt" in verbs.err


def test_an_input_that_is_gone_does_not_hide_what_became_of_the_run(verbs: VerbBench) -> None:
    picture = verbs.root / "boat.png"
    Image.new("RGB", (400, 400), "navy").save(picture)
    item = "  - type: image_url\n    image_url: boat.png\n    role: first_frame\n"
    verbs.write(JOB.replace("output:", f"{item}output:"))
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    picture.unlink()
    assert verbs.call("status") == ExitCode.DONE
    assert "2 tasks: 2 done" in verbs.out
    assert "boat.png" in verbs.err


def test_only_and_jsonl(verbs: VerbBench) -> None:
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert verbs.call("status", "--only", "*2", "--output-format", "jsonl") == ExitCode.DONE
    assert json.loads(verbs.out)["name"] == "s2"


def test_the_path_is_the_one_where_the_video_is(verbs: VerbBench) -> None:
    """A changed file stays where it is; the paid one comes back beside it."""
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    (verbs.root / "rehearsal/out/s1.mp4").write_bytes(b"changed")
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE, verbs.err
    told = "another file stands at out/s1.mp4: it is left as it is, and the video is out/s1-2.mp4"
    assert told in verbs.err
    assert verbs.call("status", "--output-format", "json") == ExitCode.DONE
    paths = [task["output"] for task in json.loads(verbs.out)["tasks"]]
    assert paths == ["out/s1-2.mp4", "out/s2.mp4"]


def test_the_latest_run_is_the_one_that_was_worked_on_last(verbs: VerbBench) -> None:
    """It may have begun before another one, as the link in runs/ says too."""
    verbs.fault(Kind.ANSWER, status=402, code="insufficient_credits")
    assert verbs.call("run", "boat.yaml") == ExitCode.OUT_OF_MONEY
    (verbs.root / "ship.yaml").write_text(JOB.replace("boat", "ship").replace("out/", "ships/"))
    assert verbs.call("run", "ship.yaml") == ExitCode.DONE, verbs.err
    assert verbs.call("run", "boat.yaml") == ExitCode.DONE
    assert verbs.call("status") == ExitCode.DONE
    assert "of boat.yaml" in verbs.out


def test_of_several_jobs_the_advice_names_the_run_that_it_is_about(verbs: VerbBench) -> None:
    (verbs.root / "ship.yaml").write_text(JOB.replace("boat", "ship").replace("out/", "ships/"))
    assert verbs.call("run", "ship.yaml") == ExitCode.DONE
    verbs.fault(Kind.OUTCOME, text="failed", code="internal_error", times=2)
    assert verbs.call("run", "boat.yaml", "ship.yaml") == ExitCode.TASK_FAILED
    assert [line for line in verbs.out.splitlines() if line.endswith(".yaml:")] == [
        "boat.yaml:",
        "ship.yaml:",
    ]
    advised = [line.split("    ")[0].split() for line in verbs.err.splitlines() if line.startswith("next:")]
    ((*_, run),) = [words for words in advised if words[2] == "retry"]
    assert verbs.call("status", run) == ExitCode.DONE
    assert "of boat.yaml" in verbs.out
