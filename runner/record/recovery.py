"""What the folders of runs tell of attempts, for a ledger that was lost or is an older copy.

Logs and manifests are read as a stranger's: bounded, each line checked, a wrong one left out and counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path, PurePosixPath

from runner.errors import StateError
from runner.http.verdicts import Evidence, Verdict
from runner.json_value import JsonValue
from runner.ledger.rows import ArchivedRow
from runner.ledger.states import Reason, Resolution, TaskState
from runner.media.video import MediaFacts
from runner.money import MOST_USD, Price, PriceUnit, micros
from runner.project import Project
from runner.providers.base import RemoteFileKind
from runner.record.folder import RunFolder, is_run_id
from runner.record.intents import LoggedIntent, TaskFacts
from runner.record.manifest import Manifest, ManifestAttempt, ManifestTask, read_manifest, read_tasks
from runner.typed_json import members, read

LONGEST_LINE = 4 << 20
"""Bytes of one line of a log, or of a manifest: a request is far shorter."""

_HEAD = re.compile(rb'\{"at":"([0-9T:.Z-]{20,30})","event":"([a-z_.]{1,40})"')
_TORN_TASK = re.compile(rb'"task":"((?:[^"\\]|\\.){1,500})"')
_IDENTITY = re.compile(r"[0-9a-f]{64}")
_ATTEMPT = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_STORED = re.compile(r"(?P<store>.+)/(?P<key>sha256/[^/]+)")
_REMOTE_ID = re.compile(r"[!-~]{1,512}")

_STATES = {
    "task.intended": TaskState.INTENDED,
    "task.refused": TaskState.PLANNED,
    "task.never_accepted": TaskState.PLANNED,
    "task.submitted": TaskState.SUBMITTED,
    "task.adopted": TaskState.SUBMITTED,
    "task.found": TaskState.SUBMITTED,
    "task.reopened": TaskState.SUBMITTED,
    "task.ambiguous": TaskState.AMBIGUOUS,
    "task.held": TaskState.HELD,
    "task.done": TaskState.DONE,
    "task.failed": TaskState.FAILED,
    "task.expired": TaskState.EXPIRED,
}
"""The state of an attempt that each event tells of."""

_RESOLUTIONS = {
    "task.adopted": Resolution.ADOPTED,
    "task.found": Resolution.FOUND,
    "task.never_accepted": Resolution.ABSENT,
}
_READ = frozenset({*_STATES, "run.started", "run.finished", "task.file", "task.versioned", "log.lost"})


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """When something happened (Unix seconds), in the order in which it was written."""

    at: float
    place: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Change:
    """That an attempt changed."""

    when: Moment
    state: TaskState


@dataclass(frozen=True, slots=True)
class IntentFacts:
    """What an intent was made with. `at` is None where only the log's own time is known."""

    reason: Reason | None = None
    key: str = ""
    tag: int | None = None
    body_sha256: str = ""
    server_time: float | None = None
    price: Price | None = None
    estimate_micros: int | None = None
    taken: Mapping[str, JsonValue] | None = None
    labels: Mapping[str, str] | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file that was published for a task. What is not known is None."""

    attempt: str
    kind: RemoteFileKind
    ordinal: int
    path: str
    bytes: int
    sha256: str | None
    at: float
    media: MediaFacts | None = None


@dataclass(slots=True)
class KnownAttempt:
    """All that logs and manifests tell of one attempt."""

    id: str
    identity: str
    run_id: str
    account: str = ""
    intent: IntentFacts = field(default_factory=IntentFacts)
    changes: list[Change] = field(default_factory=list)
    remote_ids: dict[str, None] = field(default_factory=dict)
    verdict: Verdict | None = None
    evidence: Evidence | None = None
    resolution: Resolution | None = None
    grounds: Mapping[str, JsonValue] | None = None
    error: tuple[str, str] = ("", "")
    cost_micros: int | None = None
    echo: Mapping[str, JsonValue] | None = None
    usage: Mapping[str, JsonValue] | None = None
    told_by: str = ""
    """The run whose manifest tells of it last."""

    @property
    def state(self) -> TaskState:
        """Where it stands, by all that is told: nothing takes back an end, or an acceptance."""
        last: dict[TaskState, Moment] = {}
        for change in self.changes:
            last[change.state] = max(change.when, last.get(change.state, change.when))
        for final in (TaskState.DONE, TaskState.FAILED):
            if final in last:
                return final
        accepted = [state for state in _AFTER_ACCEPTANCE if state in last]
        if self.remote_ids:
            return max(accepted, key=last.__getitem__, default=TaskState.SUBMITTED)
        left = [state for state in _BEFORE_ACCEPTANCE if state in last]
        return max(left, key=last.__getitem__, default=TaskState.INTENDED)

    def when(self, *states: TaskState) -> Moment | None:
        """When it came into one of these states last."""
        return max((change.when for change in self.changes if change.state in states), default=None)


_AFTER_ACCEPTANCE = (TaskState.SUBMITTED, TaskState.COLLECTING, TaskState.EXPIRED)
_BEFORE_ACCEPTANCE = (
    TaskState.PLANNED,
    TaskState.WRITTEN_OFF,
    TaskState.HELD,
    TaskState.AMBIGUOUS,
    TaskState.INTENDED,
)
"""The one to believe first is last: where two are told of one moment, the less that proves."""


@dataclass(slots=True)
class KnownRun:
    """A run by its folder. `lost` are lines of its log that nobody can read, `torn` the names of tasks whose
    line of an intent was cut.
    """

    id: str
    job_file: str = ""
    job_name: str = ""
    job_digest: str = ""
    edition: str = ""
    run_date: str = ""
    provider: str = ""
    origin: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    began: Moment | None = None
    """When its last session began, and when that ended."""
    ended: Moment | None = None
    manifest: Manifest | None = None
    lost: int = 0
    lost_at: float = 0.0
    torn: list[str] = field(default_factory=list)
    project: str = ""


@dataclass(slots=True)
class Recorded:
    """What is known by the folders of all runs."""

    runs: dict[str, KnownRun] = field(default_factory=dict)
    attempts: dict[str, KnownAttempt] = field(default_factory=dict)
    tasks: dict[str, TaskFacts] = field(default_factory=dict)
    files: dict[str, list[FileFacts]] = field(default_factory=dict)
    """By identity, in the order in which they were published."""
    names: dict[str, str] = field(default_factory=dict)
    """By identity, also of tasks of which nothing else is known."""
    moved: dict[str, list[str]] = field(default_factory=dict)
    """By identity, the paths that versions were given."""
    archived: list[ArchivedRow] = field(default_factory=list)
    """What lay in a store, by the manifests."""
    notes: list[str] = field(default_factory=list)
    """Sentences for a person about what could not be read."""


def read_runs(project: Project) -> Recorded:
    """Raises StateError for a log that cannot be read at all: nobody knows what was submitted then."""
    found = Recorded()
    lines: list[tuple[Moment, str, str, dict[str, JsonValue]]] = []
    for number, folder in enumerate(_folders(project)):
        run = found.runs[folder.run_id] = KnownRun(folder.run_id)
        lines += _read_log(folder, number, run)
    lines.sort(key=lambda line: line[0])
    reading = _Reading(found)
    for when, run_id, event, fields in lines:
        reading.take(when, found.runs[run_id], event, fields)
    for run in found.runs.values():
        reading.take_manifest(RunFolder(project, run.id), run)
    return found


def _folders(project: Project) -> Iterator[RunFolder]:
    if not project.runs_dir.is_dir():
        return
    with os.scandir(project.runs_dir) as entries:
        names = sorted(
            entry.name for entry in entries if is_run_id(entry.name) and entry.is_dir(follow_symlinks=False)
        )
    for name in names:
        yield RunFolder(project, name)


def _read_log(
    folder: RunFolder, number: int, run: KnownRun
) -> Iterator[tuple[Moment, str, str, dict[str, JsonValue]]]:
    """The lines that tell of attempts; their times never run backwards."""
    at = 0.0
    for place, line in enumerate(_lines(folder.events)):
        head = _HEAD.match(line)
        event = head[2].decode() if head else ""
        if head is None or (event in _READ and not line.endswith(b"}")):
            if b'"event":"task.intended"' in line:
                torn = _TORN_TASK.search(line)
                run.torn += [json.loads(b'"%s"' % torn[1])] if torn and _is_text(torn[1]) else []
                run.lost += torn is None
                run.lost_at = max(run.lost_at, at)
            continue
        if event not in _READ:
            continue
        try:
            at = max(at, _seconds(head[1].decode()))
            fields = json.loads(line)
            if b"\\ud" in line or b"\\uD" in line:
                _check_unicode(fields)
        except (ValueError, RecursionError):
            run.lost += 1
            run.lost_at = max(run.lost_at, at)
            continue
        yield Moment(at, (number, place)), folder.run_id, event, fields


def _check_unicode(value: object) -> None:
    """Raises ValueError for half a character in a text, which JSON can hold and no ledger."""
    json.dumps(value, ensure_ascii=False, default=members).encode()


def _is_text(text: bytes) -> bool:
    try:
        json.loads(b'"%s"' % text)
    except ValueError:
        return False
    return True


def _lines(log: Path) -> Iterator[bytes]:
    """Each line without its end; of one that is too long, its beginning alone. Raises StateError."""
    try:
        handle = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable(log, error.strerror) from error
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _unreadable(log, "is not a plain file")
        try:
            while line := file.readline(LONGEST_LINE):
                if not line.endswith(b"\n"):
                    while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                        pass
                    line = line[:1000] if rest else line
                yield line.rstrip(b"\n")
        except OSError as error:
            raise _unreadable(log, error.strerror) from error


def _unreadable(log: Path, why: str | None) -> StateError:
    return StateError(
        f"{log}: {why}, so nobody knows what was submitted; nothing was changed",
        hint="make the log a readable file again, or move its folder out of runs/",
    )


@dataclass(slots=True)
class _Reading:
    """Adds lines, in their order, and then manifests to what is `found`."""

    found: Recorded
    _newest: dict[str, KnownAttempt] = field(default_factory=dict)
    """By identity: whom a line is about that names no attempt, as those of older versions."""

    def take(self, when: Moment, run: KnownRun, event: str, fields: dict[str, JsonValue]) -> None:
        """One line. What is wrong in it is left out, and counted as a line that nobody can read."""
        try:
            match event:
                case "run.started":
                    self._begin(when, run, fields)
                case "run.finished":
                    run.ended = when
                case "log.lost":
                    run.lost += _count(fields.get("lines"))
                    run.lost_at = max(run.lost_at, when.at)
                case "task.file":
                    self._add_file(when, fields)
                case "task.versioned":
                    if "identity" in fields:
                        path = _path(fields.get("to"))
                        self.found.moved.setdefault(_identity(fields), []).append(path)
                case _:
                    self._change(when, run, event, fields)
        except (ValueError, InvalidOperation):
            run.lost += 1
            run.lost_at = max(run.lost_at, when.at)

    def _begin(self, when: Moment, run: KnownRun, fields: Mapping[str, JsonValue]) -> None:
        run.began = when
        run.job_file = _path(fields.get("job"))
        run.project = _text(fields.get("project"))
        if "name" in fields:
            run.job_name, run.job_digest = _text(fields.get("name")), _text(fields.get("job_digest"))
            run.edition, run.run_date = _text(fields.get("edition")), _text(fields.get("run_date"))
            run.provider, run.origin = _text(fields.get("provider")), _text(fields.get("origin"))
            run.started_at = _seconds(fields.get("started_at"))

    def _change(self, when: Moment, run: KnownRun, event: str, fields: dict[str, JsonValue]) -> None:
        identity = _identity(fields)
        if name := _text(fields.get("task")):
            self.found.names[identity] = name
        known = self._attempt(identity, run, event, fields)
        if known is None:
            return
        if event == "task.intended":
            self._intend(known, fields)
            self._newest[identity] = known
        if event == "task.held" and fields.get("basis") is not None:
            known.resolution, known.grounds = Resolution.HELD, _grounds(fields)
        if (resolution := _RESOLUTIONS.get(event)) is not None:
            known.resolution, known.grounds = resolution, _grounds(fields)
        if _STATES[event] is TaskState.SUBMITTED and fields.get("remote_id") is not None:
            known.remote_ids[_remote_id(fields.get("remote_id"))] = None
        if event in ("task.refused", "task.ambiguous", "task.failed", "task.submitted") or (
            event == "task.held" and "row" in fields
        ):
            self._hear(known, event, fields)
        if event in ("task.failed", "task.expired"):
            known.error = (_text(fields.get("code")), _text(fields.get("error")))
        known.changes.append(Change(when, _STATES[event]))

    def _attempt(
        self, identity: str, run: KnownRun, event: str, fields: Mapping[str, JsonValue]
    ) -> KnownAttempt | None:
        """The attempt that a line is about. None for a line of an older version about an unknown one."""
        if "attempt" not in fields:
            return self._newest.get(identity)
        attempt_id = _text(fields.get("attempt"))
        if not _ATTEMPT.fullmatch(attempt_id):
            raise ValueError("not an attempt")
        known = self.found.attempts.get(attempt_id)
        if known is None:
            known = KnownAttempt(attempt_id, identity, run.id)
            self.found.attempts[attempt_id] = known
        if known.identity != identity:
            raise ValueError("an attempt of another task")
        if event == "task.intended":
            known.run_id = run.id
        known.account = _text(fields.get("account")) or known.account
        return known

    def _intend(self, known: KnownAttempt, fields: Mapping[str, JsonValue]) -> None:
        if "intent" not in fields:
            return
        logged = read(LoggedIntent, fields["intent"])
        known.intent = IntentFacts(
            reason=logged.reason,
            key=logged.key,
            tag=logged.tag,
            body_sha256=logged.body_sha256,
            server_time=_seconds(logged.server_time),
            price=_price(logged.price),
            estimate_micros=_micros(logged.estimate_usd),
            taken=logged.taken,
            labels=logged.labels,
            at=_seconds(logged.at),
        )
        self.found.tasks[known.identity] = replace(logged, output=_path(logged.output))

    def _hear(self, known: KnownAttempt, event: str, fields: Mapping[str, JsonValue]) -> None:
        verdict = fields.get("verdict")
        if event == "task.failed" and verdict is None:
            return  # by the service, after it had accepted
        accepted = event == "task.submitted"
        known.verdict = Verdict.ACCEPTED if accepted else Verdict(_text(verdict) or Verdict.AMBIGUOUS)
        status = fields.get("status")
        known.evidence = Evidence(
            row=_count(fields.get("row")),
            headers_begun=None,
            reason="accepted" if accepted else _text(fields.get("reason")),
            status=status if isinstance(status, int) else None,
            code=_text(fields.get("code")),
            message=_text(fields.get("message")),
            request_id=_text(fields.get("request_id")),
        )

    def _add_file(self, when: Moment, fields: Mapping[str, JsonValue]) -> None:
        identity = _identity(fields)
        attempt = fields.get("attempt")
        newest = self._newest.get(identity)
        if attempt is None and newest is None:
            return
        path, sha256 = _path(fields.get("path")), fields.get("sha256")
        kind = RemoteFileKind.LAST_FRAME if path.endswith(".last.png") else RemoteFileKind.VIDEO
        self.found.files.setdefault(identity, []).append(
            FileFacts(
                attempt=_text(attempt) if attempt is not None else newest.id if newest else "",
                kind=RemoteFileKind(_text(fields.get("kind")) or kind),
                ordinal=_count(fields.get("ordinal")) or 1,
                path=path,
                bytes=_count(fields.get("bytes")),
                sha256=sha256 if isinstance(sha256, str) and _IDENTITY.fullmatch(sha256) else None,
                at=when.at,
            )
        )

    def take_manifest(self, folder: RunFolder, run: KnownRun) -> None:
        """What the manifest of a run tells beyond the logs; what of it cannot be read is told in a note."""
        if not _is_readable(folder.manifest):
            return
        try:
            manifest = read_manifest(folder.manifest)
            self._take_run(run, manifest)
            for task in read_tasks(folder.manifest):
                try:
                    self._take_task(run.id, task)
                except (ValueError, InvalidOperation):
                    self.found.notes.append(f"{folder.manifest}: a task in it cannot be read")
        except (StateError, ValueError, RecursionError, InvalidOperation) as error:
            said = error.message if isinstance(error, StateError) else f"{folder.manifest}: {error}"
            self.found.notes.append(f"{said}; what its log tells counts")

    def _take_run(self, run: KnownRun, manifest: Manifest) -> None:
        told = manifest.run
        _check_unicode(manifest)
        for session in told.sessions:
            _seconds(session.started_at)
            _seconds(session.ended_at or session.started_at)
        if told.id != run.id:
            raise ValueError("it is the manifest of another run")
        run.manifest = manifest
        run.job_file, run.job_name, run.job_digest = _path(told.job_file), told.name, manifest.job.sha256
        run.edition, run.run_date = told.edition, told.run_date
        run.provider, run.origin = told.provider, told.origin
        run.started_at = _seconds(told.started_at)
        run.finished_at = None if told.finished_at is None else _seconds(told.finished_at)

    def _take_task(self, run_id: str, task: ManifestTask) -> None:
        identity = _identity({"identity": task.identity})
        _check_unicode(task)
        path, run = _path(task.outputs[0].path) if task.outputs else "", None
        for attempt in task.attempts:
            self._take_attempt(run_id, task, attempt, is_newest=attempt is task.attempts[-1])
            run = self.found.runs.get(attempt.run_id) or run
        self.found.names.setdefault(identity, task.name)
        is_new = bool(task.attempts) and identity not in self.found.tasks
        if is_new and run is not None and run.manifest is not None:
            self.found.tasks[identity] = TaskFacts(
                step=task.step,
                provider=task.provider or run.manifest.run.provider,
                origin="",
                model=task.model,
                seed=task.seed,
                sample=task.sample,
                edition=task.edition,
                cell=task.cell,
                request=task.request,
                output=path,
            )
        done = [attempt for attempt in task.attempts if attempt.state is TaskState.DONE]
        if done:
            self._take_files(task, done[-1])

    def _take_attempt(
        self, run_id: str, task: ManifestTask, told: ManifestAttempt, *, is_newest: bool
    ) -> None:
        if not _ATTEMPT.fullmatch(told.id) or not is_run_id(told.run_id):
            raise ValueError("not an attempt")
        known = self.found.attempts.setdefault(told.id, KnownAttempt(told.id, task.identity, told.run_id))
        if known.identity != task.identity:
            raise ValueError("an attempt of another task")
        history = [change for change in task.history if change.attempt == told.id and change.state]
        changes = [Change(Moment(_seconds(change.at)), change.state) for change in history if change.state]
        newest = max((change.when for change in changes), default=None)
        is_later = newest is None or known.when(*TaskState) is None or newest > _late(known)
        known.changes += changes or [Change(Moment(_seconds(told.intended_at)), told.state)]
        known.run_id, known.told_by = told.run_id, run_id
        if is_newest:
            known.account = known.account or task.account or task.provider
        known.intent = IntentFacts(
            reason=told.reason,
            key=known.intent.key or told.key,
            tag=told.tag,
            body_sha256=told.body_sha256,
            server_time=_seconds(told.server_time),
            price=_price(told.price),
            estimate_micros=_micros(told.estimate_usd),
            taken=told.taken,
            labels=known.intent.labels,
            at=max(_seconds(told.intended_at), known.intent.at or 0.0),
        )
        if told.remote_id is not None:
            known.remote_ids[_remote_id(told.remote_id)] = None
        if told.cost_usd is not None:
            known.cost_micros = _micros(told.cost_usd)
        if known.verdict is None or is_later:
            known.verdict, known.evidence = told.verdict, told.evidence
        if told.resolution is not None and (known.resolution is None or is_later):
            known.resolution, known.grounds = told.resolution, told.resolution_evidence
        if is_newest:
            known.echo, known.usage = task.echo or known.echo, task.usage or known.usage
            if task.error is not None and not any(known.error) and told.state is not TaskState.DONE:
                known.error = (task.error.code, task.error.message)

    def _take_files(self, task: ManifestTask, attempt: ManifestAttempt) -> None:
        known = self.found.files.setdefault(task.identity, [])
        done = [change.at for change in task.history if change.attempt == attempt.id]
        at = _seconds(done[-1]) if done else _seconds(attempt.intended_at)
        counts: dict[RemoteFileKind, int] = {}
        for file in task.outputs:
            counts[file.kind] = counts.get(file.kind, 0) + 1
            path = _path(file.path)
            if not _IDENTITY.fullmatch(file.sha256):
                raise ValueError("not a digest")
            logged = next((each for each in known if (each.path, each.sha256) == (path, file.sha256)), None)
            known.append(
                FileFacts(
                    attempt=attempt.id if logged is None else logged.attempt,
                    kind=file.kind,
                    ordinal=counts[file.kind] if logged is None else logged.ordinal,
                    path=path,
                    bytes=file.bytes,
                    sha256=file.sha256,
                    at=at,
                    media=file.media,
                )
            )
            if stored := _STORED.fullmatch(file.stored):
                row = ArchivedRow(file.sha256, stored["store"], stored["key"], file.bytes, at)
                self.found.archived.append(row)


def _late(known: KnownAttempt) -> Moment:
    return max(change.when for change in known.changes)


def _is_readable(path: Path) -> bool:
    """Whether it is a plain file whose lines have an end."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            return False
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE:
                    return False
            return True
    return False


def _grounds(fields: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """What an event says of a resolution beside whose it is."""
    return {name: value for name, value in fields.items() if name not in _NO_GROUNDS}


_NO_GROUNDS = frozenset({"at", "event", "task", "identity", "attempt", "remote_id", "account"})


def _identity(fields: Mapping[str, JsonValue]) -> str:
    identity = fields.get("identity")
    if not isinstance(identity, str) or not _IDENTITY.fullmatch(identity):
        raise ValueError("not an identity")
    return identity


def _remote_id(value: JsonValue) -> str:
    if not isinstance(value, str) or not _REMOTE_ID.fullmatch(value):
        raise ValueError("not an id")
    return value


def _text(value: JsonValue) -> str:
    if value is not None and not isinstance(value, str):
        raise ValueError("not a text")
    return value or ""


def _count(value: JsonValue) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 53 else 0


def _path(value: JsonValue) -> str:
    """A path below the base directory."""
    text = _text(value)
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts or "\0" in text or len(text) > 4096:
        raise ValueError("not a path below the project")
    return path.as_posix()


def _seconds(value: JsonValue) -> float:
    return datetime.fromisoformat(_text(value)).timestamp()


def _micros(usd: str | None) -> int | None:
    if usd is None:
        return None
    amount = Decimal(usd)
    if not amount.is_finite() or not 0 <= amount < MOST_USD:
        raise ValueError("not an amount")
    return micros(amount)


def _price(price: Mapping[str, str] | None) -> Price | None:
    if not price:
        return None
    ((unit, usd),) = price.items()
    amount = Decimal(usd)
    if not amount.is_finite() or amount < 0:
        raise ValueError("not a price")
    return Price(PriceUnit(unit), amount)
