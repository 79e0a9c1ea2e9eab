"""Functions for workers that do what their item says, and note which process did it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from runner.errors import StateError


def obey(folder: str, item: str) -> str:
    """`item`, and the process in which it was done as a file in `folder`."""
    (Path(folder) / str(os.getpid())).touch()
    word, _, rest = item.partition(" ")
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "sleep":
        time.sleep(float(rest))
    if word == "raise":
        raise RecursionError(rest)
    if word == "refuse":
        raise StateError(rest)
    if word == "blocked":
        return " ".join(
            sorted(signal.Signals(one).name for one in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        )
    if word == "environment":
        return " ".join(sorted(os.environ))
    return item


def processes(folder: Path) -> list[int]:
    """Those that have done something."""
    return [int(file.name) for file in folder.iterdir() if file.name.isdigit()]


def is_running(process: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
