"""A run on a shared ledger that is killed, and the next one in the same project on the same machine."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.ledger.driver_lock import DriverLock
from runner.project import init_project
from runner.sandbox import SandboxConfig, SandboxServer
from runner.sandbox.faults import Fault, Kind, Stage, Where
from tests.support.command_process import callsheet, command, environment

PROJECT = """\
version: 1
project: 7f3a9c12
ledger: {url_env: TEAM_LEDGER}
accounts:
  studio: {provider: mesh, api_key_env: STUDIO_KEY, base_url: "%s"}
"""
JOB = """\
version: 1
models: [{id: byteplus/seedance-1-0-pro, at: studio}]
seeds: 1..3
request: {resolution: 480p, ratio: 1:1, duration: 4}
content: [{type: text, text: A paper boat}]
output: out/s${{ seed }}.mp4
run: {settle: 100ms, poll: {first: 20ms, min: 20ms, max: 50ms}}
"""


@dataclass(frozen=True, slots=True)
class Studio:
    """One project whose service is the sandbox, and whose ledger others share."""

    root: Path
    server: SandboxServer
    ledger_url: str

    @property
    def line(self) -> list[str | Path]:
        return ["run", self.root / "boat.yaml", "--root", self.root]

    @property
    def environ(self) -> dict[str, str]:
        return {"STUDIO_KEY": "rsk_studio_0123456789", "TEAM_LEDGER": self.ledger_url}

    def kill_in_the_window(self) -> None:
        """A run is killed once one POST was accepted and one was not, and it has heard of neither."""
        self.server.faults.add(
            Fault(where=Where.SUBMIT, kind=Kind.STALL, seconds=60.0, accept=True),
            Fault(
                where=Where.SUBMIT, kind=Kind.STALL, seconds=60.0, stage=Stage.REQUEST, times=None, after=1
            ),
        )
        log = self.root / "runs" / "latest" / "events.jsonl"
        with subprocess.Popen(command(*self.line), env=environment(**self.environ)) as process:
            ends = time.monotonic() + 60.0
            while not (self.server.accepted and log.read_bytes().count(b"task.intended") == 3):
                assert process.poll() is None
                assert time.monotonic() < ends
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        self.server.faults.clear()


@pytest.fixture
def studio(tmp_path: Path, ledger_url: str) -> Iterator[Studio]:
    lock = DriverLock.take(tmp_path / "driver")
    if lock is None:
        pytest.skip("temporary files lie on a file system (or another system) whose locks prove nothing")
    lock.close()
    with SandboxServer(SandboxConfig(latency=(0, 0))) as server:
        root = tmp_path / "film"
        init_project(root)
        (root / "callsheet.yaml").write_text(PROJECT % server.url)
        (root / "boat.yaml").write_text(JOB)
        yield Studio(root, server, ledger_url)


@pytest.mark.fault(160)
def test_after_a_kill_the_next_run_of_the_same_project_goes_on_at_once(studio: Studio) -> None:
    """The lock that it takes is the killed one's: nothing more can come of that process."""
    studio.kill_in_the_window()
    again = callsheet(*studio.line, cwd=studio.root, **studio.environ)
    assert again.returncode == ExitCode.DONE, again.stderr
    assert "it has ended, and is taken over at once" in again.stderr
    assert "without a sign of life" not in again.stderr
    assert studio.server.accepted == 3
    assert sorted(path.name for path in (studio.root / "out").iterdir()) == ["s1.mp4", "s2.mp4", "s3.mp4"]
