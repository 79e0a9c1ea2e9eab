"""A week with a nightly job, from outside: what goes wrong at night, and what the morning finds."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from runner.errors import ExitCode
from runner.sandbox import Fault, Kind, Where
from tests.support.process_bench import SWEEP, ProcessBench

NIGHTLY = SWEEP.replace("version: 1\n", "version: 1\nname: nightly\nedition: ${{ run.date }}\n").replace(
    "out/boat", "out/${{ run.date }}/boat"
)


def night(film: ProcessBench, *options: str) -> subprocess.CompletedProcess[str]:
    """What cron starts."""
    return film.call("run", film.root / "nightly.yaml", *options)


def states(film: ProcessBench) -> list[str]:
    return [task["state"] for task in film.manifest()["tasks"]]


def wait_until(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.mark.evidence
def test_cron_fires_while_yesterday_s_run_is_going(film: ProcessBench) -> None:
    """Without --wait it says that another one is at work; with it the job finds all done."""
    job = film.write(NIGHTLY, "nightly.yaml")
    film.server.faults.add(Fault(where=Where.GET, kind=Kind.DELAY, seconds=60, times=None))
    yesterday = film.start("run", job)
    wait_until(lambda: film.server.accepted == 6)
    refused = night(film)
    assert refused.returncode == ExitCode.TRY_AGAIN
    assert "--wait" in refused.stderr
    waiting = film.start("run", job, "--wait", "1m")
    film.server.faults.clear()
    # what was asked before the fault went is still stalled: cron's next start takes over
    yesterday.terminate()
    assert yesterday.wait(30) == ExitCode.TERMINATED
    told, problem = waiting.communicate(timeout=60)
    yesterday.communicate()
    assert waiting.returncode == 0, problem
    assert "nothing was submitted" in told
    assert (film.server.accepted, film.most_paid()) == (6, 1)


def test_the_money_runs_out_in_mid_run(film: ProcessBench) -> None:
    """What was paid for is brought in; once there is money again the same run goes on."""
    film.write(NIGHTLY, "nightly.yaml")
    film.server.faults.add(
        Fault(
            where=Where.SUBMIT, kind=Kind.ANSWER, status=402, code="insufficient_credits", after=3, times=None
        )
    )
    first = night(film)
    assert first.returncode == ExitCode.OUT_OF_MONEY
    assert "money" in first.stderr
    assert states(film).count("done") == film.server.accepted == 3
    run = film.manifest()["run"]["id"]
    film.server.faults.clear()
    second = night(film)
    assert (second.returncode, film.manifest()["run"]["id"]) == (0, run), second.stderr
    assert (film.server.accepted, film.most_paid()) == (6, 1)


def test_the_machine_reboots_in_mid_run(film: ProcessBench) -> None:
    """`collect` at boot brings in what was paid for and submits nothing; the next start ends the job."""
    # two in flight, and neither is seen done: no third POST can be on its way when the machine stops
    job = film.write(NIGHTLY + "  concurrency: 2\n", "nightly.yaml")
    film.server.faults.add(Fault(where=Where.GET, kind=Kind.DELAY, seconds=60, times=None))
    process = film.start("run", job)
    wait_until(lambda: film.server.accepted == 2)
    process.kill()
    process.communicate()
    film.server.faults.clear()
    at_boot = film.call("collect")
    assert at_boot.returncode in (ExitCode.DONE, ExitCode.TRY_AGAIN), at_boot.stderr
    assert film.server.accepted == 2
    ended = night(film)
    assert ended.returncode == 0, ended.stderr
    assert set(states(film)) == {"done"}
    assert (film.server.accepted, film.most_paid()) == (6, 1)


@pytest.mark.evidence
@pytest.mark.parametrize("body", ["<html>503 Service Unavailable</html>", None], ids=["edge", "service"])
def test_the_service_answers_503_for_hours(film: ProcessBench, body: str | None) -> None:
    """Each night ends in time and may go on by itself; no more is unclear than there are submit slots."""
    film.write(NIGHTLY, "nightly.yaml")
    # the first free request is answered, so that something is submitted into the outage
    film.server.faults.add(
        *(
            Fault(
                where=where, kind=Kind.ANSWER, status=503, code="overloaded", body=body, after=n, times=None
            )
            for where, n in ((Where.SUBMIT, 0), (Where.GET, 0), (Where.LIST, 1))
        )
    )
    for _ in range(2):
        assert night(film, "--deadline", "2s").returncode == ExitCode.TRY_AGAIN
        assert states(film).count("ambiguous") <= (4 if body else 0)
    assert film.server.accepted == 0
    film.server.faults.clear()
    morning = night(film)
    unclear = film.manifest()
    if body is None:
        assert morning.returncode == 0, morning.stderr
        assert film.server.accepted == 6
        return
    # an edge's answer is no proof that nothing reached the service: a person looks
    held = [task for task in unclear["tasks"] if task["state"] == "held"]
    assert morning.returncode == ExitCode.PERSON_NEEDED
    assert 1 <= len(held) <= 4
    assert "callsheet reconcile" in morning.stderr
    for task in held:
        assert film.call("reconcile", task["name"], "--again").returncode == 0
    assert night(film).returncode == 0
    assert (film.server.accepted, film.most_paid()) == (6, 1)


def test_files_are_archived_and_the_job_runs_again(film: ProcessBench) -> None:
    """Long after the service has forgotten them: they are absent, which costs nothing and is no error."""
    job = film.write(SWEEP)
    assert film.call("run", job).returncode == 0
    shutil.move(film.base / "out", film.root / "archive")
    film.server.faults.add(Fault(where=Where.GET, kind=Kind.ANSWER, status=404, code="not_found", times=None))
    again = film.call("run", job)
    assert again.returncode == 0, again.stderr
    assert (film.server.accepted, states(film)) == (6, ["absent"] * 6)
    plan: dict[str, Any] = json.loads(film.call("plan", job, "--output-format", "json").stdout)
    assert plan["counts"] == {"absent": 6}


def test_a_colleague_asks_how_a_clip_was_made(film: ProcessBench) -> None:
    """By the file alone, under another name: what was asked, what came back, and how to make it again."""
    job = film.write(SWEEP + "price: {usd_per_task: 0.25}\n")
    assert film.call("run", job).returncode == 0
    clip = film.root / "for the edit.mp4"
    shutil.copy(film.base / "out" / "boat-s3.mp4", clip)
    told = film.call("show", clip)
    assert told.returncode == 0, told.stderr
    remote_id = next(task.id for task in film.server.tasks() if task.request["seed"] == 3)
    for fact in ("A paper boat, take 3", "3 sent, 3 echoed", remote_id, "0.25", "job.yaml"):
        assert fact in told.stdout
    [again] = [line for line in told.stderr.splitlines() if line.startswith("next: ")]
    assert "--again" in again
    assert film.call("verify").returncode == 0


def test_the_next_night_makes_new_videos_and_a_second_start_none(film: ProcessBench) -> None:
    film.write(NIGHTLY, "nightly.yaml")
    for date, accepted in (("2026-05-01", 6), ("2026-05-01", 6), ("2026-05-02", 12)):
        ended = night(film, "--date", date)
        assert (ended.returncode, film.server.accepted) == (0, accepted), ended.stderr
    assert sorted(folder.name for folder in (film.base / "out").iterdir()) == ["2026-05-01", "2026-05-02"]
