"""What earlier sessions have left at the service, taken care of beside all else."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow
from runner.ledger.states import IN_FLIGHT, TaskState
from runner.run.session import Session
from runner.run.task import TaskLife


async def left_at_the_service(session: Session, only: frozenset[str] | None = None) -> list[AttemptRow]:
    """Attempts in flight and then unclear ones, whatever run they are from; `only` are ids of attempts."""
    origin, provider = session.lane.origin, session.lane.provider.name

    def find(reader: LedgerReader) -> list[AttemptRow]:
        found = reader.in_state(*IN_FLIGHT, TaskState.AMBIGUOUS, origin=origin, provider=provider)
        left = [attempt for attempt in found if only is None or attempt.id in only]
        return sorted(left, key=lambda attempt: attempt.state is TaskState.AMBIGUOUS)

    left = await session.tools.commits.read(find)
    if unclear := sum(attempt.state is TaskState.AMBIGUOUS for attempt in left):
        session.tools.observe("run.unclear", {"tasks": unclear, "settle": session.policy.settle})
    return left


@asynccontextmanager
async def following(session: Session, left: Iterable[AttemptRow]) -> AsyncIterator[Followed]:
    """Takes care of what was `left`, and of what turns up late in the service's list, before and after
    what is done within.
    """
    async with anyio.create_task_group() as work:
        followed = Followed(session, work)
        await followed.take_up(left)
        # before anything is submitted: what is found now is not bought again
        await followed.take_up(await session.lookback.find())
        yield followed
    found = await session.lookback.find()
    async with anyio.create_task_group() as work:
        await Followed(session, work).take_up(found)


@dataclass(slots=True)
class Followed:
    """The lives of such attempts. `work` is where they run, and what goes on beside them."""

    session: Session
    work: TaskGroup
    _under_way: Counter[str] = field(default_factory=Counter)
    """Attempts by identity."""
    _ended: anyio.Event = field(default_factory=anyio.Event)

    async def take_up(self, attempts: Iterable[AttemptRow]) -> None:
        for attempt in attempts:
            self._under_way[attempt.identity] += 1
            life = TaskLife(self.session, f"task {attempt.identity[:12]}", attempt.identity)
            if attempt.state is not TaskState.AMBIGUOUS:
                life.place = await self.session.lane.in_flight.place(is_paid=True)
            self.work.start_soon(self._follow, life, attempt)

    def __contains__(self, identity: str) -> bool:
        return self._under_way[identity] > 0

    async def ended(self, identity: str) -> None:
        """Returns once none of a task's attempts is under way."""
        while identity in self:
            await self._ended.wait()

    async def _follow(self, life: TaskLife, attempt: AttemptRow) -> None:
        try:
            with self.session.control.contained(life.name, life.identity):
                await life.follow(attempt)
        finally:
            self._under_way[attempt.identity] -= 1
            ended, self._ended = self._ended, anyio.Event()
            ended.set()
