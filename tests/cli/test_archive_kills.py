"""Archiving that is killed at random moments: in the end each content lies in the store once, and right."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.ledger.caps import Caps
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Intent, OutputRow, RunRow
from runner.ledger.states import Reason
from runner.media.video import MediaFacts
from runner.plan.plan import make_plan
from runner.plan.task import Task
from runner.project import init_project
from runner.providers.base import RemoteFileKind
from tests.support.command_process import CHECKOUT
from tests.support.ledger_rows import SENT
from tests.support.s3 import S3

ORIGIN = "http://127.0.0.1:9"
"""An account's: whoever is done needs no service."""

JOB = """\
version: 1
models: [{{id: byteplus/seedance-1-0-pro, at: here}}]
seeds: 1..{tasks}
request: {{resolution: 480p, ratio: "1:1", duration: 4}}
content: [{{type: text, text: A paper boat}}]
output: out/s${{{{ seed }}}}.mp4
"""


@pytest.mark.fault(143)
@pytest.mark.parametrize(
    ("tasks", "kills", "longest"),
    [(60, 2, 0.2), (10_000, 40, 4.0)],
)
@pytest.mark.evidence
def test_files_that_workers_are_killed_over_all_lie_in_the_store_once(
    tasks: int, kills: int, longest: float, tmp_path: Path, s3: S3
) -> None:
    bucket, source = s3.bucket(), random.Random(tasks)
    root = tmp_path / "film"
    contents = fill(root, tasks, f"s3://{bucket}/pre")
    killed = 0
    while killed < kills:
        process = callsheet(root, "archive")
        # its start takes most of a second: count from the first request
        before = len(s3.requests)
        while len(s3.requests) == before and process.poll() is None:
            time.sleep(0.005)
        try:
            process.wait(timeout=source.uniform(0, longest))
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
    assert killed
    last = callsheet(root, "archive")
    assert last.wait() == 0
    keys = s3.keys(bucket)
    assert keys == sorted(f"pre/sha256/{sha256}.mp4" for sha256 in contents)
    for key in keys if tasks <= 1000 else source.sample(keys, 500):
        assert hashlib.sha256(s3.get(bucket, key)).hexdigest() == Path(key).stem
    ledger = Ledger.open(init_project(root).ledger_path)
    rows = ledger.read.archived(f"s3://{bucket}/pre")
    ledger.close()
    assert {row.sha256 for row in rows} == contents
    puts = s3.count("PUT", "/pre/")
    before = len(s3.requests)
    run = callsheet(root, "run", "jobs/boats.yaml", "--yes")
    assert run.wait() == 0
    assert len(s3.requests) - before < 20
    print(f"{tasks} files, {killed} kills, {puts} puts; start of a run: {len(s3.requests) - before} requests")


def callsheet(root: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "MESHAPI_API_KEY": "rsk_test"}
    return subprocess.Popen(
        [sys.executable, "-m", "runner", *arguments],
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def fill(root: Path, tasks: int, store: str) -> set[str]:
    """A project whose tasks are all done, each with a file of its own; gives their digests."""
    root.mkdir()
    project = init_project(root)
    (root / "callsheet.yaml").write_text(
        f'version: 1\nstore: {store}\naccounts:\n  here: {{provider: mesh, base_url: "{ORIGIN}"}}\n',
        encoding="utf-8",
    )
    (root / "jobs").mkdir(exist_ok=True)
    file = root / "jobs" / "boats.yaml"
    file.write_text(JOB.format(tasks=tasks), encoding="utf-8")
    job = load_job(file, root=root, options=LoadOptions(environ={}))
    plan = make_plan(job, origins={"here": ORIGIN}, run_date=RunDate.today(time.time(), None))
    (root / "out").mkdir()
    ledger = Ledger.open(project.ledger_path)
    run = RunRow(
        "filled", job.file, job.name, job.digest, "", plan.run_date.format(), "mesh", ORIGIN, 1.0, 2.0
    )
    with ledger.transaction():
        ledger.begin_run(run)
    found: set[str] = set()
    waiting = iter(plan.tasks)
    while batch := [*itertools.islice(waiting, 1000)]:
        with ledger.transaction():
            found |= {finish(ledger, run, task, root) for task in batch}
    ledger.close()
    return found


def finish(ledger: Ledger, run: RunRow, task: Task, root: Path) -> str:
    content = f"the film of {task.name}".encode()
    (root / task.output).write_bytes(content)
    intent = Intent(f"a-{task.index}", Reason.RUN, "here", "key", task.index % 65_535 + 1, "b" * 64, 1000.0)
    attempt = ledger.intend(task, run.job_file, run.id, intent, Caps(), 1000.0)
    ledger.accept(attempt, f"t-{task.index}", SENT, 1001.0)
    ledger.collect(attempt, 1105.0)
    sha256 = hashlib.sha256(content).hexdigest()
    row = OutputRow(
        task.output,
        task.identity,
        attempt,
        RemoteFileKind.VIDEO,
        1,
        len(content),
        sha256,
        MediaFacts("mp4", "h264"),
        time.time(),
    )
    ledger.finish(attempt, [row], 1106.0)
    return sha256
