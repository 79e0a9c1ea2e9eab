"""What work on a task stands on: what the process shares, its job, and the lane of its account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

import anyio

from runner.job.model import OnAmbiguous, RunPolicy
from runner.lane.commits import Writes
from runner.lane.control import Control
from runner.lane.lane import Lane
from runner.lane.late import Lookback
from runner.lane.lease import Leases
from runner.lane.machine import Machine
from runner.lane.pace import PrioritySlots
from runner.lane.reconcile import Reconciler
from runner.lane.scan import Scanner
from runner.ledger.rows import AttemptRow
from runner.objects.store import Stores
from runner.project import Project
from runner.record.events import Observer
from runner.redact import Redactor
from runner.run.files.archive import Archive
from runner.run.task.wait import Durations
from runner.run.task.webhook import Hints
from runner.store.download import DownloadLimits, Fetch
from runner.store.files import FileStore


@dataclass(frozen=True, slots=True)
class Tools:
    """What a job works with, whatever the lane. `fetch` knows no key; `redactor` knows all of them."""

    project: Project
    commits: Writes
    machine: Machine
    observe: Observer
    fetch: Fetch
    files: FileStore
    redactor: Redactor
    limits: DownloadLimits = field(default_factory=DownloadLimits)
    hints: Hints | None = None
    """Waits that a webhook may end early; None where nobody listens."""
    stores: Stores = field(default_factory=Stores)
    archive: Archive | None = None
    """None where the project names no store, and in a rehearsal."""
    archive_refusal: str = ""
    """Why there is none, where the project names a store."""
    has_uploads: bool = False
    """The project names a place for inputs; a rehearsal puts nothing there."""
    leases: Leases | None = None
    """Those of this process where machines share the ledger."""


def agreed(policies: Sequence[RunPolicy]) -> RunPolicy:
    """What holds where several jobs meet: the strictest limit, and the longest patience."""
    rates = [policy.rate for policy in policies if policy.rate is not None]
    holds = any(policy.on_ambiguous is OnAmbiguous.HOLD for policy in policies)
    return replace(
        policies[0],
        concurrency=min(policy.concurrency for policy in policies),
        submit_slots=min(policy.submit_slots for policy in policies),
        downloads=min(policy.downloads for policy in policies),
        rate=min(rates, default=None),
        timeout=max(policy.timeout for policy in policies),
        settle=max(policy.settle for policy in policies),
        settle_alone=max(policy.settle_alone for policy in policies),
        on_ambiguous=OnAmbiguous.HOLD if holds else policies[0].on_ambiguous,
    )


@dataclass(slots=True)
class UnderWay:
    """Tasks that a job of this process has under way, by identity: two jobs may have one task."""

    _tasks: Counter[str] = field(default_factory=Counter)
    _ended: anyio.Event = field(default_factory=anyio.Event)

    def __contains__(self, identity: str) -> bool:
        return self._tasks[identity] > 0

    def begin(self, identity: str) -> AbstractContextManager[None]:
        """The task counts from now on, until the end of this `with`."""
        self._tasks[identity] += 1
        return self._held(identity)

    @contextmanager
    def _held(self, identity: str) -> Iterator[None]:
        try:
            yield
        finally:
            self._tasks[identity] -= 1
            ended, self._ended = self._ended, anyio.Event()
            ended.set()

    async def ended(self, identity: str) -> None:
        """Returns once nobody has the task under way."""
        while identity in self:
            await self._ended.wait()


class Shared:
    """What all jobs of a process share, whatever their lanes."""

    def __init__(self) -> None:
        self.downloads: list[PrioritySlots] = []
        """Those of each lane: the files of one may never come, and hold up no other's."""
        self.moving = anyio.Lock()
        """Held while a file gives way to another: two tasks may want one path."""
        self.under_way = UnderWay()

    def open_downloads(self, policy: RunPolicy) -> PrioritySlots:
        """The downloads of one more lane."""
        # tasks that end together leave the service at once: new ones may come before their files are here
        self.downloads.append(PrioritySlots(policy.downloads, line=policy.concurrency))
        return self.downloads[-1]

    @property
    def fetches_nothing(self) -> bool:
        """Whether no lane has a file on its way: a task may begin where one of another lane is here."""
        return all(each.is_idle for each in self.downloads)


class LaneWork:
    """A lane with what is done there beside the tasks."""

    def __init__(
        self,
        lane: Lane,
        policy: RunPolicy,
        downloads: PrioritySlots,
        shared: Shared,
        control_of: Callable[[AttemptRow], Control],
        *,
        is_run: bool,
    ) -> None:
        """`is_run`: a run waits until unclear submits can be judged, a `collect` leaves them."""
        scanner = Scanner(lane)
        self.lane = lane
        self.downloads = downloads
        self.lookback = Lookback(lane, scanner, control_of)
        self.reconciler = Reconciler(
            lane, scanner, policy, is_run, lambda: lane.in_flight.count == 0 and shared.fetches_nothing
        )
        usual = None if lane.is_loopback else lane.provider.usual_seconds
        self.durations = Durations(lane.commits, usual)
        self.is_looked_over = anyio.Event()
        """Set once late rows of the service's list have been looked for: only then is anything bought."""
        self._jobs = 0

    def enter(self, control: Control) -> None:
        """A job that may have tasks here begins."""
        self._jobs += 1
        self.lane.gate.hearing.append(control)

    def leave(self) -> bool:
        """A job has ended; whether it was the last one here."""
        self._jobs -= 1
        return self._jobs == 0


@dataclass(frozen=True, slots=True)
class Session:
    """One job's work in the lane of one of its accounts. Nothing in it could submit: that takes a
    `Submitter`, which only a run has.
    """

    tools: Tools
    control: Control
    policy: RunPolicy
    work: LaneWork
    shared: Shared

    @classmethod
    def of(
        cls, account: str, tools: Tools, control: Control, policy: RunPolicy, work: LaneWork, shared: Shared
    ) -> Session:
        """Its events name the account, and what it writes is fenced where the lane is leased."""

        def observe(event: str, fields: Mapping[str, object]) -> None:
            tools.observe(event, {**fields, "account": account})

        if work.lane.is_loopback:
            policy = replace(policy, poll=policy.poll.on_loopback())
        own = replace(tools, observe=observe, commits=work.lane.commits)
        return cls(own, control, policy, work, shared)

    @property
    def lane(self) -> Lane:
        return self.work.lane

    @property
    def may_submit(self) -> bool:
        return self.control.may_submit and self.lane.gate.may_submit


@dataclass(frozen=True, slots=True)
class JobWork:
    """One job's work in all its lanes: `sessions` are by account. Its own tools tell of no account."""

    tools: Tools
    control: Control
    sessions: Mapping[str, Session]

    @property
    def lanes(self) -> dict[Lane, Session]:
        """A session for each lane: two accounts may lead to one."""
        return {session.lane: session for session in self.sessions.values()}
