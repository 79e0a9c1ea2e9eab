"""Processes of this machine, each with a thread of ours that gives it calls."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from runner.errors import StateError
from runner.media.readers import KEPT_VARIABLES, kill_readers
from runner.work.crew import WorkerDiedError

_ITEMS_A_CALL = 32
"""A call costs 0.3 ms, and one small file 2."""
_SECONDS_TO_END = 1.0


class Processes:
    """A crew of `slots` processes. One that dies costs its call alone, and is made anew for the next.

    They have no keys in their environment. Python 3.11's ProcessPoolExecutor is not used: where one process
    dies while another starts, it waits for ever.
    """

    most_items = _ITEMS_A_CALL

    def __init__(self, slots: int) -> None:
        # as it starts, it unblocks what `submit` has blocked
        resource_tracker.ensure_running()
        self.slots = slots
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="process")
        self._own = threading.local()
        self._lock = threading.Lock()
        self._processes: set[_Process] = set()
        self._is_left = False

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        # threads and processes inherit what is blocked: Ctrl-C is the caller's to hear
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            return self._threads.submit(self._call, function, arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def result(self, future: Future[Any]) -> Any:
        return future.result()

    def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        process: _Process | None = getattr(self._own, "process", None)
        if process is None:
            process = self._own.process = self._start()
        try:
            return process.call(function, arguments)
        except WorkerDiedError:
            self._own.process = None
            with self._lock:
                self._processes.discard(process)
            process.end()
            raise

    def _start(self) -> _Process:
        with self._lock:
            if self._is_left:
                raise WorkerDiedError("the work was ended")
            process = _Process()
            self._processes.add(process)
            return process

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._is_left = True
            left = [*self._processes]
        for process in left:
            process.terminate()
        for process in left:
            process.end()
        self._threads.shutdown()


class _Process:
    """One process, which answers one call at a time."""

    def __init__(self) -> None:
        # spawn: a fork would copy the locks of our threads
        context = multiprocessing.get_context("spawn")
        self._calls, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with theirs:
            try:
                self._process.start()
            except OSError as error:
                self._calls.close()
                raise StateError(f"cannot start a process: {error.strerror}") from error

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """What `function` gives or raises there. Raises WorkerDiedError."""
        try:
            self._calls.send((function, arguments))
            is_done, found = self._calls.recv()
        except (EOFError, OSError) as error:
            raise WorkerDiedError("the process that read it died, each time") from error
        if not is_done:
            raise found
        return found

    def terminate(self) -> None:
        self._process.terminate()

    def end(self) -> None:
        self._process.join(_SECONDS_TO_END)
        self._process.kill()
        self._process.join()


def _serve(calls: Connection) -> None:
    """All that a process does."""
    for name in os.environ.keys() - KEPT_VARIABLES:
        del os.environ[name]
    signal.signal(signal.SIGTERM, lambda *_: _end())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        function, arguments = calls.recv()
        try:
            answer = True, function(*arguments)
        except Exception as error:
            answer = False, error
        calls.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _end()


def _end() -> None:
    kill_readers()
    os._exit(1)
