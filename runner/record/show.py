"""All that is known of one task: what was asked for, what was sent, what came back, what it cost."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.http.verdicts import Verdict
from runner.json_value import JsonValue
from runner.ledger.read import LedgerReader
from runner.ledger.rows import (
    AttemptRow,
    Grounds,
    HistoryRow,
    OutputRow,
    RunRow,
    SessionFacts,
    TaskRow,
)
from runner.ledger.states import Reason, Resolution, TaskState
from runner.money import usd_or_null
from runner.plan.task import STEP_SCHEME
from runner.project import Project
from runner.providers import prompt_texts
from runner.providers.base import INPUT_SCHEME, KEY_SCHEME, RemoteFileKind, generation_seconds
from runner.record.folder import RunFolder
from runner.record.manifest import ManifestFile
from runner.record.verify import Finding, check_file
from runner.record.write import missing_kinds
from runner.redact import printable
from runner.times import iso_time, iso_time_or_none
from runner.typed_json import WHERE_SET, with_texts


class Since(enum.StrEnum):
    """Whether a job file, with the further files that it reads, is still what was run."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Seed:
    sent: int | None
    echoed: JsonValue


@dataclass(frozen=True, slots=True)
class InputOfOurs:
    """A file by its digest; `kept` is the path of our copy.

    None where there is none: it is gone, or the job gave an address and this digest.
    """

    role: JsonValue
    sha256: str
    kept: str | None


@dataclass(frozen=True, slots=True)
class InputByKey:
    """An address, by the name that the job gives it."""

    role: JsonValue
    key: str


@dataclass(frozen=True, slots=True)
class InputOfStep:
    """An output of another task; `task` is its name, None where the ledger does not know it."""

    role: JsonValue
    task: str | None
    identity: str
    output: str


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run with one job file that attempts were made from; `job_kept` is the path of our copy."""

    id: str
    job_file: str
    job_sha256: str | None
    job_file_since: Since
    job_kept: str
    date: str
    edition: str
    commit: str | None
    job_file_dirty: bool | None
    git_note: str | None


@dataclass(frozen=True, slots=True)
class ShownAttempt:
    """`evidence` is why its outcome is what it is, in words; `seconds` is how long it took. `account` is who
    was asked to pay, where it is another than the provider's own.
    """

    id: str
    run: str
    reason: Reason
    state: TaskState
    intended_at: str
    accepted_at: str | None
    ended_at: str | None
    seconds: float | None
    service_seconds: float | None
    remote_id: str | None
    request_id: str | None
    tag: int | None
    verdict: Verdict | None
    evidence: str | None
    resolution: Resolution | None
    resolution_evidence: Mapping[str, JsonValue] | None
    usage: Mapping[str, JsonValue]
    estimate_usd: str | None
    cost_usd: str | None
    taken: Mapping[str, JsonValue] | None
    error_code: str | None
    error_message: str | None
    account: str = field(default="", metadata=WHERE_SET)

    @property
    def total_tokens(self) -> JsonValue:
        return self.usage.get("total_tokens")

    @property
    def resolved_by(self) -> str:
        """The basis of its resolution, else the reason for it; empty where neither is known."""
        return Grounds(self.resolution_evidence or {}).words


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFile(ManifestFile):
    attempt: str
    stands: Finding


@dataclass(frozen=True, slots=True)
class ShownTask:
    """`attempts` are oldest first; `runs` are theirs."""

    identity: str
    name: str
    step: str
    state: TaskState
    prompt: str
    provider: str
    origin: str
    model: str
    edition: str
    cell: Mapping[str, JsonValue]
    seed: Seed
    request: Mapping[str, JsonValue]
    inputs: tuple[InputOfOurs | InputByKey | InputOfStep, ...]
    echo: Mapping[str, JsonValue]
    usage: Mapping[str, JsonValue]
    job_file: str
    runs: tuple[ShownRun, ...]
    attempts: tuple[ShownAttempt, ...]
    files: tuple[ShownFile, ...]
    missing: tuple[RemoteFileKind, ...]


def describe(reader: LedgerReader, task: TaskRow, project: Project) -> ShownTask:
    """The task without secrets, safe to print; as JSON it is what `show` prints."""
    attempts = reader.attempts(task.identity)
    latest = attempts[-1] if attempts else None
    observed = latest.generation if latest is not None else None
    echo = observed.echo if observed is not None else {}
    outputs = reader.outputs([task.identity]).get(task.identity, [])
    stored = reader.stored(outputs)
    came = [*outputs, *reader.given_away([task.identity]).get(task.identity, ())]
    is_done = latest is not None and latest.state is TaskState.DONE
    shown = ShownTask(
        identity=task.identity,
        name=task.name,
        step=task.step,
        state=latest.state if latest is not None else TaskState.PLANNED,
        prompt=" ".join(prompt_texts(task.provider, task.request)),
        provider=task.provider,
        origin=task.origin,
        model=task.model,
        edition=task.edition,
        cell=task.cell,
        seed=Seed(task.seed, echo.get("seed")),
        request=task.request,
        inputs=tuple(_inputs(task.request, project, reader)),
        echo=echo,
        usage=observed.usage if observed is not None else {},
        job_file=task.job_file,
        runs=_runs(reader, attempts, project),
        attempts=tuple(_attempt(task.provider, attempt, reader.history(attempt.id)) for attempt in attempts),
        files=tuple(
            ShownFile(
                kind=row.kind,
                path=row.path,
                bytes=row.bytes,
                sha256=row.sha256,
                media=row.media,
                attempt=row.attempt_id,
                stands=_stands(project, row, is_stored=row.sha256 in stored),
                stored=stored[row.sha256].address if row.sha256 in stored else "",
            )
            for row in outputs
        ),
        missing=missing_kinds(task.provider, task.request, latest, came) if is_done else (),
    )
    return with_texts(shown, printable)


def _stands(project: Project, row: OutputRow, *, is_stored: bool) -> Finding:
    # the bytes alone: no player is asked
    found = check_file(project.base, row, lambda _kind, _file: "")[0]
    return Finding.STORED if found is Finding.MISSING and is_stored else found


def _inputs(
    value: object, project: Project, reader: LedgerReader, role: JsonValue = None
) -> Iterator[InputOfOurs | InputByKey | InputOfStep]:
    """The inputs of a request besides text: by their digests and keys, and outputs of other tasks."""
    if isinstance(value, str) and value.startswith(INPUT_SCHEME):
        digest = value.removeprefix(INPUT_SCHEME)
        kept = project.inputs_dir / digest
        yield InputOfOurs(role, digest, str(kept.relative_to(project.root)) if kept.is_file() else None)
    elif isinstance(value, Mapping) and str(value.get("url")).startswith(KEY_SCHEME):
        yield InputByKey(value.get("role", role), str(value["url"]).removeprefix(KEY_SCHEME))
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
    found: dict[tuple[object, ...], ShownRun] = {}
    for attempt in attempts:
        run = reader.run(attempt.run_id)
        assert run is not None
        sessions = reader.sessions(run.id)
        begun = [session for session in sessions if session.started_at <= attempt.intended_at] or sessions
        facts = begun[-1].facts if begun else SessionFacts()
        digest = facts.job_digest or (run.job_digest if len(sessions) <= 1 else None)
        key = (run.id, digest, *sorted(facts.files.items()))
        if key not in found:
            found[key] = _run(run, digest, facts, project)
    return tuple(found.values())


def _run(run: RunRow, digest: str | None, facts: SessionFacts, project: Project) -> ShownRun:
    folder, git = RunFolder(project, run.id), facts.git
    kept = folder.job if digest is None else folder.job_of(digest)
    return ShownRun(
        id=run.id,
        job_file=run.job_file,
        job_sha256=digest,
        job_file_since=_since(project.root, {run.job_file: digest, **facts.files}),
        job_kept=str((kept if kept.is_file() else folder.job).relative_to(project.root)),
        date=run.run_date,
        edition=run.edition,
        commit=None if git is None else git.commit,
        job_file_dirty=None if git is None else git.job_file_dirty,
        git_note=None if git is None else git.note,
    )


def _since(root: Path, digests: Mapping[str, str | None]) -> Since:
    """What became of a job file, and of the further ones that it reads, since they had these digests."""
    if None in digests.values():
        return Since.UNKNOWN
    try:
        now = {path: hashlib.sha256((root / path).read_bytes()).hexdigest() for path in digests}
    except OSError:
        return Since.GONE
    return Since.SAME if now == digests else Since.CHANGED


def _attempt(provider: str, attempt: AttemptRow, history: list[HistoryRow]) -> ShownAttempt:
    observed, grounds = attempt.generation, attempt.resolution_evidence
    ended = [row.at for row in history if row.state is attempt.state and attempt.state.is_terminal]
    known = history[-1].at - attempt.intended_at if history else 0.0
    service_seconds = None
    if observed is not None:
        service_seconds = generation_seconds(observed.created_at, observed.updated_at, known=known)
    return ShownAttempt(
        id=attempt.id,
        run=attempt.run_id,
        reason=attempt.reason,
        state=attempt.state,
        intended_at=iso_time(attempt.intended_at),
        accepted_at=iso_time_or_none(attempt.accepted_at),
        ended_at=iso_time(ended[-1]) if ended else None,
        seconds=round(ended[-1] - attempt.intended_at, 3) if ended else None,
        service_seconds=None if service_seconds is None else round(service_seconds, 3),
        remote_id=attempt.remote_id,
        request_id=attempt.request_id or None,
        tag=attempt.tag,
        verdict=attempt.verdict,
        evidence=None if attempt.evidence is None else attempt.evidence.reason,
        resolution=attempt.resolution,
        resolution_evidence=None if grounds is None else grounds.facts,
        usage={} if observed is None else observed.usage,
        estimate_usd=usd_or_null(attempt.estimate_micros),
        cost_usd=usd_or_null(attempt.cost_micros),
        taken=attempt.taken,
        error_code=attempt.error_code or None,
        error_message=attempt.error_message or None,
        account="" if attempt.account == provider else attempt.account,
    )
