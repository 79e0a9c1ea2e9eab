"""What a person sees while a run is under way: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.cli import console
from runner.cli.common_options import common
from runner.cli.humanize import size
from runner.errors import INTERRUPTS
from runner.plural import count
from runner.record.events import Observer
from runner.redact import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_STAGES: Mapping[str, str] = {
    "task.intended": "submitting",
    "task.submitted": "in flight",
    "task.adopted": "in flight",
    "task.never_accepted": "submitting",
    "task.download": "downloading",
    "task.ambiguous": "unclear",
    "task.held": "unclear",
    "task.done": "done",
    "task.failed": "failed",
    "task.expired": "failed",
    "task.absent": "absent",
    "task.left": "left for later",
}
"""The stage of a task after an event."""

_ENDS = frozenset({"done", "failed", "absent", "left for later"})
_SILENT = frozenset(
    {
        "task.intended",
        "task.file",
        "run.started",
        "run.cached",
        "run.finished",
        "run.left_at_once",
        "collect.started",
        "collect.finished",
    }
)
"""Events that no person waits for."""

_SENTENCES: Mapping[str, str] = {
    "run.submitting_stopped": "nothing more is submitted: {reason}",
    "run.unclear": "unclear submits of earlier starts, looked for now: {tasks}",
    "run.cost_drift": (
        "tasks with a known cost: USD {cost_usd} instead of the estimated USD {estimate_usd};"
        " hint: `price:` in the job file says what you pay"
    ),
    "run.not_looked_back": (
        "submits taken for absent were not looked for: {reason}; the next run looks again"
    ),
}
"""Events about the whole run, as people read them."""


@dataclass(slots=True)
class Tally:
    """Counts tasks by stage, and bytes received. It remembers only tasks under way, so it stays small."""

    total: int = 0
    received: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    _under_way: dict[str, str] = field(default_factory=dict)

    def observe(self, name: str, fields: Mapping[str, object]) -> None:
        if name == "run.started":
            self.total = _number(fields.get("tasks"))
        if name == "run.cached":
            self.ended["done"] += _number(fields.get("tasks"))
        if name == "task.file":
            self.received += _number(fields.get("bytes"))
        task = str(fields.get("identity", ""))
        if name == "task.refused":
            self._under_way.pop(task, None)
        stage = _STAGES.get(name)
        if stage is None:
            return
        if stage in _ENDS:
            self._under_way.pop(task, None)
            self.ended[stage] += 1
        else:
            self._under_way[task] = stage

    @property
    def finished(self) -> int:
        return self.ended.total()

    def words(self) -> str:
        """`3 done, 1 failed, 2 in flight`: the last stage of a task's life first."""
        stages = self.ended + Counter(self._under_way.values())
        order = (
            "done",
            "failed",
            "absent",
            "unclear",
            "left for later",
            "downloading",
            "in flight",
            "submitting",
        )
        return ", ".join(f"{stages[stage]} {stage}" for stage in order if stages[stage])


@contextlib.contextmanager
def progress() -> Iterator[Observer]:
    """An observer that shows a run. It never raises, so a closed terminal costs no paid task."""
    if console.is_terminal() and not common().quiet and not common().verbosity:
        with _bar() as observer:
            yield _Unbreakable(observer).observe
    else:
        yield lines()


def lines() -> Observer:
    """An observer that prints plain lines, for work that takes no time."""
    return _ignore if common().quiet else _Unbreakable(Lines(is_full=common().verbosity > 1).observe).observe


def line(name: str, fields: Mapping[str, object], *, is_full: bool = False) -> str | None:
    """An event as a line, `submitted harbour-s1 remote_id=t-1`; None where nobody waits for it.

    `is_full`: every event by its own name, with the ids of task and attempt.
    """
    if name in _SILENT and not is_full:
        return None
    if name == "run.stopping" and not is_full:
        at_once = " (Ctrl-C again: at once)" if fields.get("exit_code") in INTERRUPTS else ""
        return f"stopping: what is in flight is left for later{at_once}"
    if name in _SENTENCES and not is_full:
        return _SENTENCES[name].format_map({key: printable(str(value)) for key, value in fields.items()})
    if name == "run.waiting" and not is_full:
        return waiting_words(fields) or None
    if name == "task.renamed" and not is_full:
        taken, path = (printable(str(fields[key])) for key in ("taken", "path"))
        return f"another file stands at {taken}: it is left as it is, and the video is {path}"
    hidden = {"task"} if is_full else {"task", "identity", "attempt"}
    details = [
        f"{key}={printable(str(value))}"
        for key, value in fields.items()
        if key not in hidden and value not in (None, "")
    ]
    subject = [printable(str(fields["task"]))] if "task" in fields else []
    if not subject and "identity" in fields and not is_full:
        subject = [str(fields["identity"])[:12]]
    event = "unclear" if name == "task.ambiguous" and not is_full else name.removeprefix("task.")
    return " ".join([event, *subject, *details])


def waiting_words(fields: Mapping[str, object]) -> str:
    """`waiting until 14:05:10 for ... (3 tasks)`, in local time; empty where the wait is over."""
    tasks = _number(fields.get("tasks"))
    until = _moment(fields.get("until"))
    if until is None or until <= time.time():
        return ""
    of = f" ({count(tasks, 'task')})" if tasks else ""
    what = printable(str(fields.get("for")))
    return f"waiting until {datetime.datetime.fromtimestamp(until):%H:%M:%S} at the latest for {what}{of}"


def _moment(until: object) -> float | None:
    """Unix seconds of ISO text; None where it is not a moment."""
    try:
        return datetime.datetime.fromisoformat(str(until)).timestamp()
    except ValueError:
        return None


@dataclass(slots=True)
class Known:
    """Remembers what a person already knows of the end of submitting, from a stop or from the verb."""

    _never_submits: bool = False
    _stops: set[str] = field(default_factory=set)

    def covers(self, name: str, fields: Mapping[str, object]) -> bool:
        """Notes an event, and says whether it tells nothing new."""
        if name == "collect.started":
            self._never_submits = True
        if name == "run.stopping":
            self._stops.add(str(fields.get("reason")))
        is_known = self._never_submits or str(fields.get("reason")) in self._stops
        return name == "run.submitting_stopped" and is_known


@dataclass(slots=True)
class Lines:
    """Prints each change of a task as a plain line on stderr.

    `is_full`: every event, an unchanged status too.
    """

    is_full: bool = False
    _statuses: dict[str, object] = field(default_factory=dict)
    _known: Known = field(default_factory=Known)

    def observe(self, name: str, fields: Mapping[str, object]) -> None:
        if self._known.covers(name, fields) and not self.is_full:
            return
        task = str(fields.get("identity", ""))
        if name == "task.status" and not self.is_full:
            if self._statuses.get(task) == fields.get("status"):
                return
            self._statuses[task] = fields.get("status")
        if _STAGES.get(name) in _ENDS:
            self._statuses.pop(task, None)
        told = line(name, fields, is_full=self.is_full)
        if told is not None:
            console.note(told)


@contextlib.contextmanager
def _bar() -> Iterator[Observer]:
    # imported here: rich takes 0.1 s, and only a terminal needs it
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[received]}"),
        TextColumn("{task.fields[waiting]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    drawn = Console(stderr=True, no_color=not console.has_colour(sys.stderr))
    with Progress(*columns, console=drawn, transient=True) as shown:
        yield Bar(shown, shown.add_task("", total=0, received="", waiting="")).observe


@dataclass(slots=True)
class Bar:
    """One line at the bottom of a terminal that changes; what a person must read scrolls above it."""

    shown: Progress
    id: TaskID
    _tally: Tally = field(default_factory=Tally)
    _known: Known = field(default_factory=Known)
    _awaited: Mapping[str, object] = field(default_factory=dict)

    def observe(self, name: str, fields: Mapping[str, object]) -> None:
        self._tally.observe(name, fields)
        if name == "run.waiting":
            self._awaited = fields
        if name == "run.left_at_once":
            self.shown.stop()  # gives the cursor back
        is_told = self._known.covers(name, fields)
        # the bar itself says what is awaited
        is_news = (name.startswith("run.") and name != "run.waiting") or name == "task.renamed"
        if is_news and name not in _SILENT and not is_told:
            # rich moves it above the bar
            console.note(line(name, fields) or "")
        self.shown.update(
            self.id,
            total=max(self._tally.total, self._tally.finished),
            completed=self._tally.finished,
            description=self._tally.words(),
            received=size(self._tally.received),
            waiting=waiting_words(self._awaited),
        )


def _ignore(_name: str, _fields: Mapping[str, object]) -> None:
    pass


@dataclass(slots=True)
class _Unbreakable:
    """Passes events on until the stream is closed."""

    observer: Observer
    _is_open: bool = True

    def observe(self, name: str, fields: Mapping[str, object]) -> None:
        if self._is_open:
            try:
                self.observer(name, fields)
            except OSError:
                self._is_open = False


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
