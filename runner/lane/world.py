"""All that a run works with, in one frozen object."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from runner.lane.commits import Commits
from runner.lane.seams import Seams
from runner.lane.webhook import Hints
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow, Kind
from runner.ledger.states import TaskState
from runner.project import Project
from runner.providers.base import Client
from runner.providers.provider import Provider
from runner.record.events import Observer
from runner.store.download import DownloadLimits, Fetch
from runner.store.files import FileStore


@dataclass(frozen=True, slots=True)
class World:
    """`origin` is the API's as identities name it (`sandbox` for a rehearsal in process, whose port
    changes). `fetch` knows no key. `key_hash` is salted; it tells keys apart, no more.

    `is_loopback` says that the API itself is on loopback, which alone allows downloads from there.
    """

    project: Project
    origin: str
    provider: Provider
    client: Client
    commits: Commits
    fetch: Fetch
    files: FileStore
    seams: Seams
    observe: Observer
    key_hash: str
    is_loopback: bool
    limits: DownloadLimits = field(default_factory=DownloadLimits)
    hints: Hints | None = None
    """Waits that a webhook may end early; None where nobody listens."""


@dataclass(frozen=True, slots=True)
class Paid:
    """An accepted attempt: what has to be fetched.

    `since` is when it was accepted by this process's monotonic clock, which the wall clock's jumps
    do not move (row 38); for an attempt of an earlier process it lies before this one began.
    """

    attempt_id: str
    identity: str
    name: str
    output: str
    remote_id: str
    key_hash: str
    since: float
    server_time: float
    """The service's own time at the intent, in Unix seconds."""
    accepted_at: float
    """By our wall clock, in Unix seconds."""
    model: str
    kind: Kind
    tag: int | None
    is_taken_over: bool = False
    """Accepted in an earlier session: its webhook may have called while nobody listened."""
    is_done: bool = False
    is_collecting: bool = False
    """The service has shown its result before."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """An attempt whose POST may or may not have been accepted."""

    attempt_id: str


def paid_of(reader: LedgerReader, attempt: AttemptRow, seams: Seams) -> Paid:
    """What has to be fetched for an attempt that the service accepted in an earlier session."""
    task = reader.task(attempt.identity)
    assert task is not None
    assert attempt.remote_id is not None
    return Paid(
        attempt_id=attempt.id,
        identity=attempt.identity,
        name=task.name,
        output=task.output,
        remote_id=attempt.remote_id,
        key_hash=attempt.key_hash,
        since=anyio.current_time() - max(0.0, seams.wall() - (attempt.accepted_at or attempt.intended_at)),
        server_time=attempt.server_time,
        accepted_at=attempt.accepted_at or attempt.intended_at,
        model=attempt.model,
        kind=Kind.of(attempt.origin, task.request),
        tag=attempt.tag,
        is_taken_over=True,
        is_done=attempt.state is TaskState.DONE,
        is_collecting=attempt.state is not TaskState.SUBMITTED,
    )


WALL_SAYS = 12 * 3600.0
"""Seconds by which our wall clock may put the service's time earlier than an answer did: more than an
edge's clock is wrong, and less than makes an attempt too old for absence to prove anything."""


LATEST_TIME = 4_102_444_800.0
"""2100-01-01: a service's time from then on is not believed."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Seconds since a moment, by the slower and by the faster of the service's clock and ours."""

    least: float
    most: float


class ServerClock:
    """The service's time, from the Date headers of its answers, carried on by our monotonic clock.

    One answer may be wrong (an edge with a clock of its own), so there are two readings: no answer
    has said less than `earliest`, none more than `latest`. What looks for rows from a moment on takes
    the earliest, for a window that opens too late would hide a paid task. The only answer so far may
    be the wrong one, so our wall clock has a say too, within bounds: it may be wrong itself.
    """

    def __init__(self, seams: Seams) -> None:
        self._seams = seams
        self._lowest: float | None = None
        self._highest = 0.0

    @property
    def is_known(self) -> bool:
        return self._lowest is not None

    def hear(self, server_time: float | None) -> None:
        if server_time is None or server_time >= LATEST_TIME:
            return
        ahead = server_time - anyio.current_time()
        if self._lowest is None:
            self._lowest = self._highest = ahead
        self._lowest = min(self._lowest, ahead)
        self._highest = max(self._highest, ahead)

    def heard(self) -> tuple[float, ...]:
        """The least and the most that answers have said of the time now, in Unix seconds; () without any."""
        if self._lowest is None:
            return ()
        return (self._lowest + anyio.current_time(), self._highest + anyio.current_time())

    def passed(self, server_time: float, wall: float) -> Passed:
        """How long ago a moment was that stood so on the service's clock and on ours, in Unix seconds."""
        by_ours = self._seams.wall() - wall
        if server_time >= LATEST_TIME:  # an older callsheet believed it
            return Passed(by_ours, by_ours)
        return Passed(min(self.earliest() - server_time, by_ours), max(self.latest() - server_time, by_ours))

    def earliest(self) -> float:
        """Unix seconds; our own wall clock as long as no answer has come."""
        wall = self._seams.wall()
        if self._lowest is None:
            return wall
        heard = self._lowest + anyio.current_time()
        return min(heard, max(wall, heard - WALL_SAYS))

    def latest(self) -> float:
        """Unix seconds; our own wall clock as long as no answer has come."""
        return self._seams.wall() if self._lowest is None else self._highest + anyio.current_time()
