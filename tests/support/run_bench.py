"""A whole run in a test: a project in a temporary directory, the real engine, the real sandbox."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.assemble import RequestLimits, open_lane, open_tools
from runner.errors import CallsheetError
from runner.http.access import Access, ApiKey
from runner.http.free import FreeLimits
from runner.http.paid import SubmitLimits
from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.job.model import WebhookPolicy
from runner.lane.machine import Machine
from runner.ledger.ledger import Ledger
from runner.project import Project, init_project
from runner.providers import every
from runner.providers.account import Account
from runner.providers.place import Place
from runner.record.events import Observer
from runner.record.folder import RunFolder
from runner.run.finish import RunResult
from runner.run.lock import locked_ledger
from runner.run.prepare import Resubmit, prepare_run
from runner.run.run import Order, collect_all, run_jobs
from runner.run.task.webhook import receiver
from runner.store.download import DownloadLimits
from tests.support.deadline import deadline_once
from tests.support.ledger_story import checked

JOB = """\
version: 1
name: test
models: [byteplus/seedance-1-0-pro]
seeds: 1..{seeds}
request: {{resolution: 480p, ratio: 16:9, duration: 4}}
content:
  - type: text
    text: a teapot
output: out/s${{{{ seed }}}}.mp4
run: {{poll: {{first: 20ms, min: 20ms, max: 50ms}}{run}}}
{more}
"""


def job_text(*, seeds: int = 3, run: str = "", more: str = "") -> str:
    """A small job file; `run` adds keys to `run:`, `more` lines at the end."""
    return JOB.format(seeds=seeds, run=f", {run}" if run else "", more=more)


async def run_one(order: Order) -> RunResult:
    """The result of a single job. Raises what kept it from its end."""
    (result,) = await run_jobs([order])
    if isinstance(result, CallsheetError):
        raise result
    return result


@dataclass(slots=True)
class RunBench:
    """One project and one service. `url` is where the sandbox listens."""

    root: Path
    url: str
    key: str
    provider: str = "mesh"
    events: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    tell: Observer = lambda name, fields: None
    wall: Callable[[], float] = time.time
    submit_limits: SubmitLimits = field(default_factory=lambda: SubmitLimits(connect=2, write=2, read=5))
    free_limits: FreeLimits = field(default_factory=FreeLimits)
    limits: DownloadLimits = field(default_factory=lambda: DownloadLimits(free_reserve=1))

    @property
    def project(self) -> Project:
        return init_project(self.root).rehearsal()

    def write_job(self, text: str, name: str = "jobs/test.yaml") -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Ledger]:
        with locked_ledger(self.project, wait=0) as ledger:
            yield ledger

    @contextlib.asynccontextmanager
    async def order(
        self, ledger: Ledger, *, key: str | None = None, webhook: WebhookPolicy | None = None
    ) -> AsyncIterator[Order]:
        """Of a `collect`; a run adds what it has prepared."""
        limits = RequestLimits(self.submit_limits, self.free_limits, self.limits)
        account = Account(self.provider, every()[self.provider])
        place = Place(account, self.project, self.url, self.url)
        access = Access(
            self.url, ApiKey.load(key or self.key, source="test"), scheme=account.provider.key_scheme
        )
        machine = Machine(wall=self.wall, random=random.Random())
        async with (
            open_lane(place, access, ledger, limits) as lane,
            receiver(webhook, ledger.salt) as hints,
        ):
            tools = open_tools(
                self.project, ledger, self._observe, [access.key], machine=machine, limits=limits
            )
            yield Order(replace(tools, hints=hints), {account.name: lane})

    async def run(
        self,
        file: Path,
        *,
        deadline: float | None = None,
        until: Callable[[], bool] | None = None,
        date: str | None = None,
        resume: str | None = None,
        key: str | None = None,
        resubmit: Resubmit | None = None,
        accept_edits: bool = False,
    ) -> RunResult:
        """`run JOB`, without the command line around it.

        `deadline` is in seconds; with `until` it passes once that is so.
        """
        if until:
            with deadline_once(until):
                return await self.run(
                    file,
                    deadline=30,
                    date=date,
                    resume=resume,
                    key=key,
                    resubmit=resubmit,
                    accept_edits=accept_edits,
                )
        job = load_job(file, root=self.root.resolve(), options=LoadOptions(environ={}))
        with self.ledger() as ledger:
            async with self.order(ledger, key=key, webhook=job.run.webhook) as order:
                tools = order.tools
                prepared = prepare_run(
                    job,
                    project=self.project,
                    reader=ledger.read,
                    origins={job.provider.name: self.url},
                    date=RunDate.parse(date) if date else None,
                    run=ledger.read.run(resume) if resume else None,
                    now=tools.machine.wall(),
                    source=tools.machine.random,
                    resubmit=resubmit,
                    agree=lambda _edits: accept_edits,
                )
                RunFolder(self.project, prepared.run.id).make(job.copy)
                return await run_one(replace(order, prepared=prepared, deadline=deadline))

    async def collect(
        self, *, deadline: float | None = None, until: Callable[[], bool] | None = None
    ) -> RunResult:
        """`collect`; `deadline` and `until` as for `run`."""
        if until:
            with deadline_once(until):
                return await self.collect(deadline=30)
        with self.ledger() as ledger:
            async with self.order(ledger) as order:
                (result,) = await collect_all([replace(order, deadline=deadline)])
                return result

    def has_seen(self, event: str, times: int = 1) -> bool:
        """Whether so many events of that name were told, in all runs of this bench together."""
        return [name for name, _ in self.events].count(event) >= times

    def _observe(self, name: str, fields: Mapping[str, object]) -> None:
        self.events.append((name, fields))
        self.tell(name, fields)

    def manifest(self, run_id: str = "latest") -> dict[str, object]:
        return checked(self.project.runs_dir / run_id / "manifest.json")
