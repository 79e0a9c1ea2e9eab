"""d: what a start costs, against the bare interpreter and against one library."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import CHECKOUT, Cost, Figure, paired, ratio, run

NOWHERE = "http://127.0.0.1:9"
"""Nobody listens there: a job that is done asks nobody."""


def measure(*, runs: int) -> list[Figure]:
    """`--version`, `validate` of the quickstart, and `run` of a job whose 8 tasks are done."""
    python = sys.executable
    callsheet = [python, "-m", "runner"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / ".callsheet").mkdir()
        quickstart = root / "quickstart.yaml"
        quickstart.write_bytes((CHECKOUT / "jobs" / "quickstart.yaml").read_bytes())
        done = root / "done"
        done.mkdir()
        run([python, "-m", "benchmarks.fill", done, "8", NOWHERE], cwd=done)
        contenders = {
            "version": _process(*callsheet, "--version"),
            "validate": _process(*callsheet, "validate", quickstart),
            "pass": _process(python, "-c", "pass"),
            "click": _process(python, "-c", "import click"),
            "done": _process(*callsheet, "-q", "run", "--base-url", NOWHERE, done / "job.yaml"),
        }
        found = paired(contenders, root, runs=runs)
    walls = {name: [cost.wall for cost in costs] for name, costs in found.items()}
    return [
        Figure(
            "d",
            "`run` of a done job, of `python -c 'import click'`",
            ratio(walls["done"], walls["click"]),
            8.0,
            is_most=True,
        ),
        Figure("d", "`run` of a done job, seconds", statistics.median(walls["done"])),
        Figure(
            "d", "--version, of `python -c pass`", ratio(walls["version"], walls["pass"]), 2.0, is_most=True
        ),
        Figure(
            "d",
            "--version, of `python -c 'import click'`",
            ratio(walls["version"], walls["click"]),
            is_most=True,
        ),
        Figure(
            "d",
            "validate of the quickstart, seconds",
            statistics.median(walls["validate"]),
            0.5,
            is_most=True,
        ),
        Figure(
            "d",
            "validate, of `python -c 'import click'`",
            ratio(walls["validate"], walls["click"]),
            is_most=True,
        ),
    ]


def _process(*command: str | Path) -> Callable[[Path], Cost]:
    return lambda place: run(command, cwd=place)
