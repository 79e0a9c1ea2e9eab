"""w: intents a second of 1, 10 and 100 lanes, in SQLite and in PostgreSQL at several distances, and of
several machines; m: how long two machines that drive a lane each take, of one that drives both.

A lane waits for its intent, as a submit does, and then makes the next one. All lanes of a machine share its
commits; each intent is fenced where the ledger is shared.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import anyio

from benchmarks.fill import write_job
from benchmarks.measure import CHECKOUT, Figure, serving
from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.lane.commits import Commits, Writes
from runner.lane.lease import FencedWrites, Lease, _Held
from runner.lane.machine import WorkerThreads, boottime
from runner.ledger.caps import Budgets, Caps
from runner.ledger.database import open_for_writing
from runner.ledger.leases import Driver, LaneKey
from runner.ledger.ledger import Ledger
from runner.ledger.postgres import Address
from runner.ledger.rows import Intent, RunRow
from runner.ledger.shared import open_shared
from runner.ledger.states import Reason
from runner.plan.plan import make_plan
from runner.plan.task import Task
from runner.sandbox import SandboxConfig, SandboxServer
from tests.support.postgres import Cluster

ORIGIN = "https://api.example.com"
A_MINUTE = 1000 / 60
"""Requests a second that one key allows."""


def measure(
    *, lanes: Sequence[int], distances: Sequence[float], machines: Sequence[int], seconds: float
) -> list[Figure]:
    """`distances` are round trips to PostgreSQL in seconds. Each figure is of `seconds` of writing."""
    cluster = Cluster.make()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        tasks = _tasks(Path(folder), 20_000)
        for number in lanes:
            file = Path(folder, f"{number}.db")
            rate = _rate(Ledger(open_for_writing(file), Budgets()), number, tasks, seconds)
            figures.append(_figure("SQLite", number, rate))
            for distance in distances:
                with ExitStack() as stack:
                    url = _far(cluster, distance, stack)
                    ledger = Ledger(open_shared(Address.parse(url)), Budgets())
                    where = _where(distance, ledger)
                    rate = _rate(ledger, number, tasks, seconds)
                figures.append(_figure(where, number, rate))
        for number in machines:
            for distance in distances:
                with ExitStack() as stack:
                    url = _far(cluster, distance, stack)
                    rate, where = _many(url, number, seconds, distance)
                what = f"{where}, {number} machines, a lane each"
                figures.append(Figure("w", f"intents a second in all, {what}", rate))
                print(f"{rate:10.1f}  {what}", flush=True)
    return figures


def _figure(where: str, lanes: int, rate: float) -> Figure:
    figure = Figure("w", f"intents a second, {where}, {lanes} lanes of one machine", rate)
    print(f"{rate:10.1f}  {figure.what}", flush=True)
    return figure


def _where(distance: float, ledger: Ledger) -> str:
    """With the round trip as it is: this machine has other work too."""
    took = []
    for _ in range(30):
        began = time.perf_counter()
        ledger.read.meta("schema")
        took.append(1000 * (time.perf_counter() - began))
    asked = f", {1000 * distance:.0f} asked for" if distance else ""
    return f"PostgreSQL with a round trip of {median(took):.1f} ms{asked}"


def _far(cluster: Cluster, distance: float, stack: ExitStack) -> str:
    url = cluster.make_schema()
    if not distance:
        return url
    port = stack.enter_context(serving(str(cluster.port), str(distance), module="benchmarks.delay"))
    return url.replace(f":{cluster.port}/", f":{port}/")


def _tasks(folder: Path, number: int) -> Sequence[Task]:
    job = load_job(write_job(folder, number), root=folder, options=LoadOptions(environ={}))
    return make_plan(job, origin=ORIGIN, run_date=RunDate.parse("2026-11-21+00:00")).tasks


def _rate(ledger: Ledger, lanes: int, tasks: Sequence[Task], seconds: float) -> float:
    return anyio.run(_write, ledger, lanes, tasks, seconds)


async def _write(ledger: Ledger, lanes: int, tasks: Sequence[Task], seconds: float) -> float:
    run = RunRow(secrets.token_hex(8), "a", "a", "d", "", "2026-11-21+00:00", "mesh", ORIGIN, 1.0, 2.0)
    commits = Commits(ledger, WorkerThreads())
    await commits.write(lambda ledger: ledger.begin_run(run))
    driven = [await _lane(commits, f"{os.getpid()}-{number}") for number in range(lanes)]
    waiting, made = iter(tasks), 0
    ends = time.monotonic() + seconds

    async def drive(writes: Writes, key: str) -> None:
        nonlocal made
        while time.monotonic() < ends and (task := next(waiting, None)) is not None:
            tag = made % 65_535 + 1
            intent = Intent(secrets.token_hex(16), Reason.RUN, "mesh", key, tag, "b" * 64, 1000.0)
            await writes.write(
                lambda ledger, task=task, intent=intent: ledger.intend(  # type: ignore[misc]
                    task, run.job_file, run.id, intent, Caps(), time.time()
                )
            )
            made += 1

    began = time.monotonic()
    async with anyio.create_task_group() as group:
        for lane in driven:
            group.start_soon(drive, *lane)
    took = time.monotonic() - began
    ledger.close()
    return made / took


async def _lane(commits: Commits, name: str) -> tuple[Writes, str]:
    """The way to the ledger of one lane, and its key."""
    key = LaneKey("mesh", ORIGIN, name)

    def take(ledger: Ledger) -> int:
        assert ledger.leases is not None
        taken = ledger.leases.take(key, "mesh", Driver.this(time.time()))
        assert taken is not None
        return taken.fence

    if commits.ledger.leases is None:
        return commits, name
    lease = Lease(key, "mesh", boottime)
    lease.held = [_Held(key, await commits.write(take))]
    return FencedWrites(commits, lease), name


def _many(url: str, machines: int, seconds: float, distance: float) -> tuple[float, str]:
    """Intents a second of so many processes with a lane each, and how far they are."""
    command = [sys.executable, "-m", "benchmarks.writers", str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "LEDGER": url}
    ledger = Ledger(open_shared(Address.parse(url)), Budgets())  # makes the tables
    where = _where(distance, ledger)
    ledger.close()
    processes = [
        subprocess.Popen([*command, str(number)], env=environment, stdout=subprocess.PIPE, text=True)
        for number in range(machines)
    ]
    return sum(float(process.communicate()[0]) for process in processes), where


JOB = """\
version: 1
name: {name}
samples: {tasks}
models: [{{id: byteplus/seedance-1-0-pro, at: {name}}}]
request: {{resolution: 480p, ratio: 16:9, duration: 4}}
content: [{{type: text, text: a teapot}}]
output: out/{name}-${{{{ sample }}}}.mp4
run: {{concurrency: {at_once}, timeout: 1m, poll: {{first: 100ms, min: 100ms, max: 100ms}}}}
"""
HOUSE = """\
version: 1
project: "7f3a9c12"
ledger: {{url_env: CALLSHEET_LEDGER}}
accounts:
  one: {{provider: mesh, base_url: "{one}"}}
  two: {{provider: mesh, base_url: "{two}"}}
"""


def measure_machines(*, tasks: int, at_once: int, seconds: float, runs: int) -> list[Figure]:
    """Two services, a job for each. `seconds` is what each task takes there."""
    cluster = Cluster.make()
    ratios: list[float] = []
    for _ in range(runs):
        alone = _drive([("one", "two")], cluster, tasks, at_once, seconds)
        both = _drive([("one",), ("two",)], cluster, tasks, at_once, seconds)
        ratios.append(both / alone)
        print(f"{both:10.2f} s, {alone:.2f} s: {ratios[-1]:.3f}", flush=True)
    what = f"two machines with a lane each over one that drives both ({tasks} tasks each, {at_once} at once,"
    return [Figure("m", f"time of {what} median of {runs} pairs)", median(ratios), 1.1, is_most=True)]


def _drive(
    machines: Sequence[tuple[str, ...]], cluster: Cluster, tasks: int, at_once: int, seconds: float
) -> float:
    """Seconds until the last machine has ended; each has a folder and a home of its own."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        config = SandboxConfig(latency=(seconds, seconds), scale=0.05)
        urls = {name: stack.enter_context(SandboxServer(config)).url for name in ("one", "two")}
        ledger = cluster.make_schema()
        Ledger(open_shared(Address.parse(ledger)), Budgets()).close()
        processes = []
        began = time.monotonic()
        for number, names in enumerate(machines):
            root = Path(folder, str(number))
            (root / ".callsheet").mkdir(parents=True)
            (root / "callsheet.yaml").write_text(HOUSE.format(**urls), encoding="utf-8")
            for name in names:
                text = JOB.format(name=name, tasks=tasks, at_once=at_once)
                (root / f"{name}.yaml").write_text(text, encoding="utf-8")
            environment = {
                **os.environ,
                "PYTHONPATH": str(CHECKOUT),
                "HOME": str(root),
                "CALLSHEET_LEDGER": ledger,
                "CALLSHEET_HOST": f"machine-{number}",
                "MESHAPI_API_KEY": "rsk_sandbox",
            }
            jobs = [f"{name}.yaml" for name in names]
            command = [sys.executable, "-m", "runner", "-q", "run", *jobs]
            processes.append(subprocess.Popen(command, cwd=root, env=environment))
        codes = [process.wait() for process in processes]
        assert not any(codes), codes
        return time.monotonic() - began


def main() -> None:
    """One of several machines: `writers SECONDS NUMBER`, the ledger's URL in LEDGER."""
    seconds, number = float(sys.argv[1]), int(sys.argv[2])
    ledger = Ledger(open_shared(Address.parse(os.environ["LEDGER"])), Budgets())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tasks = [task for task in _tasks(root, 3000) if task.index % 20 == number % 20]
        print(_rate(ledger, 1, tasks, seconds))


if __name__ == "__main__":
    main()
