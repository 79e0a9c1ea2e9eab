"""Which server may hold a shared ledger, and what a project makes of the one that it names."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from runner.errors import ExitCode, JobError, NoProjectError, StateError
from runner.ledger import database, shared
from runner.ledger.caps import Budgets
from runner.ledger.ledger import Ledger, open_ledger
from runner.ledger.open import has_ledger, ledger_words, open_reader
from runner.ledger.postgres import Address, PostgresEngine
from runner.ledger.shared import open_on_any_server, open_shared, open_shared_for_reading, remember_home
from runner.project import PROJECT_FILE, Project, init_project
from runner.run.ownership import check_is_own
from tests.support.ledger_rows import RUN
from tests.support.postgres import PASSWORD, USER, Cluster

SAID = "version: 1\nproject: 7f3a9c12\nledger: {url_env: TEAM_LEDGER}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> Project:
    monkeypatch.setenv("TEAM_LEDGER", ledger_url)
    (tmp_path / PROJECT_FILE).write_text(SAID)
    return init_project(tmp_path)


@pytest.fixture
def setting(cluster: Cluster) -> tuple[Cluster, str]:
    """A user whose settings are its own, and a URL of theirs."""
    url = cluster.make_schema()
    schema = url.rpartition("%3D")[2]
    cluster.execute(f"CREATE ROLE r{schema} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    return cluster, url.replace(f"{USER}:", f"r{schema}:")


def role_of(url: str) -> str:
    return url.removeprefix("postgresql://").partition(":")[0]


@pytest.mark.fault(124)
def test_a_server_that_confirms_before_the_disk_has_it_is_refused(setting: tuple[Cluster, str]) -> None:
    """Set for the user alone, where nobody looks."""
    cluster, url = setting
    cluster.execute(f"ALTER ROLE {role_of(url)} SET synchronous_commit = off")
    with pytest.raises(StateError, match="`synchronous_commit` off for this user or database") as caught:
        open_shared(Address.parse(url))
    assert caught.value.exit_code is ExitCode.CANNOT_WRITE
    assert open_shared_for_reading(Address.parse(url)) is None


@pytest.mark.fault(124)
@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("version", 140_011, "runs PostgreSQL 14"),
        ("encoding", "LATIN1", "has the encoding LATIN1"),
        ("fsync", "off", "has `fsync` off"),
        ("standby", True, "is a standby"),
    ],
)
def test_a_server_that_may_lose_what_was_paid_for_is_refused(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch, column: str, value: object, told: str
) -> None:
    facts = {"version": 150_000, "encoding": "UTF8", "fsync": "on", "commits": "on", "standby": False}
    literals = ", ".join(
        f"'{each}'" if isinstance(each, str) else str(each) for each in (facts | {column: value}).values()
    )
    monkeypatch.setattr("runner.ledger.postgres._SERVER", f"SELECT {literals}".encode())
    with pytest.raises(StateError, match=told) as caught:
        open_shared(Address.parse(ledger_url))
    assert caught.value.exit_code is ExitCode.CANNOT_WRITE


@pytest.mark.fault(124)
def test_a_server_that_takes_no_writes_is_told(setting: tuple[Cluster, str]) -> None:
    _, url = setting
    with (
        closing(open_shared(Address.parse(url))) as engine,
        pytest.raises(StateError, match="takes no writes"),
    ):
        engine.execute("INSERT INTO meta VALUES ('a', 'b')")


@pytest.mark.fault(123)
@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("system_identifier", "is another server"),
        ("timeline", "has begun another history"),
        ("tables", "has other tables"),
    ],
)
def test_another_server_or_history_is_refused_until_a_person_says_so(
    ledger_url: str, key: str, told: str
) -> None:
    address = Address.parse(ledger_url)
    with closing(open_shared(address)) as engine, engine.transaction():
        engine.execute("UPDATE meta SET value = '1' WHERE key = ?", (key,))
    for attempt in (open_shared, open_shared_for_reading):
        with pytest.raises(StateError, match=told) as caught:
            attempt(address)
        assert caught.value.hint == "callsheet recover"
        assert caught.value.exit_code is ExitCode.CANNOT_WRITE
    with closing(open_on_any_server(address)) as engine, engine.transaction():
        remember_home(engine)
    open_shared(address).close()


@pytest.mark.fault(123)
def test_a_copy_of_the_database_on_the_same_server_is_another_one(cluster: Cluster) -> None:
    """Made as a backup, and later given the name of the first one: its tables have the same numbers."""
    names = [f"d{secrets.token_hex(6)}" for _ in range(2)]
    cluster.execute(f"CREATE DATABASE {names[0]} ENCODING 'UTF8' TEMPLATE template0")
    open_shared(Address.parse(cluster.url(names[0]))).close()
    cluster.execute(f"CREATE DATABASE {names[1]} TEMPLATE {names[0]}")
    cluster.execute(f"DROP DATABASE {names[0]}")
    cluster.execute(f"ALTER DATABASE {names[1]} RENAME TO {names[0]}")
    with pytest.raises(StateError, match="has other tables \\(a backup\\)"):
        open_shared(Address.parse(cluster.url(names[0])))


@pytest.mark.parametrize("version", ["9", "11", ""])
def test_tables_of_another_version_are_left_alone(ledger_url: str, version: str) -> None:
    """By `recover` too, which would write into them."""
    address = Address.parse(ledger_url)
    with closing(open_shared(address)) as engine, engine.transaction():
        engine.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (version,))
    for attempt in (open_shared, open_shared_for_reading, open_on_any_server):
        with pytest.raises(StateError, match=f"has version {version or 'none'}, this callsheet knows"):
            attempt(address)


def test_a_user_who_may_only_read_reads(setting: tuple[Cluster, str]) -> None:
    cluster, url = setting
    with closing(open_shared(Address.parse(url))) as engine:
        ledger = Ledger(engine)
        with ledger.transaction():
            ledger.begin_run(RUN)
    schema = url.rpartition("%3D")[2]
    cluster.execute(f"CREATE ROLE {schema}_reader LOGIN PASSWORD '{PASSWORD}'")
    cluster.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}_reader")
    cluster.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}_reader")
    reader = Address.parse(url.replace(f"{role_of(url)}:", f"{schema}_reader:"))
    found = open_shared_for_reading(reader)
    assert found is not None
    with closing(found):
        assert found.execute("SELECT id FROM runs").fetchall() == [(RUN.id,)]
        with pytest.raises(StateError, match="takes no writes"):
            found.execute("DELETE FROM runs")
    with pytest.raises(StateError, match="permission denied") as caught:
        open_shared(reader)
    assert f"{schema}_reader" not in str(caught.value)


def test_an_older_one_is_brought_up_to_date_and_a_newer_one_is_told(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = Address.parse(ledger_url)
    open_shared(address).close()
    later = str(int(database.SCHEMA_VERSION) + 1)
    monkeypatch.setattr(shared, "SCHEMA_VERSION", later)
    with pytest.raises(
        StateError, match=f"has version {database.SCHEMA_VERSION}, this callsheet knows {later}"
    ):
        open_shared(address)
    monkeypatch.setattr(shared, "_UPGRADES", {database.SCHEMA_VERSION: "next.sql"})
    monkeypatch.setattr(shared, "script", lambda name: "ALTER TABLE runs ADD COLUMN more text;")
    with closing(open_shared(address)) as engine:
        assert engine.execute("SELECT more FROM runs").fetchall() == []
    monkeypatch.undo()
    with pytest.raises(StateError, match=f"has version {later}, this callsheet knows"):
        open_shared(address)


def test_a_variable_that_is_not_set_is_never_a_ledger_of_ones_own(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEAM_LEDGER")
    (project.root / ".env").write_text("TEAM_LEDGER=postgresql://elsewhere/x\n")
    for open_it in (has_ledger, open_reader, lambda one: open_ledger(one, Budgets())):
        with pytest.raises(NoProjectError, match="TEAM_LEDGER, which is not set; nothing was sent"):
            open_it(project)
    assert not project.ledger_path.exists()


def test_tables_of_a_state_that_was_never_released_are_told(project: Project) -> None:
    """Its leases name no locks."""
    with closing(open_ledger(project, Budgets())) as ledger:
        with ledger.transaction():
            ledger._db.execute("ALTER TABLE leases DROP COLUMN lock")
        assert ledger.leases is not None
        with pytest.raises(StateError, match=r"never released.*ledger copy --to local"):
            ledger.leases.rows()


@pytest.mark.parametrize("url", ["mysql://host/x", "postgresql://user:geheim@[/x", "host=x password=geheim"])
def test_a_url_that_cannot_be_read_is_told_without_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("TEAM_LEDGER", url)
    with pytest.raises(NoProjectError, match=r"^TEAM_LEDGER: is not a URL") as caught:
        open_reader(project)
    assert "geheim" not in str(caught.value)


@pytest.mark.fault(126)
def test_the_ledger_of_another_project_is_refused(project: Project) -> None:
    with closing(open_ledger(project, Budgets())) as ledger:
        ledger.name_project("00000000")
    with closing(open_reader(project)) as reader, pytest.raises(NoProjectError, match="project 00000000"):
        check_is_own(project, reader)


def test_a_project_file_with_mistakes_never_leads_to_a_new_ledger(project: Project) -> None:
    """The line may be the one that cannot be read."""
    for text in (SAID + "budgets: [", SAID.replace("{url_env: TEAM_LEDGER}", "TEAM_LEDGER")):
        (project.root / PROJECT_FILE).write_text(text)
        with pytest.raises(JobError):
            open_ledger(project, Budgets())
        assert not project.ledger_path.exists()


@pytest.mark.fault(125)
def test_runs_that_the_shared_ledger_was_not_given_are_not_passed_over(project: Project) -> None:
    with closing(Ledger.open(project.ledger_path)) as own, own.transaction():
        own.begin_run(RUN)
    for open_it in (open_reader, lambda one: open_ledger(one, Budgets())):
        with pytest.raises(NoProjectError, match="knows of runs that the shared ledger") as caught:
            open_it(project)
        assert caught.value.hint == "callsheet ledger copy --to shared"


def test_a_rehearsal_has_a_ledger_of_its_own(project: Project) -> None:
    rehearsal = project.rehearsal()
    rehearsal.make_state_dir()
    with closing(open_ledger(rehearsal, Budgets())) as ledger:
        assert not ledger.is_remote
    assert ledger_words(rehearsal) == str(rehearsal.ledger_path)


def test_two_machines_that_open_an_empty_database_make_one_ledger(ledger_url: str) -> None:
    address = Address.parse(ledger_url)
    with ThreadPoolExecutor(4) as machines:
        engines = [*machines.map(lambda _: open_shared(address), range(4))]
    assert len({Ledger(engine).ledger_id for engine in engines}) == 1
    for engine in engines:
        engine.close()


@pytest.mark.parametrize(
    ("url", "is_plain"),
    [
        ("postgresql://u:p@db.example.com/x", True),
        ("postgresql://u:p@db.example.com/x?sslmode=require", False),
        ("postgresql://u:p@127.0.0.1/x", False),
        ("postgresql://u:p@localhost,db.example.com/x", True),
        ("postgresql:///x?host=/run/postgresql", False),
    ],
)
def test_an_address_tells_where_and_neither_user_nor_password(url: str, is_plain: bool) -> None:
    address = Address.parse(url)
    assert address.is_in_plain_text is is_plain
    assert "u:p" not in f"{address!r} {address.words}"


def test_no_row_of_psycopg_s_own_words_is_told(cluster: Cluster) -> None:
    wrong = cluster.url("postgres", user="somebody", password="geheim")
    with pytest.raises(StateError, match="the server refuses this user or password") as caught:
        open_shared(Address.parse(wrong))
    assert "somebody" not in str(caught.value)
    assert not isinstance(caught.value.__context__, psycopg.Error) or caught.value.__suppress_context__


@pytest.mark.fault(123)
def test_a_session_that_another_process_has_used_is_refused(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pooler does that gives a session to each transaction: what was set there is somebody else's."""
    address = Address.parse(ledger_url)
    with closing(open_shared(address)) as engine:
        connection = engine._connected()
        monkeypatch.setattr(type(connection), "connect", lambda *_, **__: connection)
        monkeypatch.setattr(connection, "close", lambda: None)
        with pytest.raises(StateError, match="a pooler gives each transaction another session") as caught:
            open_shared(address)
        assert caught.value.exit_code is ExitCode.CANNOT_WRITE
        monkeypatch.undo()
        with engine.transaction():
            engine.execute("SELECT 1")


@pytest.mark.fault(123)
def test_a_transaction_in_another_session_is_refused(ledger_url: str) -> None:
    """It may be one of another server's: of a standby that was promoted behind the pooler's back."""
    address = Address.parse(ledger_url)
    with (
        closing(open_shared(address)) as engine,
        closing(open_shared(address)) as other,
    ):
        engine._connection, other._connection = other._connected(), engine._connected()
        for begin in (engine.transaction, engine.brief, engine.making):
            with pytest.raises(StateError, match="another session"), begin():
                pytest.fail("was let in")
        assert engine.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.fault(170)
@pytest.mark.parametrize("opens", [open_shared, open_shared_for_reading])
def test_a_server_that_would_hide_rows_says_so(
    cluster: Cluster, opens: Callable[[Address], PostgresEngine | None]
) -> None:
    """Row-level security, which some hosts put on each new table: a task that nobody sees is bought again."""
    url = cluster.make_schema()
    schema = url.rpartition("%3D")[2]
    with closing(open_shared(Address.parse(url))) as engine:
        engine.close()
    cluster.execute(
        f"CREATE ROLE r{schema} LOGIN PASSWORD '{PASSWORD}'; GRANT USAGE ON SCHEMA {schema} TO r{schema};"
        f" GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO r{schema};"
        f" ALTER TABLE {schema}.attempts ENABLE ROW LEVEL SECURITY"
    )
    engine = opens(Address.parse(url.replace(f"{USER}:", f"r{schema}:")))
    assert engine is not None
    with closing(engine), pytest.raises(StateError, match="row-level security"):
        engine.execute("SELECT count(*) FROM attempts")
