"""All that is known of one task: what was asked for, what was sent, what came back, what it cost."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.job.cost import usd_or_null
from runner.job.task import INPUT_SCHEME, STEP_SCHEME
from runner.json_value import JsonValue
from runner.ledger.read import LedgerReader
from runner.ledger.rows import (
    AttemptRow,
    GitFacts,
    HistoryRow,
    OutputRow,
    RunRow,
    SessionFacts,
    SessionRow,
    TaskRow,
)
from runner.ledger.states import TaskState
from runner.project import Project
from runner.providers.base import RemoteFileKind, generation_seconds
from runner.record.folder import RunFolder
from runner.record.request import prompt_texts
from runner.record.write import missing_kinds
from runner.redact import Redactor
from runner.times import iso_time, iso_time_or_none
from runner.typed_json import with_texts


class Since(enum.StrEnum):
    """Whether a job file is still the one that was run."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"
    UNKNOWN = "unknown"


class Stands(enum.StrEnum):
    """Whether a file's bytes are still those that were published."""

    SAME = "same"
    CHANGED = "changed"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class InputOfOurs:
    """A local file; `kept` is the path of our copy, None where that is gone."""

    role: JsonValue
    sha256: str
    kept: str | None


@dataclass(frozen=True, slots=True)
class InputOfStep:
    """What another task made; `task` is its name, None where the ledger does not know it."""

    role: JsonValue
    task: str | None
    identity: str
    output: str


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run with one job file that attempts were made from; `job_kept` is the path of our copy."""

    row: RunRow
    job_sha256: str | None
    job_file_since: Since
    job_kept: str
    git: GitFacts | None

    def as_json(self) -> dict[str, object]:
        return {
            "id": self.row.id,
            "job_file": self.row.job_file,
            "job_sha256": self.job_sha256,
            "job_file_since": self.job_file_since,
            "job_kept": self.job_kept,
            "date": self.row.run_date,
            "edition": self.row.edition,
            "commit": self.git and self.git.commit,
            "job_file_dirty": self.git and self.git.job_file_dirty,
            "git_note": self.git and self.git.note,
        }


@dataclass(frozen=True, slots=True)
class ShownAttempt:
    """`ended_at` is in Unix seconds; `service_seconds` is how long it took by the service's own times."""

    row: AttemptRow
    ended_at: float | None
    service_seconds: float | None

    @property
    def seconds(self) -> float | None:
        return None if self.ended_at is None else round(self.ended_at - self.row.intended_at, 3)

    @property
    def usage(self) -> Mapping[str, JsonValue]:
        return {} if self.row.generation is None else self.row.generation.usage

    @property
    def total_tokens(self) -> JsonValue:
        return self.usage.get("total_tokens")

    def as_json(self) -> dict[str, object]:
        row = self.row
        return {
            "id": row.id,
            "run": row.run_id,
            "reason": row.reason,
            "state": row.state,
            "intended_at": iso_time(row.intended_at),
            "accepted_at": iso_time_or_none(row.accepted_at),
            "ended_at": iso_time_or_none(self.ended_at),
            "seconds": self.seconds,
            "service_seconds": self.service_seconds,
            "remote_id": row.remote_id,
            "request_id": row.request_id or None,
            "tag": row.tag,
            "verdict": row.verdict,
            "evidence": None if row.evidence is None else row.evidence.reason,
            "resolution": row.resolution,
            "resolution_evidence": None if row.resolution_evidence is None else row.resolution_evidence.facts,
            "usage": self.usage,
            "estimate_usd": usd_or_null(row.estimate_micros),
            "cost_usd": usd_or_null(row.cost_micros),
            "taken": row.taken,
            "error_code": row.error_code or None,
            "error_message": row.error_message or None,
        }


@dataclass(frozen=True, slots=True)
class ShownFile:
    row: OutputRow
    stands: Stands

    def as_json(self) -> dict[str, object]:
        return {
            "kind": self.row.kind,
            "path": self.row.path,
            "bytes": self.row.bytes,
            "sha256": self.row.sha256,
            "media": self.row.media,
            "attempt": self.row.attempt_id,
            "stands": self.stands,
        }


@dataclass(frozen=True, slots=True)
class ShownTask:
    """`attempts` are oldest first; `runs` are theirs."""

    row: TaskRow
    prompt: str
    inputs: tuple[InputOfOurs | InputOfStep, ...]
    runs: tuple[ShownRun, ...]
    attempts: tuple[ShownAttempt, ...]
    files: tuple[ShownFile, ...]

    @property
    def latest(self) -> AttemptRow | None:
        return self.attempts[-1].row if self.attempts else None

    @property
    def state(self) -> TaskState:
        return TaskState.PLANNED if self.latest is None else self.latest.state

    @property
    def echo(self) -> Mapping[str, JsonValue]:
        """The request's fields as the service gave them back last."""
        return self.latest.generation.echo if self.latest is not None and self.latest.generation else {}

    @property
    def echoed_seed(self) -> JsonValue:
        return self.echo.get("seed")

    @property
    def missing(self) -> tuple[RemoteFileKind, ...]:
        if self.state is not TaskState.DONE:
            return ()
        return missing_kinds(self.row.request, self.latest, (file.row for file in self.files))

    def as_json(self) -> dict[str, object]:
        row = self.row
        return {
            "identity": row.identity,
            "name": row.name,
            "step": row.step,
            "state": self.state,
            "prompt": self.prompt,
            "provider": row.provider,
            "origin": row.origin,
            "model": row.model,
            "edition": row.edition,
            "cell": row.cell,
            "seed": {"sent": row.seed, "echoed": self.echoed_seed},
            "request": row.request,
            "inputs": self.inputs,
            "echo": self.echo,
            "usage": self.attempts[-1].usage if self.attempts else {},
            "job_file": row.job_file,
            "runs": [run.as_json() for run in self.runs],
            "attempts": [attempt.as_json() for attempt in self.attempts],
            "files": [file.as_json() for file in self.files],
            "missing": self.missing,
        }


def describe(reader: LedgerReader, task: TaskRow, project: Project) -> ShownTask:
    """The task without secrets, safe to print."""
    attempts = reader.attempts(task.identity)
    outputs = reader.outputs([task.identity]).get(task.identity, [])
    shown = ShownTask(
        row=task,
        prompt=" ".join(prompt_texts(task.request)),
        inputs=tuple(_inputs(task.request, project, reader)),
        runs=_runs(reader, attempts, project),
        attempts=tuple(_attempt(attempt, reader.history(attempt.id)) for attempt in attempts),
        files=tuple(ShownFile(row, _stands(project.base / row.path, row)) for row in outputs),
    )
    return with_texts(shown, Redactor().foreign_text)


def _inputs(
    value: object, project: Project, reader: LedgerReader, role: JsonValue = None
) -> Iterator[InputOfOurs | InputOfStep]:
    """What a request takes besides text: local files, by their digests, and outputs of other tasks."""
    if isinstance(value, str) and value.startswith(INPUT_SCHEME):
        digest = value.removeprefix(INPUT_SCHEME)
        kept = project.inputs_dir / digest
        yield InputOfOurs(role, digest, str(kept.relative_to(project.root)) if kept.is_file() else None)
    elif isinstance(value, str) and value.startswith(STEP_SCHEME):
        identity, _, output = value.removeprefix(STEP_SCHEME).partition("/")
        above = reader.task(identity)
        yield InputOfStep(role, None if above is None else above.name, identity, output)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _inputs(part, project, reader, value.get("role", role))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _inputs(part, project, reader, role)


def _runs(reader: LedgerReader, attempts: list[AttemptRow], project: Project) -> tuple[ShownRun, ...]:
    """Each run with each job file that an attempt was made from: it may be edited between two sessions."""
    found: dict[tuple[str, str | None], ShownRun] = {}
    for attempt in attempts:
        run = reader.run(attempt.run_id)
        assert run is not None
        sessions = reader.sessions(run.id)
        facts = _facts_at(sessions, attempt.intended_at)
        digest = facts.job_digest or (run.job_digest if len(sessions) <= 1 else None)
        if (run.id, digest) not in found:
            found[run.id, digest] = _run(run, digest, facts.git, project)
    return tuple(found.values())


def _run(run: RunRow, digest: str | None, git: GitFacts | None, project: Project) -> ShownRun:
    folder = RunFolder(project, run.id)
    kept = folder.job if digest is None else folder.job_of(digest)
    return ShownRun(
        row=run,
        job_sha256=digest,
        job_file_since=_since(project.root / run.job_file, digest),
        job_kept=str((kept if kept.is_file() else folder.job).relative_to(project.root)),
        git=git,
    )


def _facts_at(sessions: Sequence[SessionRow], at: float) -> SessionFacts:
    """The facts of the session that was at work then."""
    begun = [session for session in sessions if session.started_at <= at] or sessions
    return begun[-1].facts if begun else SessionFacts()


def _since(file: Path, sha256: str | None) -> Since:
    if sha256 is None:
        return Since.UNKNOWN
    try:
        return Since.SAME if hashlib.sha256(file.read_bytes()).hexdigest() == sha256 else Since.CHANGED
    except OSError:
        return Since.GONE


def _attempt(attempt: AttemptRow, history: list[HistoryRow]) -> ShownAttempt:
    ended = [row.at for row in history if row.state is attempt.state and attempt.state.is_terminal]
    known = history[-1].at - attempt.intended_at if history else 0.0
    seconds = None
    if (said := attempt.generation) is not None:
        seconds = generation_seconds(said.created_at, said.updated_at, known=known)
    return ShownAttempt(attempt, ended[-1] if ended else None, seconds and round(seconds, 3))


def _stands(path: Path, row: OutputRow) -> Stands:
    try:
        with path.open("rb") as file:
            if path.stat().st_size != row.bytes:
                return Stands.CHANGED
            is_same = hashlib.file_digest(file, "sha256").hexdigest() == row.sha256
            return Stands.SAME if is_same else Stands.CHANGED
    except OSError:
        return Stands.MISSING
