"""A Dask cluster on loopback: a scheduler and workers as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.command_process import CHECKOUT, environment
from tests.support.patience import wait_until

_DASK = (sys.executable, "-m", "dask")


@dataclass(frozen=True, slots=True)
class DaskCluster:
    """`address` is the scheduler's. Its nannies start a new worker where one dies."""

    address: str
    scheduler: int

    def stop_scheduler(self) -> None:
        os.kill(self.scheduler, signal.SIGKILL)


@contextlib.contextmanager
def dask_cluster(folder: Path, *, workers: int, **variables: str) -> Iterator[DaskCluster]:
    """Workers have one thread each, and these variables; one death is enough for Dask to give a call up."""
    told = folder / "scheduler.json"
    with contextlib.ExitStack() as running:
        started = _start(
            running,
            folder,
            *("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"),
            *("--scheduler-file", str(told)),
        )
        wait_until(lambda: _address(told) != "")
        address = _address(told)
        for _ in range(workers):
            _start(
                running,
                folder,
                *("worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard"),
                *("--local-directory", str(folder), "--death-timeout", "60"),
                **variables,
            )
        yield DaskCluster(address, started.pid)


def _address(told: Path) -> str:
    try:
        return str(json.loads(told.read_text())["address"])
    except (OSError, ValueError):
        return ""


def _start(
    running: contextlib.ExitStack, folder: Path, *arguments: str, **variables: str
) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [*_DASK, *arguments],
            cwd=CHECKOUT,
            env=environment(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0", **variables),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    running.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """With the workers of its nanny."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
