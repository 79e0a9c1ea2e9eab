"""`manifest.json`: what a run asked for, what was paid for, and what came of it.

The format is schemas/manifest.schema.json, told in docs/reference/manifest.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from runner.durable import replace_file
from runner.errors import StateError
from runner.job.cost import usd_text
from runner.job.task import Task
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow, Drift, RunRow, SessionRow, Spend, TaskRow
from runner.ledger.states import TaskState
from runner.record.entry import Found, attempts_of_run, departed_entry, is_cached, task_entry
from runner.record.facts import JOB_DIGEST
from runner.redact import Redactor, json_safe
from runner.times import iso_time, iso_time_or_none

MANIFEST_VERSION = 1
_TASKS_AT_A_TIME = 200

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)

_Known = TypeVar("_Known", Task, TaskRow)

View = Callable[[Task, AttemptRow | None], TaskState]
"""Where a task stands, by its newest attempt and by what is on the disk."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the tasks of the plan. `cached`: nothing was submitted for them in this run.

    `departed` are those that this run has an attempt at, and that are no longer in the plan.
    """

    by_state: Mapping[TaskState, int]
    cached: int
    total: int
    departed: int = 0


def write_manifest(
    target: Path,
    *,
    run: RunRow,
    sessions: Sequence[SessionRow],
    spend: Spend,
    tasks: Iterable[Task],
    reader: LedgerReader,
    view: View,
    root: Path,
    redactor: Redactor,
) -> Counts:
    """Writes the manifest of `run` over `tasks`, atomically and in flat memory; gives its counts.

    Behind them stand the tasks that the run has an attempt at and that are no longer in the plan.
    `root` is the project root, to which the paths of inputs are relative. Raises StateError; the
    manifest that was there before stands then.
    """
    states: Counter[TaskState] = Counter()
    reported: Counter[str] = Counter()
    cached = 0
    departed = {bytes.fromhex(identity) for identity in reader.identities_of_run(run.id)}
    with replace_file(target) as file:
        file.write(f'{{\n"manifest_version": {MANIFEST_VERSION},\n'.encode())
        _write_member(file, "run", _run_entry(run, sessions, redactor))
        _write_member(file, "job", {"file": run.job_file, "sha256": run.job_digest})
        file.write(b'"tasks": [')
        separator = b"\n"
        for task, found in _with_rows(tasks, reader):
            state = view(task, found.latest)
            states[state] += 1
            cached += is_cached(run, found)
            departed.discard(bytes.fromhex(task.identity))
            for attempt in attempts_of_run(run, found):
                reported.update(_figures(attempt))
            entry = task_entry(task, found, state, run=run, root=root, redactor=redactor)
            file.write(separator + _encode(entry))
            separator = b",\n"
        for row, found in _departed(departed, run, reader):
            for attempt in attempts_of_run(run, found):
                reported.update(_figures(attempt))
            file.write(separator + _encode(departed_entry(row, found, run=run, root=root, redactor=redactor)))
            separator = b",\n"
        file.write(b"\n],\n")
        counts = Counts(dict(states), cached, states.total(), len(departed))
        _write_member(file, "counts", _counts_entry(counts))
        usage = {
            "reported": dict(sorted(reported.items())),
            "cost": _cost_entry(spend),
            "compared": _compared_entry(reader.drift(run.id)),
        }
        file.write(b'"usage": ' + _encode(redactor.foreign_value(usage)) + b"\n}\n")
    return counts


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest at `path` as plain JSON. Raises StateError where it is none that we know."""
    try:
        loaded = json.loads(path.read_bytes())
    except OSError as error:
        raise StateError(
            f"{path}: cannot read: {error.strerror}", hint="`callsheet status` lists runs"
        ) from error
    except ValueError as error:
        raise StateError(f"{path}: not a manifest: {error}") from error
    found = loaded.get("manifest_version") if isinstance(loaded, dict) else None
    if found != MANIFEST_VERSION:
        raise StateError(
            f"{path}: a manifest of version {found}, this callsheet knows {MANIFEST_VERSION}",
            hint="use the callsheet that wrote it, or a newer one",
        )
    manifest: dict[str, Any] = loaded
    return manifest


def _departed(identities: Set[bytes], run: RunRow, reader: LedgerReader) -> Iterable[tuple[TaskRow, Found]]:
    """In the order of their first attempts in this run."""
    if not identities:
        return ()
    known = (identity for identity in reader.identities_of_run(run.id))
    rows = (reader.task(identity) for identity in known if bytes.fromhex(identity) in identities)
    return _with_rows(filter(None, rows), reader)


def _with_rows(tasks: Iterable[_Known], reader: LedgerReader) -> Iterable[tuple[_Known, Found]]:
    remaining = iter(tasks)
    while batch := list(islice(remaining, _TASKS_AT_A_TIME)):
        identities = [task.identity for task in batch]
        attempts = reader.attempts_of(identities)
        histories = reader.histories_of(identities)
        outputs = reader.outputs(identities)
        requests = reader.requests(identities)
        for task in batch:
            own = tuple(attempts.get(task.identity, ()))
            yield (
                task,
                Found(
                    attempts=own,
                    histories=tuple(tuple(histories.get(attempt.id, ())) for attempt in own),
                    outputs=tuple(outputs.get(task.identity, ())),
                    request=requests.get(task.identity),
                ),
            )


def _run_entry(run: RunRow, sessions: Sequence[SessionRow], redactor: Redactor) -> dict[str, object]:
    return {
        "id": run.id,
        "job_file": run.job_file,
        "name": run.job_name,
        "provider": run.provider,
        "origin": redactor.text(run.origin),
        "edition": run.edition,
        "run_date": run.run_date,
        "started_at": iso_time(run.started_at),
        "finished_at": iso_time_or_none(run.finished_at),
        "sessions": [_session_entry(session, redactor) for session in sessions],
    }


def _session_entry(session: SessionRow, redactor: Redactor) -> dict[str, object]:
    facts = session.facts
    return {
        "started_at": iso_time(session.started_at),
        "ended_at": iso_time_or_none(session.ended_at),
        "exit_code": session.exit_code,
        "command": redactor.foreign_value(facts.get("command", [])),
        "versions": redactor.foreign_value(facts.get("versions", {})),
        "git": redactor.foreign_value(facts.get("git")),
        "job_digest": facts.get(JOB_DIGEST),
    }


def _counts_entry(counts: Counts) -> dict[str, object]:
    # every state, in the order of the enum: whoever reads it need not know which may be missing
    return {
        "total": counts.total,
        "cached": counts.cached,
        "not_in_plan": counts.departed,
        "by_state": {state: counts.by_state.get(state, 0) for state in TaskState},
    }


def _cost_entry(spend: Spend) -> dict[str, object]:
    return {"tasks": spend.tasks, "usd": spend.usd, "unpriced_tasks": spend.unknown}


def _compared_entry(drift: Drift) -> dict[str, object]:
    return {
        "tasks": drift.attempts,
        "estimate_usd": usd_text(drift.estimate_micros) if drift.attempts else None,
        "cost_usd": usd_text(drift.cost_micros) if drift.attempts else None,
    }


def _figures(attempt: AttemptRow) -> dict[str, int]:
    usage = (attempt.generation or {}).get("usage")
    if not isinstance(usage, Mapping):
        return {}
    return {name: count for name, count in usage.items() if type(count) is int}


def _write_member(file: BinaryIO, name: str, value: object) -> None:
    file.write(f'"{name}": '.encode() + _encode(value) + b",\n")


def _encode(value: object) -> bytes:
    return json_safe(_ENCODER.encode(value)).encode()
