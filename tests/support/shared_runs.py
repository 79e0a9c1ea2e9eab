"""Whole runs of machines that share one ledger: the real engine, PostgreSQL and sandbox."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace

from runner.assemble import RequestLimits, lanes_taken, open_lane, open_tools
from runner.http.access import Access, ApiKey
from runner.job.model import WebhookPolicy
from runner.lane.machine import Machine
from runner.ledger.leases import LaneHeldError, LaneKey
from runner.ledger.ledger import Ledger
from runner.project import Project, init_project
from runner.providers import every
from runner.providers.account import Account
from runner.providers.place import Place
from runner.run.lock import project_lock
from runner.run.run import Order
from tests.support.run_bench import RunBench
from tests.support.shared_bench import Host, open_at


@dataclass(slots=True)
class SharedBench(RunBench):
    """One machine: its root, and a clock for leases that only the test moves. `database` is the URL."""

    database: str = ""
    clock: float = 1000.0
    told: list[str] = field(default_factory=list)

    @property
    def project(self) -> Project:
        """For real: a rehearsal's ledger is shared with nobody."""
        return init_project(self.root)

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Ledger]:
        with project_lock(self.project), contextlib.closing(open_at(self.database)) as ledger:
            yield ledger

    @contextlib.asynccontextmanager
    async def order(
        self, ledger: Ledger, *, key: str | None = None, webhook: WebhookPolicy | None = None
    ) -> AsyncIterator[Order]:
        limits = RequestLimits(self.submit_limits, self.free_limits, self.limits)
        account = Account(self.provider, every()[self.provider])
        place = Place(account, self.project, self.url, self.url)
        access = Access(self.url, ApiKey.load(key or self.key, source="test"))
        machine = Machine(boottime=lambda: self.clock, random=random.Random())
        tools = open_tools(self.project, ledger, self._observe, [access.key], machine=machine, limits=limits)
        async with (
            open_lane(place, access, ledger, limits, leases=tools.leases) as lane,
            lanes_taken(replace(tools), 0.0, self.told.append),
        ):
            yield Order(tools, {account.name: lane})

    def lane_key(self, ledger: Ledger) -> LaneKey:
        key = ApiKey.load(self.key, source="test")
        return LaneKey(self.provider, self.url, key.fingerprint(ledger.salt))


@contextlib.contextmanager
def rival(bench: SharedBench) -> Iterator[Host]:
    """Another machine that takes the lane of `bench`, and drives nothing."""
    with contextlib.closing(open_at(bench.database)) as ledger:
        host = Host("rival", ledger)
        try:
            yield host
        finally:
            host.leases._disconnect()


def take_over(host: Host, bench: SharedBench) -> None:
    """Once `bench` has been silent for as long as that takes, by its own clock and the rival's."""
    while True:
        try:
            host.take(key=bench.lane_key(host.ledger))
        except LaneHeldError:  # its first heartbeat came only now
            host.start()
        else:
            bench.clock += 60.0
            return
