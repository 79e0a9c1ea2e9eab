"""d: what a start costs, against the bare interpreter and against one library."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import CHECKOUT, Cost, Figure, paired, ratio, run

NOWHERE = "http://127.0.0.1:9"
"""Nobody listens there: a job that is done asks nobody."""


def measure(*, runs: int) -> list[Figure]:
    """`--version`, `validate` of the quickstart, and `run` of a job whose 8 tasks are done."""
    python = sys.executable
    commands = {
        "version": [python, "-m", "runner", "--version"],
        "validate": [python, "-m", "runner", "validate", str(CHECKOUT / "jobs" / "quickstart.yaml")],
        "pass": [python, "-c", "pass"],
        "click": [python, "-c", "import click"],
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / ".callsheet").mkdir()
        validated = [*commands["validate"], "--root", folder]
        (Path(folder) / "job.yaml").write_bytes((CHECKOUT / "jobs" / "quickstart.yaml").read_bytes())
        commands["validate"] = [*validated[:4], str(Path(folder) / "job.yaml")]

        def measured(command: list[str]) -> object:
            def once(place: Path) -> Cost:
                return run(command, cwd=place)

            return once

        done = Path(folder) / "done"
        done.mkdir()
        run([python, "-m", "benchmarks.fill", done, "8", NOWHERE], cwd=done)
        commands["done"] = [
            python,
            "-m",
            "runner",
            "-q",
            "run",
            "--base-url",
            NOWHERE,
            str(done / "job.yaml"),
        ]

        contenders = {name: measured(command) for name, command in commands.items()}
        found = paired(contenders, Path(folder), runs=runs)  # type: ignore[arg-type]
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
