"""Rows of the fault table that are about the process and its directory."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from runner.errors import ExitCode
from tests.support.command_process import callsheet, command, environment
from tests.support.process_bench import SWEEP, ProcessBench
from tests.support.wire_server import Peer, answer, serve

KEY = "rsk_sandbox"


@pytest.mark.fault(31)
def test_a_state_directory_that_cannot_be_made_is_exit_73(film: ProcessBench) -> None:
    """A file stands in its place: mode bits would not stop root, under whom tests may run."""
    job = film.write(SWEEP)
    film.base.write_text("in the way")
    refused = film.call("run", job)
    assert refused.returncode == ExitCode.NO_PROJECT, refused.stderr
    assert "cannot write" in refused.stderr
    assert film.server.accepted == 0


@pytest.mark.fault(54)
def test_outside_of_a_project_nothing_is_sent(film: ProcessBench, tmp_path: Path) -> None:
    job = tmp_path / "stray.yaml"
    job.write_text(SWEEP)
    refused = callsheet("run", job, "--base-url", film.server.url, cwd=film.root, MESHAPI_API_KEY=KEY)
    assert refused.returncode == ExitCode.NO_PROJECT, refused.stderr
    assert film.server.accepted == 0


@pytest.mark.fault(47)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)]
)
def test_the_second_signal_leaves_at_once(number: signal.Signals, code: ExitCode, film: ProcessBench) -> None:
    """The first waits for the POST under way, which a silent server never answers."""
    job = film.write(SWEEP)

    def silent(peer: Peer) -> None:
        while request := peer.read_request():
            if request.startswith(b"POST "):
                server.requests.append(request)
                peer.stall()
                return
            peer.send(answer(200, {"data": [], "has_more": False, "total": 0, "limit": 1, "offset": 0}))

    with serve(silent) as server:
        process = subprocess.Popen(
            command("run", job, "--root", film.root, "--base-url", server.origin),
            env=environment(MESHAPI_API_KEY=KEY),
            stderr=subprocess.PIPE,
            text=True,
        )
        while not server.requests:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(number)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(number)
        started = time.monotonic()
        process.communicate(timeout=30)
    assert process.returncode == code
    assert time.monotonic() - started < 8, "not the ten seconds that a POST is given"


@pytest.mark.fault(23)
def test_a_rehearsal_that_is_killed_between_intent_and_id_ends_soon_after_its_next_start(
    film: ProcessBench,
) -> None:
    """Its job says nothing of `run.settle`, and nobody who tries the program waits five minutes."""
    job = film.write(SWEEP.replace("  settle: 100ms\n", ""))
    process = subprocess.Popen(
        command("run", job, "--sandbox", "--root", film.root),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = film.base / "runs" / "latest" / "events.jsonl"
    while not log.exists() or b"task.intended" not in log.read_bytes():
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()
    again = callsheet("run", job, "--sandbox", "--root", film.root, cwd=film.root)
    assert again.returncode == 0, again.stderr
    resolved = [attempt["resolution"] for task in film.manifest()["tasks"] for attempt in task["attempts"]]
    assert set(resolved) - {None} <= {"adopted", "absent"}
