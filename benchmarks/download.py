"""e: one large download with hashing and checks, against `curl -o` and against httpx alone."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Cost, Figure, paired, ratio, run, serving


def measure(*, size: int, runs: int) -> list[Figure]:
    """Wall time of whole processes, their start included: `size` is what makes that small."""
    with serving("--size", str(size)) as url, tempfile.TemporaryDirectory() as folder:
        source = f"{url}/result/t-00000000.mp4"

        def fetch(module: str) -> object:
            def once(place: Path) -> Cost:
                return run([sys.executable, "-m", module, source, place / "clip.mp4"], cwd=place)

            return once

        contenders = {
            "callsheet": fetch("benchmarks.fetch"),
            "httpx": fetch("benchmarks.rivals.httpx_download"),
        }
        curl = shutil.which("curl")
        if curl:
            contenders["curl"] = lambda place: run([curl, "-sS", "-o", place / "clip.mp4", source], cwd=place)
        found = paired(contenders, Path(folder), runs=runs)  # type: ignore[arg-type]
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
            *(Figure("e", f"{speed}, pair {number}", pair) for number, pair in enumerate(pairs, 1)),
        ]
    return figures
