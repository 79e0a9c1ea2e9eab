"""The modelled service: what it accepted, what it shows of it, and when. It fails nowhere itself.

Lazy in time: an acceptance is noted with its moment, and everything asked is answered for a moment.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.simulation.clips import Label, last_frame, video

START = 1_790_000_000.0
"""Unix seconds of the service's clock, and of the right wall clock, at simulated time 0."""

TAG_FIELD = "execution_expires_after"
DEFAULT_TAG_FIELD = 172_800
OURS = "ours"
_ECHOED = ("resolution", "ratio", "duration", "generate_audio")


class Echo(StrEnum):
    """What a task object shows for the field that carries the tag."""

    SENT = "sent"
    NEVER = "never"
    DEFAULT = "default"


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


@dataclass(slots=True)
class Row:
    """One accepted generation. `owner` is OURS or another project's name."""

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
    versions: int = 0

    @property
    def prompt(self) -> str:
        return str(self.request["content"][0]["text"])

    @property
    def seed(self) -> int | None:
        return self.request.get("seed")

    @property
    def tag_field(self) -> int | None:
        return self.request.get(TAG_FIELD)

    @property
    def label(self) -> Label:
        return Label(self.id, self.owner, self.prompt, self.seed)


@dataclass(slots=True)
class Service:
    habits: Habits
    random: random.Random
    rows: list[Row] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """Ids that a process has made durable and said so."""
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def accept(self, request: Mapping[str, Any], at: float, *, owner: str = OURS) -> Row:
        """Takes a request at a moment, perhaps a little in the future; from then on it is billed."""
        habits, draw = self.habits, self.random
        number = next(self._ids)
        done_at = at + draw.uniform(*habits.latency)
        regress = (0.0, 0.0)
        if draw.random() < habits.regresses:
            start = done_at + draw.uniform(0, 40)
            regress = (start, start + draw.uniform(1, 60))
        row = Row(
            id=f"t-{number:05d}{draw.getrandbits(24):06x}",
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
        )
        if habits.forgets and draw.random() < habits.forgets:
            row.forgotten_at = done_at + draw.uniform(0, 60)
        self.rows.append(row)
        return row

    def accepted(self, owner: str = OURS) -> list[Row]:
        return [row for row in self.rows if row.owner == owner]

    def clock(self, now: float) -> float:
        return START + self.habits.clock_skew + now

    def date(self, now: float) -> float:
        """As the edge says it in the Date header."""
        return self.clock(now) + self.habits.edge_skew

    def find(self, remote_id: str, now: float) -> Row | None:
        return next((row for row in self.rows if row.id == remote_id and row.at <= now), None)

    def shows(self, row: Row, now: float) -> bool:
        """Whether a GET by id finds it."""
        return row.found_at <= now < row.forgotten_at

    def listed(self, now: float, created_after: float | None) -> list[Row]:
        """The rows that the list shows, newest first."""
        shown = [
            row
            for row in self.rows
            if row.at <= now
            and row.visible_at <= now
            and (created_after is None or row.created_at >= created_after)
        ]
        return sorted(shown, key=lambda row: (row.created_at, row.id), reverse=True)

    def status(self, row: Row, now: float) -> str:
        if row.regress[0] <= now < row.regress[1]:
            return "running"
        if now >= row.done_at:
            return "failed" if row.fails else "succeeded"
        return "queued" if now < row.at + 2 else "running"

    def task_object(self, row: Row, now: float, *, in_list: bool) -> dict[str, Any]:
        """The row as GET by id or the list tells it."""
        status = self.status(row, now)
        # the list comes from a database that never asks upstream
        if in_list and status == "succeeded":
            status = "running"
        is_empty = in_list and now < row.filled_at
        shown: dict[str, Any] = {name: row.request.get(name) for name in _ECHOED}
        shown["seed"] = None if is_empty else row.seed
        shown[TAG_FIELD] = None if is_empty else self._shown_tag(row)
        shown |= {
            "id": row.id,
            "model": row.request["model"] + self.habits.suffix,
            "status": status,
            "error": {"code": "content_policy_violation", "message": "no"} if status == "failed" else None,
            "created_at": row.created_at,
            "updated_at": int(self.clock(now)),
            "content": None,
            "usage": {"total_tokens": 100} if status == "succeeded" else None,
        }
        if status == "succeeded":
            expires = f"{now + self.habits.url_life:.3f}"
            shown["content"] = {"video_url": f"https://files.sim.test/{row.id}/video?until={expires}"}
            if row.request.get("return_last_frame"):
                shown["content"]["last_frame_url"] = f"https://files.sim.test/{row.id}/frame?until={expires}"
        return shown

    def file(self, row: Row, name: str) -> tuple[bytes, str]:
        """The bytes of a result and their validator; the object may be stored anew at any time."""
        if self.random.random() < self.habits.new_etags:
            row.versions += 1
        content = video(row.label) if name == "video" else last_frame(row.label)
        return content, f'"{row.id}-{name}-{row.versions}"'

    def _shown_tag(self, row: Row) -> int | None:
        match self.habits.echo:
            case Echo.SENT:
                return row.tag_field if row.tag_field is not None else DEFAULT_TAG_FIELD
            case Echo.DEFAULT:
                return DEFAULT_TAG_FIELD
            case Echo.NEVER:
                return None
