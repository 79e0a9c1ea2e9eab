"""`--workers`: whose threads and processes do the work."""

from __future__ import annotations

import re
import sys
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.media.readers import Readers

if TYPE_CHECKING:
    from runner.work.dask import DaskWorkers
    from runner.work.processes import Processes

_ADDRESS = re.compile(r"(?:tcp|tls)://[^\s/@?#]+:\d{1,5}")
MOST_PROCESSES = 1024


@dataclass(frozen=True, slots=True)
class Workers:
    """`processes` of this machine, or those of the Dask scheduler at `address`."""

    processes: int = 0
    address: str = ""

    @classmethod
    def parse(cls, text: str) -> Workers:
        """Raises ValueError."""
        if text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_PROCESSES:
            return cls(processes=int(text))
        if _ADDRESS.fullmatch(text):
            return cls(address=text)
        raise ValueError(f"neither a number of processes, 1 to {MOST_PROCESSES}, nor a scheduler's address")


class Threads(Readers):
    """As many as there are cores, fewer for few files. Beside each is a process in which FFmpeg reads."""

    most_items = 1

    @property
    def slots(self) -> int:
        return self._max_workers

    def result(self, future: Future[Any]) -> Any:
        return future.result()


def hire(
    asked: Workers | None,
    base: Path,
    witness: Path,
    *,
    files: int = sys.maxsize,
    modules: tuple[str, ...] = (),
    waits: bool = False,
) -> Threads | Processes | DaskWorkers:
    """The crew that was asked for; threads for nothing asked, fewer for few `files`.

    A worker elsewhere has to have `modules`, and to see the file `witness` as we do. For work that `waits`
    for a network, a number is one of threads, which have this environment. Raises UsageError where
    Dask is not installed, WorkersError where its workers cannot be used.
    """
    if asked is None:
        return Threads(files)
    if not asked.address and waits:
        return Threads(threads=asked.processes)
    if not asked.address:
        # imported here: multiprocessing is 30 modules, and threads are enough for most
        from runner.work.processes import Processes

        return Processes(asked.processes)
    # imported here: what stands on an optional extra
    from runner.work.dask import DaskWorkers, Terms

    return DaskWorkers(asked.address, Terms.of(base, witness, modules))
