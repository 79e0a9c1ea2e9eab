"""e: one large download with hashing and checks, against `curl -o` and against httpx alone."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import Cost, Figure, paired, ratio, run, serving


def measure(*, size: int, runs: int) -> list[Figure]:
    """Wall time of the download alone, for a run's process is up long before; of curl the whole process.

    Whole processes are told as well, without a target: most of ours is its start.
    """
    processes: dict[str, list[float]] = {}
    with serving("--size", str(size)) as url, tempfile.TemporaryDirectory() as folder:
        source = f"{url}/result/t-00000000.mp4"

        def fetch(module: str) -> Callable[[Path], Cost]:
            def once(place: Path) -> Cost:
                cost = run([sys.executable, "-m", module, source, place / "clip.mp4"], cwd=place)
                processes.setdefault(module, []).append(cost.wall)
                return replace(cost, wall=float((place / "clip.mp4.seconds").read_text()))

            return once

        contenders = {
            "callsheet": fetch("benchmarks.fetch"),
            "httpx": fetch("benchmarks.rivals.httpx_download"),
        }
        curl = shutil.which("curl")
        if curl:
            contenders["curl"] = lambda place: run([curl, "-sS", "-o", place / "clip.mp4", source], cwd=place)
        found = paired(contenders, Path(folder), runs=runs)
    walls = {name: [cost.wall for cost in costs] for name, costs in found.items()}
    what = f"{size / 1e6:.0f} MB"
    figures = [
        Figure("e", f"download of {what}, speed of httpx alone", ratio(walls["httpx"], walls["callsheet"]))
    ]
    if curl:
        pairs = [theirs / ours for theirs, ours in zip(walls["curl"], walls["callsheet"], strict=True)]
        speed = f"download of {what}, speed of curl"
        figures += [
            Figure("e", f"{speed}, the worst of {runs} pairs", min(pairs), 0.6),
            Figure("e", f"{speed}, median", statistics.median(pairs), 0.8),
            Figure("e", f"{speed}, whole processes", ratio(walls["curl"], processes["benchmarks.fetch"][1:])),
            *(Figure("e", f"{speed}, pair {number}", pair) for number, pair in enumerate(pairs, 1)),
        ]
    return figures
