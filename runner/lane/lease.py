"""The lease of each lane that this process drives, where several machines share one ledger.

A lane is one process's at a time, by three rules. Each write there begins with its fence, so that whoever
was taken over can write nothing more. Each paid POST asks a guard as its last act before the first byte: the
last renewal that was answered was sent less than GUARD seconds ago. And nobody takes a lane over before its
counter has stood still for TAKEOVER seconds, unless a lock proves that its driver has ended. All times are by
this machine's own clock, which goes on while it sleeps.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import anyio

from runner.errors import StateError
from runner.lane.commits import Writes
from runner.lane.machine import Machine
from runner.ledger.leases import Driver, LaneHeldError, LaneKey, LeaseRow, LeaseTable
from runner.ledger.ledger import Ledger
from runner.ledger.read import LedgerReader
from runner.ledger.states import AWAITED, TaskState
from runner.redact import printable
from runner.times import duration_words

T = TypeVar("T")

HEARTBEAT = 5.0
"""Seconds between two renewals."""

GUARD = 20.0
"""Seconds from before the last answered renewal was sent in which a POST may begin."""

TAKEOVER = 60.0
"""Seconds for which a counter has to stand still before another process takes the lane over."""

PATIENCE = GUARD + HEARTBEAT
"""Seconds for which it has to stand still before a person may sign off for a driver: its guard is over."""

LOOK = 1.0
"""Seconds between two looks at the leases of others."""


@dataclass(slots=True)
class _Held:
    """A row of ours. `is_unsure`: the answer to its last renewal was lost, so its counter is read anew."""

    key: LaneKey
    fence: int
    counter: int = 0
    is_unsure: bool = False


@dataclass(slots=True, eq=False)
class Lease:
    """One lane's in this process, with what is still under way there under earlier keys of the account.

    `refusal` says who drives the lane where that is not this process.
    """

    key: LaneKey
    account: str
    clock: Callable[[], float]
    earlier: tuple[LaneKey, ...] = ()
    """Lanes of other keys at the same service in which something is under way, and that no other lease of
    this process is for: what is under way there is fetched with the key that the account has now."""
    refusal: LaneHeldError | None = None
    when_lost: list[Callable[[LaneHeldError], None]] = field(default_factory=list)
    when_late: list[Callable[[bool], None]] = field(default_factory=list)
    """Told after each renewal whether it was answered too late to count on the next POST."""
    held: list[_Held] = field(default_factory=list)
    renewed: float = -math.inf
    """When, by the clock, the last renewal that was answered was sent."""

    def is_fresh(self) -> bool:
        """The guard: whether a POST may begin now."""
        return bool(self.held) and self.clock() - self.renewed < GUARD

    def covers(self, key_hash: str) -> bool:
        """Whether what was submitted under this key is ours to go on with."""
        return any(one.key.key_hash == key_hash for one in self.held)

    def check(self, ledger: Ledger) -> None:
        """The first statements of a write, in its transaction. Raises LaneHeldError, and nothing is saved."""
        assert ledger.leases is not None
        if not self.held:
            raise self.refusal or self.lost_to(None)
        for one in self.held:
            if not ledger.leases.is_held(one.key, one.fence):
                raise self.lost_to(ledger.leases.row(one.key))

    def lose(self, error: LaneHeldError) -> None:
        """Closes the lane for this process, once."""
        if self.held:
            self.held = []
            self.refusal = error
            for told in self.when_lost:
                told(error)

    def lost_to(self, row: LeaseRow | None) -> LaneHeldError:
        who = "to another process" if row is None else f"to {row.driver.words}"
        if row is not None and row.is_free and row.driver.is_this:
            who = f"when somebody signed off for {printable(row.host)}"
        return LaneHeldError(
            f"the account's lease was lost {who}: nothing more is sent or saved here", hint=_GO_ON
        )


_GO_ON = "run again when it is done: what it makes is fetched then, and not bought twice"


def held_by(row: LeaseRow) -> LaneHeldError:
    """That another process drives a lane, in words."""
    return LaneHeldError(
        f"the account is driven by {row.driver.words}; nothing was sent",
        hint="run again when it is done, or let this one wait: --wait 6h",
    )


@dataclass(slots=True)
class _Sight:
    """What was first seen of a lease that is another's, and since when its counter stands still."""

    row: LeaseRow
    since: float
    is_alive: bool = False


@dataclass(slots=True, eq=False)
class Leases:
    """Those of one process in one shared ledger: taken before anything is asked of a service, renewed beside
    the work, signed off at its end.
    """

    ledger: Ledger
    machine: Machine
    leases: list[Lease] = field(default_factory=list)
    _seen: dict[str, _Sight] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _renewing: LeaseTable | None = None
    """Over a connection of its own: a renewal waits behind nobody's writes."""

    def lease_of(self, key: LaneKey, account: str) -> Lease:
        """The lease of a lane, which is still to be taken."""
        found = next((one for one in self.leases if one.key == key), None)
        if found is None:
            found = Lease(key, account, self.machine.boottime)
            self.leases.append(found)
        return found

    async def take(self, wait: float, tell: Callable[[str], None]) -> None:
        """Takes each lane that can be had, and refuses the others. Whoever has fallen silent is watched for
        as long as a takeover needs; who is alive is waited for `wait` seconds.
        """
        began, run = self.machine.boottime(), self.machine.threads.run
        await run(self._find_earlier)
        while not await run(self._may_decide, began, wait, tell):  # noqa: ASYNC110  others' leases have no event
            await anyio.sleep(LOOK)
        await run(self._take_all)

    def take_now(
        self, sleep: Callable[[float], None], tell: Callable[[str], None], *, wait: float = 0.0
    ) -> None:
        """The same without an event loop. Raises LaneHeldError where the one lane is driven by another."""
        began = self.machine.boottime()
        self._find_earlier()
        while not self._may_decide(began, wait, tell):
            sleep(LOOK)
        self._take_all()
        for lease in self.leases:
            if lease.refusal is not None:
                raise lease.refusal

    def _may_decide(self, began: float, wait: float, tell: Callable[[str], None]) -> bool:
        """One look at the leases of others; whether all is known that decides who gets which lane."""
        own = {lease.key for lease in self.leases}
        wanted = own.union(*(lease.earlier for lease in self.leases))
        is_open = False
        rows = self._table.rows()
        # only now: a wait counts from behind the look that began it, however long that took
        now = self.machine.boottime()
        for row in rows:
            if row.is_free or row.key not in wanted:
                continue
            if row.lock in self._ended:
                self._tell_once(row, f"{row.words}: it has ended, and is taken over at once", tell)
                continue
            sight = self._look_at(row, now)
            if sight.is_alive:
                if row.key in own and now - began < wait:
                    self._tell_once(row, f"waits up to {duration_words(wait)} for {row.words}", tell)
                    is_open = True
            elif now - sight.since < TAKEOVER:
                if now - began > 2 * HEARTBEAT:
                    silent = f"it is silent, and taken over after {TAKEOVER:.0f} s without a sign of life"
                    self._tell_once(row, f"{row.words}: {silent}", tell)
                is_open = True
        return not is_open

    def _look_at(self, row: LeaseRow, now: float) -> _Sight:
        sight = self._seen.get(row.lane)
        if sight is None:
            sight = self._seen[row.lane] = _Sight(row, now)
        elif sight.row.beat != row.beat:
            sight.row, sight.since, sight.is_alive = row, now, True
        elif now - sight.since >= TAKEOVER:
            sight.is_alive = False
        return sight

    def _tell_once(self, row: LeaseRow, said: str, tell: Callable[[str], None]) -> None:
        if row.lane not in self._told:
            self._told.add(row.lane)
            tell(said)

    @property
    def _ended(self) -> frozenset[str]:
        """The locks of drivers that are proved to have ended."""
        return frozenset() if self.ledger.driver_lock is None else self.ledger.driver_lock.ended

    @property
    def _table(self) -> LeaseTable:
        assert self.ledger.leases is not None
        return self.ledger.leases

    def _take_all(self) -> None:
        for lease in self.leases:
            sent = self.machine.boottime()
            with self.ledger.transaction():
                own = self._take(lease.key, lease.account)
                earlier = () if own is None else lease.earlier
                also = [self._take(key, lease.account) for key in earlier]
                row = self._table.row(lease.key)
            if own is not None:
                lease.held, lease.renewed = [own, *(one for one in also if one is not None)], sent
            else:
                assert row is not None
                lease.refusal = held_by(row)

    def _take(self, key: LaneKey, account: str) -> _Held | None:
        """Takes a lane, and marks what its last driver left there, in one transaction: who takes it next must
        not believe that it was left in order.
        """
        at, sight = self.machine.wall(), self._seen.get(key.text)
        is_silent = sight is not None and self.machine.boottime() - sight.since >= TAKEOVER
        seen = sight.row.beat if sight is not None and is_silent else None
        lock = "" if self.ledger.driver_lock is None else self.ledger.driver_lock.own
        taken = self._table.take(key, account, Driver.this(at, lock), seen, self._ended)
        if taken is None:
            return None
        self.ledger.recover_lane(key, taken, at)
        return _Held(key, taken.fence)

    def _find_earlier(self) -> None:
        taken = {lease.key for lease in self.leases}
        for lease in self.leases:
            key = lease.key
            found = self.ledger.read.in_state(
                TaskState.INTENDED, *AWAITED, origin=key.origin, provider=key.provider
            )
            keys = dict.fromkeys(replace(key, key_hash=attempt.key_hash) for attempt in found)
            lease.earlier = tuple(one for one in keys if one not in taken)
            taken |= {*keys}

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Renews them for as long as this is open, and signs them off then, however it ends."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep)
                yield
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self.machine.threads.run(self.sign_off)

    async def _keep(self) -> None:
        while True:
            began = self.machine.boottime()
            await self.beat()
            await anyio.sleep(max(LOOK, HEARTBEAT - (self.machine.boottime() - began)))

    async def beat(self) -> None:
        """One renewal of each lease that is ours; what cannot be renewed is tried again, until its guard
        refuses and somebody has taken it over.
        """
        for lease in [one for one in self.leases if one.held]:
            sent = self.machine.boottime()
            try:
                lost = await self.machine.threads.run(self._renew, lease)
            except StateError:
                pass
            else:
                if lost is not None:
                    lease.lose(lost)
                    continue
                lease.renewed = sent
            for told in lease.when_late:
                told(self.machine.boottime() - lease.renewed > 2 * HEARTBEAT)

    def _renew(self, lease: Lease) -> LaneHeldError | None:
        """Why the lease is lost; None where all of it is renewed. Raises StateError where nobody can say."""
        try:
            if self._renewing is None:
                self._renewing = self._table.another()
            for one in lease.held:
                if not _renewed(self._renewing, one):
                    return lease.lost_to(self._renewing.row(one.key))
        except StateError:
            self._disconnect()
            raise
        return None

    def _disconnect(self) -> None:
        table, self._renewing = self._renewing, None
        if table is not None:
            table.close()

    def sign_off(self) -> None:
        """Each lane in which no intent stands whose outcome nobody knows; the others are taken over once they
        have been silent for long enough.
        """
        self._disconnect()
        for lease in self.leases:
            held, lease.held = lease.held, []
            for one in held:
                try:
                    with self.ledger.transaction():
                        self._table.sign_off(one.key, one.fence)
                except StateError:
                    continue  # the database is gone: to the others this machine is silent then


def _renewed(table: LeaseTable, one: _Held) -> bool:
    """Whether one more heartbeat of a row was written; False where it is no longer ours."""
    if one.is_unsure:
        row = table.row(one.key)
        if row is None or (row.fence, row.ledger_id) != (one.fence, table.ledger_id):
            return False
        one.counter = row.counter
    one.is_unsure = True
    if not table.renew(one.key, one.fence, one.counter):
        # taken over; or a renewal before this one, whose answer was lost, came only now
        return _renewed(table, one)
    one.counter, one.is_unsure = one.counter + 1, False
    return True


@contextmanager
def driven_by_hand(
    ledger: Ledger, key: LaneKey, account: str, *, tell: Callable[[str], None], wait: float = 0.0
) -> Iterator[Callable[[Ledger], None]]:
    """The lane is this process's for a person's answer; gives the fence with which each write begins.

    Raises LaneHeldError where another machine drives it.
    """
    if ledger.leases is None:
        yield lambda _ledger: None
        return
    leases = Leases(ledger, Machine())
    lease = leases.lease_of(key, account)
    try:
        leases.take_now(time.sleep, tell, wait=wait)
    except LaneHeldError as error:
        raise LaneHeldError(error.message, hint="say it there, or try again when it is done") from error
    try:
        yield lease.check
    finally:
        leases.sign_off()


def sign_off_host(
    ledger: Ledger, host: str, *, clock: Callable[[], float], sleep: Callable[[float], None]
) -> list[LeaseRow]:
    """Signs off every lane that a host drives, by a person's word that it has ended. Raises LaneHeldError
    where it gives a sign of life meanwhile.
    """
    table = ledger.leases
    assert table is not None
    found = [row for row in table.rows() if row.host == host and not row.is_free]
    began = clock()  # behind the look, however long that took
    while found and clock() - began < PATIENCE:
        sleep(LOOK)
        _check_is_silent(found, table)
    with ledger.transaction():
        signed = [row for row in found if table.sign_off_for(row)]
        _check_is_silent([row for row in found if row not in signed], table)
    return signed


def _check_is_silent(found: list[LeaseRow], table: LeaseTable) -> None:
    now = {row.lane: row for row in table.rows() if not row.is_free}
    for row in found:
        if row.lane in now and now[row.lane].beat != row.beat:
            raise LaneHeldError(
                f"{row.words}: it is alive; nothing was changed",
                hint="end it there: Ctrl-C, or kill its process without -9, signs off by itself",
            )


@dataclass(frozen=True, slots=True)
class FencedWrites:
    """The ledger for the work of one lane: each step is written only while the lease is ours.

    Raises LaneHeldError into a step where it is not, and closes the lane.
    """

    commits: Writes
    lease: Lease

    @property
    def ledger(self) -> Ledger:
        return self.commits.ledger

    async def write(self, action: Callable[[Ledger], T]) -> T:
        try:
            return await self.commits.write(self._fenced(action))
        except LaneHeldError as error:
            self.lease.lose(error)
            raise

    def note(self, action: Callable[[Ledger], object]) -> None:
        self.commits.note(self._fenced(action))

    async def flush(self) -> None:
        await self.commits.flush()

    async def read(self, query: Callable[[LedgerReader], T]) -> T:
        return await self.commits.read(query)

    def _fenced(self, action: Callable[[Ledger], T]) -> Callable[[Ledger], T]:
        def step(ledger: Ledger) -> T:
            self.lease.check(ledger)
            return action(ledger)

        return step
