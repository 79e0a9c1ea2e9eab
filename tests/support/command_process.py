"""The command `callsheet` as a real process, from any working directory."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SECONDS = 120.0
"""Longer than any command takes, on the slowest machine."""

_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC")
"""How the variables begin that Python itself reads when it starts."""


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, with the checkout importable from everywhere."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), **changes}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "runner", *map(str, arguments)]


def callsheet(*arguments: str | Path, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs it to its end; `changes` are environment variables."""
    if sys.platform != "linux" or any(name.startswith(_AT_START) for name in changes):
        return subprocess.run(
            command(*arguments),
            cwd=cwd,
            env=environment(**changes),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    return _forks().call([str(word) for word in arguments], environment(**changes), cwd)


class _Forks:
    """The process of `fork_server`, which ends with this one."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
                cwd=CHECKOUT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._end)

    def call(
        self, words: list[str], variables: dict[str, str], cwd: Path
    ) -> subprocess.CompletedProcess[str]:
        """Raises subprocess.TimeoutExpired, after the process was killed."""
        request = json.dumps({"words": words, "environment": variables, "directory": os.fspath(cwd)})
        told, status = os.pipe()
        with (
            Path(os.devnull).open("rb") as stdin,
            os.fdopen(os.memfd_create("stdout"), "rb") as stdout,
            os.fdopen(os.memfd_create("stderr"), "rb") as stderr,
            os.fdopen(told) as answers,
        ):
            streams = [stream.fileno() for stream in (stdin, stdout, stderr)]
            try:
                socket.send_fds(self._channel, [request.encode()], [*streams, status])
            finally:
                os.close(status)
            if not select.select([answers], [], [], SECONDS)[0]:
                raise subprocess.TimeoutExpired(words, SECONDS)
            child = int(answers.readline())
            # where both lines came at once, the end of the pipe wakes it
            if not select.select([answers], [], [], SECONDS)[0]:
                os.kill(child, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, SECONDS)
            ended = int(answers.readline())
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess(words, ended, stdout.read().decode(), stderr.read().decode())

    def _end(self) -> None:
        self._channel.close()
        self._process.wait()


@functools.cache
def _forks() -> _Forks:
    return _Forks()
