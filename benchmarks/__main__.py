"""How fast and how frugal callsheet is, beside what people would use instead.

Prints a table and then the same as JSON. Each figure is the median of paired runs where nothing else
is said, its warm-up dropped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks import (
    crowd,
    download,
    lanes,
    large_ledger,
    makespan,
    parts,
    polling,
    reading,
    rehearsal,
    scale,
    startup,
    throughput,
    writers,
)
from benchmarks.measure import Figure, machine

Bench = Callable[[], list[Figure]]

FULL: Mapping[str, Bench] = {
    "a": lambda: throughput.measure("a", size=1_000_000, tasks=2000, in_flight=(32, 256), runs=2),
    "b": lambda: polling.measure(tasks=3000),
    "c": lambda: scale.measure(sizes=(1000, 10_000, 100_000)),
    "d": lambda: startup.measure(runs=9),
    "e": lambda: download.measure(size=300_000_000, runs=5),
    "f": lambda: reading.measure(shots=8000, runs=5),
    "g": lambda: makespan.measure(tasks=200, at_once=(4, 10, 50), helpers_at=4),
    "h": lambda: throughput.measure("h", size=20_000, tasks=1000, in_flight=(8, 32), runs=3),
    "i": lambda: rehearsal.measure(tasks=150, runs=3),
    "l": lambda: lanes.measure(tasks=40, at_once=4, seconds=1.5, runs=5),
    "p": lambda: parts.measure(size=1_000_000, tasks=500),
}

ASKED_FOR: Mapping[str, Bench] = {
    "m": lambda: writers.measure_machines(tasks=16, at_once=4, seconds=6.0, runs=5),
    "q": lambda: large_ledger.measure(rows=(100_000, 1_000_000)),
    "w": lambda: writers.measure(
        lanes=(1, 10, 100), distances=(0.0, 0.001, 0.005, 0.02), machines=(2, 10), seconds=4
    ),
    "s": lambda: crowd.measure_switches(tasks=1000, in_flight=32),
    "u": lambda: crowd.measure_crowd(tasks=20_000, in_flight=2000, open_files=256),
}
"""Only by name."""

QUICK: Mapping[str, Bench] = {
    "a": lambda: throughput.measure("a", size=1_000_000, tasks=10, in_flight=(4,), runs=1),
    "b": lambda: polling.measure(tasks=30),
    "c": lambda: scale.measure(sizes=(10, 20)),
    "d": lambda: startup.measure(runs=1),
    "e": lambda: download.measure(size=2_000_000, runs=1),
    "f": lambda: reading.measure(shots=50, runs=1),
    "g": lambda: makespan.measure(tasks=6, at_once=(6,), helpers_at=6),
    "h": lambda: throughput.measure("h", size=20_000, tasks=10, in_flight=(4,), runs=1),
    "i": lambda: rehearsal.measure(tasks=3, runs=1),
    "l": lambda: lanes.measure(tasks=2, at_once=2, seconds=0.1, runs=1),
    "p": lambda: parts.measure(size=20_000, tasks=5),
    "m": lambda: writers.measure_machines(tasks=1, at_once=1, seconds=0.1, runs=1),
    "q": lambda: large_ledger.measure(rows=(300,), asked=1),
    "w": lambda: writers.measure(lanes=(2,), distances=(0.0, 0.001), machines=(2,), seconds=0.3),
    "s": lambda: crowd.measure_switches(tasks=5, in_flight=4),
    "u": lambda: crowd.measure_crowd(tasks=20, in_flight=10, open_files=256),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help="a to i, l and p, which are all without any, and m, q, s, u, w",
    )
    parser.add_argument("--quick", action="store_true", help="show that all runs; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the JSON goes instead of stdout")
    given = parser.parse_args()
    if unknown := set(given.parts) - QUICK.keys():
        parser.error(f"no such part: {' '.join(sorted(unknown))}")
    place = machine()
    print("machine: " + ", ".join(f"{name} {value}" for name, value in place.items()))
    figures: list[Figure] = []
    for name in given.parts or FULL:
        began = time.monotonic()
        found = (QUICK if given.quick else {**FULL, **ASKED_FOR})[name]()
        figures += found
        print(f"\n{name}, repeated by: scripts/bench {name}   (took {time.monotonic() - began:.0f} s)")
        for figure in found:
            print(_line(figure), flush=True)
    if len(given.parts) != 1:
        print("\nwhat has a target:")
        for figure in figures:
            if figure.target is not None:
                print(f"{figure.bench}  {_line(figure)}")
    told = {"machine": place, "quick": given.quick, "figures": [_entry(figure) for figure in figures]}
    text = json.dumps(told, indent=2)
    if given.json is None:
        print(f"\n{text}")
    else:
        given.json.write_text(f"{text}\n", encoding="utf-8")


def _entry(figure: Figure) -> dict[str, object]:
    return {**asdict(figure), "verdict": figure.verdict, "repeat_with": f"scripts/bench {figure.bench}"}


def _line(figure: Figure) -> str:
    bound = "" if figure.target is None else f"{'<=' if figure.is_most else '>='} {figure.target:g}"
    return f"{figure.value:10.3f}  {bound:8}  {figure.verdict:6}  {figure.what}"


if __name__ == "__main__":
    main()
