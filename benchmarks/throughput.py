"""a: tasks per CPU second and per wall second through submit, one look and a 1 MB download."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
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


def measure(*, tasks: int, in_flight: Sequence[int], runs: int) -> list[Figure]:
    """callsheet with everything that it does, against two scripts that do none of it."""
    figures: list[Figure] = []
    with serving() as url, tempfile.TemporaryDirectory() as folder:
        paired(_contenders(url, min(tasks, WARM_UP), 8), Path(folder), runs=1, warm_up=0)
        for at_once in in_flight:
            before = served(url)
            found = paired(_contenders(url, tasks, at_once), Path(folder), runs=runs, warm_up=0)
            after = served(url)
            # 3 requests make a task
            ceiling = (after.answered - before.answered) / 3 / (after.cpu - before.cpu)
            figures += _figures(found, tasks, f"{tasks} tasks, {at_once} in flight", at_once, ceiling)
    return figures


def _contenders(url: str, tasks: int, in_flight: int) -> Mapping[str, Callable[[Path], Cost]]:
    return {
        "callsheet": lambda place: _callsheet(url, place, tasks, in_flight),
        "httpx": lambda place: _rival("plain_httpx", url, place, tasks, in_flight),
        "aiohttp": lambda place: _rival("raw_aiohttp", url, place, tasks, in_flight),
    }


def _figures(
    found: Mapping[str, list[Cost]], tasks: int, what: str, in_flight: int, ceiling: float
) -> list[Figure]:
    cpus = {name: [cost.cpu for cost in costs] for name, costs in found.items()}
    walls = {name: [cost.wall for cost in costs] for name, costs in found.items()}
    per_second = {name: statistics.median(tasks / cpu for cpu in cpus[name]) for name in cpus}
    httpx_target = 3.0 if in_flight < 128 else 5.0
    ours = cpus["callsheet"]
    cpu, wall = "tasks per CPU second", "tasks per wall second"
    return [
        Figure("a", f"{cpu}, of plain httpx's ({what})", ratio(cpus["httpx"], ours), httpx_target),
        Figure("a", f"{cpu}, of raw aiohttp's ({what})", ratio(cpus["aiohttp"], ours), 0.35),
        Figure("a", f"{wall}, of plain httpx's ({what})", ratio(walls["httpx"], walls["callsheet"])),
        Figure("a", f"{wall}, of raw aiohttp's ({what})", ratio(walls["aiohttp"], walls["callsheet"])),
        *(Figure("a", f"{cpu}, {name} ({what})", value) for name, value in per_second.items()),
        Figure("a", f"{cpu}, the server's own ceiling on one core ({what})", ceiling),
    ]


def _callsheet(url: str, place: Path, tasks: int, in_flight: int) -> Cost:
    (place / ".callsheet").mkdir()
    (place / "job.yaml").write_text(JOB.format(tasks=tasks, in_flight=in_flight), encoding="utf-8")
    return run([sys.executable, "-m", "runner", "-q", "run", "--base-url", url, "job.yaml"], cwd=place)


def _rival(name: str, url: str, place: Path, tasks: int, in_flight: int) -> Cost:
    module = f"benchmarks.rivals.{name}"
    return run([sys.executable, "-m", module, url, place, str(tasks), str(in_flight)], cwd=place)
