"""a: tasks per CPU second and per wall second through submit, one look and a 1 MB download."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Cost, Figure, paired, ratio, run, served, serving

JOB = """\
version: 1
name: bench
models: [byteplus/seedance-1-5-pro]
seeds: 1..{tasks}
request: {{resolution: 480p, ratio: 16:9, duration: 4}}
content:
  - type: text
    text: a teapot
output: out/s${{{{ seed }}}}.mp4
run: {{concurrency: {in_flight}, poll: {{first: 1ms, min: 1ms, max: 50ms}}}}
"""


def measure(*, tasks: int, in_flight: int, runs: int, warm_up: int = 1) -> list[Figure]:
    """callsheet with everything that it does, against two scripts that do none of it."""
    found: dict[str, list[Cost]] = {"callsheet": [], "httpx": [], "aiohttp": []}
    with serving() as url, tempfile.TemporaryDirectory() as folder:
        contenders: dict[str, Callable[[Path], Cost]] = {
            "callsheet": lambda place: _callsheet(url, place, tasks, in_flight),
            "httpx": lambda place: _rival("plain_httpx", url, place, tasks, in_flight),
            "aiohttp": lambda place: _rival("raw_aiohttp", url, place, tasks, in_flight),
        }
        before = served(url)
        found = paired(contenders, Path(folder), runs=runs, warm_up=warm_up)
        cpu, answered = (now - then for now, then in zip(served(url), before, strict=True))
    cpus = {name: [cost.cpu for cost in costs] for name, costs in found.items()}
    walls = {name: [cost.wall for cost in costs] for name, costs in found.items()}
    what = f"{tasks} tasks, {in_flight} in flight"
    httpx_target = 3.0 if in_flight < 128 else 5.0
    return [
        Figure(
            "a",
            f"tasks per CPU second, of plain httpx's ({what})",
            ratio(cpus["httpx"], cpus["callsheet"]),
            httpx_target,
        ),
        Figure(
            "a",
            f"tasks per CPU second, of raw aiohttp's ({what})",
            ratio(cpus["aiohttp"], cpus["callsheet"]),
            0.35,
        ),
        Figure(
            "a",
            f"tasks per wall second, of plain httpx's ({what})",
            ratio(walls["httpx"], walls["callsheet"]),
        ),
        Figure(
            "a",
            f"tasks per wall second, of raw aiohttp's ({what})",
            ratio(walls["aiohttp"], walls["callsheet"]),
        ),
        # 3 requests make a task: what one core of the server could do, of what aiohttp asked of it
        Figure(
            "a",
            f"the server's own ceiling, of raw aiohttp's tasks per CPU second ({what})",
            answered / 3 / cpu * min(cpus["aiohttp"]) / tasks,
        ),
    ]


def _callsheet(url: str, place: Path, tasks: int, in_flight: int) -> Cost:
    (place / ".callsheet").mkdir()
    (place / "job.yaml").write_text(JOB.format(tasks=tasks, in_flight=in_flight), encoding="utf-8")
    return run([sys.executable, "-m", "runner", "-q", "run", "--base-url", url, "job.yaml"], cwd=place)


def _rival(name: str, url: str, place: Path, tasks: int, in_flight: int) -> Cost:
    module = f"benchmarks.rivals.{name}"
    return run([sys.executable, "-m", module, url, place, str(tasks), str(in_flight)], cwd=place)
