"""One process's work on a run, or one `collect`: its connections, disk and ledger, and what tasks share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from runner.job.model import RunPolicy
from runner.lane.control import Control
from runner.lane.lane import Lane, LaneTools
from runner.lane.late import Lookback
from runner.lane.pace import PrioritySlots
from runner.lane.reconcile import Reconciler
from runner.lane.scan import Scanner
from runner.project import Project
from runner.redact import Redactor
from runner.run.wait import Durations
from runner.run.webhook import Hints
from runner.store.download import DownloadLimits, Fetch
from runner.store.files import FileStore


@dataclass(frozen=True, slots=True)
class Tools(LaneTools):
    """`fetch` knows no key. Only an API on loopback (`is_loopback`) may have its results there."""

    project: Project
    fetch: Fetch
    files: FileStore
    redactor: Redactor
    is_loopback: bool
    limits: DownloadLimits = field(default_factory=DownloadLimits)
    hints: Hints | None = None
    """Waits that a webhook may end early; None where nobody listens."""


class Session:
    """Nothing in it could submit: that takes a `Submitter`, which only a run has."""

    def __init__(self, tools: Tools, control: Control, policy: RunPolicy, *, is_run: bool) -> None:
        """`is_run`: a run waits until unclear submits can be judged, a `collect` leaves them."""
        self.tools = tools
        self.control = control
        self.policy = replace(policy, poll=policy.poll.on_loopback()) if tools.is_loopback else policy
        # tasks that end together leave the service at once: new ones may come before their files are here
        self.moving = anyio.Lock()
        """Held while a file gives way to another: two tasks may want one path."""
        self.downloads = PrioritySlots(policy.downloads, line=policy.concurrency)
        self.durations = Durations(tools.commits, None if tools.is_loopback else tools.provider.usual_seconds)
        self.lane = Lane(tools, control, policy, self.downloads.room)
        control.when_stopped.append(self.lane.breaker.release)
        scanner = Scanner(self.lane)
        self.lookback = Lookback(self.lane, scanner)
        self.reconciler = Reconciler(self.lane, scanner, self.policy, is_run, self._is_quiet)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Beside what is done in here, unclear submits are reconciled, and a service that failed is asked
        whether it answers again.
        """
        async with anyio.create_task_group() as background:
            background.start_soon(self.lane.breaker.heal)
            background.start_soon(self.reconciler.run)
            yield
            background.cancel_scope.cancel()

    def _is_quiet(self) -> bool:
        return self.lane.in_flight.count == 0 and self.downloads.is_idle
