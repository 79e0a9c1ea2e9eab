"""A project whose tasks are all done already, without a service: `fill ROOT TASKS ORIGIN`."""

from __future__ import annotations

import hashlib
import itertools
import sys
import time
from pathlib import Path

from benchmarks.throughput import JOB
from runner.http.verdicts import Evidence
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
from runner.providers.base import Generation, GenerationStatus, RemoteFileKind

_AT_A_TIME = 1000
_SENT = Evidence(row=0, headers_begun=True, reason="accepted", status=200)
_CONTENT = b"done"
_SHA256 = hashlib.sha256(_CONTENT).hexdigest()


def fill(root: Path, tasks: int, origin: str) -> None:
    """Writes job file, ledger and one small file for each task."""
    project = init_project(root).rehearsal()
    file = write_job(root, tasks)
    job = load_job(file, root=root, options=LoadOptions(environ={}))
    plan = make_plan(job, origin=origin, run_date=RunDate.parse("2026-11-21+00:00"))
    project.state_dir.mkdir(parents=True, exist_ok=True)
    ledger = Ledger.open(project.ledger_path)
    (project.base / "out").mkdir(parents=True, exist_ok=True)
    run = RunRow("filled", job.file, job.name, job.digest, "", "2026-11-21+00:00", "mesh", origin, 1.0, 2.0)
    with ledger.transaction():
        ledger.begin_run(run)
    waiting = iter(plan.tasks)
    while batch := list(itertools.islice(waiting, _AT_A_TIME)):
        with ledger.transaction():
            for task in batch:
                (project.base / task.output).write_bytes(_CONTENT)
                finish(ledger, run, task)
    ledger.close()


def write_job(root: Path, tasks: int) -> Path:
    """The job file of so many tasks."""
    file = root / "job.yaml"
    file.write_text(JOB.format(tasks=tasks, in_flight=8), encoding="utf-8")
    return file


def finish(ledger: Ledger, run: RunRow, task: Task) -> None:
    """A task's steps in the ledger, from intent to done, in the caller's transaction."""
    intent = Intent(f"a-{task.index}", Reason.RUN, "mesh", "key", task.index % 65_535 + 1, "b" * 64, 1000.0)
    attempt = ledger.intend(task, run.job_file, run.id, intent, Caps(), 1000.0)
    remote_id = f"t-{task.index}"
    ledger.accept(attempt, remote_id, _SENT, 1001.0)
    seen = Generation(
        remote_id,
        GenerationStatus.SUCCEEDED,
        "succeeded",
        model=task.model,
        created_at=1000.0,
        updated_at=1105.0,
        echo={"seed": task.seed, "resolution": "480p", "ratio": "16:9", "duration": 4},
        usage={"completion_tokens": 1, "total_tokens": 1},
    )
    ledger.observe(attempt, seen, 1105.0)
    ledger.collect(attempt, 1105.0)
    row = OutputRow(
        task.output,
        task.identity,
        attempt,
        RemoteFileKind.VIDEO,
        1,
        len(_CONTENT),
        _SHA256,
        MediaFacts("mp4", "h264"),
        time.time(),
    )
    ledger.finish(attempt, [row], 1106.0)


if __name__ == "__main__":
    fill(Path(sys.argv[1]).resolve(), int(sys.argv[2]), sys.argv[3])
