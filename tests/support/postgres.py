"""A private PostgreSQL for the tests: a cluster of its own on loopback, ended by pid with the session."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
from filelock import FileLock

USER = "callsheet"
PASSWORD = "kaffeekanne-7f3a"
"""Tests look for it in all that is written."""

_ROOM = 4_000_000_000
"""Bytes. Several clusters and the tests' own files lie there at one time."""

MISSING = (
    "PostgreSQL 15 or later is not installed: use `scripts/test`, or install it (Debian: apt-get install"
    " postgresql; macOS: brew install postgresql@17), or set PG_BIN to the directory of initdb"
)
# fsync stays on, as the product asks for; the rest keeps a cluster small
_SETTINGS = """
listen_addresses = '127.0.0.1'
max_connections = 60
shared_buffers = 16MB
autovacuum = off
log_min_messages = fatal
"""


def find_tools() -> Path:
    """The directory of `initdb` and `pg_ctl`, the newest. Fails with the lines that install them."""
    named, on_path = os.environ.get("PG_BIN"), shutil.which("initdb")
    places = [Path(named)] if named else [*Path("/usr/lib/postgresql").glob("*/bin")]
    places += [Path(on_path).resolve().parent] if on_path and not named else []
    found = [each for each in places if (each / "initdb").is_file()]
    assert found, MISSING
    return max(found, key=lambda each: int(each.parent.name) if each.parent.name.isdigit() else 0)


@dataclass(frozen=True, slots=True)
class Cluster:
    """`directory` holds all of it."""

    directory: Path
    port: int

    @classmethod
    def make(cls) -> Cluster:
        """A new one, started. It ends with this process, or with the pytest whose worker this is."""
        directory = Path(tempfile.mkdtemp(prefix="pg-", dir=_home()))
        cluster = cls(directory, _free_port())
        owner = int((os.environ.get("PYTEST_XDIST_WORKER", "") and os.getppid()) or os.getpid())
        watch = [sys.executable, __file__, str(owner), str(directory)]
        subprocess.run(watch, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        secret = directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        cluster._run(
            "initdb",
            *("-D", str(cluster.data), "-U", USER, f"--pwfile={secret}", "--auth=scram-sha-256"),
            # an order of its own, which the ledger's must not depend on
            *("--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en", "--no-sync"),
        )
        with (cluster.data / "postgresql.conf").open("a") as settings:
            settings.write(f"{_SETTINGS}port = {cluster.port}\nunix_socket_directories = '{directory}'\n")
        cluster.start()
        return cluster

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.directory / "log"), "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def url(
        self, database: str, *, port: int | None = None, user: str = USER, password: str = PASSWORD
    ) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{port or self.port}/{database}"

    def make_schema(self, *, port: int | None = None) -> str:
        """The URL of a new and empty one, which takes a ledger as a database does and is there at once."""
        name = f"t{secrets.token_hex(6)}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url('postgres', port=port)}?options=-csearch_path%3D{name}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        with closing(psycopg.connect(self.url(database), autocommit=True)) as connection:
            connection.execute(statement.encode())

    def _run(self, tool: str, *arguments: str) -> None:
        user = "postgres" if os.geteuid() == 0 else None  # they refuse root
        done = subprocess.run(
            [find_tools() / tool, *arguments],
            cwd=self.directory,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert not done.returncode, done.stderr


def shared_cluster() -> Cluster:
    """One for all workers of this session of pytest."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    known = Path(tempfile.gettempdir(), f"callsheet-pg-{session}")
    with FileLock(f"{known}.lock"):
        if known.exists():
            directory, port = known.read_text().split()
            return Cluster(Path(directory), int(port))
        cluster = Cluster.make()
        (cluster.directory / "known").write_text(str(known))
        known.write_text(f"{cluster.directory} {cluster.port}")
        return cluster


def _home() -> Path:
    """In memory where there is room, since each commit waits for its disk; a socket's path must be short."""
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM
    return memory if has_room else Path("/tmp")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _end_with(owner: int, directory: Path) -> None:
    """Waits for a process to end, however it does, and ends the cluster behind it."""
    while _lives(owner):
        time.sleep(0.2)
    postmaster = _postmaster(directory)
    if postmaster is not None:
        os.kill(postmaster, signal.SIGQUIT)
        while _lives(postmaster):
            time.sleep(0.05)
    known = directory / "known"
    if known.exists():
        named = known.read_text()
        Path(named).unlink(missing_ok=True)
        Path(f"{named}.lock").unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)


def _postmaster(directory: Path) -> int | None:
    try:
        return int((directory / "data" / "postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    # nobody waits for it: it outlives the process that asked
    if os.fork():
        os._exit(0)
    os.setsid()
    _end_with(int(sys.argv[1]), Path(sys.argv[2]))
