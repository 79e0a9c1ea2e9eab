"""a: CPU and wall time of tasks through submit, one look and a download of 1 MB; h: of 20 KB."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Cost, Figure, paired, ratio, run, served, serving

JOB = """\
version: 1
name: bench
models: [byteplus/seedance-1-0-pro]
seeds: 1..{tasks}
request: {{resolution: 480p, ratio: 16:9, duration: 4}}
content:
  - type: text
    text: a teapot
output: out/s${{{{ seed }}}}.mp4
run: {{concurrency: {in_flight}, poll: {{first: 1ms, min: 1ms, max: 50ms}}}}
"""


WARM_UP = 50
"""Tasks of each contender before anything is measured: code compiled, pages in memory."""

RIVALS = {
    "plain httpx": ["plain_httpx", "httpx"],
    "an httpx2 loop": ["plain_httpx", "httpx2"],
    "raw aiohttp": ["raw_aiohttp"],
}


@dataclass(frozen=True, slots=True)
class Targets:
    """By rival: tasks per CPU second, at least; wall time, at most."""

    cpu: Mapping[str, float]
    wall: Mapping[str, float]


TARGETS: Mapping[tuple[str, int], Targets] = {
    ("a", 32): Targets(
        {"plain httpx": 1.6, "an httpx2 loop": 0.75, "raw aiohttp": 0.3}, {"plain httpx": 1.0}
    ),
    ("a", 256): Targets({"plain httpx": 3.0, "an httpx2 loop": 0.75, "raw aiohttp": 0.3}, {}),
    ("h", 8): Targets({}, {"plain httpx": 1.1}),
}


def measure(part: str, *, size: int, tasks: int, in_flight: Sequence[int], runs: int) -> list[Figure]:
    """callsheet with everything that it does, against three scripts that do none of it."""
    figures: list[Figure] = []
    with serving("--size", str(size)) as url, tempfile.TemporaryDirectory() as folder:
        paired(_contenders(url, min(tasks, WARM_UP), 8), Path(folder), runs=1, warm_up=0)
        for at_once in in_flight:
            before = served(url)
            found = paired(_contenders(url, tasks, at_once), Path(folder), runs=runs, warm_up=0)
            after = served(url)
            # 3 requests make a task
            ceiling = (after.answered - before.answered) / 3 / (after.cpu - before.cpu)
            what = f"{tasks} tasks of {size / 1000:g} KB, {at_once} in flight"
            targets = TARGETS.get((part, at_once), Targets({}, {}))
            figures += _figures(part, found, tasks, what, targets)
            figures.append(Figure(part, f"tasks per CPU second, the server's ceiling ({what})", ceiling))
    return figures


def _contenders(url: str, tasks: int, in_flight: int) -> Mapping[str, Callable[[Path], Cost]]:
    def rival(arguments: Sequence[str]) -> Callable[[Path], Cost]:
        name, *library = arguments
        module = [sys.executable, "-m", f"benchmarks.rivals.{name}", *library, url]
        return lambda place: run([*module, place, str(tasks), str(in_flight)], cwd=place)

    return {
        "callsheet": lambda place: callsheet(url, place, tasks, in_flight),
        **{name: rival(arguments) for name, arguments in RIVALS.items()},
    }


def _figures(
    part: str, found: Mapping[str, list[Cost]], tasks: int, what: str, targets: Targets
) -> list[Figure]:
    cpus = {name: [cost.cpu for cost in costs] for name, costs in found.items()}
    walls = {name: [cost.wall for cost in costs] for name, costs in found.items()}
    cpu, wall = "tasks per CPU second", "wall time"
    figures = []
    for name in RIVALS:
        faster, slower = ratio(cpus[name], cpus["callsheet"]), ratio(walls["callsheet"], walls[name])
        figures += [
            Figure(part, f"{cpu}, of {name}'s ({what})", faster, targets.cpu.get(name)),
            Figure(part, f"{wall}, of {name}'s ({what})", slower, targets.wall.get(name), is_most=True),
        ]
    for name, spent in cpus.items():
        each = statistics.median(1000 * seconds / tasks for seconds in spent)
        figures.append(Figure(part, f"CPU milliseconds a task, {name} ({what})", each))
    return figures


def callsheet(
    url: str,
    place: Path,
    tasks: int,
    in_flight: int,
    *,
    before: Sequence[str] = (),
    prepare: Callable[[], None] | None = None,
) -> Cost:
    """A run of so many tasks, in a project of its own; `before` is what the command is given to."""
    (place / ".callsheet").mkdir()
    (place / "job.yaml").write_text(JOB.format(tasks=tasks, in_flight=in_flight), encoding="utf-8")
    command = [sys.executable, "-m", "runner", "-q", "run", "--base-url", url, "job.yaml"]
    return run([*before, *command], cwd=place, prepare=prepare)
