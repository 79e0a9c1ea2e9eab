"""Jobs side by side in simulated time: services that answer as a test says, a real ledger, real files."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar, TypeVarTuple, cast
from unittest.mock import patch

import anyio

from runner.errors import CallsheetError, KeyRefusedError
from runner.http.access import NO_KEY, Access
from runner.http.free import FreeRequests
from runner.http.paid import PaidRequests
from runner.http.verdicts import Evidence, ProviderError, Reaction, SubmitOutcome, Trouble, Verdict
from runner.job.load import LoadOptions, load_job
from runner.lane.commits import Commits
from runner.lane.control import Control
from runner.lane.lane import LaneTools
from runner.lane.machine import Machine
from runner.ledger.ledger import Ledger
from runner.media.video import MediaFacts
from runner.project import init_project
from runner.providers.base import (
    Body,
    Client,
    Generation,
    GenerationStatus,
    ListPage,
    ListQuery,
    RemoteFile,
    RemoteFileKind,
    RemoteTask,
)
from runner.providers.mesh import MESH
from runner.record.folder import RunFolder
from runner.redact import Redactor
from runner.run.finish import RunResult
from runner.run.lock import locked_ledger
from runner.run.prepare import prepare_run
from runner.run.run import Order, run_jobs
from runner.run.task.session import Tools
from runner.store.download import DownloadError, DownloadRequest, DownloadTrouble, FileRecord
from runner.store.files import LocalFiles
from tests.simulation.loops import Backend, in_thread, run
from tests.simulation.service import START

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ACCOUNTS = """\
version: 1
accounts:
  first: {provider: mesh, base_url: "https://first.sim.test", api_key_env: FIRST_KEY}
  second: {provider: mesh, base_url: "https://second.sim.test", api_key_env: SECOND_KEY}
"""
REQUEST_SECONDS = 0.1
GENERATION_SECONDS = 60.0
DOWNLOAD_SECONDS = 2.0
STALL_SECONDS = 60.0
"""Of a download that never begins, before it is given up."""

_FREE = {401: Trouble.KEY_REFUSED, 402: Trouble.USED_UP, 429: Trouble.RATE_LIMITED, 503: Trouble.UNAVAILABLE}
_PAID = {
    401: Reaction.STOP_KEY,
    402: Reaction.STOP_MONEY,
    429: Reaction.BACK_OFF,
    503: Reaction.BACK_OFF,
}


class TimedService(Client):
    """A service that takes a minute for each video. `posts` and `others` are the statuses of what it refuses:
    all POSTs, and everything else. `accepted` tells when each was accepted, and its text, by id. Where its
    files are `stalled`, none of them is ever sent.
    """

    def __init__(
        self,
        posts: int = 0,
        others: int = 0,
        accepted: dict[str, tuple[float, str]] | None = None,
        *,
        stalled: bool = False,
    ) -> None:
        # of its requests the engine asks only where the paid ones go, and with which key
        paid = SimpleNamespace(access=Access("https://api.sim.test", NO_KEY))
        super().__init__(cast(PaidRequests, paid), cast(FreeRequests, None))
        self.posts = posts
        self.others = others
        self.accepted = {} if accepted is None else accepted
        self.stalled = stalled

    async def ping(self) -> float:
        await self._refuse()
        return self._time

    async def submit(self, body: Body) -> SubmitOutcome:
        await anyio.sleep(REQUEST_SECONDS)
        evidence = Evidence(row=0, headers_begun=True, reason="", status=self.posts or 200)
        if self.posts:
            return SubmitOutcome(Verdict.REJECTED, _PAID[self.posts], evidence, server_time=self._time)
        remote_id = f"t-{len(self.accepted)}"
        self.accepted[remote_id] = (anyio.current_time(), body.content.decode())
        return SubmitOutcome(
            Verdict.ACCEPTED, Reaction.NONE, evidence, remote_id=remote_id, server_time=self._time
        )

    async def get(self, task: RemoteTask) -> Generation:
        await self._refuse()
        at, _ = self.accepted[task.id]
        if anyio.current_time() < at + GENERATION_SECONDS:
            return Generation(task.id, GenerationStatus.RUNNING, "running", server_time=self._time)
        host = "stalled.sim.test" if self.stalled else "files.sim.test"
        files = (RemoteFile(RemoteFileKind.VIDEO, f"https://{host}/{task.id}"),)
        return Generation(
            task.id, GenerationStatus.SUCCEEDED, "succeeded", files=files, server_time=self._time
        )

    async def list_page(self, query: ListQuery) -> ListPage:
        await self._refuse()
        return ListPage((), has_more=False, total=0, server_time=self._time)

    async def _refuse(self) -> None:
        await anyio.sleep(REQUEST_SECONDS)
        if self.others:
            raise ProviderError(_FREE[self.others], "no", status=self.others)

    @property
    def _time(self) -> float:
        return START + anyio.current_time()


async def _no_signals(_control: Control) -> None:
    """No process, so no signals."""


class _InPlace:
    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        return await in_thread(lambda: function(*args))


@dataclass
class TimedBench:
    """A project with the accounts `first` and `second`, and a clip that is every video."""

    root: Path
    clip: bytes
    services: Mapping[str, TimedService]
    refusals: Mapping[str, KeyRefusedError] = field(default_factory=dict)
    events: dict[str, list[tuple[str, Mapping[str, object], float]]] = field(default_factory=dict)
    """By job: name, fields, and the simulated second."""

    def write(self, name: str, text: str) -> str:
        (self.root / "callsheet.yaml").write_text(ACCOUNTS, encoding="utf-8")
        (self.root / name).write_text(text, encoding="utf-8")
        return name

    def run(self, backend: Backend, *jobs: str, seed: int = 1) -> tuple[list[RunResult], float]:
        """The results, and the simulated seconds that all took."""
        with patch("runner.run.stop._watch_signals", _no_signals):
            return run(backend, seed, self._go, jobs)

    def ends(self, job: str, account: str) -> list[float]:
        """When each task of an account was done."""
        return [
            at
            for name, fields, at in self.events[job]
            if name == "task.done" and fields.get("account") == account
        ]

    async def _go(self, jobs: Sequence[str]) -> tuple[list[RunResult], float]:
        project = init_project(self.root)
        machine = Machine(
            wall=lambda: START + anyio.current_time(), random=random.Random(7), threads=_InPlace()
        )
        with locked_ledger(project, wait=0) as ledger:
            lanes = {name: self._lane(name, ledger) for name in self.services}
            commits = Commits(ledger, machine.threads)
            orders = []
            for file in jobs:
                job = load_job(self.root / file, root=self.root, options=LoadOptions(environ={}))
                prepared = prepare_run(
                    job,
                    project=project,
                    reader=ledger.read,
                    origins={name: account.origin for name, account in job.accounts.items()},
                    now=machine.wall(),
                    source=machine.random,
                )
                RunFolder(project, prepared.run.id).make(job.copy)
                tools = Tools(
                    project=project,
                    commits=commits,
                    machine=machine,
                    observe=self._observer(file),
                    fetch=self._fetch,
                    files=LocalFiles(project.base),
                    redactor=Redactor(()),
                )
                own = {name: lanes[name] for name in job.accounts}
                orders.append(Order(tools, own, prepared))
            began = anyio.current_time()
            ended = await run_jobs(orders)
            results = [result for result in ended if not isinstance(result, CallsheetError)]
            assert len(results) == len(ended)
            return results, anyio.current_time() - began

    def _lane(self, name: str, ledger: Ledger) -> LaneTools:
        return LaneTools(
            account=name,
            origin=f"https://{name}.sim.test",
            key_hash=hashlib.sha256(ledger.salt + name.encode()).hexdigest(),
            provider=MESH,
            client=self.services[name],
            is_loopback=False,
            refusal=self.refusals.get(name),
        )

    def _observer(self, job: str) -> Callable[[str, Mapping[str, object]], None]:
        heard = self.events.setdefault(job, [])
        return lambda name, fields: heard.append((name, fields, anyio.current_time()))

    async def _fetch(self, request: DownloadRequest) -> FileRecord:
        if "stalled" in request.url:
            await anyio.sleep(STALL_SECONDS)
            raise DownloadError(DownloadTrouble.RETRY, "no answer")
        await anyio.sleep(DOWNLOAD_SECONDS)
        request.target.parent.mkdir(parents=True, exist_ok=True)
        request.target.write_bytes(self.clip)
        digest = hashlib.sha256(self.clip).hexdigest()
        return FileRecord(request.target, len(self.clip), digest, MediaFacts("video/mp4"), "")
