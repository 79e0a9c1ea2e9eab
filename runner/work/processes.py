"""A pool of this machine's processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from typing import Any

from runner.media.readers import KEPT_VARIABLES, kill_readers
from runner.work.crew import WorkerDiedError

_ITEMS_A_CALL = 32
"""A call costs 0.3 ms, and one small file 2."""
_SECONDS_TO_END = 1.0


class Processes:
    """A pool that is made anew when a process of it dies. Its processes have no keys in their environment."""

    most_items = _ITEMS_A_CALL
    loses_all = True

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._others = set(multiprocessing.active_children())
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        # spawn: a fork would copy the locks of our threads
        return ProcessPoolExecutor(
            self.slots, mp_context=multiprocessing.get_context("spawn"), initializer=_begin
        )

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        # a process inherits what is blocked: Ctrl-C is ours to hear
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            try:
                return self._pool.submit(function, *arguments)
            except (BrokenExecutor, ValueError, OSError):
                # the latter two: the pool breaks, and closes the pipes of a process that starts just then
                self._pool.shutdown(wait=True)
                self._pool = self._new()
                return self._pool.submit(function, *arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def result(self, future: Future[Any]) -> Any:
        try:
            return future.result()
        except BrokenExecutor as error:
            raise WorkerDiedError("the process that read it died, each time") from error

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        ours = set(multiprocessing.active_children()) - self._others
        for process in ours:
            process.terminate()
        for process in ours:
            process.join(_SECONDS_TO_END)
            process.kill()
        self._pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """In a new process."""
    for name in os.environ.keys() - KEPT_VARIABLES:
        del os.environ[name]
    signal.signal(signal.SIGTERM, lambda *_: _end())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _end()


def _end() -> None:
    kill_readers()
    os._exit(1)
