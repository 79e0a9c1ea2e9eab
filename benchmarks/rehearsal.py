"""i: rehearsals, whole processes: with the embedded sandbox, and at one that serves beside them."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Cost, Figure, paired, run, serving

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
"""

SECONDS = 2.0


def measure(*, tasks: int, runs: int) -> list[Figure]:
    """Both render each video once, and the sandbox of its own keeps those of the run before."""
    with (
        serving("sandbox", "--latency", "0", module="runner") as url,
        tempfile.TemporaryDirectory() as folder,
    ):
        contenders: dict[str, Callable[[Path], Cost]] = {
            "--sandbox": lambda place: _rehearse(place, tasks, "--sandbox"),
            "at a sandbox that has rendered before": lambda place: _rehearse(place, tasks, "--base-url", url),
        }
        found = paired(contenders, Path(folder), runs=runs)
    figures = []
    for name, costs in found.items():
        what = f"rehearsal of {tasks} tasks, {name}"
        wall, cpu = (
            statistics.median(cost.wall for cost in costs),
            statistics.median(cost.cpu for cost in costs),
        )
        figures += [
            Figure("i", f"{what}, seconds", wall, SECONDS if tasks == 150 else None, is_most=True),
            Figure("i", f"{what}, CPU seconds", cpu),
        ]
    return figures


def _rehearse(place: Path, tasks: int, *service: str) -> Cost:
    (place / ".callsheet").mkdir()
    (place / "job.yaml").write_text(JOB.format(tasks=tasks), encoding="utf-8")
    return run([sys.executable, "-m", "runner", "-q", "run", *service, "job.yaml"], cwd=place)
