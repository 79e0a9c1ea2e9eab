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
from tests.support.command import command, environment
from tests.support.desk import JOB, Desk
from tests.support.moment import deadline_once


@pytest.fixture
def slow() -> Iterator[SandboxServer]:
    """Shows no generation as done until its faults are cleared."""
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.05)) as server:
        server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
        yield server


@pytest.fixture
def worker(
    desk: Desk, slow: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[bytes]]:
    """Another process in the middle of its run: what is accepted is in the ledger, and none is done."""
    monkeypatch.setenv("MESHAPI_BASE_URL", slow.url)
    working = subprocess.Popen(
        command("-q", "run", "boat.yaml"), cwd=desk.root, env=environment(), stderr=subprocess.DEVNULL
    )
    # a look comes after the id is in the ledger
    while slow.accepted < 2 or not slow.faults.struck:
        assert working.poll() is None
        time.sleep(0.01)
    yield working
    working.kill()
    working.wait(20)


def test_a_run_that_is_under_way_is_told_as_such_and_goes_on(
    desk: Desk, slow: SandboxServer, worker: subprocess.Popen[bytes]
) -> None:
    """Status takes no lock and tells what is in flight."""
    assert desk.call("status") == ExitCode.DONE, desk.err
    title, first, *_ = desk.out.splitlines()
    assert "under way (last event" in title
    assert first.startswith("in flight")
    assert "next:" not in desk.err, "it is at work already"
    slow.faults.clear()
    assert worker.wait(60) == 0


def test_a_run_that_was_killed_just_now_is_not_under_way(desk: Desk, worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait(20)
    assert desk.call("status") == ExitCode.DONE
    assert "unfinished (last event" in desk.out
    assert "next: callsheet run boat.yaml    goes on" in desk.err


def test_a_run_that_was_killed_is_unfinished_and_says_how_to_go_on(desk: Desk) -> None:
    desk.write(JOB.replace("settle: 0s", "settle: 0s, deadline: 0.2s"))
    desk.fault(Kind.ANSWER, status=429, retry_after=5.0, times=None)
    desk.call("run", "boat.yaml")
    old = time.time() - 3 * 3600
    os.utime(desk.root / "rehearsal/runs/latest/events.jsonl", (old, old))
    assert desk.call("status") == ExitCode.DONE
    assert "unfinished (last event 3 h 0 min ago)" in desk.out
    assert "next: callsheet run boat.yaml    goes on" in desk.err


def test_a_failed_task_is_told_with_retry(desk: Desk) -> None:
    desk.fault(Kind.OUTCOME, text="failed", code="internal_error", message="try later")
    assert desk.call("run", "boat.yaml") == ExitCode.TASK_FAILED
    assert desk.call("status") == ExitCode.DONE
    assert "internal_error try later" in desk.out
    assert "next: callsheet retry" in desk.err


def test_people_read_unclear_and_programs_ambiguous(desk: Desk, server: SandboxServer) -> None:
    """As the contact sheet and the line of a run under way say it."""
    desk.write(JOB.replace("settle: 0s", "settle: 60s"))
    desk.fault(Kind.CUT, accept=True, times=None)
    server.faults.add(Fault(where=Where.LIST, kind=Kind.LAG, seconds=3600, times=None))
    with deadline_once(lambda: server.accepted == 2):
        desk.call("run", "boat.yaml", "--deadline", "60s")
    assert "2 unclear" in desk.out
    assert desk.call("status") == ExitCode.DONE
    assert "2 tasks: 2 unclear" in desk.out
    assert "ambiguous" not in desk.out + desk.err
    assert desk.call("status", "--output-format", "json") == ExitCode.DONE
    assert json.loads(desk.out)["counts"] == {"ambiguous": 2}
    assert desk.call("reconcile") == ExitCode.DONE
    assert desk.out.startswith("unclear  s1")


def test_without_a_readable_ledger_the_manifest_is_shown(desk: Desk) -> None:
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    for file in (desk.root / "rehearsal/.callsheet").glob("ledger.db*"):
        file.unlink()
    (desk.root / "rehearsal/.callsheet/ledger.db").write_text("junk" * 1000)
    assert desk.call("status", "--output-format", "json") == ExitCode.DONE
    assert "the ledger is corrupt" in desk.err
    assert "manifest.json, as of its writing" in desk.err
    document = json.loads(desk.out)
    assert [(task["name"], task["state"]) for task in document["tasks"]] == [("s1", "done"), ("s2", "done")]
    assert document["is_finished"] is True


def test_without_ledger_and_manifest_the_trouble_is_told(desk: Desk) -> None:
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    for file in (desk.root / "rehearsal/.callsheet").glob("ledger.db*"):
        file.unlink()
    (desk.root / "rehearsal/.callsheet/ledger.db").write_text("junk" * 1000)
    (desk.root / "rehearsal/runs/latest/manifest.json").unlink()
    assert desk.call("status") == ExitCode.CANNOT_WRITE
    assert "the ledger is corrupt" in desk.err


def test_an_input_that_is_gone_does_not_hide_what_became_of_the_run(desk: Desk) -> None:
    picture = desk.root / "boat.png"
    Image.new("RGB", (400, 400), "navy").save(picture)
    item = "  - type: image_url\n    image_url: boat.png\n    role: first_frame\n"
    desk.write(JOB.replace("output:", f"{item}output:"))
    assert desk.call("run", "boat.yaml") == ExitCode.DONE, desk.err
    picture.unlink()
    assert desk.call("status") == ExitCode.DONE
    assert "2 tasks: 2 done" in desk.out
    assert "boat.png" in desk.err


def test_only_and_jsonl(desk: Desk) -> None:
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    assert desk.call("status", "--only", "*2", "--output-format", "jsonl") == ExitCode.DONE
    assert json.loads(desk.out)["name"] == "s2"


def test_the_path_is_the_one_where_the_video_is(desk: Desk) -> None:
    """A changed file stays where it is; the paid one comes back beside it."""
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    (desk.root / "rehearsal/out/s1.mp4").write_bytes(b"changed")
    assert desk.call("run", "boat.yaml") == ExitCode.DONE, desk.err
    told = "another file stands at out/s1.mp4: it is left as it is, and the video is out/s1-2.mp4"
    assert told in desk.err.splitlines()
    assert desk.call("status", "--output-format", "json") == ExitCode.DONE
    paths = [task["output"] for task in json.loads(desk.out)["tasks"]]
    assert paths == ["out/s1-2.mp4", "out/s2.mp4"]


def test_the_latest_run_is_the_one_that_was_worked_on_last(desk: Desk) -> None:
    """It may have begun before another one, as the link in runs/ says too."""
    desk.fault(Kind.ANSWER, status=402, code="insufficient_credits")
    assert desk.call("run", "boat.yaml") == ExitCode.OUT_OF_MONEY
    (desk.root / "ship.yaml").write_text(JOB.replace("boat", "ship").replace("out/", "ships/"))
    assert desk.call("run", "ship.yaml") == ExitCode.DONE, desk.err
    assert desk.call("run", "boat.yaml") == ExitCode.DONE
    assert desk.call("status") == ExitCode.DONE
    assert "of boat.yaml" in desk.out


def test_of_several_jobs_the_advice_names_the_run_that_it_is_about(desk: Desk) -> None:
    (desk.root / "ship.yaml").write_text(JOB.replace("boat", "ship").replace("out/", "ships/"))
    desk.fault(Kind.OUTCOME, text="failed", code="internal_error", times=2)
    assert desk.call("run", "boat.yaml", "ship.yaml") == ExitCode.TASK_FAILED
    assert [line for line in desk.out.splitlines() if line.endswith(".yaml:")] == ["boat.yaml:", "ship.yaml:"]
    advised = [line.split("    ")[0].split() for line in desk.err.splitlines() if line.startswith("next:")]
    for verb in ("status", "retry"):
        ((*_, run),) = [words for words in advised if words[2] == verb]
        assert desk.call("status", run) == ExitCode.DONE
        assert "of boat.yaml" in desk.out
