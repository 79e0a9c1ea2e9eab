"""A ledger that moves into another database and back, and is cut off at any point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings

from runner.errors import BusyError, NoProjectError, StateError
from runner.ledger.copy import TABLES, is_live, move
from runner.ledger.database import open_for_writing
from runner.ledger.engine import ConflictError, Engine
from runner.ledger.ledger import Ledger
from runner.ledger.postgres import Address, PostgresEngine
from runner.ledger.shared import open_shared
from runner.ledger.sqlite import SqliteEngine
from tests.support.ledger_rows import RUN, intend
from tests.support.postgres import Cluster
from tests.support.stories import Action, empty, play, stories, table_rows


@pytest.fixture
def own() -> Iterator[SqliteEngine]:
    engine = open_for_writing(None)
    ledger = Ledger(engine)
    with ledger.transaction():
        ledger.begin_run(RUN)
    for number in range(1, 4):
        intend(ledger, number)
    yield engine
    engine.close()


@pytest.fixture
def shared(ledger_url: str) -> Iterator[PostgresEngine]:
    engine = open_shared(Address.parse(ledger_url))
    engine.writes_where_moved = True
    Ledger(engine)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def emptied(cluster: Cluster) -> Iterator[PostgresEngine]:
    engine = open_shared(Address.parse(cluster.make_schema()))
    engine.writes_where_moved = True
    Ledger(engine)
    yield engine
    engine.close()


@settings(max_examples=15)
@given(story=stories)
def test_every_row_comes_through_there_and_back(emptied: PostgresEngine, story: list[list[Action]]) -> None:
    empty(emptied)
    with emptied.transaction():
        emptied.execute("DELETE FROM meta WHERE key IN ('moved', 'move')")
    own, back = open_for_writing(None), open_for_writing(None)
    play(Ledger(own), story)
    before, salt = [*table_rows(own)], Ledger(own).salt
    Ledger(back)
    move(own, emptied, to="there")
    assert [*table_rows(emptied)] == before
    moved = move(emptied, back, to="back")
    assert [*table_rows(back)] == before
    assert Ledger(back).salt == salt
    assert moved.rows["tasks"] == sum(row[0] == "tasks" for row in before)
    assert (is_live(own), is_live(emptied), is_live(back)) == (False, False, True)
    own.close()
    back.close()


def test_the_way_back_takes_what_came_since(own: SqliteEngine, shared: PostgresEngine) -> None:
    """And the way there once more: the old rows make room."""
    move(own, shared, to="there")
    intend(Ledger(shared), 4)
    move(shared, own, to="back")
    intend(Ledger(own), 5)
    assert move(own, shared, to="there").rows["attempts"] == 5
    intend(Ledger(shared), 6)
    for engine in (shared, own):
        with pytest.raises(ConflictError, match="attempts are never deleted"), engine.transaction():
            engine.execute("DELETE FROM attempts")


def cuts(own: SqliteEngine, shared: PostgresEngine, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Lets the move fail at its statement number `at`."""
    left = [at]

    def cutting(execute: Callable[..., object]) -> Callable[..., object]:
        def cut(engine: Engine, *arguments: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return execute(engine, *arguments)

        return cut

    monkeypatch.setattr(PostgresEngine, "execute", cutting(PostgresEngine.execute))
    with pytest.raises(KeyboardInterrupt):
        move(own, shared, to="there")
    monkeypatch.undo()


@pytest.mark.fault(125)
@pytest.mark.parametrize("at", [0, 3, 5, 8, 14, 20, 26, 40])
def test_a_move_that_is_cut_off_is_done_again(
    own: SqliteEngine, shared: PostgresEngine, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """At no moment are both live, and none that is not whole."""
    before = [*table_rows(own)]
    cuts(own, shared, monkeypatch, at)
    assert not (is_live(own) and is_live(shared))
    assert not is_live(shared) or [*table_rows(shared)] == before
    move(own, shared, to="there")
    assert (is_live(own), is_live(shared)) == (False, True)
    assert [*table_rows(shared)] == before
    assert move(own, shared, to="there").was_done


@pytest.mark.fault(125)
def test_a_ledger_that_was_moved_goes_to_no_second_place(own: SqliteEngine, shared: PostgresEngine) -> None:
    """Another machine, or another URL: both would be live, and each would pay."""
    move(own, shared, to="there")
    with closing(open_for_writing(None)) as elsewhere:
        Ledger(elsewhere)
        with pytest.raises(NoProjectError, match="was moved to there, and not here"):
            move(own, elsewhere, to="elsewhere")
        assert not is_live(elsewhere)


@pytest.mark.fault(125)
def test_an_old_source_never_comes_back_over_a_ledger_that_went_on(
    own: SqliteEngine, shared: PostgresEngine
) -> None:
    move(own, shared, to="there")
    intend(Ledger(shared), 4)
    with closing(open_for_writing(None)) as other:
        Ledger(other)
        move(shared, other, to="the other one")
        with pytest.raises(NoProjectError, match="and not here"):
            move(own, shared, to="there")
        assert (is_live(own), is_live(shared), is_live(other)) == (False, False, True)


@pytest.mark.fault(125)
def test_a_machine_that_still_has_it_open_writes_nothing_any_more(
    own: SqliteEngine, shared: PostgresEngine
) -> None:
    move(own, shared, to="there")
    with closing(open_shared(shared.address)) as other:
        ledger = Ledger(other)
        intend(ledger, 4)
        move(shared, own, to="back")
        with pytest.raises(StateError, match="was moved away; nothing was saved"):
            intend(ledger, 5)
    assert Ledger(own).read.count_states() == Ledger(shared).read.count_states()


def test_it_waits_for_whoever_drives_an_account(own: SqliteEngine, shared: PostgresEngine) -> None:
    with shared.transaction():
        shared.execute(
            "INSERT INTO leases VALUES ('l', 'i', 1, 1, 0, 'mesh', 'mesh', 'o', 'k', ?, 42, 'run', 1.0, '')",
            ("ci-7",),
        )
    with pytest.raises(BusyError, match="ci-7"):
        move(own, shared, to="there")
    assert is_live(own)


def test_another_ledger_is_never_written_over(own: SqliteEngine, shared: PostgresEngine) -> None:
    ledger = Ledger(shared)
    with ledger.transaction():
        ledger.begin_run(RUN)
    with pytest.raises(NoProjectError, match="the ledger there is another one"):
        move(own, shared, to="there")
    assert is_live(own)


def test_a_row_that_did_not_arrive_as_it_was_is_told(
    own: SqliteEngine, shared: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = iter(range(1000))
    monkeypatch.setattr("runner.ledger.copy._digest", lambda engine, table: next(seen))
    with pytest.raises(StateError, match="runs: did not arrive as it was"):
        move(own, shared, to="there")
    monkeypatch.undo()
    assert not is_live(shared)
    assert Ledger(shared).read.count_runs() == 0
    move(own, shared, to="there")


def test_every_table_is_copied(shared: PostgresEngine) -> None:
    """All but what belongs to one place."""
    found = shared.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
    assert {name for (name,) in found} - {"meta", "writers", "leases"} == {*TABLES}
