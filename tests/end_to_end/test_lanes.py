"""The job that compares four services, killed twice: the services' own counts say what was paid for."""

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
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.command_process import command, environment

SHIPPED = Path(__file__).parent.parent.parent / "jobs" / "compare-services.yaml"
SERVICES = ("mesh", "getimg", "ark", "fal")
SHOTS = {"kettle": "A copper kettle", "rain": "Rain on a greenhouse"}
QUICK = """
run: {settle: 0s, settle_alone: 0s, submit_slots: 2, timeout: 4s, poll: {first: 50ms, min: 50ms, max: 100ms}}
"""


def shots_at(server: SandboxServer) -> list[str]:
    """The shot of each task that a service has accepted, whatever its fields are called there."""
    said = [json.dumps(task.request) for task in server.tasks()]
    return [next(shot for shot, begin in SHOTS.items() if begin in each) for each in said]


def settle(servers: dict[str, SandboxServer], capsys: pytest.CaptureFixture[str]) -> None:
    """What a script makes of what is left: a person's answer to each, by the service's own list."""
    capsys.readouterr()
    main(["-q", "reconcile", "--output-format", "json"])
    for one in json.loads(capsys.readouterr().out):
        if one["state"] in ("held", "ambiguous"):
            shot, _, service = one["task"].partition("-")
            ids = dict(zip(shots_at(servers[service]), servers[service].tasks(), strict=True))
            answer = ["--adopt", ids[shot].id, "--yes"] if shot in ids else ["--again"]
            assert main(["-q", "reconcile", one["attempt"], *answer]) == 0, capsys.readouterr().err


@pytest.mark.fault(23)
def test_killed_twice_it_pays_for_each_task_once_at_each_of_four_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One answer is lost at each service beside. What nobody can prove is settled by a script."""
    init_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    # what was taken for absent counts for a day
    text = SHIPPED.read_text(encoding="utf-8").replace("max_tasks: 8 ", "max_tasks: 24 ")
    (tmp_path / "job.yaml").write_text(text + QUICK, encoding="utf-8")
    with ExitStack() as stack:
        config = SandboxConfig(latency=(0.2, 0.4), scale=0.05)
        servers = {name: stack.enter_context(SandboxServer(config)) for name in SERVICES}
        lines = ["version: 1", "accounts:"]
        for name, server in servers.items():
            monkeypatch.setenv(f"{name.upper()}_TEST_KEY", f"rsk_{name}")
            key = f"api_key_env: {name.upper()}_TEST_KEY"
            lines.append(f'  {name}: {{provider: {name}, base_url: "{server.url}", {key}}}')
            server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, after=1))
        (tmp_path / "callsheet.yaml").write_text("\n".join(lines), encoding="utf-8")
        for most in (2, 5):
            process = subprocess.Popen(command("-q", "run", "job.yaml"), env=environment())
            ends = time.monotonic() + 60
            while sum(server.accepted for server in servers.values()) < most and process.poll() is None:
                assert time.monotonic() < ends
                time.sleep(0.005)
            process.kill()
            process.wait()
        ended = main(["-q", "run", "job.yaml"])
        for _ in range(3):  # the answer to a submit may be lost only now
            if ended != 0:
                settle(servers, capsys)
                ended = main(["-q", "run", "job.yaml"])
        assert ended == 0, capsys.readouterr().err
        for server in servers.values():
            assert Counter(shots_at(server)) == {"kettle": 1, "rain": 1}
            assert server.accepted == 2
        assert len(list((tmp_path / "out/compare").glob("*.mp4"))) == 8
