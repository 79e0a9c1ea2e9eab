"""A job over two services that is killed twice: the services' own counts say what was paid for."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from runner.__main__ import main
from runner.project import init_project
from runner.sandbox import SandboxConfig, SandboxServer
from tests.support.command_process import command, environment

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
matrix: {shot: [a boat, a cup, a kettle, a lamp]}
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
def test_killed_twice_it_pays_for_each_task_once_at_each_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody can prove is held; a script settles it by what the service has."""
    init_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "job.yaml").write_text(JOB, encoding="utf-8")
    with ExitStack() as stack:
        config = SandboxConfig(latency=(0.2, 0.4), scale=0.05)
        servers = {name: stack.enter_context(SandboxServer(config)) for name in ("acme", "globe")}
        urls = {name: server.url for name, server in servers.items()}
        (tmp_path / "callsheet.yaml").write_text(HOUSE.format(**urls), encoding="utf-8")
        for most in (1, 4):
            process = subprocess.Popen(command("-q", "run", "job.yaml"), env=environment())
            ends = time.monotonic() + 60
            while sum(server.accepted for server in servers.values()) < most and process.poll() is None:
                assert time.monotonic() < ends
                time.sleep(0.005)
            process.kill()
            process.wait()
        main(["-q", "run", "job.yaml"])
        capsys.readouterr()
        main(["-q", "reconcile", "--output-format", "json"])
        ids = {str(task.request.get("prompt")): task.id for task in servers["globe"].tasks()}
        for one in json.loads(capsys.readouterr().out):
            remote_id = ids.get(one["task"].removeprefix("two-").replace("-", " "))
            answer = ["--again"] if remote_id is None else ["--adopt", remote_id, "--yes"]
            if one["state"] == "held":
                assert main(["-q", "reconcile", one["attempt"], *answer]) == 0
        ended = main(["run", "job.yaml"])
        assert ended == 0, capsys.readouterr().err
        for server in servers.values():
            assert set(bought(server).values()) == {1}
            assert server.accepted == 4
        assert len(list((tmp_path / "out").glob("*.mp4"))) == 8
