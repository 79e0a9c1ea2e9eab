"""Faults on demand: rules that say which request goes wrong, and how.

A rule counts the requests that it matches: it lets `after` of them pass, then strikes at every
`every`-th, `times` times in all (None: without end). With `per_task` each task has counts of its own.
Rules that strike the same request act together; of several general kinds the first wins.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class Where(enum.StrEnum):
    SUBMIT = "submit"
    GET = "get"
    LIST = "list"
    DOWNLOAD = "download"
    WEBHOOK = "webhook"


class Stage(enum.StrEnum):
    """How far a request or its answer comes before a cut or a stall."""

    REQUEST = "request"
    """Before the request's body is read, so never accepted (submits, with CUT and STALL)."""
    BEFORE = "before"
    """The request is read; no byte of the answer is sent."""
    HEAD = "head"
    BODY = "body"


class Kind(enum.StrEnum):
    """What goes wrong; in brackets the fields that shape it.

    Anywhere but webhooks: ANSWER (status, code, message, provider_code, retry_after, headers, body),
    CUT (stage, reset; downloads: at, the byte), STALL (stage, seconds, then cut), DELAY (done as
    usual, answered after seconds), NOT_HTTP (bytes that are not HTTP). On a submit each of these
    but DELAY holds before acceptance, or with `accept` after it.
    """

    ANSWER = "answer"
    CUT = "cut"
    STALL = "stall"
    DELAY = "delay"
    NOT_HTTP = "not_http"

    NO_ID = "no_id"
    """Submit: accepted, the answer holds no id."""
    FOREIGN_ID = "foreign_id"
    """Submit: accepted, the answer holds the id of the task accepted before (or `text`)."""
    OUTCOME = "outcome"
    """Submit: accepted as usual, the task ends as `text` (failed, expired, cancelled) with code, message."""

    FIELDS = "fields"
    """Get, list: `fields` replace those of each task in the answer (unknown status, ...)."""
    NULL_ECHOES = "null_echoes"
    """Get, list: echoed fields are null; with `seconds`, only for tasks younger than that."""
    REGRESS = "regress"
    """Get, list: a task in a terminal state is shown as running."""
    SUFFIX = "suffix"
    """Get, list: `text` is put behind the model's name."""
    CONTENT_ARRAY = "content_array"
    """Get, list: `content` in its other documented shape, an array of items."""
    LATE_FRAME = "late_frame"
    """Get, list: the last frame's URL is null, though it was asked for."""
    EARLY_FRAME = "early_frame"
    """Get, list: there is a last frame that nobody asked for; its URL is `text`."""
    SEVERAL = "several"
    """Get, at getimg: `count` results instead of one, each another picture."""
    DEADLINE = "deadline"
    """Get, at getimg: the results say that they are deleted in `seconds`."""
    LAG = "lag"
    """List: tasks younger than `seconds` are missing."""
    SHUFFLE = "shuffle"
    """List: a page's rows in another order."""
    OVERLAP = "overlap"
    """List: a page repeats the last `count` rows of the page before."""
    HIDDEN = "hidden"
    """List: tasks that show these `fields` are missing; with none, all are."""
    ENDLESS = "endless"
    """List: each page is the first one, and says that there are more."""
    TOTAL = "total"
    """List: the total is `count` too high."""

    SHORT = "short"
    """Download: complete by its own Content-Length, but `count` bytes are missing."""
    LONG = "long"
    """Download: `count` bytes too many."""
    HTML = "html"
    """Download: 200 with an HTML page."""
    ETAG = "etag"
    """Download: another ETag, so another file by name."""
    IGNORE_RANGE = "ignore_range"
    """Download: 200 with everything to a Range."""
    GZIP = "gzip"
    """Download: Content-Encoding gzip."""
    DRIP = "drip"
    """Download: `count` bytes every `seconds`."""
    CONTAINER = "container"
    """Download: the video comes as `text`: mov, webm or flv."""
    NO_LENGTH = "no_length"
    """Download: no Content-Length; the body ends with its last chunk."""

    DROP = "drop"
    """Webhook: never sent."""
    REPEAT = "repeat"
    """Webhook: sent `count` times more."""
    EARLY = "early"
    """Webhook: also sent at acceptance, while the task is queued."""
    FORGE = "forge"
    """Webhook: sent at acceptance, says `succeeded` and names a file elsewhere."""
    HUGE = "huge"
    """Webhook: padded with `count` bytes."""


_GENERAL = frozenset({Kind.ANSWER, Kind.CUT, Kind.STALL, Kind.DELAY, Kind.NOT_HTTP})
_VIEWS = frozenset(
    {
        Kind.FIELDS,
        Kind.NULL_ECHOES,
        Kind.REGRESS,
        Kind.SUFFIX,
        Kind.CONTENT_ARRAY,
        Kind.LATE_FRAME,
        Kind.EARLY_FRAME,
    }
)
_ALLOWED = {
    Where.SUBMIT: _GENERAL | {Kind.NO_ID, Kind.FOREIGN_ID, Kind.OUTCOME},
    Where.GET: _GENERAL | _VIEWS | {Kind.SEVERAL, Kind.DEADLINE},
    Where.LIST: _GENERAL
    | _VIEWS
    | {Kind.LAG, Kind.SHUFFLE, Kind.OVERLAP, Kind.HIDDEN, Kind.ENDLESS, Kind.TOTAL},
    Where.DOWNLOAD: _GENERAL
    | {Kind.SHORT, Kind.LONG, Kind.HTML, Kind.ETAG, Kind.IGNORE_RANGE, Kind.GZIP, Kind.DRIP}
    | {Kind.CONTAINER, Kind.NO_LENGTH},
    Where.WEBHOOK: frozenset({Kind.DROP, Kind.REPEAT, Kind.EARLY, Kind.FORGE, Kind.HUGE}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule. Strings are taken for `where`, `kind` and `stage`; raises ValueError for what is not one.

    `task` limits it to one task's id. `body` is sent as it stands, instead of the error envelope.
    `reset` ends a cut with a TCP reset (RST) instead of a close (FIN).
    """

    where: Where
    kind: Kind
    times: int | None = 1
    every: int = 1
    after: int = 0
    per_task: bool = False
    task: str = ""
    accept: bool = False
    stage: Stage = Stage.BEFORE
    reset: bool = False
    status: int = 500
    code: str = "internal_error"
    message: str = "injected by the sandbox"
    provider_code: str = ""
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    seconds: float = 0.0
    at: int = 0
    count: int = 1
    text: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", Where(self.where))
        object.__setattr__(self, "kind", Kind(self.kind))
        object.__setattr__(self, "stage", Stage(self.stage))
        if self.kind not in _ALLOWED[self.where]:
            raise ValueError(f"fault {self.kind}: not possible at {self.where}")
        if self.every < 1:
            raise ValueError(f"every {self.every}: give 1 or more")

    @classmethod
    def from_json(cls, document: object) -> Fault:
        """A rule from its JSON form: an object with this class's field names. Raises ValueError."""
        if not isinstance(document, dict):
            raise ValueError("a fault is a JSON object")  # noqa: TRY004 - one error for all that is wrong
        unknown = document.keys() - {each.name for each in fields(cls)}
        if unknown:
            raise ValueError(f"no such field: {', '.join(sorted(unknown))}")
        try:
            return cls(**document)
        except TypeError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Struck:
    """The faults that act on one request."""

    faults: tuple[Fault, ...] = ()

    @property
    def general(self) -> Fault | None:
        """The one that decides over the connection or the whole answer."""
        return next((fault for fault in self.faults if fault.kind in _GENERAL), None)

    def of(self, kind: Kind) -> Fault | None:
        return next((fault for fault in self.faults if fault.kind is kind), None)


NOTHING = Struck()


class _Rule:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._seen: dict[str, int] = {}
        self._struck: dict[str, int] = {}

    def strikes(self, task: str) -> bool:
        scope = task if self.fault.per_task else ""
        seen = self._seen.get(scope, 0)
        struck = self._struck.get(scope, 0)
        self._seen[scope] = seen + 1
        if self.fault.times is not None and struck >= self.fault.times:
            return False
        due = seen >= self.fault.after and (seen - self.fault.after) % self.fault.every == 0
        if due:
            self._struck[scope] = struck + 1
        return due

    @property
    def struck(self) -> int:
        return sum(self._struck.values())


class FaultPlan:
    """The rules of one server; safe to change from any thread while it serves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._rules.extend(_Rule(fault) for fault in faults)

    def clear(self) -> None:
        """Every fault ends now; answers that are stalled already stay so."""
        with self._lock:
            self._rules.clear()

    @property
    def struck(self) -> int:
        """How often rules have struck, since the last `clear`."""
        with self._lock:
            return sum(rule.struck for rule in self._rules)

    def take(self, where: Where, task: str = "") -> Struck:
        """What strikes this request; counts it for every rule that it matches."""
        if not self._rules:
            return NOTHING
        with self._lock:
            return Struck(
                tuple(
                    rule.fault
                    for rule in self._rules
                    if rule.fault.where is where and rule.fault.task in ("", task) and rule.strikes(task)
                )
            )
