"""The modelled service: what it accepted, what it shows of it, and when. It fails nowhere itself.

Lazy in time: an acceptance is noted with its moment, and everything asked is answered for a moment.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum
from typing import Any

from tests.simulation.clips import Label, last_frame, video
from tests.simulation.kinds import TEXT_TAG, Kind

START = 1_824_933_000.0
"""Unix seconds of the service's clock, and of the right wall clock, at simulated time 0: ten minutes
before the midnight after which Berlin puts its clocks back, on the last day of a month."""

ORIGIN = "https://api.sim.test"
"""Of the service in a schedule's first lane."""

TAG_FIELD = "execution_expires_after"
DEFAULT_TAG_FIELD = 172_800
OURS = "ours"
RECORD_LIFE = 7 * 86_400.0
"""Seconds after which a task is in no list, and no GET finds it."""

YEAR_9999 = 253_402_300_799
ALWAYS = (0.0, math.inf)
NEVER = (math.inf, math.inf)

_ECHOED = ("resolution", "ratio", "duration", "generate_audio")


Said = tuple[str, str, int | None, str]
"""What the oracle tells requests apart by: origin, prompt, seed and model."""


class Echo(StrEnum):
    """What a task object shows for the field that carries the tag."""

    SENT = "sent"
    NEVER = "never"
    DEFAULT = "default"
    UNDECIDED = "undecided"
    """Nothing, or a value that stands for nothing, until the task runs; then what was sent."""
    OTHER = "other"
    MINUS_ONE = "minus_one"
    ZERO = "zero"


class ListFault(StrEnum):
    NONE = "none"
    EMPTY = "empty"
    ENDLESS = "endless"
    """Ignores `offset` and says that there is more."""
    ENDLESS_PAGES = "endless_pages"
    """Says that there is more, behind pages that are empty."""
    REPEATS = "repeats"
    """One row stands twice, and is counted twice."""
    TOO_MANY = "too_many"
    TOO_FEW = "too_few"
    """`total` says more, or less, than there is."""
    OTHERS = "others"
    """Another project's tasks and models alone."""
    HALF = "half"
    """One of two models alone; of one model everything."""


class Odd(StrEnum):
    """What becomes of a time that the service tells."""

    MILLIS = "millis"
    ZERO = "zero"
    FAR = "far"
    NEGATIVE = "negative"
    TEXT = "text"
    NONE = "none"


class Dates(StrEnum):
    RIGHT = "right"
    AHEAD = "ahead"
    """A day, always."""
    SOMETIMES_AHEAD = "sometimes_ahead"
    YEAR_9999 = "year_9999"
    """Now and then, also with an offset that leads out of all calendars."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How the service behaves throughout one schedule. Times are seconds.

    `lag` bounds how long after its acceptance a row may be missing from the list, and `late` how
    long after the request was read it may be accepted; both together stay below `run.settle`.
    `node_skew` bounds how far created_at may lie before the Date header's time: other machines,
    other clocks. `missing` bounds how long a GET by id may answer 404 after acceptance; `forgets` is
    the chance that it does so for ever from some time after the end, though the list has the row.
    `edge_skew` is how far Date headers are ahead of the clock that gives created_at.
    """

    echo: Echo = Echo.SENT
    latency: tuple[float, float] = (3.0, 30.0)
    late: float = 0.0
    lag: float = 0.0
    nulls: float = 0.0
    missing: float = 0.0
    node_skew: float = 0.0
    clock_skew: float = 0.0
    edge_skew: float = 0.0
    page: int = 200
    url_life: float = 86_400.0
    fails: float = 0.0
    regresses: float = 0.0
    suffix: str = ""
    new_etags: float = 0.0
    forgets: float = 0.0

    lies: tuple[str, ...] = ()
    """The names of the habits that follow; a spell is from and until, in simulated seconds."""
    unclear: tuple[float, float] = NEVER
    """Every POST is cut without an answer, and `unclear_accepted` is the chance that it was accepted."""
    unclear_accepted: float = 1.0
    list_fault: ListFault = ListFault.NONE
    list_fault_in: tuple[float, float] = NEVER
    list_stops: tuple[float, float] = NEVER
    """What is accepted in this time is not listed before its end; older rows are."""
    list_lag: float = 0.0
    """How far the whole list is behind."""
    seed: Echo = Echo.SENT
    queued: float = 2.0
    """How long a task waits until it runs."""
    turns: float = math.inf
    """From then on tags come back otherwise."""
    turned: Echo = Echo.DEFAULT
    turns_for_all: bool = True
    """Also those of tasks that were accepted before."""
    lost: float = 0.0
    """The chance that a task is not found for a spell, and there again within the life of its record."""
    frame_late: float = 0.0
    odd_times: float = 0.0
    """The chance that a task's times are told in another unit, or are no times."""
    dates: Dates = Dates.RIGHT
    limited: tuple[float, float] = NEVER
    """Every free request is answered by 429."""
    quota: tuple[float, float] = NEVER
    """Every POST is answered by a 429 that says that a quota is used up."""

    @property
    def is_list_honest(self) -> bool:
        """Whether the list shows what it has to, within run.settle."""
        is_whole = self.list_fault is ListFault.NONE and self.list_stops == NEVER
        return is_whole and self.list_lag == 0.0


@dataclass(slots=True)
class Row:
    """One accepted generation. `owner` is OURS or another project's name; ids are of one service alone."""

    id: str
    owner: str
    request: Mapping[str, Any]
    at: float
    created_at: int
    visible_at: float
    filled_at: float
    found_at: float
    done_at: float
    fails: bool
    regress: tuple[float, float]
    forgotten_at: float = math.inf
    mark: str = ""
    """The digest of the POST's body: which attempt sent it."""
    versions: int = 0
    lost: tuple[float, float] = NEVER
    is_lost_in_list: bool = False
    odd: Odd | None = None
    origin: str = ORIGIN

    @property
    def model(self) -> str:
        return str(self.request["model"])

    @property
    def prompt(self) -> str:
        return str(self.request["content"][0]["text"])

    @property
    def seed(self) -> int | None:
        return self.request.get("seed")

    @property
    def said(self) -> Said:
        return self.origin, self.prompt, self.seed, self.model

    @property
    def label(self) -> Label:
        return Label(self.id, self.owner, self.prompt, self.seed, self.model)


@dataclass(slots=True)
class Service:
    habits: Habits
    random: random.Random
    kind: Kind = Kind.PAGES
    origin: str = ORIGIN
    rows: list[Row] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """Ids that a process has made durable and said so."""
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def accept(self, request: Mapping[str, Any], at: float, *, owner: str = OURS, mark: str = "") -> Row:
        """Takes a request at a moment, perhaps a little in the future; from then on it is billed."""
        habits, draw = self.habits, self.random
        number = next(self._ids)
        done_at = at + draw.uniform(*habits.latency) + max(0.0, habits.queued - 2.0)
        regress = (0.0, 0.0)
        if draw.random() < habits.regresses:
            start = done_at + draw.uniform(0, 40)
            regress = (start, start + draw.uniform(1, 60))
        row = Row(
            id=f"{'t' if self.origin == ORIGIN else self.kind}-{number:05d}{draw.getrandbits(24):06x}",
            owner=owner,
            request=dict(request),
            at=at,
            created_at=int(self.clock(at) - draw.uniform(0, habits.node_skew)),
            visible_at=at + draw.uniform(0, habits.lag),
            filled_at=at + draw.uniform(0, habits.nulls),
            found_at=at + draw.uniform(0, habits.missing),
            done_at=done_at,
            fails=draw.random() < habits.fails,
            regress=regress,
            mark=mark,
            origin=self.origin,
        )
        if habits.forgets and draw.random() < habits.forgets:
            row.forgotten_at = done_at + draw.uniform(0, 60)
        if habits.lost and draw.random() < habits.lost:
            begins = at + draw.uniform(0, 90)
            row.lost = begins, begins + draw.choice((100.0, 1000.0, 7200.0, 108_000.0, 400_000.0))
            row.is_lost_in_list = draw.random() < 0.5
        if habits.odd_times and draw.random() < habits.odd_times:
            row.odd = draw.choice(list(Odd))
        self.rows.append(row)
        return row

    def accepted(self, owner: str = OURS) -> list[Row]:
        return [row for row in self.rows if row.owner == owner]

    def clock(self, now: float) -> float:
        return START + self.habits.clock_skew + now

    def date(self, now: float, source: random.Random, odd: float = 0.0) -> str:
        """The Date header; `odd` is how far the clock of the edge that answers is wrong besides."""
        ahead = self.habits.edge_skew + odd
        match self.habits.dates:
            case Dates.AHEAD:
                ahead += 86_400.0
            case Dates.SOMETIMES_AHEAD if source.random() < 0.2:
                ahead += 86_400.0
            case Dates.YEAR_9999 if source.random() < 0.2:
                return source.choice(("Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -0900"))
        return formatdate(self.clock(now) + ahead, usegmt=True)

    def find(self, remote_id: str, now: float) -> Row | None:
        return next((row for row in self.rows if row.id == remote_id and row.at <= now), None)

    def shows(self, row: Row, now: float) -> bool:
        """Whether a GET by id finds it."""
        is_there = row.found_at <= now < min(row.forgotten_at, row.at + RECORD_LIFE)
        return is_there and not within(row.lost, now)

    def listed(self, now: float, created_after: float | None) -> list[Row]:
        """The rows that the list shows, newest first."""
        shown = [
            row
            for row in self.rows
            if self.is_listed(row, now) and (created_after is None or row.created_at >= created_after)
        ]
        return sorted(shown, key=lambda row: (row.created_at, row.id), reverse=True)

    def is_listed(self, row: Row, now: float) -> bool:
        """Whether the list has the row: what its pages make of that is another matter."""
        habits = self.habits
        if max(row.at, row.visible_at) > now - habits.list_lag or now >= row.at + RECORD_LIFE:
            return False
        if self.kind is Kind.HISTORY and self.status(row, now) not in ("succeeded", "failed"):
            return False
        if within(habits.list_stops, row.at) and now < habits.list_stops[1]:
            return False
        # one row that lags alone is a stated limit: only what we know of goes missing
        if row.is_lost_in_list and within(row.lost, now) and row.id in self.told:
            return False
        if within(habits.list_fault_in, now):
            match habits.list_fault:
                case ListFault.EMPTY:
                    return False
                case ListFault.OTHERS:
                    return row.owner != OURS
                case ListFault.HALF:
                    return row.model == self.rows[0].model
        return True

    def is_list_broken(self, now: float) -> bool:
        """Whether the list contradicts itself, so that it proves nothing."""
        fault = self.habits.list_fault
        is_whole = fault in (ListFault.NONE, ListFault.OTHERS, ListFault.HALF, ListFault.EMPTY)
        return not is_whole and within(self.habits.list_fault_in, now)

    def status(self, row: Row, now: float) -> str:
        if row.regress[0] <= now < row.regress[1]:
            return "running"
        if now >= row.done_at:
            return "failed" if row.fails else "succeeded"
        return "queued" if now < row.at + self.habits.queued else "running"

    def task_object(self, row: Row, now: float, *, in_list: bool) -> dict[str, Any]:
        """The row as GET by id or the list tells it."""
        status = self.status(row, now)
        # the list comes from a database that never asks upstream
        if in_list and status == "succeeded" and self.kind is not Kind.HISTORY:
            status = "running"
        is_empty = in_list and now < row.filled_at
        shown: dict[str, Any] = {name: row.request.get(name) for name in _ECHOED}
        shown["seed"] = None if is_empty else self._shown_seed(row, now)
        shown |= {name: None if is_empty else value for name, value in self._shown_mark(row, now).items()}
        shown |= {
            "id": row.id,
            "model": row.request["model"] + self.habits.suffix,
            "status": status,
            "error": {"code": "content_policy_violation", "message": "no"} if status == "failed" else None,
            "created_at": _told(row.created_at, row.odd),
            "updated_at": _told(int(self.clock(now)), row.odd),
            "content": None,
            "usage": {"total_tokens": 100} if status == "succeeded" else None,
        }
        if status == "succeeded":
            expires = f"{now + self.habits.url_life:.3f}"
            shown["content"] = {"video_url": f"https://files.sim.test/{row.id}/video?until={expires}"}
            if row.request.get("return_last_frame") and now >= row.done_at + self.habits.frame_late:
                shown["content"]["last_frame_url"] = f"https://files.sim.test/{row.id}/frame?until={expires}"
        return shown

    def file(self, row: Row, name: str) -> tuple[bytes, str]:
        """The bytes of a result and their validator; the object may be stored anew at any time."""
        if self.random.random() < self.habits.new_etags:
            row.versions += 1
        content = video(row.label) if name == "video" else last_frame(row.label)
        return content, f'"{row.id}-{name}-{row.versions}"'

    def _shown_mark(self, row: Row, now: float) -> dict[str, Any]:
        """What comes back for what tells rows apart here: a number, a text or the input."""
        echo, status = self.habits.echo, self.status(row, now)
        if now >= self.habits.turns and (self.habits.turns_for_all or row.at >= self.habits.turns):
            echo = self.habits.turned
        match self.kind:
            case Kind.PAGES:
                return {TAG_FIELD: _echoed(echo, row.request.get(TAG_FIELD, DEFAULT_TAG_FIELD), row, status)}
            case Kind.TEXT:
                sent = row.request.get(TEXT_TAG.field)
                return {TEXT_TAG.field: _as_text(echo, sent, row, status)}
            case Kind.INPUT | Kind.HISTORY:
                return {"prompt": _as_text(echo, row.prompt, row, status)}

    def _shown_seed(self, row: Row, now: float) -> int | None:
        return _echoed(self.habits.seed, row.seed, row, self.status(row, now))


def within(spell: tuple[float, float], now: float) -> bool:
    return spell[0] <= now < spell[1]


def _echoed(echo: Echo, sent: int | None, row: Row, status: str) -> int | None:
    match echo:
        case Echo.SENT:
            return sent
        case Echo.DEFAULT:
            return DEFAULT_TAG_FIELD
        case Echo.NEVER:
            return None
        case Echo.UNDECIDED:
            return (None, -1, 0, DEFAULT_TAG_FIELD)[row.created_at % 4] if status == "queued" else sent
        case Echo.OTHER:
            return 100_000 + row.created_at % 50_000
        case Echo.MINUS_ONE:
            return -1
        case Echo.ZERO:
            return 0


def _as_text(echo: Echo, sent: str | None, row: Row, status: str) -> str | None:
    match echo:
        case Echo.SENT:
            return sent
        case Echo.NEVER:
            return None
        case Echo.UNDECIDED:
            return ("", None, "-1", "somebody")[row.created_at % 4] if status == "queued" else sent
        case Echo.OTHER:
            return f"cs-{row.created_at % 50_000 + 1:x}"
        case Echo.DEFAULT | Echo.MINUS_ONE | Echo.ZERO:
            return "somebody"


def _told(seconds: int, odd: Odd | None) -> object:
    match odd:
        case None:
            return seconds
        case Odd.MILLIS:
            return seconds * 1000
        case Odd.ZERO:
            return 0
        case Odd.FAR:
            return YEAR_9999
        case Odd.NEGATIVE:
            return -seconds
        case Odd.TEXT:
            return "2026-09-21T10:00:00Z"
        case Odd.NONE:
            return None
