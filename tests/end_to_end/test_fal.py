"""Whole runs at fal's side of the sandbox: uploads, a kill, and a lost answer that the history tells."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.ledger.states import Basis, Resolution, TaskState
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.pictures import png
from tests.support.process_bench import ProcessBench
from tests.support.run_bench import RunBench

JOB = """\
version: 1
provider: fal
models: [bytedance/seedance-2.0/text-to-video]
matrix: {shot: [pour, spin]}
request: {resolution: 480p, duration: 4, ratio: adaptive, generate_audio: false}
content:
  - {type: text, text: "A teapot, ${{ shot }}"}
output: out/${{ shot }}.mp4
run: {settle: 0s, settle_alone: 0s, poll: {first: 20ms, min: 20ms, max: 50ms}}
"""
FROM_IMAGE = JOB.replace("text-to-video", "image-to-video").replace(
    "output:", "  - {type: image_url, image_url: first.png, role: first_frame}\noutput:"
)
CALLED = """\
  webhook: {{public_url: "http://127.0.0.1:{port}/hooks", listen: "127.0.0.1:{port}"}}
  poll: {{first: 20ms, min: 20ms, max: 30s}}
"""
LOST = Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True)


@pytest.fixture
def bench(tmp_path: Path, server: SandboxServer) -> RunBench:
    return RunBench(tmp_path, server.url, "id:secret", provider="fal")


def test_a_job_with_a_local_image_is_killed_and_resumed(film: ProcessBench) -> None:
    """The image goes by an upload; its address is in no file of ours."""
    job = film.write(FROM_IMAGE)
    (film.root / "first.png").write_bytes(png())
    film.server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    process = film.start("run", job)
    while film.server.accepted < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    film.server.faults.clear()
    resumed = film.call("run", job)
    assert resumed.returncode == ExitCode.DONE, resumed.stderr
    assert film.server.accepted == 2
    assert sorted(file.name for file in (film.base / "out").iterdir()) == ["pour.mp4", "spin.mp4"]
    uploads = {task.request["fal"]["input"]["image_url"] for task in film.server.tasks()}
    assert len(uploads) == 1
    kept = b"".join(file.read_bytes() for file in film.base.rglob("*.json*"))
    assert not any(url.encode() in kept for url in uploads)


@pytest.mark.anyio
@pytest.mark.fault(95)
async def test_a_lost_answer_is_found_by_its_input_once_the_request_has_ended(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(LOST)
    result = await bench.run(bench.write_job(JOB))
    assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 2)
    assert server.accepted == 2
    with bench.ledger() as ledger:
        rows = list(ledger.read.in_state(TaskState.DONE))
    found = {row.resolution: row.resolution_evidence for row in rows}
    assert found[Resolution.ADOPTED] is not None
    assert found[Resolution.ADOPTED].basis is Basis.INPUT


@pytest.mark.anyio
@pytest.mark.fault(95)
async def test_what_the_history_does_not_list_is_not_taken_for_absent(
    bench: RunBench, server: SandboxServer
) -> None:
    """It was not accepted, and nobody can know: a request that is at work is not listed either."""
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=False))
    job = bench.write_job(JOB)
    for _ in range(2):
        result = await bench.run(job, until=lambda: any(name == "task.done" for name, _ in bench.events))
        assert result.counts[TaskState.AMBIGUOUS] == 1
        assert result.counts[TaskState.DONE] == 1
    assert server.accepted == 1


@pytest.mark.anyio
@pytest.mark.fault(96)
async def test_a_lost_handle_is_made_again_of_the_model_and_the_id(
    bench: RunBench, server: SandboxServer
) -> None:
    """An adopted request has none: the history names no URLs."""
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, times=None))
    result = await bench.run(bench.write_job(JOB))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 2)


@pytest.mark.anyio
async def test_a_wrong_input_fails_with_a_cost_that_is_not_known(
    bench: RunBench, server: SandboxServer
) -> None:
    """422: a runner may have worked."""
    job = bench.write_job(JOB.replace("A teapot,", "[violate]"))
    result = await bench.run(job)
    assert result.counts[TaskState.FAILED] == 2
    with bench.ledger() as ledger:
        rows = list(ledger.read.in_state(TaskState.FAILED))
    assert {row.error_code for row in rows} == {"content_policy_violation"}
    assert {row.cost_micros for row in rows} == {None}


@pytest.mark.anyio
@pytest.mark.fault(94)
async def test_a_failure_of_a_runner_is_free(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(
        Fault(where=Where.SUBMIT, kind=Kind.OUTCOME, code="generation_timeout", message="too slow", times=2)
    )
    result = await bench.run(bench.write_job(JOB))
    assert result.counts[TaskState.FAILED] == 2
    with bench.ledger() as ledger:
        rows = list(ledger.read.in_state(TaskState.FAILED))
    assert {(row.error_code, row.cost_micros) for row in rows} == {("generation_timeout", 0)}


@pytest.mark.anyio
@pytest.mark.fault(97)
@pytest.mark.parametrize("is_signed", [True, False])
async def test_only_a_signed_call_wakes_the_run(tmp_path: Path, is_signed: bool) -> None:
    """The next look without one is minutes away. The forged call says that the video is there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    head, _, _ = JOB.replace("[pour, spin]", "[pour]").partition("run: ")
    with SandboxServer(SandboxConfig(latency=(0.4, 0.4), scale=0.05)) as server:
        bench = RunBench(tmp_path, server.url, "id:secret", provider="fal")
        server.faults.add(Fault(where=Where.WEBHOOK, kind=Kind.FORGE))
        if not is_signed:
            server.faults.add(Fault(where=Where.WEBHOOK, kind=Kind.DROP))
        job = bench.write_job(f"{head}run:\n{CALLED.format(port=port)}")
        result = await bench.run(job, deadline=10.0 if is_signed else 1.2)
    assert result.counts[TaskState.DONE] == (1 if is_signed else 0)
