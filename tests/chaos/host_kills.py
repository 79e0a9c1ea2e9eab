"""Random faults on several hosts that share a ledger: `scripts/chaos --hosts [--posts N] [--faults N]`."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import ExitCode
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.chaos.episode import Nursery
from tests.chaos.hosts import ACCOUNTS, TAKEOVER, Act, Fleet, Found, Host
from tests.chaos.victim import POINTS
from tests.support.postgres import Cluster
from tests.support.postgres_proxy import Break, Strike

NAMES = ("anna", "bert", "carl")
ROUNDS = 4
"""Before the cap is raised, and as many after it."""
LONGEST = 2.0
"""Seconds after which a process is killed, or made to stand still, at the latest."""

STATEMENTS = (
    ("", "", 60),
    ("^COMMIT", "", 8),
    ("^COMMIT", "INSERT INTO attempts", 3),
    ("^COMMIT", "UPDATE attempts", 5),
    ("UPDATE leases", "", 3),
)
"""What is broken: its text, what came before it in its transaction, and which one of them at the latest."""

AT_THE_SERVICE = (
    Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True),
    Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, reset=True),
    Fault(where=Where.SUBMIT, kind=Kind.CUT),
    Fault(where=Where.SUBMIT, kind=Kind.DELAY, seconds=1.0),
    Fault(where=Where.LIST, kind=Kind.LAG, seconds=0.5, times=4),
    Fault(where=Where.LIST, kind=Kind.CUT),
    Fault(where=Where.GET, kind=Kind.CUT),
    Fault(where=Where.DOWNLOAD, kind=Kind.CUT, at=200),
)


_UNUSUAL = (ExitCode.TASK_FAILED, ExitCode.JOB_INVALID, ExitCode.INPUT_MISSING, ExitCode.BUG)
"""No fault of these is a reason for such an end."""


@dataclass(slots=True)
class Tally:
    """What an episode has come to. `faults` are those that happened, by their names."""

    seed: str
    faults: Counter[str] = field(default_factory=Counter)
    exits: Counter[int] = field(default_factory=Counter)
    over_cap: int = 0
    in_window: int = 0
    """Processes that were killed, or stood still past a takeover, between an intent and its outcome."""
    left: int = 0
    held: int = 0
    exit_code: int = -1
    told: str = field(default="", repr=False)
    found: Found = field(default_factory=lambda: Found(0, 0, (), (), 0))

    @property
    def is_right(self) -> bool:
        found = self.found
        is_whole = not found.double and not found.lost and not found.missing
        is_usual = not any(self.exits[status] for status in _UNUSUAL)
        return self.exit_code == ExitCode.DONE and is_whole and not self.over_cap and is_usual


@dataclass(slots=True)
class Episode:
    """One project on three hosts, with faults in rounds: the hosts start at one moment in each."""

    fleet: Fleet
    cluster: Cluster
    chance: random.Random
    tally: Tally
    restarting: threading.Lock = field(default_factory=threading.Lock)

    def play(self) -> None:
        """Faults below a cap that is less than all, then without one; then all hosts go on to the end."""
        everything = 2 * self.fleet.takes
        for most in (self.chance.randint(everything // 3, everything - 2), None):
            self.fleet.cap(most)
            for _ in range(ROUNDS):
                self._round()
                self.tally.over_cap = max(self.tally.over_cap, self.fleet.over_cap)
        self.tally.faults["answer of the service"] = self.fleet.server.faults.struck
        self.fleet.server.faults.clear()
        for host in self.fleet.hosts:
            host.proxy.clear()
            self.tally.faults.update(host.proxy.struck)
        self.tally.exit_code, self.tally.held, told = self.fleet.finish()
        self.tally.told += told
        self.tally.left = len(self.fleet.windows)
        self.tally.found = self.fleet.judge()

    def _round(self) -> None:
        chance, fleet = self.chance, self.fleet
        hosts = chance.sample([*fleet.hosts], chance.choice([1, 2, 2, 3]))
        fleet.server.faults.add(*chance.sample(AT_THE_SERVICE, 2))
        for host in hosts:
            host.proxy.add(self._strike(), self._strike())
        running = {host: host.start(*self._line(host), act=self._act()) for host in hosts}
        meanwhile = [threading.Thread(target=each) for each in self._outside(running)]
        for each in meanwhile:
            each.start()
        with ThreadPoolExecutor(len(hosts)) as pool:
            ended = dict(zip(hosts, pool.map(self._wait, hosts, running.values()), strict=True))
        for each in meanwhile:
            each.join()
        before = set(fleet.windows)
        left = self._left()
        stopped = [host for host, status in ended.items() if status == -signal.SIGSTOP]
        for host in stopped:
            ended[host] = self._past_takeover(host, running[host], [*set(fleet.hosts) - set(stopped)])
        left |= self._left()
        self.tally.exits.update(ended.values())
        for host, status in ended.items():
            if status in _UNUSUAL:
                self.tally.told += host.log.read_text()[-2000:]
        killed = [host for host, status in ended.items() if status == -signal.SIGKILL]
        self.tally.faults["SIGKILL"] += len(killed)
        self.tally.in_window += min(len(left - before), len({*killed, *stopped}))
        for host in killed:
            others = [other for other in fleet.hosts if other is not host]
            if chance.random() < 0.5:
                fleet.sign_off(host, chance.choice(others))

    def _wait(self, host: Host, pid: int) -> int:
        status = host.wait(pid)
        if status == -signal.SIGSTOP and self.chance.random() < 0.3:
            time.sleep(self.chance.uniform(0.1, TAKEOVER / 2))
            self.tally.faults["SIGSTOP, SIGCONT before a takeover"] += 1
            self._go_on(pid)
            status = host.wait(pid)
        return status

    def _past_takeover(self, host: Host, pid: int, others: list[Host]) -> int:
        """The others run, which take over what it held, and then it wakes."""
        began = time.monotonic()
        for other in others[: self.chance.randint(1, 2)]:
            self.tally.exits[other.do("run", *other.jobs(), "--wait", "20s")] += 1
        time.sleep(max(0.0, TAKEOVER + 1.0 - (time.monotonic() - began)))
        self.tally.faults["SIGSTOP past a takeover, SIGCONT"] += 1
        status = -signal.SIGSTOP
        while status == -signal.SIGSTOP:  # it may have been stopped twice
            self._go_on(pid)
            status = host.wait(pid)
        return status

    def _go_on(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _left(self) -> set[str]:
        return self.fleet.left_in_window()

    def _line(self, host: Host) -> list[str]:
        accounts = self.chance.choice([ACCOUNTS, ACCOUNTS[::-1], ACCOUNTS[:1], ACCOUNTS[1:]])
        wait = ["--wait", "10s"] if self.chance.random() < 0.3 else []
        return ["run", *host.jobs(*accounts), *wait]

    def _act(self) -> Act:
        chance = self.chance
        backend = chance.choice(["asyncio", "trio"])
        if chance.random() < 0.3:
            return Act(backend)
        point, nth = chance.choice(sorted(set(POINTS) - {"none"})), chance.randint(1, 6)
        return Act(backend, point, nth, chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]))

    def _strike(self) -> Strike:
        chance = self.chance
        text, within, latest = chance.choice(STATEMENTS)
        is_restart = chance.random() < 0.1
        return Strike(
            chance.choice([*Break]),
            chance.randint(1, latest),
            text,
            within,
            chance.uniform(0.1, 4.0),
            self._restart if is_restart else lambda: None,
        )

    def _outside(self, running: dict[Host, int]) -> Iterator[Callable[[], None]]:
        """What happens to processes, connections and the server at moments of its own."""
        chance = self.chance
        if chance.random() < 0.25:
            yield self._later(chance.uniform(0.1, LONGEST), self._restart)
        for host, pid in running.items():
            met = chance.random()
            if met < 0.15:
                yield self._later(chance.uniform(0.2, LONGEST), lambda host=host: self._cut(host))
            elif met < 0.4:
                sent = chance.choice([signal.SIGKILL, signal.SIGSTOP])
                yield self._later(chance.uniform(0.2, LONGEST), lambda pid=pid, sent=sent: _send(pid, sent))

    def _later(self, seconds: float, do: Callable[[], None]) -> Callable[[], None]:
        def act() -> None:
            time.sleep(seconds)
            do()

        return act

    def _restart(self) -> None:
        with self.restarting:  # a second one begins when the first one is over
            self.cluster.stop("immediate")
            self.cluster.start()
        self.tally.faults["pg_ctl stop -m immediate"] += 1

    def _cut(self, host: Host) -> None:
        if host.proxy.cut_all():
            self.tally.faults["all connections of a host cut"] += 1


def _send(pid: int, sent: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sent)


class Worker:
    """A cluster and warm parents for one episode after the other."""

    def __init__(self, takes: int) -> None:
        self._takes = takes
        self._home = Path(tempfile.mkdtemp(prefix="callsheet-hosts-"))
        self._stack = contextlib.ExitStack()
        self._cluster = Cluster.make()
        self._nurseries = {name: self._stack.enter_context(Nursery(self._home)) for name in NAMES}

    def play(self, seed: str) -> Tally:
        """One episode; a failing one keeps its directory."""
        chance, tally = random.Random(seed), Tally(seed)
        folder = Path(tempfile.mkdtemp(prefix="callsheet-hosts-"))
        config = SandboxConfig(latency=(0.0, 0.4), scale=0.1, seed=chance.getrandbits(32))
        with (
            SandboxServer(config) as server,
            Fleet.open(
                folder,
                server,
                self._cluster,
                self._nurseries,
                takes=self._takes,
                slots=chance.choice([1, 1, 4]),
            ) as fleet,
        ):
            Episode(fleet, self._cluster, chance, tally).play()
            url = fleet.url
        if tally.is_right:
            shutil.rmtree(folder)
        else:
            print(f"episode {seed}, kept in {folder}, {url}: {tally}", flush=True)
            print(tally.told, flush=True)
        return tally

    def close(self) -> None:
        self._stack.close()
        shutil.rmtree(self._home)


def play_hosts(seed: int, posts: int, faults: int, jobs: int, takes: int = 100) -> int:
    """Plays episodes until there were so many accepted POSTs and faults; 1 on any violation."""
    workers = [Worker(takes) for _ in range(jobs)]
    began, ended = time.monotonic(), list[Tally]()
    with ThreadPoolExecutor(jobs) as pool:
        while _accepted(ended) < posts or _faults(ended).total() < faults:
            seeds = [f"{seed}:{len(ended) + number}" for number in range(jobs)]
            ended += pool.map(lambda worker, seed: worker.play(seed), workers, seeds)
            print(_summary(ended, seed, time.monotonic() - began), flush=True)
    for worker in workers:
        worker.close()
    return 1 if any(not one.is_right for one in ended) else 0


def _accepted(ended: list[Tally]) -> int:
    return sum(one.found.accepted for one in ended)


def _faults(ended: list[Tally]) -> Counter[str]:
    return sum((one.faults for one in ended), Counter[str]())


def _summary(ended: list[Tally], seed: int, seconds: float) -> str:
    faults = _faults(ended)
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(faults.items()))
    exits = sum((one.exits for one in ended), Counter[int]())
    return (
        f"{len(ended)} jobs on {len(NAMES)} hosts ({sum(not one.is_right for one in ended)} wrong),"
        f" {_accepted(ended)} accepted POSTs, {faults.total()} faults ({kinds});"
        f" exit codes {dict(sorted(exits.items()))}; {seconds:.0f} s, seed {seed}\n"
        f"{sum(one.found.double for one in ended)} double-billed,"
        f" {sum(len(one.found.lost) for one in ended)} lost,"
        f" {sum(one.over_cap for one in ended)} over a cap,"
        f" {sum(one.found.verified for one in ended)} outputs verified;"
        f" {sum(one.held for one in ended)} held, {sum(one.in_window for one in ended)} processes killed or"
        f" stopped within a POST's window, which left {sum(one.left for one in ended)} submits"
    )
