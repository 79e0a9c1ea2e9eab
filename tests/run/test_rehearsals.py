"""Two servers on this machine, one project: what each has made is kept, and nothing is removed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.job.load import LoadOptions, load_job
from runner.ledger.states import TaskState
from runner.plan.plan import make_plan
from runner.record.manifest import read_tasks
from runner.record.verify import Checks, Finding, check, files_of
from runner.run.task.progress import progress_of
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.evidence import evidence_but
from tests.support.run_bench import RunBench, job_text

pytestmark = pytest.mark.anyio
FRAMES = job_text(seeds=2).replace("duration: 4}", "duration: 4, return_last_frame: true}")


@pytest.fixture
def other() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.1, seed=9)) as running:
        yield running


def _files(bench: RunBench) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (bench.project.base / "out").iterdir()}


@pytest.mark.fault(62)
@pytest.mark.parametrize(
    "answer", evidence_but(lambda answer: answer in ("none", 402), ["none", 401, 503, 402])
)
async def test_nothing_gives_way_for_a_service_that_takes_nothing(
    answer: str | int, bench: RunBench, other: SandboxServer, tmp_path: Path
) -> None:
    file = bench.write_job(FRAMES)
    await bench.run(file)
    before = _files(bench)
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}" if answer == "none" else other.url
        if isinstance(answer, int):
            for where in [Where.SUBMIT] if answer == 402 else [Where.LIST, Where.GET]:
                other.faults.add(Fault(where=where, kind=Kind.ANSWER, status=answer, times=None))
        result = await RunBench(root=tmp_path, url=url, key=SANDBOX_KEY).run(file, deadline=20)
    assert result.exit_code is not ExitCode.DONE
    kept = _files(bench)
    assert sorted(kept.values()) == sorted(before.values())
    if answer != 402:
        assert kept == before


async def test_what_gives_way_is_kept_and_stays_what_it_was(
    bench: RunBench, server: SandboxServer, other: SandboxServer, tmp_path: Path
) -> None:
    file = bench.write_job(FRAMES)
    await bench.run(file)
    before = _files(bench)
    there = RunBench(root=tmp_path, url=other.url, key=SANDBOX_KEY)
    assert (await there.run(file)).exit_code is ExitCode.DONE
    after = _files(bench)
    assert {name: after[name] for name in after if ".v1" in name} == {
        name.replace(".", ".v1.", 1): data for name, data in before.items()
    }
    assert set(before) < set(after)
    assert after["s1.mp4"] != before["s1.mp4"]

    for one, files in ((bench, before), (there, {name: after[name] for name in before}), (bench, before)):
        result = await one.run(file)
        assert (result.exit_code, result.counts) == (ExitCode.DONE, {TaskState.DONE: 2})
        plan = make_plan(
            load_job(file, root=tmp_path.resolve(), options=LoadOptions(environ={})), origin=one.url
        )
        with one.ledger() as ledger:
            [first, _] = progress_of(plan.tasks, ledger.read, one.project.base)
        assert first.video == "out/s1.mp4"
        assert {name: _files(bench)[name] for name in before} == files
    assert (server.accepted, other.accepted) == (2, 2)
    assert set(_files(bench).values()) == set(after.values())


async def test_a_run_whose_files_have_given_way_is_verified_by_them(
    bench: RunBench, other: SandboxServer, tmp_path: Path
) -> None:
    file = bench.write_job(FRAMES)
    before = await bench.run(file)
    assert before.run_id is not None
    await RunBench(root=tmp_path, url=other.url, key=SANDBOX_KEY).run(file)

    def findings(run_id: str) -> set[Finding]:
        tasks = read_tasks(bench.project.runs_dir / run_id / "manifest.json")
        checks = Checks(str(bench.project.base), decode=False)
        return {check(checks, file).finding for task in tasks for file in files_of(task, {}, {})}

    assert findings(before.run_id) == findings("latest") == {Finding.SAME}
    moved = bench.project.base / "out" / "s1.v1.mp4"
    moved.write_bytes(moved.read_bytes()[:-1])
    assert findings(before.run_id) == {Finding.SAME, Finding.CHANGED}


async def test_a_third_server_takes_the_next_number(
    bench: RunBench, other: SandboxServer, tmp_path: Path
) -> None:
    file = bench.write_job(job_text(seeds=1))
    await bench.run(file)
    await RunBench(root=tmp_path, url=other.url, key=SANDBOX_KEY).run(file)
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.1)) as third:
        await RunBench(root=tmp_path, url=third.url, key=SANDBOX_KEY).run(file)
    assert set(_files(bench)) == {"s1.mp4", "s1.v1.mp4", "s1.v2.mp4"}


async def test_a_take_that_somebody_changed_is_kept_as_it_is_now(
    bench: RunBench, other: SandboxServer, tmp_path: Path
) -> None:
    file = bench.write_job(job_text(seeds=1))
    await bench.run(file)
    mine = bench.project.base / "out" / "s1.mp4"
    mine.write_bytes(b"mine")
    await RunBench(root=tmp_path, url=other.url, key=SANDBOX_KEY).run(file)
    assert (mine.with_name("s1.v1.mp4").read_bytes(), other.accepted) == (b"mine", 1)
