"""Group commit: whoever comes first commits for all who wait, so one fsync serves every submit slot.

A caller's step is on the disk when `write` returns. Only intents that own a submit slot come here,
so a kill between the commit and the POST leaves at most as many unclear as there are slots.

In a file of this machine the statements run on the event loop and only the COMMIT, which waits for the
disk, in a worker thread: each statement lets go of the interpreter's lock, and in a thread it had to fight
for it again. Where each statement waits for another machine, all of a transaction runs in the thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import anyio

from runner.errors import StateError
from runner.lane.machine import Threads
from runner.ledger.ledger import Ledger
from runner.ledger.read import LedgerReader

T = TypeVar("T")

_MOST_REMOTE = 16
"""Steps of one transaction on another machine: each takes round trips, and all others wait for them."""


class Writes(Protocol):
    """The way to the ledger: of a run, or of one lane's work, each step of which is fenced."""

    @property
    def ledger(self) -> Ledger: ...

    async def write(self, action: Callable[[Ledger], T]) -> T:
        """Runs `action` in the next transaction and waits for the disk; raises what it raises."""
        ...

    def note(self, action: Callable[[Ledger], object]) -> None:
        """Joins the next commit without waiting: for what a poll would tell again."""
        ...

    async def flush(self) -> None:
        """Commits what `note` left."""
        ...

    async def read(self, query: Callable[[LedgerReader], T]) -> T:
        """Asks between two transactions; `query` must not hand out a cursor."""
        ...


@dataclass(slots=True)
class _Step(Generic[T]):
    action: Callable[[Ledger], T]
    result: T | None = None
    error: BaseException | None = None
    is_done: bool = False


class _Errand(Generic[T]):
    """Work on the ledger in its thread. asyncio's own cancellation knows no shield and leaves the thread at
    work: `end` keeps it from beginning, or waits for it, so that two threads never use one connection."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.is_done = False
        self._work = work
        self._claim = threading.Lock()
        self._ended = threading.Event()

    async def do(self, threads: Threads) -> T:
        try:
            return await threads.run(self._run)
        except BaseException:
            self.end()
            raise

    def _run(self) -> T:
        if not self._claim.acquire(blocking=False):
            raise StateError("the work on the ledger was cut off before it began")
        try:
            result = self._work()
            self.is_done = True
            return result
        finally:
            self._ended.set()

    def end(self) -> None:
        if not self._claim.acquire(blocking=False):
            self._ended.wait()


@dataclass(slots=True)
class Commits:
    """A run's only way to the ledger; `threads` keeps fsync off the event loop."""

    ledger: Ledger
    threads: Threads
    _waiting: list[_Step[object]] = field(default_factory=list)
    _turn: anyio.Lock = field(default_factory=anyio.Lock)
    """Not `fast_acquire`: taking it gives way once, and steps that come then join the commit."""

    async def write(self, action: Callable[[Ledger], T]) -> T:
        """Runs `action` in the next transaction and waits for the disk; raises what it raises.

        Shielded: a step that was handed in is never left half-known to its caller.
        """
        step: _Step[T] = _Step(action)
        self._waiting.append(step)  # type: ignore[arg-type]
        with anyio.CancelScope(shield=True):
            async with self._turn:
                while not step.is_done:
                    most = _MOST_REMOTE if self.ledger.is_remote else len(self._waiting)
                    batch, self._waiting = self._waiting[:most], self._waiting[most:]
                    await self._commit(batch)
        if step.error is not None:
            raise step.error
        return step.result  # type: ignore[return-value]

    def note(self, action: Callable[[Ledger], object]) -> None:
        """Joins the next commit without waiting: for what a poll would tell again."""
        self._waiting.append(_Step(action))

    async def flush(self) -> None:
        """Commits what `note` left."""
        await self.write(lambda ledger: None)

    async def read(self, query: Callable[[LedgerReader], T]) -> T:
        """Asks between two transactions; `query` must not hand out a cursor."""
        async with self._turn:
            if self.ledger.is_remote:
                return await _Errand(lambda: query(self.ledger.read)).do(self.threads)
            return query(self.ledger.read)

    async def _commit(self, batch: list[_Step[object]]) -> None:
        closing: _Errand[None] | None = None
        try:
            with contextlib.ExitStack() as stack:
                if self.ledger.is_remote:
                    closing = _Errand(lambda: self._transact(batch))
                else:
                    stack.enter_context(self.ledger.transaction())
                    for step in batch:
                        self._apply(step)
                    closing = _Errand(stack.close)
                await closing.do(self.threads)
        except BaseException as error:  # each caller gets it: nobody may think it was saved
            if closing is None or not closing.is_done:
                told = error if isinstance(error, Exception) else StateError("the commit was cut off")
                for step in batch:
                    step.error = step.error or told
            if not isinstance(error, Exception):
                raise
        finally:
            for step in batch:
                step.is_done = True

    def _transact(self, batch: list[_Step[object]]) -> None:
        with self.ledger.transaction():
            for step in batch:
                self._apply(step)

    def _apply(self, step: _Step[object]) -> None:
        try:
            with self.ledger.savepoint():
                step.result = step.action(self.ledger)
        except Exception as error:  # belongs to this step's caller alone
            step.error = error
