"""`python -m benchmarks [--quick] [--only a,b]`: all benchmarks, a table, and JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks import download, polling, reading, scale, startup, throughput
from benchmarks.measure import Figure, machine

Bench = Callable[[], list[Figure]]

FULL: Mapping[str, Bench] = {
    "a": lambda: [
        *throughput.measure(tasks=2000, in_flight=32, runs=3),
        *throughput.measure(tasks=2000, in_flight=256, runs=3),
    ],
    "b": lambda: polling.measure(tasks=3000),
    "c": lambda: scale.measure(sizes=(1000, 10_000, 100_000), runs=3),
    "d": lambda: startup.measure(runs=9),
    "e": lambda: download.measure(size=300_000_000, runs=3),
    "f": lambda: reading.measure(shots=8000, runs=5),
}

QUICK: Mapping[str, Bench] = {
    "a": lambda: throughput.measure(tasks=10, in_flight=4, runs=1, warm_up=0),
    "b": lambda: polling.measure(tasks=30),
    "c": lambda: scale.measure(sizes=(10, 20), runs=1),
    "d": lambda: startup.measure(runs=1),
    "e": lambda: download.measure(size=2_000_000, runs=1),
    "f": lambda: reading.measure(shots=50, runs=1),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="show that everything runs; the figures mean nothing"
    )
    parser.add_argument("--only", default="a,b,c,d,e,f", help="benchmarks to run, as a,b")
    parser.add_argument("--json", type=Path, help="where the figures go")
    given = parser.parse_args()
    figures: list[Figure] = []
    for name in given.only.split(","):
        found = (QUICK if given.quick else FULL)[name]()
        figures += found
        for figure in found:
            print(_line(figure), flush=True)
    place = machine()
    print("machine: " + ", ".join(f"{name} {value}" for name, value in place.items()))
    if given.json is not None:
        told = {"machine": place, "quick": given.quick, "figures": [_entry(figure) for figure in figures]}
        given.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _entry(figure: Figure) -> dict[str, object]:
    command = f"scripts/bench --only {figure.bench}"
    return {**asdict(figure), "verdict": figure.verdict, "repeat_with": command}


def _line(figure: Figure) -> str:
    bound = "" if figure.target is None else f"{'<=' if figure.is_most else '>='} {figure.target:g}"
    return f"{figure.bench}  {figure.value:10.3f}  {bound:8}  {figure.verdict:6}  {figure.what}"


if __name__ == "__main__":
    main()
