"""What must never cost twice, seen from outside: real processes against a sandbox that counts."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time

import pytest

from runner.errors import ExitCode
from runner.project import find_project
from runner.run.lock import project_lock
from tests.support.command_process import callsheet
from tests.support.evidence import evidence_but
from tests.support.process_bench import SWEEP, ProcessBench

UNCLEAR = {"ambiguous"}


def _wait_for(film: ProcessBench, process: subprocess.Popen[str], accepted: int) -> None:
    while film.server.accepted < accepted:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


@pytest.mark.parametrize("accepted", evidence_but((2).__eq__, [1, 2, 4, 6]))
def test_a_killed_run_pays_for_no_task_twice(accepted: int, film: ProcessBench) -> None:
    """`kill -9` around the n-th acceptance, then `run` again: what is unclear is shown, not repeated."""
    job = film.write(SWEEP)
    process = film.start("run", job)
    _wait_for(film, process, accepted)
    process.kill()
    process.communicate()

    again = film.call("run", job)
    assert film.most_paid() == 1
    states = [task["state"] for task in film.manifest()["tasks"]]
    assert set(states) <= {"done"} | UNCLEAR
    is_clear = UNCLEAR.isdisjoint(states)
    assert again.returncode == (ExitCode.DONE if is_clear else ExitCode.TRY_AGAIN), again.stderr
    assert film.server.accepted <= 6


@pytest.mark.parametrize(
    ("number", "code"),
    evidence_but(
        lambda given: given[0] is signal.SIGTERM,
        [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
    ),
)
def test_an_interrupted_run_goes_on_where_it_was(
    number: signal.Signals, code: ExitCode, film: ProcessBench
) -> None:
    """Its state is kept, its manifest written, and `resume` brings it to done under the same id."""
    job = film.write(SWEEP)
    process = film.start("run", job)
    _wait_for(film, process, 2)
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == code, told
    interrupted = film.manifest()

    resumed = film.call("resume")
    assert resumed.returncode == 0, resumed.stderr
    manifest = film.manifest()
    assert manifest["run"]["id"] == interrupted["run"]["id"]
    assert {task["state"] for task in manifest["tasks"]} == {"done"}
    assert (film.server.accepted, film.most_paid()) == (6, 1)


def test_outputs_that_are_moved_away_are_not_bought_again(film: ProcessBench) -> None:
    job = film.write(SWEEP)
    assert film.call("run", job).returncode == 0
    shutil.move(film.base / "out", film.root / "elsewhere")

    planned = json.loads(film.call("plan", job, "--output-format", "json").stdout)
    assert planned["counts"] == {"absent": 6}
    again = film.call("run", job)
    assert again.returncode == 0, again.stderr
    assert film.server.accepted == 6
    assert len(list((film.base / "out").glob("*.mp4"))) == 6


def test_collect_brings_in_what_a_killed_run_has_paid_for_and_submits_nothing(film: ProcessBench) -> None:
    job = film.write(SWEEP)
    process = film.start("run", job)
    _wait_for(film, process, 6)
    process.kill()
    process.communicate()

    collected = film.call("collect")
    assert collected.returncode == 0, collected.stderr
    assert film.server.accepted == 6
    assert len(list((film.base / "out").glob("*.mp4"))) == 6


def test_without_a_project_root_nothing_is_sent(film: ProcessBench) -> None:
    job = film.write(SWEEP)
    shutil.rmtree(film.root / ".callsheet")
    (film.root / "callsheet.yaml").unlink()
    refused = film.call("run", job)
    assert refused.returncode == ExitCode.NO_PROJECT
    assert "callsheet init" in refused.stderr
    assert film.server.accepted == 0


def test_beside_another_process_nothing_is_sent(film: ProcessBench) -> None:
    """Row 30: two writers would each believe that a task is still to be bought."""
    job = film.write(SWEEP)
    with project_lock(find_project(film.root).rehearsal()):
        refused = film.call("run", job)
    assert refused.returncode == ExitCode.TRY_AGAIN
    assert "--wait" in refused.stderr
    assert film.server.accepted == 0


def test_a_cap_on_tasks_holds_over_a_run_and_its_resumes(film: ProcessBench) -> None:
    job = film.write(SWEEP + "budget: {max_tasks: 2}\n")
    first = film.call("run", job)
    second = film.call("run", job)
    assert (first.returncode, second.returncode) == (ExitCode.REFUSED, ExitCode.REFUSED), second.stderr
    assert film.server.accepted == 2


def test_without_a_key_nothing_is_sent(film: ProcessBench) -> None:
    refused = film.call("run", film.write(SWEEP), MESHAPI_API_KEY="")
    assert refused.returncode == ExitCode.KEY_REFUSED
    assert "MESHAPI_API_KEY" in refused.stderr
    assert film.server.accepted == 0


def test_a_refused_key_stops_the_run(film: ProcessBench) -> None:
    refused = film.call("run", film.write(SWEEP), MESHAPI_API_KEY="wrong")
    assert refused.returncode == ExitCode.KEY_REFUSED, refused.stderr
    assert film.server.accepted == 0


def test_quiet_is_silent_on_success(film: ProcessBench) -> None:
    told = film.call("run", film.write(SWEEP), "-q")
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_an_unquoted_ratio_reaches_the_wire_as_text(film: ProcessBench) -> None:
    assert film.call("run", film.write(SWEEP)).returncode == 0
    assert {task.request["ratio"] for task in film.server.tasks()} == {"1:1"}


def test_the_key_can_stand_in_the_root_s_env_file(film: ProcessBench) -> None:
    (film.root / ".env").write_text("MESHAPI_TOKEN=rsk_from_file\n")
    told = callsheet(*film.line("run", film.write(SWEEP)), cwd=film.root)
    assert told.returncode == 0, told.stderr
    assert film.server.accepted == 6
