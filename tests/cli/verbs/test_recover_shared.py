"""`callsheet recover` of a ledger in PostgreSQL: restored from a backup, or on another server than before."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runner.__main__ import main
from runner.cli.services import recovering
from runner.cli.services.recovering import Silence
from runner.errors import ExitCode
from runner.lane.lease import TAKEOVER
from runner.ledger import postgres
from runner.ledger.leases import LaneHeldError
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxServer, Where
from tests.support.deadline import deadline_once
from tests.support.postgres import PASSWORD, Cluster, find_tools
from tests.support.shared_bench import hosts
from tests.support.verb_bench import JOB, VerbBench

SHARED = JOB.replace("[byteplus/seedance-1-0-pro]", "[{id: byteplus/seedance-1-0-pro, at: acme}]")

PROJECT = """\
version: 1
project: 7f3a9c12
ledger: {url_env: SHARED_LEDGER}
accounts: {acme: {provider: mesh, api_key_env: ACME_KEY, base_url: "URL", labels: {client: acme}}}
"""


@pytest.fixture
def url(cluster: Cluster) -> str:
    return cluster.make_schema()


@pytest.fixture
def shared(
    tmp_path: Path,
    url: str,
    server: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> VerbBench:
    """A real project, whose one account is a service on loopback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_KEY", SANDBOX_KEY)
    monkeypatch.setenv("SHARED_LEDGER", url)
    monkeypatch.setattr(recovering, "TAKEOVER", 0.5)
    (tmp_path / "callsheet.yaml").write_text(PROJECT.replace("URL", server.url))
    assert main(["-q", "init"]) == 0
    verbs = VerbBench(tmp_path, server, capsys)
    verbs.write(SHARED)
    return verbs


def ask(url: str, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def copied(url: str, *arguments: str, text: str | None = None, tool: str = "pg_dump") -> str:
    plain, _, schema = url.partition("?options=-csearch_path%3D")
    name = ["--schema", schema] if tool == "pg_dump" else []
    done = subprocess.run(
        [find_tools() / tool, plain, *name, *arguments],
        env={**os.environ, "PGPASSWORD": PASSWORD},
        input=text,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def put_back(url: str, backup: str) -> None:
    ask(url, f"DROP SCHEMA {url.partition('%3D')[2]} CASCADE")
    copied(url, "-q", "-v", "ON_ERROR_STOP=1", text=backup, tool="psql")


TABLES = "meta, writers, leases, runs, sessions, tasks, attempts, history, claims, outputs, archived, spends"


def put_back_rows(url: str, backup: str) -> None:
    """Into the tables that are there, which the server's numbers do not show; a disk's snapshot neither."""
    ask(url, f"SET session_replication_role = replica; TRUNCATE {TABLES}")
    copied(url, "-q", "-v", "ON_ERROR_STOP=1", text=backup, tool="psql")


def moved(url: str) -> None:
    """As a promoted standby looks: another timeline of the same server."""
    ask(url, "UPDATE meta SET value = '000000AB' WHERE key = 'timeline'")


@pytest.mark.fault(155)
def test_what_was_paid_for_since_the_backup_is_found(
    shared: VerbBench, url: str, server: SandboxServer
) -> None:
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    backup = copied(url)
    before = ask(url, "SELECT value FROM meta WHERE key = 'ledger_id'")
    shared.write(SHARED.replace("1..2", "1..4"))
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    with deadline_once(lambda: server.accepted == 4):
        assert shared.call("run", "boat.yaml", "--deadline", "60s") == ExitCode.TRY_AGAIN
    server.faults.clear()
    put_back(url, backup)
    # on the same server, and a machine that has sent nothing has no runs that tell of it
    runs = (shared.root / "runs").rename(shared.root / "elsewhere")
    assert shared.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    assert "has other tables (a backup) than the ledger was written on" in shared.err
    runs.rename(shared.root / "runs")
    assert shared.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    assert "callsheet recover" in shared.err
    assert shared.call("recover", "--dry-run") == ExitCode.DONE, shared.err
    assert ask(url, "SELECT count(*) FROM attempts") == [(2,)]
    assert shared.call("recover", "--yes") == ExitCode.DONE, shared.err
    assert "2 of them news to the ledger" in shared.out
    assert PASSWORD not in shared.out + shared.err
    assert ask(url, "SELECT value FROM meta WHERE key = 'ledger_id'") != before
    assert ask(url, "SELECT DISTINCT length(key_hash), labels FROM attempts") == [(64, '{"client": "acme"}')]
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    assert ask(url, "SELECT state, count(*) FROM attempts GROUP BY 1") == [("done", 4)]
    assert server.accepted == 4
    assert shared.call("recover") == ExitCode.DONE
    assert "nothing to recover" in shared.out
    assert not [*(shared.root / ".callsheet").glob("ledger.db*")]


@pytest.mark.fault(155)
def test_another_server_is_taken_once_nobody_can_be_at_work(
    shared: VerbBench, url: str, server: SandboxServer
) -> None:
    """A lease that was not signed off is waited out, and its driver can write nothing more."""
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    moved(url)
    ask(url, "UPDATE leases SET is_free = 0, host = 'ci-7'")
    assert shared.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    assert "has begun another history" in shared.err
    fences = ask(url, "SELECT fence FROM leases")
    assert shared.call("recover", "--yes", "--gone", "ci-*") == ExitCode.DONE, shared.err
    assert [fence for (fence,) in ask(url, "SELECT fence FROM leases")] == [each + 1 for (each,) in fences]
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    assert server.accepted == 2


@pytest.mark.fault(155)
def test_nothing_is_submitted_before_each_known_machine_has_recovered(
    shared: VerbBench, url: str, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own runs/, and may know of submits that the server has lost."""
    monkeypatch.setenv("CALLSHEET_HOST", "studio-2")
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    ask(url, "UPDATE leases SET host = 'ci-7'")
    moved(url)
    monkeypatch.setenv("CALLSHEET_HOST", "studio-1")
    assert shared.call("recover", "--yes") == ExitCode.PERSON_NEEDED, shared.err
    assert "waits for ci-7, studio-2: run `callsheet recover` there before any run" in shared.err
    assert "the backup names no machine that came after it" in shared.err
    shared.write(SHARED.replace("1..2", "1..3"))
    for verb in (("run", "boat.yaml"), ("plan", "boat.yaml"), ("doctor",)):
        assert shared.call(*verb) == ExitCode.CANNOT_WRITE
        told = " ".join(f"{shared.out} {shared.err}".split())
        assert "does not know yet what was submitted by ci-7, studio-2" in told
        assert "callsheet recover --gone ci-7" in told
    # a file of its own would wait for nobody
    assert shared.call("ledger", "copy", "--to", "local") == ExitCode.CANNOT_WRITE
    assert "does not know yet what was submitted by ci-7, studio-2" in shared.err
    assert server.accepted == 2
    monkeypatch.setenv("CALLSHEET_HOST", "studio-2")
    assert shared.call("recover", "--dry-run") == ExitCode.PERSON_NEEDED
    assert shared.call("recover") == ExitCode.PERSON_NEEDED, shared.err
    assert "waits for ci-7:" in shared.err
    assert "nothing to recover" in shared.out
    assert shared.call("recover", "--gone", "ci-*") == ExitCode.DONE, shared.err
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    assert server.accepted == 3


@pytest.mark.fault(169)
def test_rows_put_back_into_the_same_tables_wait_for_each_machine_too(
    shared: VerbBench, url: str, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server looks as it did. One machine's runs show the loss, and another's runs the rest of it."""
    monkeypatch.setenv("CALLSHEET_HOST", "studio-2")
    other = VerbBench(shared.root.parent / "other", server, shared.capsys)
    shutil.copytree(shared.root, other.root)
    monkeypatch.chdir(other.root)
    assert other.call("run", "boat.yaml") == ExitCode.DONE, other.err
    backup = copied(url, "--data-only", "--disable-triggers")
    other.write(SHARED.replace("1..2", "[3]"))
    assert other.call("run", "boat.yaml") == ExitCode.DONE, other.err
    monkeypatch.setenv("CALLSHEET_HOST", "studio-1")
    monkeypatch.chdir(shared.root)
    shared.write(SHARED.replace("1..2", "[4]"))
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    put_back_rows(url, backup)
    shared.write(SHARED.replace("1..2", "1..5"))
    assert shared.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    assert "callsheet recover" in shared.err
    assert shared.call("recover", "--yes") == ExitCode.PERSON_NEEDED, shared.err
    assert "waits for studio-2: run `callsheet recover` there before any run" in shared.err
    assert shared.call("run", "boat.yaml") == ExitCode.CANNOT_WRITE
    monkeypatch.setenv("CALLSHEET_HOST", "studio-2")
    monkeypatch.chdir(other.root)
    assert other.call("recover", "--yes") == ExitCode.DONE, other.err
    monkeypatch.setenv("CALLSHEET_HOST", "studio-1")
    monkeypatch.chdir(shared.root)
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    assert server.accepted == 5


@pytest.mark.fault(155)
def test_it_takes_the_time_that_its_files_need(shared: VerbBench, url: str, server: SandboxServer) -> None:
    """They are read within its transaction, where any other writer may stand still for 5 seconds."""
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    backup = copied(url)
    shared.write(SHARED.replace("1..2", "1..3"))
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    put_back(url, backup)
    for video in (shared.root / "out").rglob("*.mp4"):
        os.utime(video)
    with impatient():
        assert shared.call("recover", "--yes") == ExitCode.DONE, shared.err
    assert ask(url, "SELECT state, count(*) FROM attempts GROUP BY 1") == [("done", 3)]


@pytest.mark.fault(125)
def test_a_move_takes_the_time_that_its_rows_need(shared: VerbBench, url: str, server: SandboxServer) -> None:
    file = shared.root / "callsheet.yaml"
    text = file.read_text()
    file.write_text(text.replace("ledger: {url_env: SHARED_LEDGER}\n", ""))
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    file.write_text(text)
    there, back = ("ledger", "copy", "--to", "shared"), ("ledger", "copy", "--to", "local")
    assert shared.call(*there) == ExitCode.DONE, shared.err
    assert shared.call(*back) == ExitCode.DONE, shared.err
    with impatient():
        assert shared.call(*there) == ExitCode.DONE, shared.err
        assert shared.call(*back) == ExitCode.DONE, shared.err


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """The server cuts off whoever stands still within a transaction for as long as a line of Python takes."""
    with pytest.MonkeyPatch.context() as patch:
        session = postgres._SESSION.replace(b"'5s'", b"'1ms'")
        assert session != postgres._SESSION
        patch.setattr(postgres, "_SESSION", session)
        yield


@pytest.mark.fault(154)
def test_an_intent_of_another_machine_is_never_taken_for_absent(
    shared: VerbBench, url: str, server: SandboxServer
) -> None:
    """It may have been settled in what the server has lost: the list may show it, and never excludes it."""
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    ask(
        url,
        "INSERT INTO attempts (seq, id, identity, run_id, reason, origin, key_hash, model, seed, tag,"
        " body_sha256, server_time, intended_at, state, account, day, decision) SELECT seq + 100,"
        " repeat('9', 32), identity, run_id, 'again', origin, key_hash, model, seed, 60000, body_sha256,"
        " server_time + 1, intended_at + 1, 'intended', account, day, 9 FROM attempts ORDER BY seq DESC"
        " LIMIT 1",
    )
    ask(
        url,
        "INSERT INTO history (attempt_id, at, state) SELECT id, intended_at, 'intended' FROM attempts"
        " WHERE tag = 60000",
    )
    moved(url)
    assert shared.call("recover", "--yes") == ExitCode.DONE, shared.err
    assert ask(url, "SELECT state, evidence::json ->> 'row' FROM attempts WHERE tag = 60000") == [
        ("ambiguous", "128")
    ]
    shared.write(SHARED.replace("1..2", "1..3"))
    assert shared.call("run", "boat.yaml") in (ExitCode.TRY_AGAIN, ExitCode.PERSON_NEEDED)
    assert ask(url, "SELECT state IN ('ambiguous', 'held') FROM attempts WHERE tag = 60000") == [(True,)]
    assert server.accepted == 3


def test_a_clone_without_its_runs_folder_holds_nothing_and_invents_nothing(
    shared: VerbBench, url: str
) -> None:
    """Another machine's recover: it has no runs of its own, and the ledger keeps what it knows."""
    assert shared.call("run", "boat.yaml") == ExitCode.DONE, shared.err
    before = ask(url, "SELECT id, state FROM attempts ORDER BY id")
    moved(url)
    shutil.rmtree(shared.root / "runs")
    assert shared.call("recover", "--yes") == ExitCode.DONE, shared.err
    assert ask(url, "SELECT id, state FROM attempts ORDER BY id") == before


@pytest.mark.fault(155)
def test_who_is_alive_is_never_recovered_under(url: str) -> None:
    clock = 0.0
    with hosts(url, "ci-7", "ci-8") as (alive, other):
        alive.take()
        assert other.ledger.leases is not None
        silence = Silence(other.ledger.leases, lambda: clock)
        assert silence.left() == TAKEOVER
        clock += TAKEOVER - 1
        assert silence.left() == 1
        clock += 1
        assert silence.left() == 0
        alive.beat()
        with pytest.raises(LaneHeldError, match="driven by"):
            silence.left()
        with other.ledger.transaction():
            silence.end()
        assert silence.rows() == []
        alive.beat()
        assert not alive.lease().is_fresh()
