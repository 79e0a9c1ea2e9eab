"""Writing a manifest: rows of the ledger to its model, task by task."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar, cast

from runner.durable import replace_file
from runner.job.expressions.expressions import LAST_FRAME
from runner.json_value import JsonValue
from runner.ledger.columns import batches
from runner.ledger.read import LedgerReader
from runner.ledger.rows import (
    KEY_HASH_SHOWN,
    ArchivedRow,
    AttemptRow,
    HistoryRow,
    OutputRow,
    RunRow,
    SessionRow,
    Spend,
    TaskRow,
)
from runner.ledger.states import TaskState
from runner.money import usd_or_null, usd_text
from runner.plan.task import STEP_SCHEME, Task
from runner.providers import wanted_kinds
from runner.providers.base import INPUT_SCHEME, InputFile, RemoteFileKind
from runner.record.manifest import (
    MANIFEST_VERSION,
    ManifestAttempt,
    ManifestChange,
    ManifestCompared,
    ManifestCost,
    ManifestCounts,
    ManifestError,
    ManifestEstimate,
    ManifestFile,
    ManifestInput,
    ManifestJob,
    ManifestRun,
    ManifestSession,
    ManifestTask,
    ManifestUsage,
    as_json,
)
from runner.redact import Redactor, json_safe
from runner.times import iso_time, iso_time_or_none
from runner.typed_json import with_texts

_STEP = re.compile(rf"{STEP_SCHEME}([0-9a-f]{{64}})/")
_INPUT = re.compile(rf"{INPUT_SCHEME}([0-9a-f]{{64}})")

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=as_json)

_Known = TypeVar("_Known", Task, TaskRow)

View = Callable[[Task, AttemptRow | None], TaskState]
"""Where a task stands, by its newest attempt and by what is on the disk."""


@dataclass(frozen=True, slots=True)
class TaskRows:
    """The ledger's rows of a task: attempts oldest first, and the history of each.

    `request` is what was sent: the job may say something else by now, in fields outside the identity.
    """

    attempts: Sequence[AttemptRow]
    history: Sequence[tuple[AttemptRow, HistoryRow]]
    outputs: Sequence[OutputRow]
    request: Mapping[str, JsonValue]
    stored: Mapping[str, ArchivedRow] = field(default_factory=dict)
    """By digest."""
    given_away: Sequence[OutputRow] = ()
    """Files whose paths other tasks have by now, of a task that has no others."""

    @property
    def latest(self) -> AttemptRow | None:
        return self.attempts[-1] if self.attempts else None

    def of_run(self, run: RunRow) -> Iterator[AttemptRow]:
        return (attempt for attempt in self.attempts if attempt.run_id == run.id)

    def figures(self, run: RunRow) -> Counter[str]:
        """The whole numbers that the service reported of that run's attempts, summed."""
        figures: Counter[str] = Counter()
        for attempt in self.of_run(run):
            usage = attempt.generation.usage if attempt.generation is not None else {}
            figures.update({name: number for name, number in usage.items() if type(number) is int})
        return figures

    def is_cached(self, run: RunRow) -> bool:
        """Whether that run submitted nothing for the task because an earlier one did."""
        if self.latest is None or self.latest.state is TaskState.PLANNED:
            return False
        return not any(self.of_run(run))


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
) -> ManifestCounts:
    """Writes the manifest of `run` over `tasks`, atomically and in flat memory; gives its counts.

    Behind them stand the tasks that the run has an attempt at and that are no longer in the plan.
    `root` is the project root, to which the paths of inputs are relative. Raises StateError; the
    manifest that was there before stands then.
    """
    record = _Recorder(run, root, redactor)
    states: Counter[TaskState] = Counter()
    reported: Counter[str] = Counter()
    cached = 0
    departed = {bytes.fromhex(identity) for identity in reader.identities_of_run(run.id)}
    with replace_file(target) as file:
        file.write(f'{{\n"manifest_version": {MANIFEST_VERSION},\n'.encode())
        _write_member(file, "run", record.of_run(sessions))
        _write_member(file, "job", ManifestJob(file=run.job_file, sha256=run.job_digest))
        file.write(b'"tasks": [')
        separator = b"\n"
        for task, rows in _with_rows(tasks, reader):
            state = view(task, rows.latest)
            states[state] += 1
            cached += rows.is_cached(run)
            departed.discard(bytes.fromhex(task.identity))
            reported.update(rows.figures(run))
            file.write(separator + _encode(record.of_planned(task, rows, state)))
            separator = b",\n"
        # in the order of their first attempts in this run
        known = (identity for identity in reader.identities_of_run(run.id))
        left = (reader.task(identity) for identity in known if bytes.fromhex(identity) in departed)
        for row, rows in _with_rows(filter(None, left), reader):
            reported.update(rows.figures(run))
            file.write(separator + _encode(record.of_departed(row, rows)))
            separator = b",\n"
        file.write(b"\n],\n")
        counts = ManifestCounts(
            total=states.total(),
            cached=cached,
            not_in_plan=len(departed),
            # every state, in the order of the enum: whoever reads it need not know which may be missing
            by_state={state: states[state] for state in TaskState},
        )
        _write_member(file, "counts", counts)
        drift = reader.drift(run.id)
        usage = ManifestUsage(
            reported={redactor.foreign_text(name): number for name, number in sorted(reported.items())},
            cost=ManifestCost(tasks=spend.tasks, usd=spend.usd, unpriced_tasks=spend.unknown),
            compared=ManifestCompared(
                tasks=drift.attempts,
                estimate_usd=usd_text(drift.estimate_micros) if drift.attempts else None,
                cost_usd=usd_text(drift.cost_micros) if drift.attempts else None,
            ),
        )
        file.write(b'"usage": ' + _encode(usage) + b"\n}\n")
    return counts


def missing_kinds(
    provider: str, request: Mapping[str, JsonValue], latest: AttemptRow | None, outputs: Iterable[OutputRow]
) -> tuple[RemoteFileKind, ...]:
    """The kinds of files that a request asked for and that never came from its newest attempt."""
    came = {row.kind for row in outputs if latest is not None and row.attempt_id == latest.id}
    return tuple(sorted(wanted_kinds(provider, request) - came))


def _with_rows(tasks: Iterable[_Known], reader: LedgerReader) -> Iterable[tuple[_Known, TaskRows]]:
    for batch in batches(tasks):
        identities = [task.identity for task in batch]
        attempts = reader.attempts_of(identities)
        histories = reader.histories_of(identities)
        outputs = reader.outputs(identities)
        requests = reader.requests(identities)
        given_away = reader.given_away([each for each in attempts if each not in outputs])
        if reader.is_shared:  # they may stand there on another machine
            outputs = {**given_away, **outputs}
        stored = reader.stored(row for rows in outputs.values() for row in rows)
        for task in batch:
            own = attempts.get(task.identity, [])
            rows = TaskRows(
                attempts=own,
                history=[(attempt, row) for attempt in own for row in histories.get(attempt.id, ())],
                outputs=outputs.get(task.identity, []),
                request=requests.get(task.identity, task.request),
                stored=stored,
                given_away=given_away.get(task.identity, ()),
            )
            yield task, rows


def _payer(task: Task | TaskRow, latest: AttemptRow | None) -> str:
    """The account, where it is another than the provider's own."""
    account = latest.account if latest is not None else task.account if isinstance(task, Task) else ""
    return account if account != task.provider else ""


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Rows of the ledger to parts of the manifest of `run`, without secrets."""

    run: RunRow
    root: Path
    redactor: Redactor

    def of_run(self, sessions: Sequence[SessionRow]) -> ManifestRun:
        run = self.run
        return ManifestRun(
            id=run.id,
            job_file=run.job_file,
            name=run.job_name,
            provider=run.provider,
            origin=self.redactor.text(run.origin),
            edition=run.edition,
            run_date=run.run_date,
            started_at=iso_time(run.started_at),
            finished_at=iso_time_or_none(run.finished_at),
            sessions=tuple(map(self._session, sessions)),
        )

    def of_planned(self, task: Task, rows: TaskRows, state: TaskState) -> ManifestTask:
        record, needs, previous = self._task(task, rows, state), task.needs, task.previous
        error = record.error
        if state is TaskState.SKIPPED:
            framed = any(LAST_FRAME in upstream.uses for upstream in task.upstreams)
            never = ", or its last frame never came" if framed else ""
            said = _skipped_words(task) + never
            error = ManifestError(code="skipped", message=said)
        return replace(
            record,
            needs=needs[0].identity if needs else None,
            also_needs=tuple(upstream.identity for upstream in needs[1:]),
            previous=None if previous is None else previous.identity,
            index=task.index,
            in_plan=True,
            inputs=tuple(_input(file, self.root) for file in task.inputs),
            error=error,
            estimate=ManifestEstimate(tokens=task.estimate_tokens, usd=usd_or_null(task.estimate_micros)),
        )

    def of_departed(self, row: TaskRow, rows: TaskRows) -> ManifestTask:
        """A task that has left the plan; what the ledger does not know is None."""
        texts = [*_texts(row.request)]
        above = [*dict.fromkeys(match[1] for text in texts if (match := _STEP.match(text)))]
        digests = (match[1] for text in texts if (match := _INPUT.fullmatch(text)))
        return replace(
            self._task(row, rows, rows.latest.state if rows.latest is not None else TaskState.PLANNED),
            needs=above[0] if above else None,
            also_needs=tuple(above[1:]),
            inputs=tuple(
                ManifestInput(path=None, sha256=sha256, media_type=None, bytes=None) for sha256 in digests
            ),
        )

    def _task(self, task: Task | TaskRow, rows: TaskRows, state: TaskState) -> ManifestTask:
        """A task by the ledger's rows, whether or not a plan has it."""
        latest, clean = rows.latest, self.redactor.foreign_text
        observed = latest.generation if latest is not None else None
        is_over = latest is not None and state in (TaskState.DONE, TaskState.ABSENT)
        came = (*rows.outputs, *rows.given_away)
        error = None
        if latest is not None and (latest.error_code or latest.error_message):
            error = ManifestError(code=clean(latest.error_code), message=clean(latest.error_message))
        return ManifestTask(
            identity=task.identity,
            name=task.name,
            step=task.step,
            index=None,
            in_plan=False,
            cell=self._own(task.cell),
            provider=task.provider if task.provider != self.run.provider else "",
            account=_payer(task, latest),
            model=task.model,
            seed=task.seed if latest is None else latest.seed,
            sample=task.sample,
            edition=task.edition,
            state=state,
            cached=rows.is_cached(self.run),
            request=self._own(rows.request),
            inputs=(),
            attempts=tuple(map(self._attempt, rows.attempts)),
            history=tuple(self._change(attempt, row) for attempt, row in rows.history),
            echo={} if observed is None else self._sorted(observed.echo),
            usage={} if observed is None else self._sorted(observed.usage),
            outputs=tuple(self._file(row, rows.stored) for row in _files_of(task.output, rows.outputs)),
            missing=missing_kinds(task.provider, rows.request, latest, came) if is_over else (),
            error=error,
            estimate=ManifestEstimate(tokens=None, usd=None),
        )

    def _session(self, session: SessionRow) -> ManifestSession:
        clean, facts = self.redactor.foreign_text, session.facts
        return ManifestSession(
            started_at=iso_time(session.started_at),
            ended_at=iso_time_or_none(session.ended_at),
            exit_code=session.exit_code,
            command=tuple(map(clean, facts.command)),
            versions={clean(name): clean(version) for name, version in facts.versions.items()},
            git=facts.git and with_texts(facts.git, clean),
            job_digest=facts.job_digest,
            files={clean(path): digest for path, digest in facts.files.items()},
        )

    def _attempt(self, attempt: AttemptRow) -> ManifestAttempt:
        evidence, grounds = attempt.evidence, attempt.resolution_evidence
        return ManifestAttempt(
            id=attempt.id,
            run_id=attempt.run_id,
            reason=attempt.reason,
            state=attempt.state,
            intended_at=iso_time(attempt.intended_at),
            tag=attempt.tag,
            key=attempt.key_hash[:KEY_HASH_SHOWN],
            body_sha256=attempt.body_sha256,
            server_time=iso_time(attempt.server_time),
            verdict=attempt.verdict,
            evidence=evidence and with_texts(evidence, self.redactor.foreign_text),
            resolution=attempt.resolution,
            resolution_evidence=None if grounds is None else self._foreign(grounds.facts),
            remote_id=attempt.remote_id and self.redactor.foreign_text(attempt.remote_id),
            request_id=self.redactor.foreign_text(attempt.request_id) or None,
            accepted_at=iso_time_or_none(attempt.accepted_at),
            taken=None if attempt.taken is None else self._own(attempt.taken),
            price=None if attempt.price is None else {attempt.price.unit: str(attempt.price.usd)},
            estimate_usd=usd_or_null(attempt.estimate_micros),
            cost_usd=usd_or_null(attempt.cost_micros),
        )

    def _change(self, attempt: AttemptRow, row: HistoryRow) -> ManifestChange:
        status = None if row.status is None else self.redactor.foreign_text(row.status)
        return ManifestChange(at=iso_time(row.at), attempt=attempt.id, state=row.state, status=status)

    def _file(self, row: OutputRow, stored: Mapping[str, ArchivedRow]) -> ManifestFile:
        return ManifestFile(
            kind=row.kind,
            path=row.path,
            bytes=row.bytes,
            sha256=row.sha256,
            media=with_texts(row.media, self.redactor.foreign_text),
            stored=stored[row.sha256].address if row.sha256 in stored else "",
        )

    def _own(self, value: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        return cast(Mapping[str, JsonValue], self.redactor.value(value))

    def _sorted(self, value: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        return self._foreign(dict(sorted(value.items())))

    def _foreign(self, value: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        return cast(Mapping[str, JsonValue], self.redactor.foreign_value(value))


def _skipped_words(task: Task) -> str:
    """Why a task was not made: one that it builds on was not."""
    if task.previous is None:
        return " or ".join(f"the task of step {each.step} that it needs failed" for each in task.needs)
    what = "a task that it builds on" if task.needs else "the task before it in its chain"
    return f"{what} was not made"


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


def _input(file: InputFile, root: Path) -> ManifestInput:
    # confined to the root when it was planned; a bare name otherwise says nothing of the machine
    path = file.path.relative_to(root).as_posix() if file.path.is_relative_to(root) else file.path.name
    return ManifestInput(path=path, sha256=file.sha256, media_type=file.media_type, bytes=file.size)


def _files_of(output: str, rows: Sequence[OutputRow]) -> list[OutputRow]:
    """The files under the `output` that this plan gives them; all of the task's where none is there.

    Of a file that was fetched again beside a changed one, the newer copy alone: it was checked.
    """
    own = PurePosixPath(output)
    beside = [
        row
        for row in rows
        if (path := PurePosixPath(row.path)).parent == own.parent and path.name.startswith(own.stem)
    ]
    by_age = sorted(beside, key=attrgetter("created_at"))
    newest = {(row.attempt_id, row.kind, row.ordinal): row for row in by_age}
    # the video first; never by attempt, whose ids are random
    return sorted(
        newest.values() or rows,
        key=lambda row: (row.kind is not RemoteFileKind.VIDEO, row.kind, row.ordinal, row.path),
    )


def _write_member(file: BinaryIO, name: str, value: object) -> None:
    file.write(f'"{name}": '.encode() + _encode(value) + b",\n")


def _encode(value: object) -> bytes:
    return json_safe(_ENCODER.encode(value)).encode()
