"""What the ledger gives back: one frozen row type per table. Times are Unix seconds."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from runner.http.verdicts import Evidence, Verdict
from runner.json_value import JsonValue
from runner.ledger.states import Basis, Reason, Resolution, TaskState
from runner.media.video import MediaFacts
from runner.money import Price, usd_text
from runner.providers.base import RemoteFileKind


@dataclass(frozen=True, slots=True)
class RunRow:
    """`finished_at` is None while `run` would continue it. `run_date` is the frozen date's text."""

    id: str
    job_file: str
    job_name: str
    job_digest: str
    edition: str
    run_date: str
    provider: str
    origin: str
    started_at: float
    finished_at: float | None = None


@dataclass(frozen=True, slots=True)
class GitFacts:
    """`note` says why the others are None. A job file that git does not track is dirty."""

    commit: str | None = None
    job_file_dirty: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What is true of one process that works on a run; `job_digest` is the sha256 of the job file as it ran
    it, `files` are those of the further files that it read, by path below the root. None, or empty: there are
    none, or an older callsheet did not note it.
    """

    command: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    git: GitFacts | None = None
    job_digest: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One process that worked on a run."""

    started_at: float
    ended_at: float | None
    facts: SessionFacts
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """What was asked for under an identity. `request` holds local files as digests."""

    identity: str
    name: str
    step: str
    job_file: str
    provider: str
    origin: str
    model: str
    seed: int | None
    sample: int | None
    edition: str
    cell: Mapping[str, JsonValue]
    request: Mapping[str, JsonValue]
    output: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What the service last said of a generation. Times are Unix seconds by its clock."""

    status: str
    model: str
    created_at: float | None
    updated_at: float | None
    echo: Mapping[str, JsonValue]
    usage: Mapping[str, JsonValue]
    request_id: str


@dataclass(frozen=True, slots=True)
class Grounds:
    """By what an attempt was resolved: `basis`, mostly a `reason`, and what else a person may want to see."""

    facts: Mapping[str, JsonValue]

    @classmethod
    def of(cls, basis: Basis, **facts: JsonValue) -> Grounds:
        return cls({"basis": basis, **facts})

    def also(self, **facts: JsonValue) -> Grounds:
        return Grounds({**self.facts, **facts})

    @property
    def basis(self) -> Basis | None:
        """None where a callsheet before this set of words has written it."""
        word = self.facts.get("basis")
        return Basis(word) if isinstance(word, str) else None

    @property
    def reason(self) -> str:
        reason = self.facts.get("reason")
        return reason if isinstance(reason, str) else ""

    @property
    def words(self) -> str:
        """The basis, else the reason; empty where neither is known."""
        return self.basis or self.reason


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One intent and what became of it. Costs are millionths of a US dollar, None unknown."""

    seq: int
    id: str
    identity: str
    run_id: str
    reason: Reason
    origin: str
    key_hash: str
    model: str
    seed: int | None
    tag: int | None
    body_sha256: str
    server_time: float
    intended_at: float
    state: TaskState
    verdict: Verdict | None
    evidence: Evidence | None
    resolution: Resolution | None
    resolution_evidence: Grounds | None
    remote_id: str | None
    accepted_at: float | None
    generation: Observed | None
    error_code: str
    error_message: str
    estimate_micros: int | None
    cost_micros: int | None
    price: Price | None = None
    taken: Mapping[str, JsonValue] | None = None
    """What of its upstream task went into the request."""
    account: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    handle: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the service gave beside the id when it accepted it; it may hold URLs, which are secrets."""

    @property
    def request_id(self) -> str:
        """The service's own id of the POST, or of what it last said; empty where it gave none."""
        said = self.evidence.request_id if self.evidence is not None else ""
        return said or (self.generation.request_id if self.generation is not None else "")

    @property
    def is_taken_over(self) -> bool:
        """An intent of a machine that was only silent when another took over: it may send it still, so no
        list ever shows that it was never accepted.
        """
        return self.evidence is not None and self.evidence.row == TAKEN_OVER

    @property
    def is_given_up(self) -> bool:
        """Accepted, and ended by us or by a person, not by the service's own word: it may have it still."""
        is_ours = self.error_code in (GONE, GIVEN_UP)
        return self.state is TaskState.EXPIRED and self.remote_id is not None and is_ours


KEY_HASH_SHOWN = 12
"""Digits of a key's hash in what a run leaves: enough to tell keys apart, too few to search for one."""

TAKEN_OVER = 128
"""The fault row of an intent that was found where a lease was taken over without a sign-off."""

GONE = "gone"
"""The error code of an accepted task whose record the service has dropped."""

GIVEN_UP = "given_up"
"""The error code of an accepted task that a person gave up."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a list has to show of an attempt that the service is known to have accepted.

    `intent` orders intents and doubts as they were written to the ledger, whatever the clocks said.
    `scope` is the part of the list that shows it.
    """

    attempt_id: str
    remote_id: str
    model: str
    scope: str
    server_time: float
    intended_at: float
    intent: int


@dataclass(frozen=True, slots=True)
class Attempted:
    """Whose an attempt is: the name and the edition are those of its run's job."""

    seq: int
    identity: str
    run_id: str
    job_name: str
    edition: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """When an attempt's connection was closed without an answer, or a later process took it up.

    `at` is Unix seconds of our wall clock; `order` compares with `Accepted.intent`.
    """

    order: int
    at: float


@dataclass(frozen=True, slots=True)
class Echoes:
    """How often accepted attempts came back with what was sent, something else, or nothing in the end."""

    same: int = 0
    other: int = 0
    nothing: int = 0

    def __add__(self, more: Echoes) -> Echoes:
        return Echoes(self.same + more.same, self.other + more.other, self.nothing + more.nothing)


@dataclass(frozen=True, slots=True)
class Echoed:
    """What came back of what an attempt sent; None where nothing did."""

    tag: int | None = None
    seed: int | None = None
    is_same_input: bool | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """An attempt that holds a remote id, and what it sent."""

    attempt_id: str
    tag: int | None
    seed: int | None
    model: str
    request: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Published:
    """Of a published file what tells whether it is still there as it was."""

    identity: str
    kind: RemoteFileKind
    path: str
    bytes: int
    created_at: float
    sha256: str


@dataclass(frozen=True, slots=True)
class Kind:
    """What tells how long a generation takes; empty where the request leaves the field out."""

    origin: str
    model: str
    resolution: str
    length: str

    @classmethod
    def of(cls, origin: str, request: Mapping[str, JsonValue]) -> Kind:
        """Of a task's request."""
        model, resolution, length = (
            "" if request.get(name) is None else str(request[name])
            for name in ("model", "resolution", "duration")
        )
        return cls(origin, model, resolution, length)


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """Either our state or the service's own word for its status, and when we saw it."""

    at: float
    state: TaskState | None
    status: str | None


@dataclass(frozen=True, slots=True)
class OutputRow:
    """A published file. `path` is relative to the base directory; `ordinal` counts from 1 per kind."""

    path: str
    identity: str
    attempt_id: str
    kind: RemoteFileKind
    ordinal: int
    bytes: int
    sha256: str
    media: MediaFacts
    created_at: float


class Content(Protocol):
    """Of a file what tells its content, whatever else is known of it."""

    @property
    def sha256(self) -> str: ...

    @property
    def bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ArchivedRow:
    """A file that lies complete in `store`, as callsheet.yaml named it, under `key`."""

    sha256: str
    store: str
    key: str
    bytes: int
    archived_at: float

    @property
    def address(self) -> str:
        """`s3://studio-takes/callsheet/sha256/9f86d081....mp4`."""
        return f"{self.store}/{self.key}"


@dataclass(frozen=True, slots=True)
class Intent:
    """What is made durable before the first byte of a POST. See invariant 1 of the design."""

    attempt_id: str
    reason: Reason
    account: str
    key_hash: str
    tag: int | None
    body_sha256: str
    server_time: float
    estimate_micros: int | None = None
    price: Price | None = None
    taken: Mapping[str, JsonValue] | None = None
    """What of its upstream task goes into the request."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The account's labels."""

    @property
    def price_json(self) -> str | None:
        return None if self.price is None else json.dumps({self.price.unit: str(self.price.usd)})

    @property
    def taken_json(self) -> str | None:
        return None if self.taken is None else json.dumps(dict(self.taken), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Spend:
    """What runs have possibly been billed for: settled, in flight and unclear together.

    `unknown` counts the tasks whose price is not known, which `micros` leaves out.
    """

    tasks: int
    micros: int
    unknown: int

    def __add__(self, more: Spend) -> Spend:
        return Spend(self.tasks + more.tasks, self.micros + more.micros, self.unknown + more.unknown)

    @property
    def usd(self) -> str | None:
        """The amount as text; None where there are tasks and the price of none is known: that is not 0."""
        return None if self.tasks and self.unknown == self.tasks else usd_text(self.micros)


@dataclass(frozen=True, slots=True)
class Drift:
    """Estimate and actual cost of those attempts of a run for which both are known, in micros."""

    attempts: int
    estimate_micros: int
    cost_micros: int


class SpendBy(enum.StrEnum):
    """Groups of `spending`; days and months are those of the last intents."""

    JOB = "job"
    ACCOUNT = "account"
    LABEL = "label"
    """Each label with its value: an attempt counts for each label that its account had."""
    MODEL = "model"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class SpendDays:
    """The days whose attempts count, both included, such as 2026-11-27; empty for no limit."""

    first: str = ""
    last: str = ""


@dataclass(frozen=True, slots=True)
class SpendRow:
    """What one group of attempts cost, in micros: a job, an account, a day, or all together.

    `settled`: ended, at the actual cost, else the estimate. `in_flight`: accepted and not ended.
    `possibly`: unclear, held, written off, or failed without a named cost, at the estimate. Each has its
    count of `tasks`, and of those among them whose cost is `unknown`, which the amount leaves out.
    """

    group: str
    settled: Spend
    in_flight: Spend
    possibly: Spend

    def __add__(self, more: SpendRow) -> SpendRow:
        """Both as one, under the name of this one."""
        return SpendRow(
            self.group,
            self.settled + more.settled,
            self.in_flight + more.in_flight,
            self.possibly + more.possibly,
        )
