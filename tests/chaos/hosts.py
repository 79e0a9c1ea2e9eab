"""Several hosts on one ledger: each is a clone of the project with a home, a clock and a way to the database
of its own. The sandbox's count, and the very bytes that it rendered, are the judge.

A host's processes are as `victim` makes them. The times of a lease are divided by `HASTE`, all of them alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import httpx
import psycopg
import yaml

from runner.errors import ExitCode
from runner.project import init_project
from runner.sandbox import SandboxServer
from runner.sandbox.validation import DEFAULT_EXPIRY
from tests.chaos.episode import Nursery
from tests.chaos.victim import Order
from tests.support.postgres import Cluster
from tests.support.postgres_proxy import PostgresProxy, postgres_proxy

ACCOUNTS = ("east", "west")
PRICE = 0.5
MODEL = "byteplus/seedance-1-0-pro"
HASTE = 10.0
"""A takeover after 6 seconds, a guard of 2, a heartbeat each half."""
TAKEOVER = 60.0 / HASTE
PATIENCE = 90.0
LAST_RUNS = 12


@dataclass(frozen=True, slots=True)
class Act:
    """What a process meets: `signal` at the n-th passage of `point`, else SIGKILL after `seconds`."""

    backend: str = "asyncio"
    point: str = "none"
    nth: int = 1
    signal: int = signal.SIGKILL
    seconds: float = PATIENCE


QUIET = Act()


@dataclass(frozen=True, slots=True)
class Host:
    """A machine. Its wall clock is `ahead` seconds before the right one."""

    name: str
    root: Path
    home: Path
    nursery: Nursery
    proxy: PostgresProxy
    url: str
    ahead: float

    @property
    def environ(self) -> dict[str, str]:
        keys = {f"{account.upper()}_KEY": f"rsk_{account}" for account in ACCOUNTS}
        return {**keys, "HOME": str(self.home), "CALLSHEET_HOST": self.name, "SHARED_LEDGER": self.url}

    @property
    def log(self) -> Path:
        return self.root.parent / f"{self.name}.log"

    def start(self, *arguments: str, act: Act = QUIET, answer: str = "") -> int:
        """The pid of a verb; `wait` must follow. Its standard output goes to `answer`, else to the log."""
        self.note(f"{' '.join(arguments)} {act}")
        return self.nursery.send(
            Order(
                [*arguments, "--root", str(self.root)],
                str(self.log),
                act.backend,
                act.point,
                act.nth,
                act.signal,
                self.environ,
                self.ahead,
                HASTE,
                answer,
            )
        )

    def wait(self, pid: int, seconds: float = PATIENCE) -> int:
        status = self.nursery.wait(pid, seconds)
        self.note(f"ended: {status}")
        return status

    def note(self, words: str) -> None:
        """A line in its log."""
        with self.log.open("a") as log:
            log.write(f"--- {time.time():.2f} {words}\n")

    def do(self, *arguments: str, act: Act = QUIET, seconds: float = PATIENCE) -> int:
        """The exit status of a verb, negative for a signal."""
        return self.wait(self.start(*arguments, act=act), seconds)

    def run(self, *accounts: str, act: Act = QUIET) -> int:
        return self.do("run", *self.jobs(*accounts), act=act)

    def jobs(self, *accounts: str) -> list[str]:
        return [str(self.root / f"{account}.yaml") for account in accounts or ACCOUNTS]

    def answer(self, *arguments: str) -> str:
        """What a verb says on its standard output."""
        file = self.log.with_suffix(".answer")
        file.unlink(missing_ok=True)
        self.wait(self.start(*arguments, answer=str(file)))
        return file.read_text()


@dataclass(frozen=True, slots=True)
class Found:
    """`double` of the accepted POSTs were for a task that had one; `lost` are those accepted ones of which no
    host has the file. `missing` tasks have no video anywhere.
    """

    accepted: int
    double: int
    lost: tuple[str, ...]
    missing: tuple[str, ...]
    verified: int


@dataclass(slots=True)
class Fleet:
    """Hosts, the database that they share and the service that they pay."""

    folder: Path
    server: SandboxServer
    url: str
    """The database's, without a proxy."""
    hosts: Sequence[Host]
    takes: int
    slots: int = 1
    """Submits at one moment, so that a kill leaves no more between their intent and their outcome."""
    most: int = 0
    """The highest number of POSTs that the caps have allowed so far."""
    windows: set[str] = field(default_factory=set)
    """The attempts that some process left between their intent and their outcome."""

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        folder: Path,
        server: SandboxServer,
        cluster: Cluster,
        nurseries: Mapping[str, Nursery],
        *,
        takes: int = 6,
        slots: int = 1,
        ahead: Sequence[float] = (-5 * 3600.0, 0.0, 4 * 3600.0),
    ) -> Iterator[Fleet]:
        """Hosts by the names of `nurseries`, whose wall clocks are `ahead`; `takes` tasks at each account."""
        database = f"hosts{secrets.token_hex(6)}"
        cluster.execute(f"CREATE DATABASE {database}")
        with contextlib.ExitStack() as stack:
            hosts = []
            for (name, nursery), wrong in zip(nurseries.items(), ahead, strict=False):
                root, home = folder / name / "my film", folder / name / "home"
                home.mkdir(parents=True)
                init_project(root)
                proxy = stack.enter_context(postgres_proxy(cluster.port))
                through = cluster.url(database, port=proxy.port)
                hosts.append(Host(name, root, home, nursery, proxy, through, wrong))
            fleet = cls(folder, server, cluster.url(database), hosts, takes, slots)
            fleet.cap(None)
            fleet.write(takes)
            yield fleet

    def cap(self, most: int | None) -> None:
        """No more than `most` submits from now on, over all hosts; once by number and once by price."""
        self.most = most if most is not None else 1_000_000
        text = project_file(self.server.url, self.most)
        for host in self.hosts:
            (host.root / "callsheet.yaml").write_text(text, encoding="utf-8")

    def write(self, takes: int) -> None:
        """The jobs, of so many takes at each account."""
        self.takes = takes
        for host in self.hosts:
            for account in ACCOUNTS:
                job = job_file(account, takes, self.slots)
                (host.root / f"{account}.yaml").write_text(job, encoding="utf-8")

    @property
    def over_cap(self) -> int:
        return max(0, self.server.accepted - self.most)

    def left_in_window(self) -> set[str]:
        """Attempts whose intent is durable and whose outcome is not. Remembers them."""
        found = {row[0] for row in self.ask("SELECT id FROM attempts WHERE state = 'intended'")}
        self.windows |= found
        return found

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of the ledger, once the server can be reached; none where it has no tables yet."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                with psycopg.connect(self.url, connect_timeout=10) as connection:
                    return connection.execute(statement.encode()).fetchall()
            except psycopg.errors.UndefinedTable:
                return []
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def sign_off(self, host: Host, by: Host) -> int:
        """A person's word that no process of `host` lives."""
        return by.do("lease", "sign-off", host.name)

    def finish(self, *hosts: Host) -> tuple[int, int, str]:
        """Lets these hosts run to the end, all where none is named: the last exit status, how many tasks a
        person has settled, and what the hosts have said if that was not the end.
        """
        held, statuses = 0, dict[str, int]()
        for _ in range(LAST_RUNS):
            for host in hosts or self.hosts:
                statuses[host.name] = host.run()
            if not any(statuses.values()):
                return 0, held, ""
            if ExitCode.PERSON_NEEDED in statuses.values():
                held += self.settle_by_hand()
            elif ExitCode.TRY_AGAIN in statuses.values():
                time.sleep(TAKEOVER / 4)
            if ExitCode.BUG in statuses.values():
                break
        told = "\n".join(f"{host.name}:\n{host.log.read_text()[-6000:]}" for host in self.hosts)
        return next(filter(None, statuses.values())), held, told

    def settle_by_hand(self) -> int:
        """As `episode.settle_by_hand`, over the whole ledger."""
        first, tasks = self.hosts[0], self.server.tasks()
        came = {DEFAULT_EXPIRY - task.request["execution_expires_after"]: task.id for task in tasks}
        shown = first.answer("reconcile", "--output-format", "json")
        listed = [one for one in json.loads(shown) if one["state"] != "absent"]
        for one in listed:
            answer = ["--adopt", came[one["tag"]]] if one["tag"] in came else ["--again"]
            settled = first.do("reconcile", one["identity"], *answer)
            assert settled == ExitCode.DONE, first.log.read_text()[-3000:]
        return len(listed)

    def judge(self) -> Found:
        """Holds the ledger and the files of all hosts against what the service has."""
        made = {task.id: (_key(task.request), task) for task in self.server.tasks()}
        paid = Counter(key for key, _ in made.values())
        published = self.ask(
            "SELECT attempts.remote_id, outputs.path, outputs.sha256 FROM outputs"
            " JOIN attempts ON attempts.id = outputs.attempt_id WHERE attempts.state = 'done'"
        )
        files = {remote: (path, sha256) for remote, path, sha256 in published if path.endswith(".mp4")}
        lost, verified, done = [], 0, set()
        with httpx.Client(trust_env=False) as client:
            for remote, (key, task) in made.items():
                if remote in files and self._has(
                    files[remote], _rendered(client, self.server.url, key, task.id)
                ):
                    verified += 1
                    done.add(key)
                else:
                    state = self.ask(f"SELECT state, resolution FROM attempts WHERE remote_id = '{remote}'")
                    lost.append(f"{remote} {key} {state}")
        wanted = {f"{account} {seed}" for account in ACCOUNTS for seed in range(1, self.takes + 1)}
        double = sum(number - 1 for number in paid.values())
        return Found(len(made), double, tuple(lost), tuple(sorted(wanted - done)), verified)

    def _has(self, file: tuple[str, str], rendered: str) -> bool:
        """Whether some host has the file, and it is what the service has rendered."""
        path, sha256 = file
        found = [host.root / path for host in self.hosts if (host.root / path).exists()]
        return sha256 == rendered and any(_decoded(each) == sha256 for each in found)


def project_file(url: str, most: int) -> str:
    """Two accounts at one service. Now is noon, so that hours of a wrong clock are of the same day."""
    hours = time.gmtime().tm_hour
    zone = f"Etc/GMT{hours - 12:+d}"
    return yaml.safe_dump(
        {
            "version": 1,
            "project": "c4a05000",
            "timezone": zone,
            "ledger": {"url_env": "SHARED_LEDGER"},
            "accounts": {
                account: {"provider": "mesh", "api_key_env": f"{account.upper()}_KEY", "base_url": url}
                for account in ACCOUNTS
            },
            "budgets": [{"day": {"max_tasks": most}}, {"month": {"max_usd": most * PRICE}}],
            "prices": {MODEL: {"usd_per_task": PRICE}},
        }
    )


def job_file(account: str, takes: int, slots: int) -> str:
    return f"""\
version: 1
models: [{{id: {MODEL}, at: {account}}}]
seeds: 1..{takes}
request: {{resolution: 480p, ratio: 1:1, duration: 4}}
content: [{{type: text, text: {account}}}]
output: out/{account}-${{{{ seed }}}}.mp4
run: {{submit_slots: {slots}, settle: 1s, poll: {{first: 100ms, min: 100ms, max: 200ms}}}}
"""


def _key(request: Mapping[str, Any]) -> str:
    """Which task a request is for."""
    return f"{request['content'][0]['text']} {request['seed']}"


def _rendered(client: httpx.Client, server: str, key: str, task: str) -> str:
    """The sha256 of the file that the service has."""
    owner = {"Authorization": f"Bearer rsk_{key.partition(' ')[0]}"}
    answer = client.get(f"{server}/v1/video/generations/{task}", headers=owner).raise_for_status().json()
    return hashlib.sha256(client.get(answer["content"]["video_url"]).content).hexdigest()


def _decoded(file: Path) -> str:
    try:
        with av.open(str(file)) as box:
            frames = sum(1 for _ in box.decode(video=0))
    except (OSError, av.FFmpegError):
        return "cannot be read"
    return hashlib.sha256(file.read_bytes()).hexdigest() if frames else "no frames"
