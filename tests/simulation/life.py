"""One simulated process: it counts its steps, and dies at one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio

from tests.simulation.loops import in_thread

MOST_GETS = 4000
"""More free requests than any process of a schedule has a reason for."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Killed(BaseException):
    """Stands for SIGKILL or a power cut: what runs after it changes nothing that anybody sees."""


class Life:
    """Steps are task switches and touches of the disk; at `dies_at` the process is gone.

    `at_death` is called at that very step: it keeps what a crash leaves. From then on every seam
    raises Killed, also where the engine is shielded from cancellation.
    """

    def __init__(self, dies_at: int | None, at_death: Callable[[], None]) -> None:
        self.steps = 0
        self.gets = 0
        self.is_blind = False
        """Whether it went on to submit though nothing was ever answered."""
        self.is_dead = False
        self.scope = anyio.CancelScope()
        self._dies_at = dies_at
        self._at_death = at_death
        self._died = anyio.Event()

    def step(self) -> None:
        self.steps += 1
        if self.steps == self._dies_at:
            self.die()

    def count_get(self) -> None:
        """One more free request; so many are a loop without an end, and nobody waits for that."""
        self.gets += 1
        if self.gets > MOST_GETS:
            self.die()
            self.check()

    def die(self) -> None:
        if not self.is_dead:
            self._at_death()
            self.is_dead = True
            self._died.set()
            self.scope.cancel()

    def check(self) -> None:
        if self.is_dead:
            raise Killed

    async def sleep(self, seconds: float) -> None:
        """Simulated seconds, ended early by death alone or by the caller's own cancellation."""
        self.check()
        with anyio.move_on_after(max(seconds, 0.0)):
            await self._died.wait()
        self.check()


class InlineThreads:
    """Blocking work in place, with a switch before and behind it as with a worker thread."""

    def __init__(self, life: Life) -> None:
        self._life = life

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        def work() -> T:
            self._life.check()
            return function(*args)

        result = await in_thread(work)
        self._life.check()
        return result
