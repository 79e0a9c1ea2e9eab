"""g: how long it takes until the last of many tasks is here, over the best that is possible; requests used.

The durations are the published ones' kind, `SPEED` times shorter, and so are all intervals: callsheet's own
by hurry.py. The best possible is list scheduling: whenever a task ends, the next one begins at once.
"""

from __future__ import annotations

import heapq
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Figure, run, served, serving
from benchmarks.polling import draw, noticed, ours
from runner.run.task.wait import LOOK_PRICE, SPREAD, expect

SPEED = 50.0
FIXED = 5.0
SIZE = 20_000
WARM_UP = 40
"""Tasks of the first run."""

JOB = """\
version: 1
name: bench
models: [byteplus/seedance-1-0-pro]
seeds: {first}..{last}
request: {{resolution: 480p, ratio: 16:9, duration: 4}}
content:
  - type: text
    text: a teapot
output: out/s${{{{ seed }}}}.mp4
# the poll times are the defaults: written out, they hold on loopback too
run: {{concurrency: {at_once}, poll: {{min: 2s, max: 30s}}}}
"""

Contender = Callable[[str, Path, float], None]
"""Makes all tasks at the service with this URL; the last argument is the clocks' epoch."""


@dataclass(frozen=True, slots=True)
class Made:
    """Seconds from the first submit to the last request for a result, and all other requests."""

    makespan: float
    requests: int


def best_possible(durations: Sequence[float], at_once: int) -> float:
    """The makespan of list scheduling, in the order given, without any delay."""
    ends: list[float] = []
    for duration in durations:
        begins = heapq.heappop(ends) if len(ends) == at_once else 0.0
        heapq.heappush(ends, begins + duration)
    return max(ends)


def measure(*, tasks: int, at_once: Sequence[int], helpers_at: int) -> list[Figure]:
    """`helpers_at`: only so many at once are left to helpers that look far more often than every 5 s.

    callsheet has `WARM_UP` durations in its ledger, of the same kind, as after a first run.
    """
    figures: list[Figure] = []
    source = random.Random(1)
    before, durations = draw(source, WARM_UP), draw(source, tasks)
    for count in at_once:
        contenders = _contenders(tasks, count, helpers=count == helpers_at)
        with tempfile.TemporaryDirectory() as folder:
            found = _all(Path(folder), contenders, before, durations)
        best = best_possible(durations, count) / SPEED
        figures += _figures(found, best, f"{tasks} tasks, {count} at once")
        figures += _schedule_alone(before, durations, count)
    return figures


def _schedule_alone(before: Sequence[float], durations: Sequence[float], at_once: int) -> list[Figure]:
    """The schedule of looks in a world where nothing else takes time, so that a busy machine has no say."""
    schedule = ours(expect(before, SPREAD), LOOK_PRICE, seed=1)
    seen = [noticed(schedule, duration) for duration in durations]
    fixed = sum(1 + noticed(lambda age: FIXED, duration)[0] for duration in durations)
    over = best_possible([age for _, age in seen], at_once) / best_possible(durations, at_once)
    what = f"callsheet's schedule alone, calculated ({len(durations)} tasks, {at_once} at once)"
    used = sum(looks for looks, _ in seen) / fixed
    return [
        Figure("g", f"makespan over the best possible, {what}", over, 1.03, is_most=True),
        Figure("g", f"looks of a fixed 5 s loop's, {what}", used, 0.5, is_most=True),
    ]


def _contenders(tasks: int, count: int, *, helpers: bool) -> dict[str, Contender]:
    names = ["mesh", "getimg", *(["openai", "replicate"] if helpers else [])]

    def official(name: str) -> Contender:
        arguments = [str(tasks), str(count), str(SPEED)]
        module = [sys.executable, "-m", "benchmarks.rivals.official", name]
        return lambda url, place, epoch: _run([*module, url, str(place), *arguments], place)

    fixed = [sys.executable, "-m", "benchmarks.rivals.raw_aiohttp"]
    more = [str(tasks), str(count), str(FIXED / SPEED)]
    return {
        "callsheet": lambda url, place, epoch: _callsheet(url, place, epoch, tasks, count),
        "a fixed 5 s loop": lambda url, place, epoch: _run([*fixed, url, str(place), *more], place),
        **{f"{name}'s own client": official(name) for name in names},
    }


def _all(
    folder: Path, contenders: Mapping[str, Contender], before: Sequence[float], durations: Sequence[float]
) -> dict[str, Made]:
    """Beside each other: most of the time each of them waits."""
    with ThreadPoolExecutor(len(contenders)) as side_by_side:
        runs = {
            name: side_by_side.submit(
                _once, folder / str(number), contender, before if name == "callsheet" else [], durations
            )
            for number, (name, contender) in enumerate(contenders.items())
        }
        return {name: run.result() for name, run in runs.items()}


def _once(place: Path, contender: Contender, before: Sequence[float], durations: Sequence[float]) -> Made:
    place.mkdir()
    epoch = time.time()
    clock = ("--speed", str(SPEED), "--epoch", repr(epoch))
    tasks = ("--durations", json.dumps([*before, *durations]), "--uncounted", str(len(before)))
    with serving("--size", str(SIZE), *clock, *tasks) as url:
        contender(url, place, epoch)
        told = served(url)
    return Made(told.fetched_at - told.submitted_at, told.answered - told.counts["results"])


def _callsheet(url: str, place: Path, epoch: float, tasks: int, count: int) -> None:
    (place / ".callsheet").mkdir()
    hurry = [sys.executable, "-m", "benchmarks.hurry", str(SPEED), repr(epoch)]
    for first, last, at_once in ((1, WARM_UP, WARM_UP), (WARM_UP + 1, WARM_UP + tasks, count)):
        text = JOB.format(first=first, last=last, at_once=at_once)
        (place / "job.yaml").write_text(text, encoding="utf-8")
        _run([*hurry, "-q", "run", "--base-url", url, "job.yaml"], place)


def _run(command: Sequence[str], place: Path) -> None:
    run(command, cwd=place)


def _figures(found: Mapping[str, Made], best: float, what: str) -> list[Figure]:
    figures = []
    fixed = found["a fixed 5 s loop"].requests
    for name, made in found.items():
        ours = name == "callsheet"
        over, used = (1.03, 0.5) if ours else (None, None)
        figures += [
            Figure(
                "g", f"makespan over the best possible, {name} ({what})", made.makespan / best, over, True
            ),
            Figure(
                "g", f"requests of a fixed 5 s loop's, {name} ({what})", made.requests / fixed, used, True
            ),
        ]
    return figures
