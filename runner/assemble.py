"""Puts together what a run works with, and takes it apart again: for the command line and for `run_plan`.

Above the rest, because the sandbox comes in here, which no layer below knows.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio

from runner.errors import CallsheetError, KeyRefusedError, UsageError
from runner.http.access import NO_KEY, Access, ApiKey, is_loopback
from runner.http.route import Route, find_route
from runner.http.transport import tls_context
from runner.http.verdicts import ProviderError
from runner.job.model import RunPolicy, WebhookPolicy
from runner.job.project.environment import redactor_of
from runner.job.project.load_project import readable_project_file
from runner.json_value import JsonValue
from runner.lane.commits import Commits
from runner.lane.lane import Lane, LaneTools
from runner.lane.lease import Leases
from runner.lane.machine import Machine
from runner.lane.recognise import Recognised, recognise
from runner.lane.scan import NoScanError
from runner.lane.uploads import ObjectUploads
from runner.ledger.leases import LaneKey
from runner.ledger.ledger import Ledger
from runner.ledger.rows import AttemptRow
from runner.objects.address import ObjectAddress
from runner.objects.store import ObjectStore, Stores
from runner.project import Project
from runner.providers import BUILT_IN, connect
from runner.providers.place import Place
from runner.record.events import EventLog, Observer, fan_out
from runner.record.facts import key_variables
from runner.record.folder import RunFolder
from runner.run.files.archive import Archive
from runner.run.finish import RunResult
from runner.run.prepare import Prepared
from runner.run.run import Order, collect_all, run_jobs
from runner.run.task.session import Tools
from runner.run.task.webhook import Hints, receiver
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
def served(places: Iterable[Place]) -> Iterator[Callable[[Place, ApiKey], Access]]:
    """Access to the services; one embedded sandbox stands for all that are rehearsed in it, for as long as
    this is open.

    Its tasks lie in the rehearsal, so that a killed one finds them again. Enter it under the lock.
    """
    rehearsed = [place for place in places if place.url is None]
    with contextlib.ExitStack() as stack:
        sandbox = ""
        for place in rehearsed[:1]:
            store = place.project.state_dir / "sandbox"
            store.mkdir(mode=0o700, exist_ok=True)
            # the first that is not built in, if there is one
            names = dict.fromkeys(each.provider.name for each in rehearsed)
            config = SandboxConfig(
                provider=next((name for name in names if name not in BUILT_IN), next(iter(names))),
                latency=AT_ONCE,
                store=store / "tasks.db",
            )
            try:
                sandbox = stack.enter_context(SandboxServer(config)).url
            except SandboxUnavailable as error:
                raise UsageError(str(error)) from error
        yield lambda place, key: Access(
            place.url if place.url is not None else sandbox + place.provider.base_path,
            key,
            place.provider.key_scheme,
        )


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits for each kind of request. The defaults are those of a real run."""

    submits: SubmitLimits | None = None
    free: FreeLimits | None = None
    downloads: DownloadLimits = field(default_factory=DownloadLimits)


def open_tools(
    project: Project,
    ledger: Ledger,
    observe: Observer,
    keys: Iterable[ApiKey],
    *,
    trust_env: bool = False,
    machine: Machine | None = None,
    limits: RequestLimits | None = None,
    submits: bool = True,
    also: frozenset[str] = frozenset(),
) -> Tools:
    """What a job works with, over real clocks and disks where no others are given. `keys` are all that this
    process has: none of them is written anywhere, nor what the variables `also` hold.

    Raises UsageError where the project names a store that cannot be used here: before anything is paid. What
    submits nothing does its work all the same, and says so at its end.
    """
    machine, limits = machine or Machine(), limits or RequestLimits()
    route = find_route(os.environ, trust_env=trust_env)
    files, commits = LocalFiles(project.base), Commits(ledger, machine.threads)
    archive, refusal = None, ""
    try:
        archive = _archive(project, commits, files, machine, route)
    except UsageError as error:
        if submits:
            raise
        refusal = str(error)
    return Tools(
        project=project,
        commits=commits,
        machine=machine,
        observe=observe,
        fetch=Downloader(files, tls_context(route.certificates), route),
        files=files,
        redactor=redactor_of(
            project.root, os.environ, [*(key.value for key in keys), *route.secrets], also=also
        ),
        limits=limits.downloads,
        stores=Stores(route),
        archive=archive,
        archive_refusal=refusal,
        has_uploads=bool(readable_project_file(project.root).uploads),
        leases=None if ledger.leases is None else Leases(ledger, machine),
    )


def _archive(
    project: Project, commits: Commits, files: LocalFiles, machine: Machine, route: Route
) -> Archive | None:
    """Raises UsageError where the project names a store that cannot be used here."""
    named = "" if project.is_rehearsal else readable_project_file(project.root).store
    if not named:
        return None
    store = ObjectStore.open(ObjectAddress.parse(named), route)
    return Archive(store, commits, files, machine.wall, lambda _name, _fields: None, machine.random)


@contextlib.asynccontextmanager
async def open_lane(
    place: Place,
    access: Access,
    ledger: Ledger,
    limits: RequestLimits | None = None,
    leases: Leases | None = None,
    *,
    submits: bool = True,
) -> AsyncIterator[LaneTools]:
    """What leads to a service, with its connections; its lease, where there are `leases`, is still to be
    taken. What does not submit uploads no inputs.
    """
    limits = limits or RequestLimits()
    route = find_route(os.environ, trust_env=place.trust_env)
    key_hash = access.key.fingerprint(ledger.salt)
    lane = LaneKey(place.provider.name, place.origin, key_hash)
    lease = None if leases is None else leases.lease_of(lane, place.account.name)
    async with connect(
        place.provider,
        access,
        route=route,
        submit_limits=limits.submits,
        free_limits=limits.free,
        guard=None if lease is None else lease.is_fresh,
    ) as client:
        yield LaneTools(
            account=place.account.name,
            origin=place.origin,
            key_hash=key_hash,
            provider=place.provider,
            client=client,
            is_loopback=is_loopback(access.origin),
            rate=None if place.project.is_rehearsal else place.account.rate,
            labels=place.account.labels,
            lease=lease,
            uploads=_uploads(place.project, route) if submits else None,
        )


def _uploads(project: Project, route: Route) -> ObjectUploads | None:
    """Raises UsageError where the project names a place for inputs that cannot be used here."""
    named = "" if project.is_rehearsal else readable_project_file(project.root).uploads
    return ObjectUploads(ObjectStore.open(ObjectAddress.parse(named), route)) if named else None


@contextlib.asynccontextmanager
async def lanes_taken(tools: Tools, wait: float, tell: Callable[[str], None]) -> AsyncIterator[float]:
    """Takes the leases of the lanes that were opened, where machines share the ledger; gives the seconds that
    this took. What is left of them at the end is signed off.
    """
    leases, began = tools.leases, anyio.current_time()
    if leases is None:
        yield 0.0
        return
    await leases.take(wait, tell)
    try:
        yield anyio.current_time() - began
    finally:
        with anyio.CancelScope(shield=True):
            await tools.machine.threads.run(leases.sign_off)


@dataclass(frozen=True, slots=True)
class Collecting:
    """What `collect` fetches with one key: the attempts that it is for."""

    place: Place
    key: ApiKey
    attempts: frozenset[str]
    observe: Observer


def collect_from(
    works: Sequence[Collecting],
    ledger: Ledger,
    *,
    deadline: float | None,
    wait: float = 0.0,
    tell: Callable[[str], None] = lambda _said: None,
) -> list[RunResult]:
    """`collect_all` of these, in an event loop of its own; they lie in one project. Another machine that
    drives one of the lanes is waited for `wait` seconds, which `tell` hears.
    """

    async def go() -> list[RunResult]:
        async with contextlib.AsyncExitStack() as stack:
            first = works[0].place
            keys = [work.key for work in works]
            tools = open_tools(
                first.project, ledger, works[0].observe, keys, trust_env=first.trust_env, submits=False
            )
            orders = []
            for work in works:
                reached = access(work.place, work.key)
                leading = open_lane(work.place, reached, ledger, leases=tools.leases, submits=False)
                lane = await stack.enter_async_context(leading)
                own = replace(tools, observe=work.observe)
                orders.append(Order(own, {lane.account: lane}, deadline=deadline, attempts=work.attempts))
            async with lanes_taken(tools, wait, tell) as waited:
                return await collect_all([order.after(waited) for order in orders])

    with served(work.place for work in works) as access:
        return anyio.run(go)


@dataclass(frozen=True, slots=True)
class Looking:
    """Attempts at one service, and a key whose list may show them."""

    place: Place
    key: ApiKey
    attempts: Sequence[AttemptRow]


def look_at_lists(looks: Sequence[Looking], ledger: Ledger) -> list[Recognised | ProviderError | NoScanError]:
    """What the list of each of these keys shows, or why it cannot be read. Nothing is submitted."""
    machine = Machine()

    async def look(one: Looking, access: Access) -> Recognised | ProviderError | NoScanError:
        async with open_lane(one.place, access, ledger) as tools:
            lane = Lane(tools, Commits(ledger, machine.threads), machine, RunPolicy(), anyio.sleep_forever)
            try:
                return await recognise(lane, one.attempts)
            except (ProviderError, NoScanError) as error:
                return error

    async def look_at_all() -> list[Recognised | ProviderError | NoScanError]:
        return [await look(one, access(one.place, one.key)) for one in looks]

    with served(one.place for one in looks) as access:
        return anyio.run(look_at_all)


@dataclass(frozen=True, slots=True)
class JobOrder:
    """A prepared run with the places and keys of its accounts, by their names; where a key is missing stands
    why. `warn` is told where its events cannot be written.
    """

    prepared: Prepared
    places: Mapping[str, Place]
    keys: Mapping[str, ApiKey | KeyRefusedError]
    facts: Mapping[str, JsonValue]
    observe: Observer
    warn: Callable[[str], None]


async def carry_out(
    jobs: Sequence[JobOrder],
    ledger: Ledger,
    *,
    deadline: float | None,
    wait: float = 0.0,
    tell: Callable[[str], None] = lambda _said: None,
) -> list[RunResult | CallsheetError]:
    """Brings prepared runs of one project to done side by side, each in a folder of its own, events and
    manifest included: for the command line and for `run_plan`.

    In place of a result stands the error of a job that could not begin, or not end, as it should. `deadline`
    is seconds from now, and each job's own counts too. Where another machine drives an account, it is waited
    for `wait` seconds, which `tell` hears; then all else goes on without it. Enter it under the lock.
    """
    places = [place for job in jobs for place in job.places.values()]
    keys = [key for job in jobs for key in job.keys.values() if isinstance(key, ApiKey)]
    orders: dict[int, Order] = {}
    failed: dict[int, CallsheetError] = {}
    async with contextlib.AsyncExitStack() as stack:
        project, trust_env = places[0].project, places[0].trust_env
        also = frozenset[str]().union(*(key_variables(ledger, job.prepared.run.id) for job in jobs))
        tools = open_tools(project, ledger, lambda _name, _fields: None, keys, trust_env=trust_env, also=also)
        opening = _Opening(ledger, tools, stack, stack.enter_context(served(places)))
        for number, job in enumerate(jobs):
            try:
                orders[number] = await opening.order(job, deadline)
            except CallsheetError as error:
                failed[number] = error
        ended: list[RunResult | CallsheetError] = []
        if orders:
            waited = await stack.enter_async_context(lanes_taken(tools, wait, tell))
            ended = await run_jobs([order.after(waited) for order in orders.values()])
    results = dict(zip(orders, ended, strict=True)) | failed
    return [results[number] for number in range(len(jobs))]


@dataclass(slots=True)
class _Opening:
    """Opens what jobs need, once where several need the same."""

    ledger: Ledger
    tools: Tools
    stack: contextlib.AsyncExitStack
    access: Callable[[Place, ApiKey], Access]
    lanes: dict[tuple[str, str, str], LaneTools] = field(default_factory=dict)
    listeners: dict[WebhookPolicy, Hints | None] = field(default_factory=dict)

    async def order(self, job: JobOrder, deadline: float | None) -> Order:
        prepared = job.prepared
        if next(iter(job.places.values())).url is None:
            prepared = _rehearsed(prepared)
        own, redactor = prepared.plan.job, self.tools.redactor
        folder = RunFolder(self.tools.project, prepared.run.id)
        folder.make(own.copy)
        events = EventLog(folder.events, wall=time.time, redactor=redactor, tell=job.warn)
        self.stack.callback(events.close)
        hints, webhook = None, own.run.webhook
        if webhook is not None:
            if webhook not in self.listeners:
                listening = receiver(webhook, self.ledger.salt)
                self.listeners[webhook] = await self.stack.enter_async_context(listening)
            hints = self.listeners[webhook]
        tools = replace(self.tools, observe=fan_out(events, job.observe), hints=hints)
        lanes = {name: await self._lane(place, job.keys[name]) for name, place in job.places.items()}
        return Order(tools, lanes, prepared, job.facts, deadline)

    async def _lane(self, place: Place, key: ApiKey | KeyRefusedError) -> LaneTools:
        refusal = key if isinstance(key, KeyRefusedError) else None
        access = self.access(place, key if isinstance(key, ApiKey) else NO_KEY)
        # one origin may serve several providers: the sandbox does. Without a key no two accounts are one
        leads = place.provider.name, place.origin, place.account.name if refusal else access.key.value
        if leads not in self.lanes:
            # without a key nothing is asked or written there
            leases = None if refusal is not None else self.tools.leases
            lane = await self.stack.enter_async_context(open_lane(place, access, self.ledger, leases=leases))
            if refusal is not None:
                lane = replace(lane, key_hash="", refusal=refusal)
            self.lanes[leads] = lane
        return self.lanes[leads]


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
