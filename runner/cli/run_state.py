"""Whether a run is at work, has finished, or was left: judged without the lock, from what it left behind."""

from __future__ import annotations

import enum
import time

from runner.ledger.rows import RunRow
from runner.record.folder import RunFolder
from runner.run.lock import is_holder_gone

ALIVE_WITHIN = 3600.0
"""Seconds after its last event in which a run counts as under way while its process lives.

A poll that finds nothing new is not an event, and a generation may wait in a queue for long. After this
time another process may have the process's number.
"""

_TAIL = 16_384
"""Bytes at the end of a log that hold its last line."""


class RunState(enum.StrEnum):
    FINISHED = "finished"
    UNDER_WAY = "under way"
    UNFINISHED = "unfinished"
    """`run` or `resume` goes on with it."""


def run_state(run: RunRow, folder: RunFolder) -> RunState:
    if run.finished_at is not None:
        return RunState.FINISHED
    return RunState.UNDER_WAY if _is_alive(folder) else RunState.UNFINISHED


def _is_alive(folder: RunFolder) -> bool:
    """Judged by its log and its process: taking the lock could keep a run that starts now from it."""
    seconds = seconds_since_last_event(folder)
    if seconds is None or seconds > ALIVE_WITHIN or is_holder_gone(folder.project):
        return False
    with folder.events.open("rb") as file:
        file.seek(max(0, folder.events.stat().st_size - _TAIL))
        return b'"event":"run.finished"' not in file.read().rstrip(b"\n").rpartition(b"\n")[2]


def seconds_since_last_event(folder: RunFolder) -> float | None:
    try:
        return max(0.0, time.time() - folder.events.stat().st_mtime)
    except OSError:
        return None
