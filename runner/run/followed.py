"""What earlier sessions have left at the service, taken care of beside all else."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from anyio.abc import TaskGroup

from runner.ledger.rows import AttemptRow
from runner.ledger.states import TaskState
from runner.run.task.session import Session
from runner.run.task.task import TaskLife


@dataclass(frozen=True, slots=True)
class Followed:
    """The lives of such attempts. `work` is where they run, and what goes on beside them."""

    work: TaskGroup

    async def take_up(self, attempts: Iterable[tuple[Session, AttemptRow]]) -> None:
        """Each in the lane that it was sent by; those in flight first."""
        for session, attempt in sorted(attempts, key=lambda each: each[1].state is TaskState.AMBIGUOUS):
            session.lane.gate.join(session.control)
            claim = session.shared.under_way.begin(attempt.identity)
            life = TaskLife(session, f"task {attempt.identity[:12]}", attempt.identity)
            if attempt.state is not TaskState.AMBIGUOUS:
                life.place = await session.lane.in_flight.place(is_paid=True)
            self.work.start_soon(_follow, life, attempt, claim)


async def _follow(life: TaskLife, attempt: AttemptRow, claim: AbstractContextManager[None]) -> None:
    with claim, life.session.control.contained(life.name, life.identity):
        await life.follow(attempt)
