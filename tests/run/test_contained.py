"""Whatever one task raises is its own trouble: all others come home, the manifest is written, exit 70."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import anyio
import pytest
from PIL import Image

from runner.durable import replace_file
from runner.errors import ExitCode, StateError
from runner.lane.control import MOST_DEFECTS, Control
from runner.lane.pace import Breaker, Retry
from runner.lane.submit import Submission
from runner.ledger.states import TaskState
from runner.providers.mesh.client import MeshClient
from runner.redact import Redactor
from runner.run.task.deliver import Delivery
from runner.run.task.task import TaskLife
from runner.run.task.watch import Watch
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from runner.store import inputs
from tests.support.clips import make_clip
from tests.support.files_server import FilesServer, file
from tests.support.run_bench import RunBench, job_text

pytestmark = pytest.mark.anyio

ERRORS = [
    AttributeError("no such thing"),
    RecursionError("too deep"),
    MemoryError(),
    OSError(errno.EIO, "broken disk"),
    UnicodeError("a strange host"),
    OverflowError("too large"),
    ExceptionGroup("several", [ValueError("one of them")]),
    AssertionError(),
]


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.05)) as running:
        yield running


def breaking(original: Callable[..., object], error: Exception, *, after: int) -> Callable[..., object]:
    """`original`, of which only the call after so many raises."""
    calls = 0

    async def call(*args: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == after + 1:
            raise error
        return await original(*args, **named)  # type: ignore[misc]

    return call


@pytest.mark.fault(63)
@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [
        *((Watch, "until_ended", error) for error in ERRORS),
        (Delivery, "deliver", ERRORS[0]),
        (MeshClient, "get", ERRORS[0]),
        (Submission, "_pick_tag", ERRORS[0]),
    ],
)
async def test_one_task_that_breaks_takes_no_other_with_it(
    tmp_path: Path,
    server: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    error: Exception,
) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    job = bench.write_job(job_text(seeds=4, run="concurrency: 1"))
    with monkeypatch.context() as broken:
        broken.setattr(owner, name, breaking(getattr(owner, name), error, after=1))
        first = await bench.run(job)
    assert first.exit_code is ExitCode.BUG
    assert first.counts[TaskState.DONE] == 3
    [told] = [reason for reason in first.reasons if "defect" in reason]
    assert type(error).__name__ in told
    assert told[:3] in ("s1:", "s2:", "s3:", "s4:")
    [defect] = [fields for event, fields in bench.events if event == "task.defect"]
    assert "at" not in defect  # a line of the log has the time there
    assert defect["frames"]
    assert bench.manifest()["counts"]["by_state"]["done"] == 3  # type: ignore[index, call-overload]
    second = await bench.run(job)
    assert (second.exit_code, second.counts) == (ExitCode.DONE, {TaskState.DONE: 4})
    assert server.accepted == 4


@pytest.mark.fault(63)
async def test_what_was_in_flight_is_brought_home_beside_one_that_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the next start, too, where nothing but the paid tasks is left to do."""
    with SandboxServer(SandboxConfig(latency=(0.5, 0.5), scale=0.05)) as slow:
        bench = RunBench(root=tmp_path, url=slow.url, key=SANDBOX_KEY)
        job = bench.write_job(job_text(seeds=3))
        await bench.run(job, until=lambda: slow.accepted == 3)
        read = TaskLife._read
        with monkeypatch.context() as broken:
            broken.setattr(TaskLife, "_read", breaking(read, KeyError("row"), after=0))
            first = await bench.collect()
        assert (first.exit_code, first.counts[TaskState.DONE]) == (ExitCode.BUG, 2)
        with monkeypatch.context() as broken:
            broken.setattr(TaskLife, "_read", breaking(read, KeyError("row"), after=0))
            again = await bench.run(job)
        assert (again.exit_code, again.counts[TaskState.DONE]) == (ExitCode.BUG, 2)
        last = await bench.run(job)
        assert (last.exit_code, last.counts, slow.accepted) == (ExitCode.DONE, {TaskState.DONE: 3}, 3)


@pytest.mark.fault(63)
@pytest.mark.parametrize(
    "url", ["https://xn--/v.mp4", "https://example.com:99999/v.mp4", "https://[broken", "not"]
)
async def test_a_result_s_url_that_is_none_leaves_its_task_and_no_other(
    tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(Retry, "pause", lambda _: 0.0)
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    await bench.run(bench.write_job(job_text(seeds=1)), until=lambda: server.accepted == 1)
    job = bench.write_job(job_text(seeds=3, run="concurrency: 1"))
    task = server.tasks()[0].id
    server.faults.add(
        Fault(
            where=Where.GET, kind=Kind.FIELDS, task=task, times=None, fields={"content": {"video_url": url}}
        )
    )
    result = await bench.run(job)
    assert (result.exit_code, result.counts) == (
        ExitCode.TRY_AGAIN,
        {TaskState.COLLECTING: 1, TaskState.DONE: 2},
    )
    server.faults.clear()
    assert (await bench.run(job)).counts == {TaskState.DONE: 3}


@pytest.mark.fault(63)
@pytest.mark.parametrize("planted", ["pipe", "folder"])
async def test_what_stands_in_one_file_s_place_leaves_its_task_and_no_other(
    bench: RunBench, server: SandboxServer, planted: str
) -> None:
    await bench.run(bench.write_job(job_text(seeds=1)), until=lambda: server.accepted == 1)
    target = bench.project.base / "out" / "s1.mp4"
    target.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    (os.mkfifo if planted == "pipe" else os.mkdir)(target)
    job = bench.write_job(job_text(seeds=3))
    result = await bench.run(job)
    assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.CANNOT_WRITE, 2)
    (target.unlink if planted == "pipe" else target.rmdir)()
    assert (await bench.run(job)).counts == {TaskState.DONE: 3}
    assert server.accepted == 3


@pytest.mark.fault(63)
async def test_a_file_whose_index_claims_more_than_it_holds_leaves_its_task_and_no_other(
    tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "pause", lambda _: 0.0)
    clip = make_clip()
    at = clip.index(b"stts") + 8
    broken = clip[:at] + b"\xff\xff\xff\xff" + clip[at + 4 :]
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    await bench.run(bench.write_job(job_text(seeds=1)), until=lambda: server.accepted == 1)
    task = server.tasks()[0].id
    with FilesServer(file(broken)) as files:
        content = {"video_url": files.url()}
        server.faults.add(
            Fault(where=Where.GET, kind=Kind.FIELDS, task=task, times=None, fields={"content": content})
        )
        result = await bench.run(bench.write_job(job_text(seeds=2)))
    assert (result.exit_code, result.counts) == (
        ExitCode.TRY_AGAIN,
        {TaskState.COLLECTING: 1, TaskState.DONE: 1},
    )
    assert any("index is broken" in reason for reason in result.reasons)


IMAGE = """\
version: 1
name: inputs
models: [byteplus/seedance-1-0-pro]
seeds: 1..2
matrix: {picture: [a, b]}
request: {resolution: 480p, ratio: 16:9, duration: 4}
content:
  - {type: text, text: a teapot}
  - {type: image_url, image_url: "${{ picture }}.png", role: first_frame}
output: out/${{ picture }}-s${{ seed }}.mp4
run: {poll: {first: 20ms, min: 20ms, max: 50ms}}
"""


@pytest.mark.fault(68)
async def test_an_input_that_cannot_be_stored_is_its_task_s_trouble(
    tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent for it; the others go on, and the code is that of the disk."""
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)
    job = bench.write_job(IMAGE)
    await write_pictures(job.parent)
    bad = hashlib.sha256(await anyio.Path(job.parent / "a.png").read_bytes()).hexdigest()

    def full(target: Path, *, staged: Path) -> AbstractContextManager[IO[bytes]]:
        if target.name == bad:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace_file(target, staged=staged)

    with monkeypatch.context() as broken:
        broken.setattr(inputs, "replace_file", full)
        first = await bench.run(job)
    assert first.exit_code is ExitCode.CANNOT_WRITE
    assert first.counts == {TaskState.DONE: 2, TaskState.PLANNED: 2}
    assert any("a.png" in reason and "No space left" in reason for reason in first.reasons)
    assert server.accepted == 2
    second = await bench.run(job)
    assert (second.exit_code, second.counts, server.accepted) == (ExitCode.DONE, {TaskState.DONE: 4}, 4)


async def write_pictures(folder: Path) -> None:
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (400, 300), colour).save(folder / f"{name}.png")


async def test_a_look_at_the_service_that_breaks_stops_submitting_and_says_it_once(
    tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = RunBench(root=tmp_path, url=server.url, key=SANDBOX_KEY)

    async def broken(self: MeshClient) -> float:
        raise LookupError("a bug")

    monkeypatch.setattr(MeshClient, "ping", broken)
    result = await bench.run(bench.write_job(job_text(seeds=5)))
    assert (result.exit_code, result.counts, server.accepted) == (ExitCode.BUG, {TaskState.PLANNED: 5}, 0)
    assert len([reason for reason in result.reasons if "defect" in reason]) == 1


async def test_the_breaker_outlives_a_look_that_breaks() -> None:
    """Nobody else would open the way again."""
    looks = 0
    failures: list[Exception] = []

    async def ping() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise KeyError("a bug")

    breaker = Breaker(ping, random.Random(1), lambda error, seconds: failures.append(error))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(breaker.heal)
            breaker.trip()
            await breaker.closed(lambda: True)
            group.cancel_scope.cancel()
    assert [type(error) for error in failures] == [KeyError]


async def test_a_defect_that_strikes_every_task_is_told_a_few_times() -> None:
    seen: list[str] = []
    control = Control(lambda name, fields: seen.append(name), Redactor(()))
    for number in range(3 * MOST_DEFECTS):
        with control.contained(f"task {number}"):
            raise ValueError(f"bad \x1b {number} https://host/a?signature=canary")
    assert len(control.reasons) == MOST_DEFECTS + 1
    assert len(seen) == 3 * MOST_DEFECTS
    assert "canary" not in " ".join(control.reasons)
    assert control.may_submit


async def test_a_cancellation_passes_and_an_error_of_ours_stops_submitting() -> None:
    told: list[tuple[str, object]] = []
    control = Control(lambda name, fields: told.append((name, fields)), Redactor(()))
    with anyio.CancelScope() as scope:
        with control.contained("task"):
            scope.cancel()
            await anyio.sleep(1)
        raise AssertionError("went on")
    with pytest.raises(KeyboardInterrupt), control.contained("task"):
        raise KeyboardInterrupt
    assert control.conditions == set()
    with control.contained("task", "8041b0"):
        raise StateError("the ledger does not take it")
    assert told[-1] == (
        "task.left",
        {"task": "task", "identity": "8041b0", "reason": "the ledger does not take it"},
    )
    assert (control.conditions, control.may_submit) == ({ExitCode.CANNOT_WRITE}, False)
