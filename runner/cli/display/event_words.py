"""Events in the words that people read: one table, for a terminal's display and for the lines of a log."""

from __future__ import annotations

import datetime
import enum
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from runner.errors import INTERRUPTS
from runner.http.verdicts import Verdict
from runner.plural import count
from runner.redact import printable


class Weight(enum.Enum):
    """How much a person wants to know of an event."""

    NEWS = enum.auto()
    """Stands above the display of a terminal for good, and in each log."""
    STEP = enum.auto()
    """Is in the display's last line until something else happens, and in each log."""
    DETAIL = enum.auto()
    """As a step, but in a log only with -v."""


class Words(NamedTuple):
    """An event's sentence. `short` is what the display's last line says of news that stands above it."""

    weight: Weight
    text: str
    short: str = ""


_WORDS: Mapping[str, Words] = {
    "run.started": Words(Weight.DETAIL, "run {run}: {tasks} tasks"),
    "run.cached": Words(Weight.DETAIL, "{tasks} were done before"),
    "run.submitting_stopped": Words(
        Weight.NEWS, "nothing more is submitted{at}: {reason}", "nothing more is submitted{at}"
    ),
    "run.stopping": Words(
        Weight.NEWS, "stopping: what is in flight is left for later{at_once}", "stopping{at_once}"
    ),
    "run.unclear": Words(
        Weight.NEWS,
        "unclear submits of earlier starts, looked for now: {tasks}",
        "looking for unclear submits",
    ),
    "run.cost_drift": Words(
        Weight.NEWS,
        "tasks with a known cost: USD {cost_usd} instead of the estimated USD {estimate_usd};"
        " hint: `price:` in the job file says what you pay",
        "cost and estimate differ",
    ),
    "budget.exceeded": Words(Weight.NEWS, "{reason}", "a budget is exceeded"),
    "run.not_looked_back": Words(
        Weight.NEWS,
        "submits taken for absent were not looked for: {reason}; the next run looks again",
        "submits taken for absent were not looked for",
    ),
    "service.trouble": Words(
        Weight.NEWS,
        "the service does not answer for now ({said}); it is asked again",
        "the service does not answer for now",
    ),
    "task.intended": Words(Weight.DETAIL, "{task} is being submitted"),
    "task.submitted": Words(Weight.STEP, "{task} was accepted"),
    "task.adopted": Words(Weight.STEP, "{task} was accepted: the service's list shows it"),
    "task.found": Words(
        Weight.NEWS,
        "{task} is at the service after all, and paid for: it is fetched",
        "{task} was found at the service",
    ),
    "task.reopened": Words(
        Weight.NEWS,
        "{task} is still at the service: it is fetched, not bought again",
        "{task} is still at the service",
    ),
    "task.never_accepted": Words(
        Weight.NEWS, "{task} was never accepted: the service's list shows that", "{task} was never accepted"
    ),
    "task.ambiguous": Words(
        Weight.NEWS,
        "{task} is unclear: it may have been accepted ({said}); it is not sent again before that is known",
        "{task} is unclear",
    ),
    "task.held": Words(Weight.NEWS, "{task} is held for you: {said}", "{task} is held for you"),
    "task.refused": Words(
        Weight.NEWS,
        "the service refuses submits for now ({said}); they are tried again",
        "the service refuses submits for now",
    ),
    "task.status": Words(Weight.DETAIL, "{task} is {status}"),
    "task.status_unknown": Words(
        Weight.NEWS,
        "{task}: the service calls it `{status}`, a word that this version does not know",
        "{task} is {status}",
    ),
    "task.not_shown": Words(
        Weight.NEWS,
        "the service does not show {task} for now ({said}); it is looked for again",
        "the service does not show {task} for now",
    ),
    "task.download": Words(Weight.DETAIL, "{task} is being downloaded"),
    "task.file": Words(Weight.DETAIL, "{task} is here"),
    "task.renamed": Words(
        Weight.NEWS,
        "another file stands at {taken}: it is left as it is, and the video is {path}",
        "{task} has another name",
    ),
    "task.moved_aside": Words(
        Weight.NEWS, "{path} is of another server's rehearsal: it is now {to}", "an older rehearsal makes way"
    ),
    "task.versioned": Words(
        Weight.STEP, "the older take of {path} is kept as {to}", "an older take is kept as {to}"
    ),
    "task.placed": Words(Weight.STEP, "{task}: its known video is now at {path} too"),
    "task.done": Words(Weight.STEP, "{task} is done"),
    "task.absent": Words(
        Weight.NEWS, "{task} is done and paid, but its file is gone, here and there", "{task} is absent"
    ),
    "task.failed": Words(Weight.NEWS, "{task} failed: {said}", "{task} failed"),
    "task.expired": Words(
        Weight.NEWS, "{task} can no longer be fetched: {said}", "{task} can no longer be fetched"
    ),
    "task.defect": Words(
        Weight.NEWS,
        "{task} met a defect of callsheet: {said}; all else goes on",
        "{task} met a defect of callsheet",
    ),
    "task.left": Words(Weight.NEWS, "{task} is left for later: {said}", "{task} is left for later"),
    "archive.stored": Words(Weight.DETAIL, "{path} is archived"),
    "archive.trouble": Words(Weight.NEWS, "files stay here for now: {said}", "the store cannot be used"),
    "log.lost": Words(Weight.NEWS, "{lines} lines of events.jsonl could not be written"),
}
_NOT_REACHED = Words(
    Weight.NEWS, "the service cannot be reached ({said}); it is tried again", "the service cannot be reached"
)
_SILENT = frozenset({"run.finished", "run.left_at_once", "collect.started", "collect.finished"})
"""What the end of a run tells itself."""

_INTERNAL = frozenset({"row", "intent"})
"""Fields that no reader of a line needs: the row of a table of ours, and what a lost ledger is made from."""


def words(name: str, fields: Mapping[str, object]) -> Words | None:
    """An event in words; None where nobody waits for it. What it names is printable, without secrets."""
    if name in _SILENT or (name == "task.refused" and fields.get("again") is False):
        return None  # what stops the submitting is told as that
    if name == "run.waiting":
        said = waiting_words(fields)
        return Words(Weight.NEWS, said) if said else None
    known = _WORDS.get(name)
    if known is None:
        return Words(Weight.STEP, raw(name, {key: each for key, each in fields.items() if key not in _IDS}))
    if name == "task.refused" and fields.get("verdict") == Verdict.NOT_SENT:
        known = _NOT_REACHED
    shown = _Shown({key: printable(str(value)) for key, value in fields.items()})
    shown["task"] = _task(fields)
    shown["said"] = said_of(fields)
    account = shown.get("account", "")  # of a lane; a job that stops has none
    shown["at"] = f" at {account}" if account else ""
    shown["reason"] = shown["reason"].removeprefix(f"{account}: ")
    shown["at_once"] = " (Ctrl-C again: at once)" if fields.get("exit_code") in INTERRUPTS else ""
    return Words(known.weight, known.text.format_map(shown), known.short.format_map(shown))


def raw(name: str, fields: Mapping[str, object]) -> str:
    """An event by its own name with all that it holds, for -vv: `submitted boat-s1 remote_id=t-1`."""
    details = [
        f"{key}={printable(str(value))}"
        for key, value in fields.items()
        if key not in _INTERNAL and key != "task" and value not in (None, "")
    ]
    subject = [printable(str(fields["task"]))] if "task" in fields else []
    return " ".join([name.removeprefix("task."), *subject, *details])


QUIET = 60.0
"""Seconds without a repetition, after which the same trouble is news again."""


@dataclass(slots=True)
class Known:
    """Remembers what a person knows already, so that nothing is told twice."""

    _never_submits: bool = False
    _stops: set[str] = field(default_factory=set)
    _until: dict[tuple[object, ...], float] = field(default_factory=dict)
    """When each trouble of the service, or each wait, will have been quiet long enough (monotonic)."""
    _repeats: Counter[tuple[object, ...]] = field(default_factory=Counter)

    def is_new(self, name: str, fields: Mapping[str, object], now: float) -> bool:
        """Notes an event, and says whether it tells something new. `now` is monotonic."""
        match name:
            case "collect.started":
                self._never_submits = True
            case "run.stopping":
                self._stops.add(str(fields.get("reason")))
            case "run.submitting_stopped":
                return not (self._never_submits or str(fields.get("reason")) in self._stops)
        key = _fold_key(name, fields)
        if key is None:
            return True
        is_new = now >= self._until.get(key, -math.inf)
        if not is_new:
            self._repeats[key] += 1
        lasts = max(0.0, waits_until(fields) - time.time()) if name == "run.waiting" else 0.0
        self._until[key] = now + lasts + QUIET
        return is_new

    def repeats(self) -> int:
        """How often trouble of the service was not told again since this was last asked."""
        found = self._repeats.total()
        self._repeats.clear()
        return found


_AT_A_SERVICE = frozenset(
    {"service.trouble", "task.refused", "task.not_shown", "run.waiting", "run.not_looked_back"}
)


def with_account(name: str, fields: Mapping[str, object], text: str, is_named: bool) -> str:
    """`text` with the account in front where it speaks of "the service" and there are several."""
    account = fields.get("account")
    return f"{printable(str(account))}: {text}" if is_named and account and name in _AT_A_SERVICE else text


def _fold_key(name: str, fields: Mapping[str, object]) -> tuple[object, ...] | None:
    """What two events share that tell a person the same; None for what happens to one task."""
    match name:
        case "service.trouble" | "task.refused" | "task.not_shown":
            keys = ("account", "verdict", "status", "code")
            return (name, *(fields.get(key) for key in keys))
        case "run.waiting" if waits_until(fields) > time.time():
            return (name, fields.get("account"), fields.get("for"))
    return None


def said_of(fields: Mapping[str, object]) -> str:
    """What the service, or we, gave as the reason: `503 provider_not_available: try later`."""
    reason = str(fields.get("error") or fields.get("message") or fields.get("reason") or "")
    name = str(fields.get("task", ""))
    if name:
        reason = reason.removeprefix(f"{name}: ")
    # many sentences name status and code themselves
    found = (str(fields[key]) for key in ("status", "code") if fields.get(key))
    code = " ".join(each for each in found if each not in reason)
    return printable(": ".join(part for part in (code, reason) if part))


def waiting_words(fields: Mapping[str, object]) -> str:
    """`waiting until 14:05:10 at the latest for ... (3 tasks)`, in local time; empty where it is over."""
    until = waits_until(fields)
    if until <= time.time():
        return ""
    tasks = fields.get("tasks")
    of = f" ({count(tasks, 'task')})" if isinstance(tasks, int) and tasks else ""
    at = datetime.datetime.fromtimestamp(until).astimezone()
    what, said = (printable(str(fields.get(key) or "")) for key in ("for", "said"))
    return f"waiting until {at:%H:%M:%S} at the latest for {what}{of}{f': {said}' if said else ''}"


def waits_until(fields: Mapping[str, object]) -> float:
    """When a wait ends at the latest, in Unix seconds; 0 where that cannot be read."""
    try:
        return datetime.datetime.fromisoformat(str(fields.get("until"))).timestamp()
    except (ValueError, OverflowError):
        return 0.0


_IDS = frozenset({"identity", "attempt"}) | _INTERNAL


class _Shown(dict[str, str]):
    def __missing__(self, _key: str) -> str:
        return "?"


def _task(fields: Mapping[str, object]) -> str:
    if "task" in fields:
        return printable(str(fields["task"]))
    return str(fields.get("identity", "a task"))[:12]
