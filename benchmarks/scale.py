"""c: peak memory and time to plan, to start with all tasks done but one, and to end, by number of tasks."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fill import write_job
from benchmarks.measure import Cost, Figure, run, served, serving

KIB_A_TASK = 2.0
SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Scale:
    """One size: `plan` and `run` as processes, and seconds from the start of `run` to its first submit."""

    tasks: int
    plan: Cost
    run: Cost
    start: float


def measure(*, sizes: Sequence[int]) -> list[Figure]:
    """Each size once, for 100,000 tasks take minutes to make.

    The run goes on with a ledger of so many finished tasks: it plans them, looks at each file, submits
    one more, and writes the manifest and the report.
    """
    scales = [_scale(size) for size in sizes]
    small, large = scales[0], scales[-1]
    figures: list[Figure] = []
    for scale in scales:
        what = f"{scale.tasks} tasks done"
        figures += [
            Figure("c", f"plan, {scale.tasks} tasks, CPU milliseconds a task", _each(scale.plan, scale)),
            Figure(
                "c", f"start to first submit, {what}, milliseconds a task", 1000 * scale.start / scale.tasks
            ),
            Figure("c", f"start to end, {what}, CPU milliseconds a task", _each(scale.run, scale)),
            Figure("c", f"start to end, {what}, peak MiB", scale.run.memory),
        ]
    grown = (large.plan.memory - small.plan.memory, large.run.memory - small.run.memory)
    # two small plans may take the same
    kib = [max(0.01, 1024 * mib / (large.tasks - small.tasks)) for mib in grown]
    against = f"KiB of memory a task, from {small.tasks} to {large.tasks}"
    is_whole = large.tasks == 100_000
    return [
        *figures,
        Figure("c", f"plan, {against}", kib[0], KIB_A_TASK, is_most=True),
        Figure("c", f"start to end, {against}", kib[1], KIB_A_TASK, is_most=True),
        Figure(
            "c",
            f"plan of {large.tasks} tasks as JSON, seconds",
            large.plan.wall,
            SECONDS if is_whole else None,
            is_most=True,
        ),
        Figure(
            "c",
            f"start to first submit, {large.tasks} tasks done, seconds",
            large.start,
            SECONDS if is_whole else None,
            is_most=True,
        ),
    ]


def _each(cost: Cost, scale: Scale) -> float:
    return 1000.0 * cost.cpu / scale.tasks


def _scale(tasks: int) -> Scale:
    with serving() as url, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        # one less than a plan may have, for one more is submitted
        run([sys.executable, "-m", "benchmarks.fill", root, str(tasks - 1), url], cwd=root)
        callsheet = [sys.executable, "-m", "runner"]
        plan = run([*callsheet, "plan", "--base-url", url, "--output-format", "json", "job.yaml"], cwd=root)
        write_job(root, tasks)
        began = time.time()
        whole = run([*callsheet, "-q", "run", "--base-url", url, "job.yaml"], cwd=root)
        return Scale(tasks, plan, whole, served(url).submitted_at - began)
