"""Files go into the project's store beside a run; what goes wrong there fails no task and loses nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from runner.assemble import open_tools
from runner.errors import ExitCode, UsageError
from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.ledger.ledger import Ledger
from runner.ledger.states import TaskState
from runner.objects.store import Stores
from runner.plan.plan import Plan, make_plan
from runner.project import Project, init_project
from runner.run.files.evict import evict
from runner.run.run import collect_all
from runner.run.task.progress import progress_of, still_needed
from runner.sandbox import SANDBOX_KEY, SandboxServer
from tests.support.run_bench import RunBench, job_text
from tests.support.s3 import S3, StoreFault

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class RealBench(RunBench):
    """A bench whose runs are real: a rehearsal has no store."""

    @property
    def project(self) -> Project:
        return init_project(self.root)

    def name_store(self, store: str, more: str = "") -> None:
        (self.root / "callsheet.yaml").write_text(f"version: 1\nstore: {store}\n{more}", encoding="utf-8")

    def stored(self) -> set[str]:
        with self.ledger() as ledger:
            return {row.sha256 for row in ledger.read.archived(self.store)}

    @property
    def store(self) -> str:
        text = (self.root / "callsheet.yaml").read_text(encoding="utf-8")
        return next(line.partition(": ")[2] for line in text.splitlines() if line.startswith("store:"))

    def plan(self, file: Path) -> Plan:
        job = load_job(file, root=self.root.resolve(), options=LoadOptions(environ={}))
        origins = {job.provider.name: self.url}
        return make_plan(job, origins=origins, run_date=RunDate.parse("2026-11-27+01:00"))

    def files(self) -> dict[str, Path]:
        """By digest."""
        found = (path for path in (self.root / "out").rglob("*") if path.is_file())
        return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in found}


@pytest.fixture
def real(tmp_path: Path, server: SandboxServer) -> RealBench:
    return RealBench(tmp_path, server.url, SANDBOX_KEY)


def keys_of(digests: dict[str, Path]) -> list[str]:
    return sorted(f"pre/sha256/{sha256}{path.suffix}" for sha256, path in digests.items())


async def test_each_file_of_a_run_lies_in_the_store_once(real: RealBench, s3: S3) -> None:
    bucket = s3.bucket()
    real.name_store(f"s3://{bucket}/pre")
    result = await real.run(real.write_job(job_text(seeds=3)))
    assert result.exit_code is ExitCode.DONE
    files = real.files()
    assert s3.keys(bucket) == keys_of(files)
    assert real.stored() == files.keys()
    assert all(hashlib.sha256(s3.get(bucket, key)).hexdigest() in key for key in s3.keys(bucket))
    assert real.has_seen("archive.stored", 3)


async def test_the_start_of_a_run_over_archived_files_asks_the_store_nothing(real: RealBench, s3: S3) -> None:
    real.name_store(f"s3://{s3.bucket()}/pre")
    job = real.write_job(job_text(seeds=3))
    await real.run(job)
    before = len(s3.requests)
    assert (await real.run(job)).exit_code is ExitCode.DONE
    assert len(s3.requests) == before


@pytest.mark.fault(142)
async def test_a_missing_bucket_fails_no_task_and_is_told_once(real: RealBench, s3: S3) -> None:
    real.name_store("s3://no-such-bucket/pre")
    job = real.write_job(job_text(seeds=3))
    result = await real.run(job)
    assert result.exit_code is ExitCode.TRY_AGAIN
    assert result.counts[TaskState.DONE] == 3
    (reason,) = result.reasons
    assert (
        "3 files are not archived yet, and stay here: s3://no-such-bucket: there is no such bucket" in reason
    )
    assert len(real.files()) == 3
    assert [name for name, _ in real.events].count("archive.trouble") == 1
    # the bucket is there by now: the next run goes on, and submits nothing
    bucket = s3.bucket()
    real.name_store(f"s3://{bucket}/pre")
    assert (await real.run(job)).exit_code is ExitCode.DONE
    assert s3.keys(bucket) == keys_of(real.files())


@pytest.mark.fault(143)
async def test_an_object_without_a_row_is_found_there_by_the_next_run(real: RealBench, s3: S3) -> None:
    """As a kill between the put and its row leaves it."""
    bucket = s3.bucket()
    job = real.write_job(job_text(seeds=2))
    await real.run(job)
    files = real.files()
    for sha256, path in files.items():
        s3.put(bucket, f"pre/sha256/{sha256}{path.suffix}", path.read_bytes())
    real.name_store(f"s3://{bucket}/pre")
    assert (await real.run(job)).exit_code is ExitCode.DONE
    assert real.stored() == files.keys()
    assert s3.keys(bucket) == keys_of(files)


@pytest.mark.fault(141)
async def test_a_foreign_object_under_the_key_is_told_and_no_row_is_written(real: RealBench, s3: S3) -> None:
    bucket = s3.bucket()
    job = real.write_job(job_text(seeds=2))
    await real.run(job)
    (sha256, path), *_ = real.files().items()
    s3.put(bucket, f"pre/sha256/{sha256}{path.suffix}", b"somebody else's")
    real.name_store(f"s3://{bucket}/pre")
    result = await real.run(job)
    assert result.exit_code is ExitCode.TRY_AGAIN
    assert "1 file is not archived yet" in " ".join(result.reasons)
    assert "other content" in " ".join(result.reasons)
    assert sha256 not in real.stored()
    assert len(real.stored()) == 1


@pytest.mark.fault(145)
async def test_a_file_that_is_gone_here_and_stored_is_done(real: RealBench, s3: S3) -> None:
    """On another machine too: the ledger's row decides."""
    real.name_store(f"s3://{s3.bucket()}/pre")
    job = real.write_job(job_text(seeds=3))
    await real.run(job)
    shutil.rmtree(real.root / "out")
    before = len(s3.requests)
    result = await real.run(job)
    assert result.exit_code is ExitCode.DONE
    assert result.counts == {TaskState.DONE: 3}
    assert not (real.root / "out").exists()
    assert len(s3.requests) == before
    tasks = real.manifest()["tasks"]
    assert isinstance(tasks, list)
    assert all(task["outputs"][0]["stored"].startswith(real.store) for task in tasks)


CHAINED = """\
version: 1
name: two
models: [byteplus/seedance-1-0-pro]
run: {poll: {first: 20ms, min: 20ms, max: 50ms}}
steps:
  a:
    request: {resolution: 480p, ratio: 16:9, duration: 4, return_last_frame: true}
    content: [{type: text, text: a teapot}]
    output: out/a.mp4
  b:
    needs: a
    request: {resolution: 480p, ratio: 16:9, duration: 4}
    content:
      - {type: text, text: it pours}
      - {type: image_url, image_url: "${{ needs.a.last_frame }}", role: first_frame}
    output: out/b.mp4
"""
ONLY_A = CHAINED.partition("  b:\n")[0]


@pytest.mark.fault(145)
async def test_a_frame_that_lies_in_the_store_alone_is_fetched_for_the_next_step(
    real: RealBench, s3: S3
) -> None:
    real.name_store(f"s3://{s3.bucket()}/pre")
    await real.run(real.write_job(ONLY_A))
    shutil.rmtree(real.root / "out")
    result = await real.run(real.write_job(CHAINED))
    assert result.exit_code is ExitCode.DONE
    assert result.counts == {TaskState.DONE: 2}
    assert [path.name for path in (real.root / "out").iterdir()] == ["b.mp4"]
    assert s3.count("GET", "sha256/") == 1


async def test_an_edit_over_a_take_that_lies_in_the_store_keeps_its_name(real: RealBench, s3: S3) -> None:
    real.name_store(f"s3://{s3.bucket()}/pre")
    first = job_text(seeds=1)
    await real.run(real.write_job(first))
    shutil.rmtree(real.root / "out")
    edited = real.write_job(first.replace("a teapot", "a kettle"))
    assert (await real.run(edited)).exit_code is ExitCode.REFUSED
    assert (await real.run(edited, accept_edits=True)).exit_code is ExitCode.DONE
    with real.ledger() as ledger:
        paths = {row.path for row in ledger.read.standing_outputs()}
    assert paths == {"out/s1.mp4", "out/s1.v1.mp4"}
    # undone, it buys nothing: the older take comes back from the store
    back = await real.run(real.write_job(first))
    assert back.exit_code is ExitCode.DONE
    assert not real.has_seen("task.submitted", 3)
    with real.ledger() as ledger:
        (row,) = [row for row in ledger.read.standing_outputs() if row.path == "out/s1.mp4"]
    assert hashlib.sha256((real.root / "out/s1.mp4").read_bytes()).hexdigest() == row.sha256
    assert (real.root / "out/s1.v2.mp4").exists()


@pytest.mark.fault(172)
async def test_a_take_that_lies_in_the_store_alone_keeps_a_name_where_another_stands_in_its_place(
    real: RealBench, s3: S3
) -> None:
    """A person has put the older take back by hand, or it was another machine that made the edit."""
    real.name_store(f"s3://{s3.bucket()}/pre")
    first = job_text(seeds=1)
    edited = first.replace("a teapot", "a kettle")
    await real.run(real.write_job(first))
    assert (await real.run(real.write_job(edited), accept_edits=True)).exit_code is ExitCode.DONE
    out = real.root / "out"
    assert not real.has_seen("task.versioned", 2), "no name is told that nothing stands under"
    (out / "s1.v1.mp4").rename(out / "s1.mp4")
    assert (await real.run(real.write_job(first))).exit_code is ExitCode.DONE
    with real.ledger() as ledger:
        standing = {row.path: row.identity for row in ledger.read.standing_outputs()}
    assert standing["out/s1.v1.mp4"] == standing["out/s1.mp4"] != standing["out/s1.v2.mp4"]
    back = await real.run(real.write_job(edited))
    assert (back.exit_code, back.counts) == (ExitCode.DONE, {TaskState.DONE: 1})
    assert not real.has_seen("task.submitted", 3)


def _evict(real: RealBench, ledger: Ledger, **more: frozenset[str]) -> int:
    return evict(real.project, ledger.read, Stores(), store=real.store, before=_later(real), **more).files


def _later(real: RealBench) -> float:
    return max(os.lstat(path).st_ctime for path in real.files().values()) + 60


@pytest.mark.fault(144)
async def test_a_local_copy_goes_only_where_it_is_ours_and_the_store_has_its_size(
    real: RealBench, s3: S3
) -> None:
    bucket = s3.bucket()
    real.name_store(f"s3://{bucket}/pre")
    await real.run(real.write_job(job_text(seeds=4)))
    out = real.root / "out"
    changed = out / "s1.mp4"
    changed.write_bytes(b"?" * changed.stat().st_size)
    files = {path.name: sha256 for sha256, path in real.files().items()}
    s3.delete(bucket, f"pre/sha256/{files['s2.mp4']}.mp4")
    s3.fail("HEAD", files["s3.mp4"], StoreFault(size=7))
    with real.ledger() as ledger:
        early = evict(real.project, ledger.read, Stores(), store=real.store, before=0.0)
        assert early.files == 0
        assert _evict(real, ledger) == 1
    assert sorted(path.name for path in out.iterdir()) == ["s1.mp4", "s2.mp4", "s3.mp4"]


async def test_what_a_task_still_needs_stays(real: RealBench, s3: S3) -> None:
    real.name_store(f"s3://{s3.bucket()}/pre")
    await real.run(real.write_job(ONLY_A))
    job = real.write_job(CHAINED)
    with real.ledger() as ledger:
        tasks = real.plan(job).tasks
        needed = still_needed(tasks, ledger.read)
        assert needed == {tasks[0].identity}
        assert _evict(real, ledger, needed=needed) == 0
        assert _evict(real, ledger) == 2
        states = [one.state for one in progress_of(tasks, ledger.read, real.root)]
    assert states == [TaskState.DONE, TaskState.PLANNED]


async def test_a_rehearsal_uses_no_store(bench: RunBench, s3: S3) -> None:
    (bench.root / "callsheet.yaml").write_text("version: 1\nstore: s3://no-such-bucket\n", encoding="utf-8")
    assert (await bench.run(bench.write_job(job_text(seeds=1)))).exit_code is ExitCode.DONE
    assert s3.requests == []


async def test_what_submits_nothing_works_without_a_store_that_cannot_be_used(
    real: RealBench, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.name_store(f"s3://{s3.bucket()}/pre")
    with real.ledger() as ledger:
        async with real.order(ledger) as order:
            monkeypatch.setitem(sys.modules, "obstore.store", None)
            with pytest.raises(UsageError, match="callsheet"):
                open_tools(real.project, ledger, order.tools.observe, [])
            tools = open_tools(real.project, ledger, order.tools.observe, [], submits=False)
            (result,) = await collect_all([replace(order, tools=tools)])
    assert result.exit_code is ExitCode.TRY_AGAIN
    assert "nothing was archived" in " ".join(result.reasons)
    assert "pip install 'callsheet[objects]'" in " ".join(result.reasons)


async def test_a_stop_leaves_what_is_not_archived_for_the_next_run(real: RealBench, s3: S3) -> None:
    bucket = s3.bucket()
    job = real.write_job(job_text(seeds=3))
    await real.run(job)
    real.name_store(f"s3://{bucket}/pre")
    s3.fail("PUT", "sha256", StoreFault(status=503))
    result = await real.run(job, deadline=0.3)
    assert result.exit_code is ExitCode.TRY_AGAIN
    assert result.counts[TaskState.DONE] == 3
    s3.faults.clear()
    assert (await real.run(job)).exit_code is ExitCode.DONE
    assert s3.keys(bucket) == keys_of(real.files())
