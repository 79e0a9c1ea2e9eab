"""All that is known of one task: what was asked for, what was sent, what came back, what it cost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from runner.job.cost import usd_or_null
from runner.job.task import STEP_SCHEME
from runner.json_value import JsonValue
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow, HistoryRow, OutputRow, RunRow, SessionRow, TaskRow
from runner.ledger.states import TaskState
from runner.project import Project
from runner.providers import wanted_kinds
from runner.providers.base import INPUT_SCHEME, generation_seconds
from runner.record.facts import JOB_DIGEST
from runner.record.folder import RunFolder
from runner.redact import Redactor
from runner.times import iso_time, iso_time_or_none


def describe(reader: LedgerReader, task: TaskRow, project: Project) -> dict[str, JsonValue]:
    """The task as a JSON object without secrets, safe to print; `attempts` oldest first."""
    clean = Redactor()
    attempts = reader.attempts(task.identity)
    latest = attempts[-1] if attempts else None
    generation = (latest.generation if latest else None) or {}
    outputs = reader.outputs([task.identity]).get(task.identity, [])
    document: dict[str, object] = {
        "identity": task.identity,
        "name": task.name,
        "step": task.step,
        "state": latest.state if latest else "planned",
        "prompt": prompt(task.request),
        "provider": task.provider,
        "origin": task.origin,
        "model": task.model,
        "edition": task.edition,
        "cell": task.cell,
        "seed": {"sent": task.seed, "echoed": _echo(generation).get("seed")},
        "request": task.request,
        "inputs": [*_inputs(task.request, project, reader)],
        "echo": generation.get("echo") or {},
        "usage": generation.get("usage") or {},
        "job_file": task.job_file,
        "runs": _runs(reader, attempts, project),
        "attempts": [_attempt(attempt, reader.history(attempt.id)) for attempt in attempts],
        "files": [_file(row, project.base) for row in outputs],
        "missing": _missing(task, latest, outputs),
    }
    shown = clean.foreign_value(document)
    assert isinstance(shown, dict)
    return shown


def prompt(request: Mapping[str, JsonValue]) -> str:
    """The text that the pictures are made from: of the content items, or of the field `prompt`."""
    content = request.get("content")
    items = content if isinstance(content, list | tuple) else ()
    texts = [
        item["text"] for item in items if isinstance(item, Mapping) and isinstance(item.get("text"), str)
    ]
    own = request.get("prompt")
    return " ".join(map(str, texts)) or (own if isinstance(own, str) else "")


def _echo(generation: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    echo = generation.get("echo")
    return echo if isinstance(echo, Mapping) else {}


def _inputs(
    value: object, project: Project, reader: LedgerReader, role: object = None
) -> Iterator[dict[str, object]]:
    """What a request takes besides text: local files, by their digests, and outputs of other tasks."""
    if isinstance(value, str) and value.startswith(INPUT_SCHEME):
        digest = value.removeprefix(INPUT_SCHEME)
        kept = project.inputs_dir / digest
        path = str(kept.relative_to(project.root)) if kept.is_file() else None
        yield {"role": role, "sha256": digest, "kept": path}
    elif isinstance(value, str) and value.startswith(STEP_SCHEME):
        identity, _, output = value.removeprefix(STEP_SCHEME).partition("/")
        above = reader.task(identity)
        yield {"role": role, "task": above and above.name, "identity": identity, "output": output}
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _inputs(part, project, reader, value.get("role", role))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _inputs(part, project, reader, role)


def _runs(reader: LedgerReader, attempts: list[AttemptRow], project: Project) -> list[dict[str, object]]:
    """Each run with each job file that an attempt was made from: it may be edited between two sessions."""
    found: dict[tuple[str, str | None], dict[str, object]] = {}
    for attempt in attempts:
        run = reader.run(attempt.run_id)
        assert run is not None
        sessions = reader.sessions(run.id)
        facts = _facts_at(sessions, attempt.intended_at)
        told = facts.get(JOB_DIGEST)
        digest = told if isinstance(told, str) else run.job_digest if len(sessions) <= 1 else None
        if (run.id, digest) not in found:
            found[run.id, digest] = _run(run, digest, facts, project)
    return list(found.values())


def _run(
    run: RunRow, digest: str | None, facts: Mapping[str, JsonValue], project: Project
) -> dict[str, object]:
    folder = RunFolder(project, run.id)
    kept = folder.job if digest is None else folder.job_of(digest)
    told = facts.get("git")
    git = told if isinstance(told, Mapping) else {}
    return {
        "id": run.id,
        "job_file": run.job_file,
        "job_sha256": digest,
        "job_file_since": _since(project.root / run.job_file, digest),
        "job_kept": str((kept if kept.is_file() else folder.job).relative_to(project.root)),
        "date": run.run_date,
        "edition": run.edition,
        "commit": git.get("commit"),
        "job_file_dirty": git.get("job_file_dirty"),
        "git_note": git.get("note"),
    }


def _facts_at(sessions: list[SessionRow], at: float) -> Mapping[str, JsonValue]:
    """The facts of the session that was at work then."""
    begun = [session for session in sessions if session.started_at <= at] or sessions
    return begun[-1].facts if begun else {}


def _since(file: Path, sha256: str | None) -> str:
    """Whether the job file is still the one that was run: `same`, `changed`, `gone` or `unknown`."""
    if sha256 is None:
        return "unknown"
    try:
        return "same" if hashlib.sha256(file.read_bytes()).hexdigest() == sha256 else "changed"
    except OSError:
        return "gone"


def _attempt(attempt: AttemptRow, history: list[HistoryRow]) -> dict[str, object]:
    evidence, generation = attempt.evidence or {}, attempt.generation or {}
    ended = [row.at for row in history if row.state == attempt.state]
    began_there, ended_there = generation.get("created_at"), generation.get("updated_at")
    known = history[-1].at - attempt.intended_at if history else 0.0
    service_seconds = generation_seconds(began_there, ended_there, known=known)
    return {
        "id": attempt.id,
        "run": attempt.run_id,
        "reason": attempt.reason,
        "state": attempt.state,
        "intended_at": iso_time(attempt.intended_at),
        "accepted_at": iso_time_or_none(attempt.accepted_at),
        "ended_at": iso_time(ended[-1]) if ended and attempt.state.is_terminal else None,
        "seconds": round(ended[-1] - attempt.intended_at, 3) if ended and attempt.state.is_terminal else None,
        "service_seconds": None if service_seconds is None else round(service_seconds, 3),
        "remote_id": attempt.remote_id,
        "request_id": evidence.get("request_id") or generation.get("request_id") or None,
        "tag": attempt.tag,
        "verdict": attempt.verdict,
        "evidence": evidence.get("reason"),
        "resolution": attempt.resolution,
        "resolution_evidence": attempt.resolution_evidence,
        "usage": generation.get("usage") or {},
        "estimate_usd": usd_or_null(attempt.estimate_micros),
        "cost_usd": usd_or_null(attempt.cost_micros),
        "taken": attempt.taken,
        "error_code": attempt.error_code or None,
        "error_message": attempt.error_message or None,
    }


def _file(row: OutputRow, base: Path) -> dict[str, object]:
    return {
        "kind": row.kind,
        "path": row.path,
        "bytes": row.bytes,
        "sha256": row.sha256,
        "media": row.media,
        "attempt": row.attempt_id,
        "stands": _stands(base / row.path, row),
    }


def _missing(task: TaskRow, latest: AttemptRow | None, outputs: list[OutputRow]) -> list[str]:
    """The kinds of files that were asked for and never came, of a task that is done."""
    if latest is None or latest.state is not TaskState.DONE:
        return []
    return sorted(
        wanted_kinds(task.provider, task.request)
        - {row.kind for row in outputs if row.attempt_id == latest.id}
    )


def _stands(path: Path, row: OutputRow) -> str:
    """`same`, `changed` or `missing`, by the bytes."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size != row.bytes:
                return "changed"
            return "same" if hashlib.file_digest(file, "sha256").hexdigest() == row.sha256 else "changed"
    except OSError:
        return "missing"
