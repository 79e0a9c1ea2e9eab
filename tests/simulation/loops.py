"""Simulated time on both backends: who runs next comes from a seed, and nothing ever waits for real.

trio brings its mock clock and a scheduler that can be seeded. asyncio has neither, so its loop here is
our own: time jumps to the next timer when nothing is ready, and tasks that are ready together go in an
order that the seed decides. No threads, no sockets, no signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import random
import weakref
from asyncio import events
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import trio
import trio._core._run as trio_scheduler
import trio.lowlevel
import trio.testing

T = TypeVar("T")
Step = Callable[[], None]


class Backend(StrEnum):
    TRIO = "trio"
    ASYNCIO = "asyncio"


def run(backend: Backend, seed: int, function: Callable[..., Awaitable[T]], *args: object) -> T:
    """Runs `function` from simulated second 0 to its end; the same seed decides the same."""
    if backend is Backend.TRIO:
        with _seeded_trio(seed):
            return trio.run(function, *args, clock=trio.testing.MockClock(autojump_threshold=0))
    return anyio.run(function, *args, backend="asyncio", backend_options={"loop_factory": lambda: Loop(seed)})


@contextmanager
def watched(step: Step) -> Iterator[None]:
    """Calls `step` before each turn of any task."""
    if (loop := _loop()) is not None:
        loop.watchers.append(step)
        try:
            yield
        finally:
            loop.watchers.remove(step)
        return
    instrument = _Steps(step)
    trio.lowlevel.add_instrument(instrument)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(instrument)


@contextmanager
def cancelled_after(seconds: float | None) -> Iterator[Callable[[], bool]]:
    """Cancels what runs in it after so many seconds, as the backend's own people do; gives whether it has.

    asyncio's way is a task's `cancel`, which no shield of anyio's holds off and which comes once.
    """
    if seconds is None:
        yield lambda: False
        return
    if (loop := _loop()) is None:
        with trio.move_on_after(seconds) as scope:
            yield lambda: scope.cancel_called
        return
    task = asyncio.current_task()
    assert task is not None
    cancelled = asyncio.Event()

    def cancel() -> None:
        cancelled.set()
        task.cancel()

    timer = loop.call_later(seconds, cancel)
    try:
        yield cancelled.is_set
    except asyncio.CancelledError:
        if not cancelled.is_set():
            raise
    finally:
        timer.cancel()
        if cancelled.is_set():
            task.uncancel()


async def in_thread(function: Callable[[], T]) -> T:
    """Blocking work as a worker thread does it: in one piece, a switch before it and one behind it.

    asyncio's own cancellation knows no shield: who waits goes on then, and the thread works all the same.
    """
    await anyio.lowlevel.checkpoint_if_cancelled()
    if (loop := _loop()) is None:
        await anyio.lowlevel.cancel_shielded_checkpoint()
        result = function()
        await anyio.lowlevel.cancel_shielded_checkpoint()
        return result
    done: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            found = function()
        except BaseException as error:
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(found)

    loop.call_soon(work)
    with anyio.CancelScope(shield=True):
        return await done


def _loop() -> Loop | None:
    loop = events._get_running_loop()
    return loop if isinstance(loop, Loop) else None


class _Steps(trio.abc.Instrument):
    def __init__(self, step: Step) -> None:
        self._step = step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._step()


@contextmanager
def _seeded_trio(seed: int) -> Iterator[None]:
    before = trio_scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    trio_scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio_scheduler._r.seed(seed)
    try:
        yield
    finally:
        trio_scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]


class StalledError(Exception):
    """Nothing is ready and no timer is set: on a real loop this would wait for ever."""


class Loop(asyncio.BaseEventLoop):
    """`watchers` are called before each turn of a task."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.watchers: list[Step] = []
        self._now = 0.0
        self._random = random.Random(f"loop {seed}")
        self._numbers = itertools.count()
        self._task_numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def time(self) -> float:
        return self._now

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task = super().create_task(coro, **options)
        self._task_numbers[task] = next(self._numbers)
        return task

    def _run_once(self) -> None:
        """One turn, as asyncio's: what became due, then all that was ready when it began."""
        if not self._ready and not self._stopping:
            self._jump()
        while self._scheduled and (self._scheduled[0]._cancelled or self._scheduled[0]._when <= self._now):
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                self._ready.append(handle)
        batch = self._in_turn()
        self._ready.clear()
        for handle, is_task in batch:
            if handle._cancelled:
                continue
            if is_task:
                for step in self.watchers:
                    step()
            handle._run()

    def _jump(self) -> None:
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        if not self._scheduled or self._scheduled[0]._when == math.inf:
            raise StalledError
        self._now = max(self._now, self._scheduled[0]._when)

    def _in_turn(self) -> list[tuple[Any, bool]]:
        """Tasks in an order of the seed's, among the places that tasks have; all else where it stands.

        anyio cancels tasks in the order of a set, which no seed decides: so their numbers come first.
        """
        batch: list[tuple[Any, bool]] = []
        turns: list[tuple[int, Any]] = []
        for handle in self._ready:
            number = self._number(handle)
            batch.append((handle, number is not None))
            if number is not None:
                turns.append((number, handle))
        if len(turns) > 1:
            turns.sort(key=lambda turn: turn[0])
            self._random.shuffle(turns)
            order = iter(turns)
            batch = [(next(order)[1], True) if is_task else (handle, False) for handle, is_task in batch]
        return batch

    def _number(self, handle: Any) -> int | None:
        owner = getattr(handle._callback, "__self__", None)
        return self._task_numbers.get(owner) if isinstance(owner, asyncio.Task) else None

    def _process_events(self, event_list: object) -> None:
        raise AssertionError("there are no sockets")

    def _write_to_self(self) -> None:
        """Nobody sleeps, so nobody has to be woken."""

    def run_in_executor(self, *args: Any) -> Any:
        raise AssertionError("there are no threads")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        # a warning of the interpreter's would only be printed: here it has to fail
        with contextlib.suppress(KeyError):
            raise context["exception"]
        raise RuntimeError(context["message"])
