"""getimg from the command line: what a person is told, and that one unclear submit is one payment."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.sandbox import Fault, Kind, Stage, Where
from tests.support.evidence import evidence_but
from tests.support.process_bench import ProcessBench

JOB = """\
version: 1
provider: getimg
models: [seedance-v1-pro]
request: {resolution: 480p, duration: 2}
content: [{type: text, text: A teapot spins}]
output: out/teapot.mp4
run: {poll: {first: 50ms, min: 50ms, max: 100ms}}
"""


def held(film: ProcessBench) -> Path:
    """A job whose only task the service accepted, without our hearing of it."""
    job = film.write(JOB)
    film.server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, stage=Stage.BEFORE, accept=True))
    told = film.call("run", job)
    assert told.returncode == ExitCode.PERSON_NEEDED, told.stderr
    assert film.server.accepted == 1
    assert "callsheet reconcile" in told.stderr
    listed = film.call("reconcile")
    assert listed.returncode == ExitCode.PERSON_NEEDED
    for option in ("--adopt ID", "--write-off", "--again"):
        assert option in listed.stdout
    return job


def test_a_held_task_is_adopted_by_the_id_that_a_person_found(film: ProcessBench) -> None:
    job = held(film)
    (task,) = film.server.tasks()
    name = film.manifest()["tasks"][0]["name"]
    adopted = film.call("reconcile", name, "--adopt", task.id)
    assert adopted.returncode == 0, adopted.stderr
    again = film.call("run", job)
    assert again.returncode == 0, again.stderr
    assert (film.base / "out" / "teapot.mp4").stat().st_size > 0
    assert film.server.accepted == 1


def test_a_held_task_is_paid_for_again_only_when_a_person_says_so(film: ProcessBench) -> None:
    job = held(film)
    assert film.call("run", job).returncode == ExitCode.PERSON_NEEDED
    assert film.server.accepted == 1
    name = film.manifest()["tasks"][0]["name"]
    assert film.call("reconcile", name, "--again").returncode == 0
    assert film.call("run", job).returncode == 0
    assert film.server.accepted == 2


def interrupted(film: ProcessBench) -> None:
    """A run that was stopped with its task in flight."""
    film.server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    process = film.start("run", film.write(JOB))
    while film.server.accepted < 1:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED, told
    film.server.faults.clear()


@pytest.mark.parametrize("verb", evidence_but("resume".__eq__, ["resume", "collect"]))
def test_what_is_in_flight_is_brought_in_from_its_own_service(verb: str, film: ProcessBench) -> None:
    """Neither verb is told the service: the ledger knows it."""
    interrupted(film)
    told = film.call(verb)
    assert told.returncode == 0, told.stderr
    assert (film.base / "out" / "teapot.mp4").stat().st_size > 0
    assert film.server.accepted == 1
