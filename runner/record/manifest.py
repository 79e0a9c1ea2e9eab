"""The manifest of a run, `manifest.json`: its one model, written by `record.write` and read here.

A field is a member of the same name, in this order; schemas/manifest.schema.json has the format, and
docs/reference/manifest.md tells it. Times are ISO 8601 in UTC, amounts are US dollars as decimal text, and
what is not known is None. A field with a default is not in the manifests of every version.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import StateError
from runner.http.verdicts import Evidence, Verdict
from runner.json_value import JsonValue
from runner.ledger.rows import GitFacts
from runner.ledger.states import Reason, Resolution, TaskState
from runner.media.video import MediaFacts
from runner.providers.base import RemoteFileKind
from runner.typed_json import WHERE_SET, members, read

MANIFEST_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestSession:
    """One process that worked on the run. `job_digest` is the sha256 of the job file as it ran it, `files`
    are those of the further files that the job reads, by path below the root.
    """

    started_at: str
    ended_at: str | None
    exit_code: int | None
    command: tuple[str, ...]
    versions: Mapping[str, str]
    git: GitFacts | None
    job_digest: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRun:
    """`origin` is the API's base URL, or `sandbox`; `finished_at` is None while `run` would go on."""

    id: str
    job_file: str
    name: str
    provider: str
    origin: str
    edition: str
    run_date: str
    started_at: str
    finished_at: str | None
    sessions: tuple[ManifestSession, ...]

    @property
    def last_session(self) -> ManifestSession | None:
        return self.sessions[-1] if self.sessions else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestJob:
    """The job file as the newest session ran it."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestCounts:
    """Counts of the plan's tasks. `cached`: this run submitted nothing for them. `not_in_plan` are those that
    it has an attempt at, and that are no longer in the plan.
    """

    total: int
    cached: int
    not_in_plan: int = 0
    by_state: Mapping[TaskState, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestCost:
    """The cost that may have been billed to the run; `usd` is of the tasks with a known price."""

    tasks: int
    usd: str | None
    unpriced_tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestCompared:
    """Estimate and actual cost of the tasks of which both are known."""

    tasks: int
    estimate_usd: str | None
    cost_usd: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestUsage:
    """`reported` are the whole numbers that the service reports, such as `total_tokens`, summed."""

    reported: Mapping[str, int]
    cost: ManifestCost
    compared: ManifestCompared

    @property
    def total_tokens(self) -> int:
        return self.reported.get("total_tokens", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestInput:
    """A local file that a request takes; all but its digest is None where the task has left the plan."""

    path: str | None
    sha256: str
    media_type: str | None
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestAttempt:
    """One intent to POST. `key` is the start of the key's salted hash; `taken` says what of its upstream
    task went into the request.
    """

    id: str
    run_id: str
    reason: Reason
    state: TaskState
    intended_at: str
    tag: int | None
    key: str
    body_sha256: str
    server_time: str
    verdict: Verdict | None
    evidence: Evidence | None
    resolution: Resolution | None
    resolution_evidence: Mapping[str, JsonValue] | None
    remote_id: str | None
    request_id: str | None
    accepted_at: str | None
    taken: Mapping[str, JsonValue] | None
    price: Mapping[str, str] | None
    estimate_usd: str | None
    cost_usd: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestChange:
    """When an attempt's state changed, or the service's word for its status; the other is None, and not
    written.
    """

    at: str
    attempt: str
    state: TaskState | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFile:
    """A published file; `path` is relative to the directory that holds runs/. `stored` is the address of its
    copy in object storage; where there was none it is empty, and not written.
    """

    kind: RemoteFileKind
    path: str
    bytes: int
    sha256: str
    media: MediaFacts
    stored: str = field(default="", metadata=WHERE_SET)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestError:
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEstimate:
    """The expected cost of one submit by the plan."""

    tokens: int | None
    usd: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestTask:
    """`echo` and `usage` are what the service gave back for the newest attempt; `missing` are the kinds of
    files that were asked for and never came. `index` is None where the task has left the plan. `provider` is
    given where the run has several, `account` where it is not the provider's own; else both are empty, and
    not written.
    """

    identity: str
    name: str
    step: str
    needs: str | None = None
    also_needs: tuple[str, ...] = ()
    """Of a step that needs several: the tasks of the others."""
    previous: str | None = None
    """The task before it in its chain."""
    index: int | None
    in_plan: bool = True
    cell: Mapping[str, JsonValue]
    provider: str = ""
    account: str = ""
    model: str
    seed: int | None
    sample: int | None
    edition: str
    state: TaskState
    cached: bool
    request: Mapping[str, JsonValue]
    inputs: tuple[ManifestInput, ...]
    attempts: tuple[ManifestAttempt, ...]
    history: tuple[ManifestChange, ...]
    echo: Mapping[str, JsonValue]
    usage: Mapping[str, JsonValue]
    outputs: tuple[ManifestFile, ...]
    missing: tuple[RemoteFileKind, ...] = ()
    error: ManifestError | None
    estimate: ManifestEstimate

    @property
    def latest(self) -> ManifestAttempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def echoed_seed(self) -> JsonValue:
        """The seed as the service gave it back; None where it did not."""
        return self.echo.get("seed")

    @property
    def total_tokens(self) -> JsonValue:
        """As the service reported them for the newest attempt; None where it did not."""
        return self.usage.get("total_tokens")

    @property
    def videos(self) -> tuple[ManifestFile, ...]:
        return tuple(file for file in self.outputs if file.kind is RemoteFileKind.VIDEO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All but the tasks: it has one a line, so a hundred thousand of them never stand in memory."""

    manifest_version: int
    run: ManifestRun
    job: ManifestJob
    counts: ManifestCounts
    usage: ManifestUsage


def as_json(value: object) -> dict[str, JsonValue]:
    """A part of a manifest as it is written: `default` of the encoder."""
    found = members(value)
    if isinstance(value, ManifestChange):
        del found["status" if value.status is None else "state"]
    elif isinstance(value, ManifestTask):
        for name in ("provider", "account"):
            if not found[name]:
                del found[name]
    return found


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path` without its tasks. Raises StateError where it is not a whole manifest of a
    version that we know.
    """
    found: dict[str, JsonValue] = {}
    with _errors_of(path):
        for is_task, line in _lines(path):
            if not is_task:
                found |= json.loads("{" + line + "}")
        return read(Manifest, found)


def read_tasks(path: Path) -> Iterator[ManifestTask]:
    """Its tasks in order. Raises StateError, also after some of them."""
    with _errors_of(path):
        for is_task, line in _lines(path):
            if is_task:
                yield read(ManifestTask, json.loads(line))


def _lines(path: Path) -> Iterator[tuple[bool, str]]:
    """Each task, and each other member, as a line of JSON; the flag says which of the two it is."""
    in_tasks = False
    with path.open(encoding="utf-8") as file:
        for line in file:
            text = line.rstrip().removesuffix(",")
            if text in ("{", "}", "]"):
                in_tasks = False
            elif text == '"tasks": [':
                in_tasks = True
            else:
                if text.startswith('"manifest_version": '):
                    _check_version(text.removeprefix('"manifest_version": '), path)
                yield in_tasks, text


def _check_version(version: str, path: Path) -> None:
    if version != str(MANIFEST_VERSION):
        raise StateError(
            f"{path}: a manifest of version {version}, this callsheet knows {MANIFEST_VERSION}",
            hint="use the callsheet that wrote it, or a newer one",
        )


@contextlib.contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turns every error of reading a manifest into a sentence for a person."""
    try:
        yield
    except FileNotFoundError as error:
        raise StateError(
            f"{path}: there is no manifest", hint="it is written when a run ends, also when it ends early"
        ) from error
    except OSError as error:
        raise StateError(f"{path}: cannot read: {error.strerror}") from error
    except ValueError as error:
        raise StateError(
            f"{path}: not a manifest as callsheet writes it: {error}",
            hint="`callsheet resume RUN` writes it again",
        ) from error
