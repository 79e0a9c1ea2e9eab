"""A connection that is lost before, within and after each message, and a COMMIT whose answer is lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from runner.errors import ExitCode, StateError
from runner.ledger import postgres
from runner.ledger.caps import Caps
from runner.ledger.ledger import Ledger
from runner.ledger.postgres import Address
from runner.ledger.rows import RunRow
from runner.ledger.shared import open_shared
from runner.ledger.states import TaskState
from tests.support.ledger_rows import RUN, SENT, intent, task
from tests.support.postgres import PASSWORD, Cluster
from tests.support.postgres_proxy import Break, PostgresProxy, Strike, postgres_proxy


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[PostgresProxy]:
    with postgres_proxy(cluster.port) as found:
        yield found


@pytest.fixture
def ledgers(cluster: Cluster, proxy: PostgresProxy) -> Iterator[tuple[Ledger, Ledger]]:
    """One ledger through the proxy, and past it."""
    url = cluster.make_schema()
    direct = Ledger(open_shared(Address.parse(url)))
    with direct.transaction():
        direct.begin_run(RUN)
    cut = Ledger(open_shared(Address.parse(url.replace(f":{cluster.port}/", f":{proxy.port}/"))))
    yield cut, direct
    cut.close()
    direct.close()


def is_saved(ledger: Ledger, number: int) -> bool:
    try:
        with ledger.transaction():
            with ledger.savepoint():
                ledger.intend(task(number), RUN.job_file, RUN.id, intent(number), Caps(), 1000.0)
            with ledger.savepoint():
                ledger.accept(f"attempt-{number}", f"t-{number}", SENT, 1001.0)
    except StateError:
        return False
    return True


@pytest.mark.fault(120)
@pytest.mark.parametrize("fault", [Break.BEFORE, Break.WITHIN, Break.AFTER])
def test_what_is_told_of_a_commit_is_what_the_ledger_has(
    ledgers: tuple[Ledger, Ledger], proxy: PostgresProxy, fault: Break
) -> None:
    """At each statement of a transaction; the next one goes over a new connection."""
    cut, direct = ledgers
    for number in itertools.count(1):
        strike = armed(proxy, Strike(fault, number))
        told = is_saved(cut, number)
        found = direct.read.attempt(f"attempt-{number}")
        assert told is (found is not None), number
        assert found is None or found.state is TaskState.SUBMITTED
        if not strike.has_struck.is_set():
            break
    assert number > 8
    proxy.clear()
    assert is_saved(cut, number + 1)


@pytest.mark.fault(121)
def test_a_commit_that_arrives_late_is_waited_for(
    ledgers: tuple[Ledger, Ledger], proxy: PostgresProxy
) -> None:
    """The connection is gone, and the server commits all the same a little later."""
    cut, direct = ledgers
    strike = armed(proxy, Strike(Break.LATE, statements(cut, proxy), seconds=0.2))
    assert is_saved(cut, 2)
    assert strike.has_struck.is_set()
    assert direct.read.attempt("attempt-2") is not None


@pytest.mark.fault(121)
def test_a_commit_that_never_arrives_is_told_as_not_saved(
    ledgers: tuple[Ledger, Ledger], proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server keeps the half transaction for as long as it lets one stand idle."""
    monkeypatch.setattr(postgres, "_SESSION", postgres._SESSION.replace(b"'5s'", b"'300ms'"))
    cut, direct = ledgers
    cut._db._drop()
    assert is_saved(cut, 3)
    strike = armed(proxy, Strike(Break.LATE, statements(cut, proxy), seconds=30.0))
    assert not is_saved(cut, 2)
    assert strike.has_struck.is_set()
    assert direct.read.attempt("attempt-2") is None
    monkeypatch.undo()
    assert is_saved(cut, 2)


@pytest.mark.fault(121)
def test_an_answer_that_never_comes_is_not_waited_for_without_end(
    ledgers: tuple[Ledger, Ledger], proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, direct = ledgers
    strike = armed(proxy, Strike(Break.LOST, statements(cut, proxy)))
    monkeypatch.setattr(postgres, "ANSWER_SECONDS", 2.0)
    assert is_saved(cut, 2)
    assert strike.has_struck.is_set()
    assert direct.read.attempt("attempt-2") is not None


@pytest.mark.fault(122)
def test_a_commit_that_nobody_can_tell_of_is_said_again_without_harm(
    ledgers: tuple[Ledger, Ledger], proxy: PostgresProxy
) -> None:
    """The server is gone with the answer: what was accepted is told once more when it is back."""
    cut, direct = ledgers
    with cut.transaction():
        cut.intend(task(3), RUN.job_file, RUN.id, intent(3), Caps(), 1000.0)

    def lose_the_commit() -> None:
        with cut.transaction():
            cut.accept("attempt-3", "t-3", SENT, 1001.0)
            proxy.add(Strike(Break.AFTER, meanwhile=proxy.go_down))

    with pytest.raises(StateError, match="nobody can say whether it was saved") as caught:
        lose_the_commit()
    assert caught.value.exit_code is ExitCode.CANNOT_WRITE
    with pytest.raises(StateError):
        is_said_again(cut)
    proxy.is_down = False
    is_said_again(cut)
    found = direct.read.attempt("attempt-3")
    assert found is not None
    assert (found.state, found.remote_id) == (TaskState.SUBMITTED, "t-3")
    assert len([row for row in direct.read.history("attempt-3") if row.state is TaskState.SUBMITTED]) == 1


def is_said_again(ledger: Ledger) -> None:
    with ledger.transaction():
        ledger.accept("attempt-3", "t-3", SENT, 1002.0)


@pytest.mark.fault(120)
def test_a_question_is_asked_again_over_a_new_connection(
    ledgers: tuple[Ledger, Ledger], proxy: PostgresProxy
) -> None:
    cut, _ = ledgers
    for fault in (Break.BEFORE, Break.WITHIN, Break.AFTER):
        strike = armed(proxy, Strike(fault))
        assert cut.read.run(RUN.id) == RUN
        assert strike.has_struck.is_set()


@pytest.mark.fault(120)
def test_steps_behind_a_lost_connection_are_not_saved(
    ledgers: tuple[Ledger, Ledger], proxy: PostgresProxy
) -> None:
    """No step lands alone in a transaction of its own."""
    cut, direct = ledgers
    late = RunRow("run-2", *RUN_FIELDS)

    def commit() -> None:
        with cut.transaction():
            proxy.add(Strike(Break.BEFORE))
            with pytest.raises(StateError), cut.savepoint():
                cut.begin_run(RunRow("run-1b", *RUN_FIELDS))
            with pytest.raises(StateError), cut.savepoint():
                cut.begin_run(late)

    with pytest.raises(StateError, match="nothing was saved"):
        commit()
    assert direct.read.count_runs() == 1


RUN_FIELDS = ("jobs/a.yaml", "a", "d" * 64, "", "2026-11-21+00:00", "mesh", "https://api.test", 1.0)


def test_a_server_that_is_gone_is_told_without_user_and_password(cluster: Cluster) -> None:
    url = cluster.url("nowhere", port=1)
    with pytest.raises(StateError, match="nothing listens there") as caught:
        open_shared(Address.parse(url))
    assert str(caught.value).startswith("the shared ledger (host 127.0.0.1, database nowhere): ")
    assert PASSWORD not in str(caught.value)
    assert "callsheet:" not in str(caught.value)
    assert caught.value.__cause__ is None


def armed(proxy: PostgresProxy, strike: Strike) -> Strike:
    proxy.add(strike)
    return strike


def statements(ledger: Ledger, proxy: PostgresProxy) -> int:
    """How many statements such a transaction is; the last one is its COMMIT."""
    before = proxy.statements
    assert is_saved(ledger, 1)
    return proxy.statements - before
