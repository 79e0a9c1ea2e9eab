"""A job over two services that is killed twice: the services' own counts say what was paid for."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from runner.project import init_project
from runner.sandbox import SandboxConfig, SandboxServer
from tests.support.command_process import callsheet, command, environment

HOUSE = """\
version: 1
accounts:
  acme: {{provider: mesh, base_url: "{acme}", api_key_env: ACME_KEY}}
  globe: {{provider: getimg, base_url: "{globe}", api_key_env: GLOBE_KEY}}
"""
JOB = """\
version: 1
models:
  - {id: byteplus/seedance-1-0-pro, at: acme, name: one}
  - {id: seedance-2-0, at: globe, name: two}
matrix: {shot: [a boat, a cup, a kettle, a lamp, a chair, a door]}
request: {resolution: 480p, ratio: 16:9, duration: 4}
content: [{type: text, text: "${{ shot }}"}]
output: out/${{ model }}-${{ shot }}.mp4
run: {settle: 0s, settle_alone: 0s, submit_slots: 2, poll: {first: 50ms, min: 50ms, max: 100ms}}
"""
KEYS = {"ACME_KEY": "rsk_acme", "GLOBE_KEY": "rsk_globe"}


def bought(server: SandboxServer) -> Counter[str]:
    """How often each request was accepted, whatever tag it carried."""
    ours = ("execution_expires_after", "seed")
    return Counter(
        json.dumps({name: value for name, value in task.request.items() if name not in ours}, sort_keys=True)
        for task in server.tasks()
    )


@pytest.mark.fault(23)
@pytest.mark.parametrize("kills", [(1, 4), (3, 8)])
def test_killed_twice_it_pays_for_each_task_once_at_each_service(
    tmp_path: Path, kills: tuple[int, ...]
) -> None:
    """The first process dies once so many submits were accepted in all, and the second."""
    init_project(tmp_path)
    (tmp_path / "job.yaml").write_text(JOB, encoding="utf-8")
    with ExitStack() as stack:
        config = SandboxConfig(latency=(0.2, 0.4), scale=0.05)
        servers = {name: stack.enter_context(SandboxServer(config)) for name in ("acme", "globe")}
        urls = {name: server.url for name, server in servers.items()}
        (tmp_path / "callsheet.yaml").write_text(HOUSE.format(**urls), encoding="utf-8")
        for most in kills:
            process = subprocess.Popen(
                command("-q", "run", "job.yaml"),
                cwd=tmp_path,
                env=environment(**KEYS),
                stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            ends = time.monotonic() + 60
            while sum(server.accepted for server in servers.values()) < most and process.poll() is None:
                assert time.monotonic() < ends
                time.sleep(0.005)
            process.kill()
            process.wait()
        ended = callsheet("-q", "run", "job.yaml", cwd=tmp_path, **KEYS)
        listed = callsheet("-q", "reconcile", "--output-format", "json", cwd=tmp_path, **KEYS)
        for one in json.loads(listed.stdout):
            # what nobody can prove is held, and a person settles it: here by the service's own count
            answer = "--write-off"
            callsheet("-q", "reconcile", one["attempt"], answer, "--yes", cwd=tmp_path, **KEYS)
        again = callsheet("-q", "run", "job.yaml", cwd=tmp_path, **KEYS)
        for server in servers.values():
            counts = bought(server)
            assert max(counts.values()) == 1, (ended.stderr, again.stderr)
            assert len(counts) == server.accepted <= 6
        done = len(list((tmp_path / "out").glob("*.mp4")))
        assert done + len(json.loads(listed.stdout)) >= 12, ended.stderr
