"""Not part of the table, for they say something of callsheet alone. u: very many tasks at once with few files
open. s: system calls and context switches of a run.
"""

from __future__ import annotations

import re
import resource
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Figure, serving
from benchmarks.throughput import callsheet

SMALL = 20_000
OFTEN = 8
"""So many kinds of system calls are told one by one, and those that wait for the disk."""

SYNCS = ("fsync", "fdatasync")

_ROW = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", re.MULTILINE)


def measure_crowd(*, tasks: int, in_flight: int, open_files: int) -> list[Figure]:
    """One run, on a machine that may do something else: CPU time and memory count."""

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))

    with serving("--size", str(SMALL)) as url, tempfile.TemporaryDirectory() as folder:
        cost = callsheet(url, Path(folder), tasks, in_flight, prepare=few_files)
    what = f"{tasks} tasks of {SMALL / 1000:g} KB, {in_flight} in flight, {open_files} files open at most"
    return [
        Figure("u", f"CPU seconds ({what})", cost.cpu),
        Figure("u", f"seconds ({what})", cost.wall),
        Figure("u", f"peak MiB ({what})", cost.memory),
    ]


def measure_switches(*, tasks: int, in_flight: int) -> list[Figure]:
    """One run as it is, for its context switches, and one under `strace -c -f`, where there is one."""
    what = f"{tasks} tasks, {in_flight} in flight"
    with serving() as url, tempfile.TemporaryDirectory() as folder:
        plain, traced = Path(folder, "plain"), Path(folder, "traced")
        plain.mkdir()
        traced.mkdir()
        cost = callsheet(url, plain, tasks, in_flight)
        figures = [
            Figure("s", f"voluntary context switches a task ({what})", cost.waits / tasks),
            Figure("s", f"involuntary context switches a task ({what})", cost.preempted / tasks),
        ]
        strace = shutil.which("strace")
        if strace is None:
            print("no strace on PATH: no system calls are counted", file=sys.stderr)
            return figures
        table = Path(folder, "calls.txt")
        callsheet(url, traced, tasks, in_flight, before=[strace, "-c", "-f", "-o", str(table)])
        calls = {name: int(count) for count, name in _ROW.findall(table.read_text(encoding="utf-8"))}
    figures.append(Figure("s", f"system calls a task ({what})", calls["total"] / tasks))
    often = sorted(calls, key=lambda name: -calls[name])[1 : OFTEN + 1]
    figures += [
        Figure("s", f"{name} calls a task ({what})", calls[name] / tasks)
        for name in dict.fromkeys([*often, *SYNCS])
        if name in calls
    ]
    return figures
