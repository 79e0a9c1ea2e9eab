"""c: peak memory and time to plan, and to start with everything done already, by number of tasks."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Cost, Figure, run, serving

MEMORY = 1.5
SECONDS = 5.0


def measure(*, sizes: Sequence[int], runs: int) -> list[Figure]:
    """`plan`, and `run` over finished tasks: the ledger read, every file looked at, the manifest written."""
    plans: dict[int, list[Cost]] = {size: [] for size in sizes}
    starts: dict[int, list[Cost]] = {size: [] for size in sizes}
    for size in sizes:
        with serving() as url, tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            run([sys.executable, "-m", "benchmarks.fill", root, str(size), url], cwd=root)
            callsheet = [sys.executable, "-m", "runner"]
            for _ in range(runs):
                plans[size].append(
                    run(
                        [*callsheet, "plan", "--base-url", url, "--output-format", "json", "job.yaml"],
                        cwd=root,
                    )
                )
                starts[size].append(run([*callsheet, "-q", "run", "--base-url", url, "job.yaml"], cwd=root))
    smallest, largest = min(sizes), max(sizes)
    figures: list[Figure] = []
    for verb, costs in (("plan", plans), ("start with all done", starts)):
        for size in sizes:
            took = statistics.median(cost.cpu for cost in costs[size])
            figures.append(
                Figure("c", f"{verb}, {size} tasks, CPU milliseconds a task", 1000.0 * took / size)
            )
        memory = {size: statistics.median(cost.memory for cost in costs[size]) for size in sizes}
        what = f"{verb}, peak memory at {largest} tasks of that at {smallest}"
        figures.append(Figure("c", what, memory[largest] / memory[smallest], MEMORY, is_most=True))
    took = statistics.median(cost.wall for cost in starts[largest])
    target = SECONDS if largest == 100_000 else None
    figures.append(Figure("c", f"start with {largest} tasks done, seconds", took, target, is_most=True))
    return figures
