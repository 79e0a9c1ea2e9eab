"""Processes measured from outside, paired runs, and their medians."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took: seconds of wall and CPU time (user and system), peak memory in MiB, and how
    often it gave up a core by itself (`waits`) and was made to (`preempted`).
    """

    wall: float
    cpu: float
    memory: float
    waits: int
    preempted: int


def run(
    command: Sequence[str | Path], *, cwd: Path, check: bool = True, prepare: Callable[[], None] | None = None
) -> Cost:
    """Runs a process to its end and measures it, from its start to its last byte.

    `prepare` is called in the process before the command.
    """
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "MESHAPI_API_KEY": "rsk_benchmark"}
    # an installed program is compiled once, and not at each start
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    # a file and no pipe: a pipe that nobody reads while we wait would stop a talkative process
    with (cwd / "stderr.txt").open("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            preexec_fn=prepare,
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if check and process.returncode != 0:
            raise RuntimeError(f"{command} ended with {process.returncode}: {errors.read()[-2000:]}")
    # ru_maxrss: KiB on Linux, bytes on macOS (their getrusage(2))
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / unit, used.ru_nvcsw, used.ru_nivcsw)


@contextlib.contextmanager
def serving(*arguments: str, module: str = "benchmarks.server") -> Iterator[str]:
    """A service in a process of its own, the canned one by default; gives the URL that it prints first."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@dataclass(frozen=True, slots=True)
class Served:
    """What the service has used and done: CPU seconds, requests by their kind, and when (Unix seconds) the
    first submit and the last request for a result came.
    """

    cpu: float
    counts: Mapping[str, int]
    submitted_at: float
    fetched_at: float

    @property
    def answered(self) -> int:
        return sum(self.counts.values())


def served(url: str) -> Served:
    """The service's own account of itself."""
    with urllib.request.urlopen(f"{url}/bench") as answer:
        return Served(**json.load(answer))


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `target` is what it should at least be; at most, where `is_most`."""

    bench: str
    what: str
    value: float
    target: float | None = None
    is_most: bool = False

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        is_met = self.value <= self.target if self.is_most else self.value >= self.target
        return "met" if is_met else "MISSED"


def paired(
    contenders: Mapping[str, Callable[[Path], Cost]], folder: Path, *, runs: int, warm_up: int = 1
) -> dict[str, list[Cost]]:
    """Each contender's costs, run by run, each in a fresh folder; the first `warm_up` runs are dropped.

    They take turns, so that what else the machine does meets all of them alike. What a run leaves is cut to
    nothing and stays until the end: after a deletion ext4 looks for free inodes, which costs most whoever
    makes most files.
    """
    found: dict[str, list[Cost]] = {name: [] for name in contenders}
    for number in range(runs + warm_up):
        for name, measure in contenders.items():
            place = Path(tempfile.mkdtemp(dir=folder))
            cost = measure(place)
            for file in place.rglob("*"):
                if file.is_file():
                    os.truncate(file, 0)
            if number >= warm_up:
                found[name].append(cost)
    return found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of the pairs."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def machine() -> dict[str, str | int]:
    """Where the figures come from."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
