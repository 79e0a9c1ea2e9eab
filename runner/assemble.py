"""Puts together what a run works with, and takes it apart again: for the command line and for `run_plan`.

Above the rest, because the sandbox comes in here, which no layer below knows.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio

from runner.errors import UsageError
from runner.http.access import Access, ApiKey, is_loopback
from runner.http.route import find_route
from runner.http.transport import tls_context
from runner.job.model import RunPolicy, WebhookPolicy
from runner.json_value import JsonValue
from runner.lane.commits import Commits
from runner.lane.machine import Machine
from runner.ledger.ledger import Ledger
from runner.providers import connect
from runner.providers.place import Place
from runner.record.events import EventLog, Observer, fan_out
from runner.record.folder import RunFolder
from runner.redact import Redactor
from runner.run.finish import RunResult
from runner.run.prepare import Prepared
from runner.run.run import collect_all, run_prepared
from runner.run.session import Tools
from runner.run.webhook import receiver
from runner.sandbox import SandboxConfig, SandboxServer, SandboxUnavailable
from runner.store.download import Downloader, DownloadLimits
from runner.store.files import LocalFiles

if TYPE_CHECKING:
    from runner.http.free import FreeLimits
    from runner.http.paid import SubmitLimits


SANDBOX_SETTLE = 1.0
"""Seconds: who kills a rehearsal and starts it again is not to wait for five minutes."""


AT_ONCE = (0.0, 0.0)
"""Seconds that a task of a rehearsal takes: who rehearses wants to see the end of it."""


@contextlib.contextmanager
def served(place: Place, key: ApiKey) -> Iterator[Access]:
    """Access to the service; the embedded sandbox runs for as long as this is open.

    Its tasks lie in the rehearsal, so that a killed one finds them again. Enter it under the lock.
    """
    base_path = place.provider.base_path
    if place.url is not None:
        yield Access(place.url.removesuffix(base_path) + base_path, key, place.provider.key_scheme)
        return
    store = place.project.state_dir / "sandbox"
    store.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(
                SandboxServer(
                    SandboxConfig(provider=place.provider.name, latency=AT_ONCE, store=store / "tasks.db")
                )
            )
        except SandboxUnavailable as error:
            raise UsageError(str(error)) from error
        yield Access(server.url + base_path, key, place.provider.key_scheme)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits for each kind of request. The defaults are those of a real run."""

    submits: SubmitLimits | None = None
    free: FreeLimits | None = None
    downloads: DownloadLimits = field(default_factory=DownloadLimits)


@contextlib.asynccontextmanager
async def open_tools(
    place: Place,
    access: Access,
    ledger: Ledger,
    observe: Observer,
    webhook: WebhookPolicy | None = None,
    *,
    machine: Machine | None = None,
    limits: RequestLimits | None = None,
) -> AsyncIterator[Tools]:
    """What a run works with, over real clocks, disks and connections where no others are given."""
    machine, limits = machine or Machine(), limits or RequestLimits()
    route = find_route(os.environ, trust_env=place.trust_env)
    files = LocalFiles(place.project.base)
    async with (
        connect(
            place.provider, access, route=route, submit_limits=limits.submits, free_limits=limits.free
        ) as client,
        receiver(webhook, ledger.salt) as hints,
    ):
        yield Tools(
            project=place.project,
            origin=place.origin,
            provider=place.provider,
            client=client,
            commits=Commits(ledger, machine.threads),
            fetch=Downloader(files, tls_context(route.certificates), route),
            files=files,
            machine=machine,
            observe=observe,
            redactor=Redactor([access.key.value, *route.secrets]),
            key_hash=access.key.fingerprint(ledger.salt),
            is_loopback=is_loopback(access.origin),
            limits=limits.downloads,
            hints=hints,
        )


def collect_from(
    place: Place,
    key: ApiKey,
    ledger: Ledger,
    *,
    attempts: frozenset[str],
    observe: Observer,
    deadline: float | None,
) -> RunResult:
    """`collect_all` of the attempts that `key` is for, in an event loop of its own."""

    async def go() -> RunResult:
        async with open_tools(place, access, ledger, observe) as tools:
            return await collect_all(tools, RunPolicy(), deadline=deadline, attempts=attempts)

    with served(place, key) as access:
        return anyio.run(go)


async def carry_out(
    prepared: Prepared,
    place: Place,
    key: ApiKey,
    ledger: Ledger,
    *,
    facts: Mapping[str, JsonValue],
    observe: Observer,
    warn: Callable[[str], None],
    deadline: float | None,
) -> RunResult:
    """Brings a prepared run to done in a folder of its own, events and manifest included: for the command
    line and for `run_plan`.

    `warn` is told where events cannot be written. `deadline` is seconds from now, and the job's own
    counts too. Enter it under the lock.
    """
    if place.url is None:
        prepared = _rehearsed(prepared)
    route = find_route(os.environ, trust_env=place.trust_env)
    job, redactor = prepared.plan.job, Redactor([key.value, *route.secrets])
    folder = RunFolder(place.project, prepared.run.id)
    folder.make(job.copy)
    events = EventLog(folder.events, wall=time.time, redactor=redactor, tell=warn)
    with served(place, key) as access, contextlib.closing(events):
        told = fan_out(events, observe)
        async with open_tools(place, access, ledger, told, job.run.webhook) as tools:
            return await run_prepared(prepared, tools, facts=facts, deadline=deadline)


def _rehearsed(prepared: Prepared) -> Prepared:
    """For the embedded sandbox: it lists at once what it has accepted, so `run.settle` is short, and it calls
    the listener itself, never a public host.
    """
    plan = prepared.plan
    webhook = plan.job.run.webhook
    policy = replace(
        plan.job.run,
        settle=min(plan.job.run.settle, SANDBOX_SETTLE),
        settle_alone=min(plan.job.run.settle_alone, SANDBOX_SETTLE),
        webhook=webhook and replace(webhook, public_url=f"http://{webhook.listen}"),
    )
    return replace(prepared, plan=replace(plan, job=replace(plan.job, run=policy)))
