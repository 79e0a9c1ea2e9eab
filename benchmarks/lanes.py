"""l: how much longer two services side by side take than one of them alone, at real sandboxes.

Each has as many tasks, and as many at once. The time is from the start of the run to the last video of the
service that all runs have; in the third kind the other service answers 503 to everything.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from statistics import median

from benchmarks.measure import Figure, run
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where

HOUSE = """\
version: 1
accounts:
  other: {{provider: mesh, base_url: "{other}"}}
  timed: {{provider: mesh, base_url: "{timed}"}}
"""
JOB = """\
version: 1
name: bench
samples: {tasks}
request: {{resolution: 480p, ratio: 16:9, duration: 4}}
content: [{{type: text, text: a teapot}}]
output: out/${{{{ model }}}}-${{{{ sample }}}}.mp4
run: {{concurrency: {at_once}, timeout: 1m, poll: {{first: 100ms, min: 100ms, max: 100ms}}}}
models:
"""
MODEL = "  - {{id: byteplus/seedance-1-0-pro, at: {at}, name: {at}}}\n"


def measure(*, tasks: int, at_once: int, seconds: float, runs: int) -> list[Figure]:
    """`seconds` is what each task takes at its service."""
    ratios: dict[str, list[float]] = {"two lanes": [], "beside a lane that answers 503": []}
    for _ in range(runs):
        alone = _once(["timed"], tasks, at_once, seconds)
        both = _once(["other", "timed"], tasks, at_once, seconds)
        beside = _once(["other", "timed"], tasks, at_once, seconds, is_down=True)
        for name, took in zip(ratios, (both, beside), strict=True):
            ratios[name].append(took / alone)
    what = f"{tasks} tasks each, {at_once} at once, median of {runs} pairs"
    return [
        Figure("l", f"time over that of one lane alone, {name} ({what})", median(found), most, True)
        for (name, found), most in zip(ratios.items(), (1.15, 1.05), strict=True)
    ]


def _once(
    accounts: Sequence[str], tasks: int, at_once: int, seconds: float, *, is_down: bool = False
) -> float:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = Path(folder)
        config = SandboxConfig(latency=(seconds, seconds), scale=0.05)
        servers = {name: stack.enter_context(SandboxServer(config)) for name in ("other", "timed")}
        if is_down:
            for where in (Where.SUBMIT, Where.GET, Where.LIST):
                servers["other"].faults.add(Fault(where=where, kind=Kind.ANSWER, status=503, times=None))
        urls = {name: server.url for name, server in servers.items()}
        (place / ".callsheet").mkdir()
        (place / "callsheet.yaml").write_text(HOUSE.format(**urls), encoding="utf-8")
        models = "".join(MODEL.format(at=each) for each in accounts)
        text = JOB.format(tasks=tasks, at_once=at_once) + models
        (place / "job.yaml").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "runner", "-q", "run", "job.yaml"]
        run(command, cwd=place, check=not is_down)
        return _seconds(place / "runs" / "latest" / "events.jsonl")


def _seconds(log: Path) -> float:
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    ends = [each["at"] for each in events if each["event"] == "task.done" and each["account"] == "timed"]
    return (datetime.fromisoformat(ends[-1]) - datetime.fromisoformat(events[0]["at"])).total_seconds()
