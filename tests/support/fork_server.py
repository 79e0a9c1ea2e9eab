"""Serves `python -m runner` from a process that has imported it: anew, that costs half a second of CPU.

Each call is a process of its own, with its own streams, environment and working directory.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time
from pathlib import Path

from runner.cli.main import VERBS

_LATE = (
    "anyio._backends._asyncio",
    "av",
    "runner.assemble",
    "runner.sandbox.serving.hosting",
    "uvicorn.protocols.http.h11_impl",
)
"""What the verbs import once they need it."""


def serve_forks(channel: socket.socket) -> None:
    """Until the other end is closed. A request is JSON with the words, the environment and the directory, and
    four descriptors: the child's streams, and where its number and its exit status are written.
    """
    for verb in VERBS.values():
        importlib.import_module(f"runner.cli.verbs.{verb.module}")
    for name in _LATE:
        importlib.import_module(name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "what another thread holds a fork never gets"
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 1 << 20, 4)
        if not message:
            return
        if os.fork() == 0:
            channel.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            *streams, status = descriptors
            if child := os.fork():
                _wait_for(child, streams, status)
            os.close(status)
            _become(json.loads(message), streams)
        for descriptor in descriptors:
            os.close(descriptor)


def _wait_for(child: int, streams: list[int], status: int) -> None:
    for stream in streams:
        os.close(stream)
    os.write(status, f"{child}\n".encode())
    _, ended = os.waitpid(child, 0)
    os.write(status, f"{os.waitstatus_to_exitcode(ended)}\n".encode())
    os._exit(0)


def _become(request: dict[str, object], streams: list[int]) -> None:
    """The command itself; ends with SystemExit, as the command does."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    words, environment, directory = request["words"], request["environment"], request["directory"]
    assert isinstance(words, list)
    assert isinstance(environment, dict)
    assert isinstance(directory, str)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv[1:] = words
    runpy.run_module("runner", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve_forks(socket.socket(fileno=int(sys.argv[1])))
