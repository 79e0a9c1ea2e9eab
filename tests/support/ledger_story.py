"""Real rows: a ledger that is driven through the life of a task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

from runner.http.verdicts import Evidence, Verdict
from runner.json_value import JsonValue
from runner.ledger.caps import Caps
from runner.ledger.database import open_for_writing
from runner.ledger.ledger import Ledger
from runner.ledger.rows import AttemptRow, Intent, OutputRow, RunRow
from runner.ledger.states import Reason, TaskState
from runner.media.video import MediaFacts
from runner.plan.task import Task, task_identity
from runner.providers.base import Generation, GenerationStatus, InputFile, RemoteFileKind
from runner.providers.mesh import MESH
from runner.record.manifest import ManifestCounts
from runner.record.write import write_manifest
from runner.redact import Redactor
from runner.resources import load_schema

START = 1_795_000_000.125
ORIGIN = "https://api.example.test"
MODEL = "byteplus/seedance-1-0-pro"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_task(index: int, *, inputs: tuple[InputFile, ...] = (), **request: JsonValue) -> Task:
    body: dict[str, JsonValue] = {"model": MODEL, "seed": index, "ratio": "16:9", **request}
    return Task(
        identity=task_identity(provider=MESH, origin=ORIGIN, request=body, sample=None, edition=""),
        index=index,
        step="",
        name=f"s{index}",
        cell={"model": MODEL, "seed": index},
        provider="mesh",
        account="mesh",
        origin=ORIGIN,
        edition="",
        model=MODEL,
        seed=index,
        sample=None,
        request=body,
        inputs=inputs,
        output=f"out/s{index}.mp4",
    )


def make_run(run_id: str = "r1", **changes: Any) -> RunRow:
    values: dict[str, Any] = {
        "id": run_id,
        "job_file": "jobs/teapot.yaml",
        "job_name": "teapot",
        "job_digest": sha("job"),
        "edition": "",
        "run_date": "2026-11-21+00:00",
        "provider": "mesh",
        "origin": ORIGIN,
        "started_at": START,
    }
    return RunRow(**values | changes)


def ledger_view(task: Task, latest: AttemptRow | None) -> TaskState:
    return latest.state if latest is not None else TaskState.PLANNED


@dataclass
class Story:
    """A ledger with one open run; each step takes a tenth of a second."""

    ledger: Ledger = field(default_factory=lambda: Ledger(open_for_writing(None)))
    run: RunRow = field(default_factory=make_run)
    now: float = START

    def __post_init__(self) -> None:
        with self.ledger.transaction():
            self.ledger.begin_run(self.run)

    def tick(self) -> float:
        self.now += 0.1
        return self.now

    def intend(self, task: Task, *, reason: Reason = Reason.RUN, run_id: str | None = None) -> str:
        intent = Intent(
            attempt_id=f"a{self.now:.1f}-{task.index}",
            reason=reason,
            account="mesh",
            key_hash=sha("key"),
            tag=172_000 - task.index,
            body_sha256=sha("body"),
            server_time=self.now,
            estimate_micros=250_000,
        )
        with self.ledger.transaction():
            return self.ledger.intend(
                task, self.run.job_file, run_id or self.run.id, intent, Caps(), self.tick()
            )

    def submit(self, task: Task, *, run_id: str | None = None, reason: Reason = Reason.RUN) -> str:
        attempt = self.intend(task, run_id=run_id, reason=reason)
        evidence = Evidence(row=0, headers_begun=True, reason="accepted", status=200, request_id="req-1")
        with self.ledger.transaction():
            self.ledger.accept(attempt, f"t-{attempt}", evidence, self.tick())
        return attempt

    def finish(
        self, task: Task, *, attempt: str | None = None, file: OutputRow | None = None, **words: Any
    ) -> str:
        attempt = attempt or self.submit(task)
        generation = Generation(
            id=f"t-{attempt}",
            status=GenerationStatus.SUCCEEDED,
            raw_status="succeeded",
            echo=words.get("echo", {"seed": task.seed, "ratio": "16:9"}),
            usage=words.get("usage", {"total_tokens": 100, "completion_tokens": 100}),
        )
        with self.ledger.transaction():
            self.ledger.observe(attempt, generation, self.tick())
            self.ledger.collect(attempt, self.tick())
            self.ledger.finish(attempt, [file or output_row(task, attempt, self.now)], self.tick())
        return attempt

    def fail(self, task: Task, code: str, message: str) -> str:
        attempt = self.submit(task)
        with self.ledger.transaction():
            self.ledger.fail(attempt, code, message, self.tick())
        return attempt

    def lose(self, task: Task, reason: str = "reset while reading the answer") -> str:
        attempt = self.intend(task)
        evidence = Evidence(row=9, headers_begun=True, reason=reason)
        with self.ledger.transaction():
            self.ledger.leave_unclear(attempt, evidence, self.tick())
        return attempt

    def withdraw(self, task: Task) -> str:
        attempt = self.intend(task)
        evidence = Evidence(row=2, headers_begun=False, reason="connection refused")
        with self.ledger.transaction():
            self.ledger.withdraw(attempt, Verdict.NOT_SENT, evidence, self.tick())
        return attempt

    def write(self, target: Path, tasks: Iterable[Task], **changes: Any) -> ManifestCounts:
        return write_manifest(
            target,
            **{
                "run": self.run,
                "sessions": self.ledger.read.sessions(self.run.id),
                "spend": self.ledger.read.spend(self.run.id),
                "tasks": iter(tasks),
                "reader": self.ledger.read,
                "view": ledger_view,
                "root": target.parent,
                "redactor": Redactor(()),
            }
            | changes,
        )

    def manifest(self, target: Path, tasks: list[Task], **changes: Any) -> dict[str, Any]:
        self.write(target, tasks, **changes)
        return checked(target)


def output_row(
    task: Task, attempt: str, at: float, path: str = "", kind: RemoteFileKind = RemoteFileKind.VIDEO
) -> OutputRow:
    return OutputRow(
        path=path or task.output,
        identity=task.identity,
        attempt_id=attempt,
        kind=kind,
        ordinal=1,
        bytes=1000,
        sha256=sha("film"),
        media=MediaFacts("mp4", "h264", 320, 180, duration=5.04, fps=24.0, has_sound=True),
        created_at=at,
    )


def checked(target: Path) -> dict[str, Any]:
    """The manifest at `target`, held against the schema."""
    manifest: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    Draft7Validator(load_schema("manifest")).validate(manifest)
    return manifest
