"""All that a run works with, in one frozen object."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import httpx

from runner.engine.commits import Commits
from runner.engine.download import DownloadLimits
from runner.engine.files import FileStore
from runner.engine.seams import Seams
from runner.engine.webhook import Hints
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow, Kind
from runner.ledger.states import TaskState
from runner.project import Project
from runner.providers.base import Provider
from runner.record.events import Observer


@dataclass(frozen=True, slots=True)
class World:
    """`origin` is the API's as identities name it (`sandbox` for a rehearsal in process, whose port
    changes). `downloads` carries no credentials. `key_hash` is salted; it tells keys apart, no more.

    `is_loopback` says that the API itself is on loopback, which alone allows downloads from there.
    """

    project: Project
    origin: str
    provider: Provider
    commits: Commits
    downloads: httpx.AsyncClient
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
    model: str
    kind: Kind
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
        model=attempt.model,
        kind=Kind.of(attempt.origin, task.request),
        is_collecting=attempt.state is not TaskState.SUBMITTED,
    )


class ServerClock:
    """The service's time, from the Date header of its answers, carried on by our monotonic clock."""

    def __init__(self, seams: Seams) -> None:
        self._seams = seams
        self._server: float | None = None
        self._at = 0.0

    @property
    def is_known(self) -> bool:
        return self._server is not None

    def hear(self, server_time: float | None) -> None:
        if server_time is not None:
            self._server = server_time
            self._at = anyio.current_time()

    def now(self) -> float:
        """Unix seconds; our own wall clock as long as no answer has come."""
        if self._server is None:
            return self._seams.wall()
        return self._server + anyio.current_time() - self._at
