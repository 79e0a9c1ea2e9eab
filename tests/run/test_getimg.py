"""Whole runs at getimg's side of the sandbox: several files of one task, its price, its deadlines."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from runner.errors import ExitCode
from runner.ledger.states import TaskState
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxServer, Stage, Where
from tests.support.run_bench import RunBench

pytestmark = pytest.mark.anyio

JOB = """\
version: 1
provider: getimg
models: [seedance-v1-pro]
samples: {samples}
request: {{resolution: 480p, aspect_ratio: 16:9, duration: 2}}
content: [{{type: text, text: a teapot}}]
output: out/t${{{{ sample }}}}.mp4
run: {{poll: {{first: 20ms, min: 20ms, max: 50ms}}, downloads: 1}}
"""


@pytest.fixture
def bench(tmp_path: Path, server: SandboxServer) -> RunBench:
    return RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY, provider="getimg")


def job(bench: RunBench, samples: int = 1) -> Path:
    return bench.write_job(JOB.format(samples=samples))


def tasks(bench: RunBench) -> list[dict[str, Any]]:
    return cast(list[dict[str, Any]], bench.manifest()["tasks"])


async def test_several_items_of_data_are_several_files(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.SEVERAL, count=3, times=None))
    result = await bench.run(job(bench))
    assert (result.exit_code, result.reasons) == (ExitCode.DONE, ())
    files = sorted((bench.project.base / "out").iterdir())
    assert [file.name for file in files] == ["t1-2.mp4", "t1-3.mp4", "t1.mp4"]
    assert len({file.read_bytes() for file in files}) == 3
    (task,) = tasks(bench)
    assert [output["path"] for output in task["outputs"]] == ["out/t1.mp4", "out/t1-2.mp4", "out/t1-3.mp4"]
    assert server.accepted == 1


@pytest.mark.fault(165)
async def test_a_service_that_says_each_video_cost_nothing_lifts_no_cap(
    bench: RunBench, server: SandboxServer
) -> None:
    free = Fault(where=Where.GET, kind=Kind.FIELDS, times=None, fields={"usage": {"total_cost": 0}})
    server.faults.add(free)
    capped = "price: {usd_per_task: 0.4}\nbudget: {max_usd: 1}\n"
    for samples in (2, 3, 4):
        await bench.run(bench.write_job(JOB.format(samples=samples) + capped))
    assert server.accepted == 2


async def test_the_price_that_the_service_names_is_in_ledger_and_manifest(bench: RunBench) -> None:
    await bench.run(job(bench))
    with bench.ledger() as ledger:
        (attempt,) = ledger.read.in_state(TaskState.DONE)
    assert attempt.cost_micros == 100_000
    (told,) = tasks(bench)[0]["attempts"]
    assert Decimal(told["cost_usd"]) == Decimal("0.1")


async def test_the_download_whose_deadline_is_nearest_goes_first(
    bench: RunBench, server: SandboxServer
) -> None:
    """One slot, held by a slow download for as long as the others come to wait behind it."""
    accepted: list[str] = []

    def tell(name: str, fields: Mapping[str, object]) -> None:
        if name == "task.submitted":
            accepted.append(str(fields["identity"]))
            remote_id, hours = str(fields["remote_id"]), 10 - len(accepted)
            server.faults.add(
                Fault(where=Where.GET, kind=Kind.DEADLINE, times=None, task=remote_id, seconds=3600 * hours)
            )

    bench.tell = tell
    server.faults.add(Fault(where=Where.DOWNLOAD, kind=Kind.DELAY, seconds=0.5))
    result = await bench.run(job(bench, samples=5))
    assert result.exit_code is ExitCode.DONE
    fetched = [str(fields["identity"]) for name, fields in bench.events if name == "task.file"]
    waited = fetched[1:]
    assert waited == [each for each in reversed(accepted) if each in waited]


async def test_an_unclear_submit_is_held_at_once_and_never_repeated(
    bench: RunBench, server: SandboxServer
) -> None:
    """Rows 7 to 9 where there is no list to look in: a person decides."""
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, stage=Stage.BEFORE, accept=True))
    first = await bench.run(job(bench, samples=2))
    assert first.exit_code is ExitCode.PERSON_NEEDED
    assert first.counts == {TaskState.HELD: 1, TaskState.DONE: 1}
    again = await bench.run(job(bench, samples=2))
    assert again.exit_code is ExitCode.PERSON_NEEDED
    assert server.accepted == 2


async def test_a_server_error_is_unclear_too(bench: RunBench, server: SandboxServer) -> None:
    """Row 15: at getimg every 5xx is."""
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=503))
    assert (await bench.run(job(bench))).exit_code is ExitCode.PERSON_NEEDED
    assert server.accepted == 0


async def test_a_429_is_waited_for_and_costs_no_attempt(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=429, retry_after=0.0))
    assert (await bench.run(job(bench))).exit_code is ExitCode.DONE
    assert len(tasks(bench)[0]["attempts"]) == 1
    assert server.accepted == 1


async def test_a_run_of_one_service_leaves_the_tasks_of_the_other_alone(
    bench: RunBench, server: SandboxServer
) -> None:
    """A rehearsal has one origin for both: asked at the wrong one, a task would look forgotten."""
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    await bench.run(job(bench), until=lambda: server.accepted == 1)
    server.faults.clear()
    gets = {task.id: 0 for task in server.tasks()}
    assert len(gets) == 1

    mesh = RunBench(root=bench.root, url=server.url, key=SANDBOX_KEY)
    assert (await mesh.collect()).counts == {}
    assert (await bench.collect()).counts == {TaskState.DONE: 1}


async def test_a_local_image_is_sent_with_the_request(bench: RunBench, server: SandboxServer) -> None:
    """As a data URI; the ledger and the manifest have its digest alone."""
    picture = io.BytesIO()
    Image.new("RGB", (640, 360), "teal").save(picture, format="PNG")
    path = bench.write_job(
        JOB.format(samples=1).replace(
            "text: a teapot}", "text: a teapot}, {type: image_url, image_url: a.png, role: first_frame}"
        )
    )
    path.with_name("a.png").write_bytes(picture.getvalue())
    result = await bench.run(path)
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 1)
    (task,) = tasks(bench)
    digest = hashlib.sha256(picture.getvalue()).hexdigest()
    assert task["request"]["images"] == [{"url": f"sha256:{digest}", "role": "first_frame"}]
    assert (bench.project.base / "out" / "t1.mp4").stat().st_size > 0
    assert (await bench.run(path)).exit_code is ExitCode.DONE
    assert server.accepted == 1
