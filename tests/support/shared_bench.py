"""Machines that share one ledger in PostgreSQL, each with a clock of its own that only the test moves."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from runner.lane.lease import Lease, Leases
from runner.lane.machine import Machine
from runner.ledger.caps import Budgets
from runner.ledger.leases import LaneKey
from runner.ledger.ledger import Ledger
from runner.ledger.postgres import Address
from runner.ledger.shared import open_shared
from tests.support.ledger_rows import RUN
from tests.support.postgres import shared_cluster

LANE = LaneKey("mesh", RUN.origin, "key")
"""That of the attempts in `ledger_rows`."""


@pytest.fixture
def database() -> str:
    """The URL of an empty database."""
    return shared_cluster().make_schema()


def open_at(url: str) -> Ledger:
    return Ledger(open_shared(Address.parse(url)), Budgets())


@dataclass(slots=True)
class Host:
    """A process on a machine of its own. `clock` is in seconds since its start."""

    name: str
    ledger: Ledger
    clock: float = 1000.0
    told: list[str] = field(default_factory=list)
    leases: Leases = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.leases = self.start()

    def start(self) -> Leases:
        """A new process there: it knows nothing of what the one before held."""
        machine = Machine(boottime=lambda: self.clock, random=random.Random(1))
        self.leases = Leases(self.ledger, machine)
        return self.leases

    def lease(self, key: LaneKey = LANE) -> Lease:
        return self.leases.lease_of(key, "acme")

    def take(self, *, beside: Host | None = None, key: LaneKey = LANE, wait: float = 0.0) -> Lease:
        """Takes the lane, its clock moving on while it looks; `beside` is alive meanwhile. Raises
        LaneHeldError.
        """
        lease = self.lease(key)

        def sleep(seconds: float) -> None:
            self.clock += seconds
            if beside is not None:
                beside.clock += seconds
                beside.beat()

        self.leases.take_now(sleep, self.told.append, wait=wait)
        return lease

    def beat(self) -> None:
        """One heartbeat, without an event loop."""
        for lease in self.leases.leases:
            if lease.held:
                sent = self.clock
                lost = self.leases._renew(lease)
                if lost is None:
                    lease.renewed = sent
                else:
                    lease.lose(lost)


@contextlib.contextmanager
def hosts(url: str, *names: str) -> Iterator[list[Host]]:
    """Each with a connection of its own; the first one's ledger has the run of `ledger_rows`."""
    with contextlib.ExitStack() as stack:
        found = [Host(name, stack.enter_context(contextlib.closing(open_at(url)))) for name in names]
        for host in found:
            stack.callback(host.leases._disconnect)
        with found[0].ledger.transaction():
            found[0].ledger.begin_run(RUN)
        yield found
