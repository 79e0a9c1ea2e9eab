"""p: what the parts of a task take, each alone in this process: below their sum no arrangement can come."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from benchmarks.fill import finish, write_job
from benchmarks.measure import Figure, serving
from runner.http.access import Access, ApiKey
from runner.http.fetch import Patience, Stop, Wire
from runner.http.transport import tls_context
from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.ledger.ledger import Ledger
from runner.ledger.rows import RunRow
from runner.plan.plan import Plan, make_plan
from runner.project import init_project
from runner.providers import DEFAULT, connect
from runner.record.events import EventLog
from runner.redact import Redactor
from runner.store.download import DownloadRequest, download
from runner.store.files import LocalFiles

BODY = b'{"model": "byteplus/seedance-1-0-pro", "seed": 1, "content": [{"type": "text", "text": "a teapot"}]}'
EVENTS = 8
"""Lines that a run writes about a task."""


def measure(*, size: int, tasks: int) -> list[Figure]:
    """CPU milliseconds a task: each part is repeated `tasks` times, one after the other."""
    with serving("--size", str(size)) as url, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        found = {
            "a POST and a look, with testimony": _requests(url, tasks),
            f"a download of {size / 1000:.0f} KB: address, hash, box walk, two syncs": _downloads(
                url, root, tasks
            ),
            "the ledger: five steps in one commit": _ledger(root / "ledger", url, tasks),
            f"{EVENTS} events": _events(root, tasks),
        }
    figures = [Figure("p", f"CPU milliseconds, {what}", value) for what, value in found.items()]
    return [*figures, Figure("p", "CPU milliseconds, all of these", sum(found.values()))]


class _Spent:
    milliseconds = 0.0


@contextmanager
def _cpu(tasks: int) -> Iterator[_Spent]:
    spent, started = _Spent(), time.process_time()
    yield spent
    spent.milliseconds = (time.process_time() - started) * 1000 / tasks


def _requests(url: str, tasks: int) -> float:
    async def run() -> float:
        access = Access(url, ApiKey("rsk_benchmark"))
        async with connect(DEFAULT, access) as client:
            with _cpu(tasks) as spent:
                for _ in range(tasks):
                    outcome = await client.submit(BODY)
                    assert outcome.remote_id
                    await client.get(outcome.remote_id)
            return spent.milliseconds

    return anyio.run(run)


def _downloads(url: str, root: Path, tasks: int) -> float:
    files, buffer = LocalFiles(root), bytearray(1 << 20)
    with _cpu(tasks) as spent:
        for number in range(tasks):
            request = DownloadRequest(
                url=f"{url}/result/t-00000000.mp4",
                target=root / f"out/{number}.mp4",
                part=root / f"out/.{number}.part",
                allow_loopback=True,
            )
            wire = Wire(Patience(), Stop(), tls=tls_context(), allow_loopback=True)
            download(request, wire, files, buffer)
    return spent.milliseconds


def _ledger(root: Path, url: str, tasks: int) -> float:
    plan = _plan(root, url, tasks)
    run = RunRow("parts", "job.yaml", "bench", "digest", "", "2026-11-21+00:00", "mesh", url, 1.0, 2.0)
    ledger = Ledger.open(root / "ledger.db")
    with ledger.transaction():
        ledger.begin_run(run)
    with _cpu(tasks) as spent:
        for task in plan.tasks:
            with ledger.transaction():
                finish(ledger, run, task)
    ledger.close()
    return spent.milliseconds


def _plan(root: Path, url: str, tasks: int) -> Plan:
    root.mkdir()
    init_project(root)
    job = load_job(write_job(root, tasks), root=root, options=LoadOptions(environ={}))
    return make_plan(job, origin=url, run_date=RunDate.parse("2026-11-21+00:00"))


def _events(root: Path, tasks: int) -> float:
    log = EventLog(root / "events.jsonl", wall=time.time, redactor=Redactor(["rsk_benchmark"]))
    fields = {"task": "s1", "identity": "a" * 64, "path": "out/s1.mp4", "bytes": 1_000_000}
    with _cpu(tasks) as spent:
        for _ in range(tasks):
            for _ in range(EVENTS):
                log("task.file", fields)
    log.close()
    return spent.milliseconds
