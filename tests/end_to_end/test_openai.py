"""Seed sweeps at a server of one's own on this machine, which is real: killed, repeated, answers cut."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from runner.__main__ import main
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.command_process import command, environment
from tests.support.sandbox_requests import NO_TLS

JOB = """\
version: 1
models: [{id: Wan-AI/Wan2.2-T2V-A14B, at: gpu, name: wan}]
seeds: 1..3
request: {duration: 1, resolution: 480p, ratio: 16:9}
content: [{type: text, text: A paper boat}]
output: out/s${{ seed }}.mp4
run: {settle: 100ms, poll: {first: 20ms, min: 20ms, max: 50ms}}
"""
SEEDS = (1, 2, 3)


@pytest.fixture
def gpu() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.05)) as server:
        yield server


def project(folder: Path, server: SandboxServer, dialect: str = "vllm-omni") -> Path:
    """A project with the account `gpu`, in a folder of its own."""
    assert main(["-q", "init", str(folder)]) == 0
    url = f"{server.url}/{dialect}/v1"
    account = f"{{provider: openai, base_url: '{url}', dialect: {dialect}}}"
    (folder / "callsheet.yaml").write_text(f"version: 1\naccounts:\n  gpu: {account}\n", encoding="utf-8")
    (folder / "sweep.yaml").write_text(JOB, encoding="utf-8")
    return folder


def run(root: Path, *more: str) -> int:
    return main(["-q", "run", str(root / "sweep.yaml"), "--root", str(root), *more])


def digests(root: Path) -> list[str]:
    return [hashlib.sha256((root / "out" / f"s{seed}.mp4").read_bytes()).hexdigest() for seed in SEEDS]


def polled(server: SandboxServer) -> int:
    """How many tasks somebody asked for by their id."""
    stats = httpx.get(f"{server.url}/_sandbox/stats", verify=NO_TLS).json()
    return sum(each["gets"] > 0 for each in stats["per_task"].values())


def test_a_sweep_is_real_and_gives_the_same_bytes_each_time(tmp_path: Path, gpu: SandboxServer) -> None:
    one, other = project(tmp_path / "one", gpu), project(tmp_path / "other", gpu)
    assert run(one) == run(other) == 0
    assert not (one / "rehearsal").exists()
    assert digests(one) == digests(other)
    assert len({*digests(one)}) == len(SEEDS)
    assert gpu.accepted == 2 * len(SEEDS)
    assert run(one) == 0
    assert gpu.accepted == 2 * len(SEEDS)
    before = digests(one)
    assert run(one, "--again", "s2") == 0
    assert digests(one) == before


def test_a_killed_sweep_goes_on_and_asks_for_nothing_twice(tmp_path: Path) -> None:
    with SandboxServer(SandboxConfig(latency=(0.8, 0.9), scale=0.05)) as gpu:
        root = project(tmp_path / "film", gpu)
        process = subprocess.Popen(
            command("-q", "run", root / "sweep.yaml", "--root", root), cwd=tmp_path, env=environment()
        )
        try:
            while polled(gpu) < len(SEEDS):
                assert process.poll() is None
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
        assert not [*root.glob("out/*.mp4")]
        assert run(root) == 0
        assert (gpu.accepted, len({*digests(root)})) == (len(SEEDS), len(SEEDS))


def test_a_lost_answer_is_looked_up_where_the_list_shows_prompts(tmp_path: Path, gpu: SandboxServer) -> None:
    root = project(tmp_path / "film", gpu)
    gpu.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, after=1))
    assert run(root) == 0
    assert (gpu.accepted, len({*digests(root)})) == (len(SEEDS), len(SEEDS))


@pytest.mark.fault(36)
def test_a_list_that_lags_is_waited_for_although_it_forgets_within_a_day(
    tmp_path: Path, gpu: SandboxServer
) -> None:
    root = project(tmp_path / "film", gpu)
    gpu.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, after=1))
    gpu.faults.add(Fault(where=Where.LIST, kind=Kind.HIDDEN, times=5))
    assert run(root) == 0
    assert (gpu.accepted, len({*digests(root)})) == (len(SEEDS), len(SEEDS))


@pytest.mark.fault(90)
def test_a_lost_answer_is_held_where_no_list_shows_prompts(
    tmp_path: Path, gpu: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project(tmp_path / "film", gpu, "sglang")
    gpu.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, after=1))
    assert run(root) == 5
    assert gpu.accepted == len(SEEDS)
    capsys.readouterr()
    assert main(["reconcile", "--root", str(root)]) == 5
    told = capsys.readouterr()
    assert "held" in told.out + told.err
    assert run(root) == 5
    assert gpu.accepted == len(SEEDS)


def test_a_video_that_the_server_keeps_for_a_day_is_not_out_of_reach_within_the_hour(
    tmp_path: Path, gpu: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project(tmp_path / "film", gpu)
    gpu.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    assert run(root, "--deadline", "1s") == 75
    assert "out of reach" not in capsys.readouterr().err


@pytest.mark.fault(92)
def test_a_failed_video_is_told_with_the_servers_code(
    tmp_path: Path, gpu: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project(tmp_path / "film", gpu)
    job = root / "sweep.yaml"
    job.write_text(JOB.replace("A paper boat", "'A paper boat [violate]'"), encoding="utf-8")
    assert run(root) == 1
    capsys.readouterr()
    assert main(["status", "--failed", "--root", str(root)]) in (0, 1)
    told = capsys.readouterr()
    assert "the prompt violates the content policy" in told.out + told.err
    assert gpu.accepted == len(SEEDS)
