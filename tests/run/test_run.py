"""A job file goes in, videos and a manifest come out; nothing is paid twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import ExitCode, JobError
from runner.ledger.states import TaskState
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.run_bench import RunBench, job_text

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.1)) as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, server: SandboxServer) -> RunBench:
    # a key of its own: lists and counts are per key
    return RunBench(root=tmp_path, url=server.url, key=f"{SANDBOX_KEY}{abs(hash(tmp_path))}")


async def test_a_run_leaves_a_verified_file_for_each_task(bench: RunBench, server: SandboxServer) -> None:
    before = server.accepted
    result = await bench.run(bench.write_job(job_text(seeds=3)))
    assert (result.exit_code, result.reasons) == (ExitCode.DONE, ())
    assert result.counts[TaskState.DONE] == 3
    assert server.accepted - before == 3
    assert sorted(path.name for path in (bench.project.base / "out").iterdir()) == [
        "s1.mp4",
        "s2.mp4",
        "s3.mp4",
    ]


async def test_a_second_run_submits_nothing(bench: RunBench, server: SandboxServer) -> None:
    file = bench.write_job(job_text(seeds=2))
    first = await bench.run(file)
    before = server.accepted
    second = await bench.run(file)
    assert second.exit_code is ExitCode.DONE
    assert server.accepted == before
    assert second.run_id != first.run_id


async def test_moved_outputs_are_fetched_again_and_never_bought(
    bench: RunBench, server: SandboxServer
) -> None:
    """Row 49: an archive job moves the files; the service still has them."""
    file = bench.write_job(job_text(seeds=2))
    await bench.run(file)
    before = server.accepted
    (bench.project.base / "out").rename(bench.root / "archive")
    result = await bench.run(file)
    assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 2)
    assert server.accepted == before
    assert (bench.project.base / "out" / "s1.mp4").read_bytes() == (
        bench.root / "archive" / "s1.mp4"
    ).read_bytes()


async def test_a_known_identity_under_a_new_path_is_linked(bench: RunBench, server: SandboxServer) -> None:
    text = job_text(seeds=2)
    await bench.run(bench.write_job(text))
    before = server.accepted
    result = await bench.run(bench.write_job(text.replace("out/s", "takes/t")))
    assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 2)
    assert server.accepted == before
    assert (bench.project.base / "takes/t1.mp4").stat().st_size > 0
    assert (bench.project.base / "out/s1.mp4").exists()


async def test_paths_that_are_taken_for_one_reason_are_one_problem(bench: RunBench) -> None:
    text = job_text(seeds=5)
    for number in range(1, 6):
        mine = bench.project.base / f"out/s{number}.mp4"
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_bytes(b"mine")
    with pytest.raises(JobError) as caught:
        await bench.run(bench.write_job(text))
    (problem,) = caught.value.problems
    assert problem.message.startswith("5 tasks (s1, s2, s3, ...): the path of each exists already")
    assert "out/v2/" in problem.hint


async def test_a_deadline_leaves_everything_resumable(bench: RunBench, server: SandboxServer) -> None:
    """Row 48: out of time is exit 75, and the next run pays for nothing again."""
    before = server.accepted
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    file = bench.write_job(job_text(seeds=3))
    first = await bench.run(file, until=lambda: server.accepted == before + 3)
    assert first.exit_code is ExitCode.TRY_AGAIN
    assert first.counts[TaskState.SUBMITTED] == 3
    server.faults.clear()
    second = await bench.run(file)
    assert (second.exit_code, second.run_id) == (ExitCode.DONE, first.run_id)
    assert server.accepted == before + 3


async def test_an_ambiguous_submit_is_found_by_its_tag(tmp_path: Path) -> None:
    """Row 8: accepted, then cut; the list shows it and the tag tells whose it is."""
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.1)) as server:
        bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
        server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, after=1, times=1))
        result = await bench.run(bench.write_job(job_text(seeds=3, run="settle: 300ms")))
        assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 3)
        assert server.accepted == 3


async def test_a_submit_that_never_arrived_is_sent_again_once(tmp_path: Path) -> None:
    """Cut without being accepted: three scans and the settle time later it is absent."""
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.1)) as server:
        bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
        server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, after=1, times=1))
        result = await bench.run(bench.write_job(job_text(seeds=3, run="settle: 300ms")))
        assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 3)
        assert server.accepted == 3


async def test_a_file_changed_in_place_is_fetched_again(bench: RunBench, server: SandboxServer) -> None:
    """Row 49: same size, another byte; the manifest must not vouch for it."""
    file = bench.write_job(job_text(seeds=1))
    await bench.run(file)
    video = bench.project.base / "out" / "s1.mp4"
    data = bytearray(video.read_bytes())
    data[-1] ^= 1
    video.write_bytes(data)
    before = server.accepted
    result = await bench.run(file)
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, before)
    [output] = bench.manifest()["tasks"][0]["outputs"]  # type: ignore[index, call-overload]
    kept = bench.project.base / output["path"]
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == output["sha256"]
    assert video.read_bytes() == data


async def test_a_rehearsal_at_another_server_gives_way(bench: RunBench, tmp_path: Path) -> None:
    """The port of a sandbox changes, and nothing there is paid for."""
    file = bench.write_job(job_text(seeds=2))
    await bench.run(file)
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.1)) as other:
        again = RunBench(root=tmp_path, url=other.url, key=SANDBOX_KEY)
        result = await again.run(file)
        assert (result.exit_code, other.accepted) == (ExitCode.DONE, 2)
        names = ["s1.mp4", "s1.v1.mp4", "s2.mp4", "s2.v1.mp4"]
        assert sorted(path.name for path in (bench.project.base / "out").iterdir()) == names


async def test_collect_says_what_is_left(tmp_path: Path) -> None:
    """Held is exit 5, in flight is 75, and neither is ever submitted by it."""
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.1)) as server:
        bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
        server.faults.add(
            Fault(where=Where.SUBMIT, kind=Kind.ANSWER, accept=False, status=500),
            Fault(where=Where.GET, kind=Kind.REGRESS, times=None),
        )
        file = bench.write_job(job_text(seeds=2, run="settle: 100ms"))
        first = await bench.run(file, until=lambda: server.accepted == 1 and bench.has_seen("task.ambiguous"))
        assert first.exit_code is ExitCode.TRY_AGAIN
        assert (await bench.collect(deadline=0.05)).exit_code is ExitCode.TRY_AGAIN
        server.faults.clear()
        held = await bench.run(file)
        assert (held.exit_code, held.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 1)
        assert (await bench.collect()).exit_code is ExitCode.PERSON_NEEDED
        assert server.accepted == 1
