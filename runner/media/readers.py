"""Threads that check files, each with a process beside it in which FFmpeg reads.

A process is started by `python -m`, not by multiprocessing, which would run the user's script in it again.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import runner
from runner.errors import StateError
from runner.media import pictures
from runner.media.pictures import MOST_SECONDS, Picture, Wanted

_FILES_A_PROCESS = 8
"""A start takes 0.12 s of CPU time, a poster 0.01 (480p) to 0.13 (5 s of 720p)."""
_MOST_ANSWER = 4 << 20
_SECONDS_TO_END = 5.0
"""From the end of a process's answers to its own."""
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "PYTHONHOME", "TMPDIR")
"""Of the environment; a key stands in no other process than ours."""
_COMMAND = (sys.executable, "-P", "-m", pictures.__name__)


class Readers(ThreadPoolExecutor):
    """An executor with a thread a core, fewer for few `files`, or `threads`; what it runs may call `read`.

    Leaving it drops what has not begun, and ends its processes.
    """

    def __init__(self, files: int = sys.maxsize, *, threads: int = 0) -> None:
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        super().__init__(
            threads or min(cores, 1 + files // _FILES_A_PROCESS),
            thread_name_prefix="reader",
            initializer=self._join,
        )
        self._own = threading.local()
        self._processes: list[_Process] = []
        self._lock = threading.Lock()
        self._trouble: StateError | None = None
        """Why no further process is started."""

    def _join(self) -> None:
        """In a new thread."""
        _of_thread.readers = self

    def read(self, file: BinaryIO, wanted: Wanted) -> Picture:
        """What FFmpeg makes of an open file; blocking. Raises StateError where FFmpeg cannot be started.

        A file over which its process ends is told as one that FFmpeg cannot read.
        """
        process: _Process | None = getattr(self._own, "process", None)
        if process is None or process.has_left():
            process = self._start()
        picture = process.ask(file, wanted)
        if picture is None and process.has_left(_SECONDS_TO_END):
            # asked nothing for long, it left as this file came
            process = self._start()
            picture = process.ask(file, wanted)
        if picture is None:
            self._own.process = None
            return Picture(why=process.ending())
        return picture

    def _start(self) -> _Process:
        with self._lock:
            if self._trouble is not None:
                raise self._trouble
            process = _Process()
            self._processes = [one for one in self._processes if not one.has_left()] + [process]
        try:
            process.wait_until_ready()
        except StateError as error:
            self._trouble = error
            raise
        self._own.process = process
        return process

    def kill(self) -> None:
        """Ends its processes; to be called where this one ends, in the handler of a signal too."""
        for process in self._processes:
            process.kill()

    def __exit__(self, *_: object) -> None:
        self.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._trouble = StateError("reading was ended")
        for process in self._processes:
            process.end()
        self.shutdown()


_of_thread = threading.local()


def read(file: BinaryIO, wanted: Wanted) -> Picture:
    """As the `read` of the Readers to which this thread belongs, or of this process."""
    readers: Readers = getattr(_of_thread, "readers", None) or _readers_of_process()
    return readers.read(file, wanted)


def kill_readers() -> None:
    """Ends the processes of this process' own Readers."""
    _readers_of_process().kill()


@functools.cache
def _readers_of_process() -> Readers:
    """For the threads that somebody else has made. Their processes leave when they are asked nothing."""
    return Readers()


class _Process:
    """One process that reads one file at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        # `-P` and the paths of this process: what is imported does not depend on the working directory
        paths = [str(Path(runner.__file__).parent.parent), *(path for path in sys.path if path)]
        with theirs:
            try:
                self._child = subprocess.Popen(  # noqa: S603  this interpreter, with a module of ours
                    _COMMAND,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={
                        **{name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
                        "PYTHONPATH": os.pathsep.join(paths),
                    },
                    process_group=0,  # a Ctrl-C is ours to hear
                )
            except OSError as error:
                ours.close()
                raise StateError(f"cannot start a process for FFmpeg: {error.strerror}") from error
        self._socket = ours
        self._answers = ours.makefile("rb")

    def wait_until_ready(self) -> None:
        if self._answer() is None:
            raise StateError(
                f"cannot start FFmpeg: {self.ending()}", hint=f"`{sys.executable} -c 'import av'` says why"
            )

    def ask(self, file: BinaryIO, wanted: Wanted) -> Picture | None:
        """What it says of an open file; None where it has ended, or says nothing that it should."""
        try:
            socket.send_fds(self._socket, [wanted.value], [file.fileno()])
        except OSError:
            return None
        match self._answer():
            case {"image": None, "why": str(why)}:
                return Picture(why=why)
            case {"image": str(image), "why": str(why)}:
                return Picture(base64.b64decode(image), why)
        return None

    def _answer(self) -> object:
        try:
            return json.loads(self._answers.readline(_MOST_ANSWER))
        except (OSError, ValueError):  # ValueError: nothing, or half a line
            return None

    def ending(self) -> str:
        """How the process ended over the file that it was given."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_SECONDS_TO_END)
        self.end()
        code = self._child.returncode
        if code == -signal.SIGALRM:
            return f"FFmpeg took more than {MOST_SECONDS} s to read the video"
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"FFmpeg crashed over the video ({how})"

    def has_left(self, seconds: float = 0.0) -> bool:
        """Whether it ended, or ends within so long, because it was asked nothing for long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)
        if self._child.returncode != 0:
            return False
        self.end()
        return True

    def kill(self) -> None:
        self._child.kill()

    def end(self) -> None:
        self._child.kill()
        self._child.wait()
        self._answers.close()
        self._socket.close()
