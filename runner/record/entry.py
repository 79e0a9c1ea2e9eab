"""One task of a manifest: rows of the ledger -> what is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runner.job.cost import usd_or_null
from runner.job.task import LAST_FRAME, STEP_SCHEME, Task
from runner.json_value import JsonValue
from runner.ledger.rows import AttemptRow, HistoryRow, OutputRow, RunRow, TaskRow
from runner.ledger.states import TaskState
from runner.providers import wanted_kinds
from runner.providers.base import INPUT_SCHEME, InputFile
from runner.redact import Redactor
from runner.times import iso_time, iso_time_or_none

_STEP = re.compile(rf"{STEP_SCHEME}([0-9a-f]{{64}})/")
_INPUT = re.compile(rf"{INPUT_SCHEME}([0-9a-f]{{64}})")

KEY_HASH_SHOWN = 12
"""Digits: enough to tell one key from another, too few to search for one."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the ledger knows of a task: attempts oldest first, and the history of each.

    `request` is what was sent: the job may say something else by now, in fields outside the identity.
    """

    attempts: tuple[AttemptRow, ...]
    histories: tuple[tuple[HistoryRow, ...], ...]
    outputs: tuple[OutputRow, ...]
    request: Mapping[str, JsonValue] | None = None

    @property
    def latest(self) -> AttemptRow | None:
        return self.attempts[-1] if self.attempts else None


def attempts_of_run(run: RunRow, found: Found) -> Iterator[AttemptRow]:
    return (attempt for attempt in found.attempts if attempt.run_id == run.id)


def is_cached(run: RunRow, found: Found) -> bool:
    """Whether this run submitted nothing for the task because an earlier one did."""
    latest = found.latest
    if latest is None or latest.state is TaskState.PLANNED:
        return False
    return not any(attempts_of_run(run, found))


def task_entry(
    task: Task, found: Found, state: TaskState, *, run: RunRow, root: Path, redactor: Redactor
) -> dict[str, object]:
    """The JSON object of one task; keys in the order in which they are written."""
    generation = (found.latest and found.latest.generation) or {}
    return {
        "identity": task.identity,
        "name": task.name,
        "step": task.step,
        "needs": None if task.upstream is None else task.upstream.identity,
        "index": task.index,
        "in_plan": True,
        "cell": redactor.value(task.cell),
        "model": task.model,
        "seed": task.seed if found.latest is None else found.latest.seed,
        "sample": task.sample,
        "edition": task.edition,
        "state": state,
        "cached": is_cached(run, found),
        "request": redactor.value(task.request if found.request is None else found.request),
        "inputs": [_input_entry(file, root) for file in task.inputs],
        "attempts": [_attempt_entry(attempt, redactor) for attempt in found.attempts],
        "history": [
            _history_entry(attempt, row, redactor)
            for attempt, history in zip(found.attempts, found.histories, strict=True)
            for row in history
        ],
        "echo": redactor.foreign_value(_sorted(generation.get("echo"))),
        "usage": redactor.foreign_value(_sorted(generation.get("usage"))),
        "outputs": [_output_entry(row, redactor) for row in _own(task, found.outputs)],
        "missing": _missing(task, found, state),
        "error": _error_entry(task, found.latest, state, redactor),
        "estimate": {
            "tokens": task.estimate_tokens,
            "usd": usd_or_null(task.estimate_micros),
        },
    }


def departed_entry(
    row: TaskRow, found: Found, *, run: RunRow, root: Path, redactor: Redactor
) -> dict[str, object]:
    """The same of a task that is no longer in the plan, from the ledger; what that does not know is null."""
    task = Task(
        identity=row.identity,
        index=0,
        step=row.step,
        name=row.name,
        cell=row.cell,
        provider=row.provider,
        origin=row.origin,
        edition=row.edition,
        model=row.model,
        seed=row.seed,
        sample=row.sample,
        request=row.request,
        inputs=(),
        output=row.output,
    )
    state = found.latest.state if found.latest is not None else TaskState.PLANNED
    texts = [*_texts(row.request)]
    above = (match[1] for text in texts if (match := _STEP.match(text)))
    digests = (match[1] for text in texts if (match := _INPUT.fullmatch(text)))
    return {
        **task_entry(task, found, state, run=run, root=root, redactor=redactor),
        "needs": next(above, None),
        "index": None,
        "in_plan": False,
        "inputs": [{"path": None, "sha256": sha256, "media_type": None, "bytes": None} for sha256 in digests],
    }


def _texts(value: object) -> Iterator[str]:
    """Every text in a request."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _input_entry(file: InputFile, root: Path) -> dict[str, object]:
    # confined to the root when it was planned; a bare name otherwise says nothing of the machine
    path = file.path.relative_to(root).as_posix() if file.path.is_relative_to(root) else file.path.name
    return {"path": path, "sha256": file.sha256, "media_type": file.media_type, "bytes": file.size}


def _attempt_entry(attempt: AttemptRow, redactor: Redactor) -> dict[str, object]:
    evidence = attempt.evidence or {}
    generation = attempt.generation or {}
    return {
        "id": attempt.id,
        "run_id": attempt.run_id,
        "reason": attempt.reason,
        "state": attempt.state,
        "intended_at": iso_time(attempt.intended_at),
        "tag": attempt.tag,
        "key": attempt.key_hash[:KEY_HASH_SHOWN],
        "body_sha256": attempt.body_sha256,
        "server_time": iso_time(attempt.server_time),
        "verdict": attempt.verdict,
        "evidence": redactor.foreign_value(attempt.evidence),
        "resolution": attempt.resolution,
        "resolution_evidence": redactor.foreign_value(attempt.resolution_evidence),
        "remote_id": redactor.foreign_value(attempt.remote_id),
        "request_id": redactor.foreign_value(
            evidence.get("request_id") or generation.get("request_id") or None
        ),
        "accepted_at": iso_time_or_none(attempt.accepted_at),
        "taken": redactor.value(attempt.taken),
        "price": attempt.price and {attempt.price.unit: str(attempt.price.usd)},
        "estimate_usd": usd_or_null(attempt.estimate_micros),
        "cost_usd": usd_or_null(attempt.cost_micros),
    }


def _history_entry(attempt: AttemptRow, row: HistoryRow, redactor: Redactor) -> dict[str, object]:
    said = {"state": row.state} if row.state is not None else {"status": redactor.foreign_value(row.status)}
    return {"at": iso_time(row.at), "attempt": attempt.id, **said}


def _output_entry(row: OutputRow, redactor: Redactor) -> dict[str, object]:
    return {
        "kind": row.kind,
        "path": row.path,
        "bytes": row.bytes,
        "sha256": row.sha256,
        "media": redactor.foreign_value(row.media),
    }


def _missing(task: Task, found: Found, state: TaskState) -> list[str]:
    """The kinds of files that were asked for and never came, of a task that is done."""
    if found.latest is None or state not in (TaskState.DONE, TaskState.ABSENT):
        return []
    came = {row.kind for row in found.outputs if row.attempt_id == found.latest.id}
    return sorted(wanted_kinds(task.provider, found.request or task.request) - came)


def _own(task: Task, rows: tuple[OutputRow, ...]) -> list[OutputRow]:
    """The files under the path that this plan gives them; all of the task's where none is there.

    Of a file that was fetched again beside a changed one, the newer copy alone: it was checked.
    """
    own = PurePosixPath(task.output)
    beside = [
        row
        for row in rows
        if (path := PurePosixPath(row.path)).parent == own.parent and path.name.startswith(own.stem)
    ]
    newest = {(row.attempt_id, row.kind, row.ordinal): row for row in sorted(beside, key=_age)}
    # the video first; never by attempt, whose ids are random
    return sorted(
        newest.values() or rows, key=lambda row: (row.kind != "video", row.kind, row.ordinal, row.path)
    )


def _age(row: OutputRow) -> float:
    return row.created_at


def _error_entry(task: Task, attempt: AttemptRow | None, state: TaskState, redactor: Redactor) -> JsonValue:
    if state is TaskState.SKIPPED and task.upstream is not None:
        never = ", or its last frame never came" if LAST_FRAME in task.upstream.uses else ""
        said = f"the task of step {task.upstream.step} that it needs failed{never}"
        return {"code": "skipped", "message": said}
    if attempt is None or not (attempt.error_code or attempt.error_message):
        return None
    return {
        "code": redactor.foreign_text(attempt.error_code),
        "message": redactor.foreign_text(attempt.error_message),
    }


def _sorted(value: JsonValue) -> dict[str, JsonValue]:
    return dict(sorted(value.items())) if isinstance(value, Mapping) else {}
