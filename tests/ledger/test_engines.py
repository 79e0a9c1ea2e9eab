"""One ledger in two databases: the same stories, with the same results and the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings

from runner.job.project_file import Where
from runner.ledger.caps import Caps
from runner.ledger.copy import TABLES
from runner.ledger.database import open_for_writing
from runner.ledger.ledger import Ledger
from runner.ledger.postgres import Address
from runner.ledger.rows import Intent, Kind, SpendBy
from runner.ledger.search import LedgerSearch
from runner.ledger.shared import open_shared
from runner.ledger.states import Reason, TaskState
from runner.plan.words import TaskWords
from runner.providers.provider import Listing
from tests.support.ledger_rows import RUN, SENT, task
from tests.support.postgres import Cluster
from tests.support.stories import ATTEMPTS, BUDGETS, OTHER, TASKS, Action, empty, play, stories, table_rows


def answers(read: LedgerSearch) -> Iterator[object]:
    """Each question that can be asked."""
    identities = [task(number).identity for number in range(TASKS + 1)]
    every = [f"a{number}" for number in range(ATTEMPTS)]
    listings = [Listing(scope_field="seed"), Listing(scope_field="tier", scope_default="x"), Listing()]
    yield read.run(RUN.id), read.runs_beginning("run"), read.latest_run(), [*read.newest_runs()]
    yield read.count_runs(), read.states_of_run(RUN.id), read.origins(), read.unfinished_runs()
    yield read.unfinished_runs(OTHER.job_file), read.has_intents(OTHER.id), read.sessions(RUN.id)
    yield read.session_facts(RUN.id, "key"), read.task(identities[1]), read.identities_of_run(RUN.id)
    yield read.open_states(RUN.id), read.requests(identities), read.task_at("out/s1.mp4")
    yield read.latest(identities), read.states(identities), sorted(read.states_of(every))
    yield read.standing_attempts(identities), read.attempts_of(identities), read.histories_of(identities)
    yield [*read.in_state(*TaskState)], [*read.in_state(TaskState.HELD, origin=RUN.origin, provider="mesh")]
    yield read.count_states(), read.count_states(RUN.origin, "mesh"), read.holder(RUN.origin, "t-1")
    yield read.outputs(identities), read.owners(["out/s1.mp4", "out/ä.mp4"]), read.standing_outputs()
    yield read.unarchived("s3://takes/film")
    yield sorted(read.every_request()), read.claims(["out/s1.mp4", "out/S1.mp4"]), read.paths_of("e" * 64)
    yield read.is_awaited_at("out/s1.mp4", identities[2]), read.published(identities)
    yield (
        read.open_tags(RUN.origin),
        read.echoes(RUN.origin, "key", 1000.0, range(1, 65_536)),
        read.counted_absences(),
    )
    yield read.claimed(RUN.origin, ["t-1", "ä"]), read.tag_holder(RUN.origin, 1)
    yield [read.doubt(one) for one in every], [read.history(one) for one in every]
    yield read.looked_for(None, None, 0.0, is_by_tag=False), read.looked_for(RUN.origin, "key", 1000.0)
    yield read.durations(Kind(RUN.origin, "seedance-1-0-pro", "", ""), 5)
    for listing in listings:
        yield sorted(map(str, read.accepted_since(RUN.origin, "key", listing, 1000.0)))
        yield read.newest_accepted(RUN.origin, "key", listing, "seedance-1-0-pro", "1")
    yield (
        read.spend(RUN.id, OTHER.id),
        read.spent_in("1970-01", Where()),
        read.reserved_in("1970-01", Where("acme")),
    )
    yield read.billed_runs_named("a", ""), read.billed_runs_of(identities), read.spending()
    yield [read.spending(by) for by in SpendBy], read.spending(SpendBy.LABEL, label="client")
    yield read.first_intent(RUN.origin, "key"), read.spent_with(RUN.origin, "key", 0.0), read.drift(RUN.id)
    yield read.find("s1"), read.find(identities[1][:12]), read.find("t-1"), read.find_path(TaskWords("s1"))
    yield sorted(read.names()), [*read.paths()]


@pytest.fixture(scope="module")
def shared(cluster: Cluster) -> Iterator[Ledger]:
    ledger = Ledger(open_shared(Address.parse(cluster.make_schema())), BUDGETS)
    yield ledger
    ledger.close()


@settings(max_examples=20)
@given(story=stories)
def test_a_story_leaves_the_same_rows_and_answers_in_both(shared: Ledger, story: list[list[Action]]) -> None:
    """Whatever steps are taken, in groups of which some steps are undone."""
    empty(shared._db)
    local = Ledger(open_for_writing(None), BUDGETS)
    assert play(shared, story) == play(local, story)
    assert [*table_rows(shared._db)] == [*table_rows(local._db)]
    asked = [[*answers(LedgerSearch(ledger._db))] for ledger in (shared, local)]
    assert asked[0] == asked[1]
    local.close()


@pytest.mark.parametrize("table", [*TABLES, "meta"])
def test_both_have_the_same_columns(cluster: Cluster, table: str) -> None:
    """In the same order, for rows are inserted by it, and none that may be NULL in one of them alone."""
    local = open_for_writing(None)
    shared = open_shared(Address.parse(cluster.make_schema()))
    there = shared.execute(
        "SELECT column_name, is_nullable = 'NO' FROM information_schema.columns"
        " WHERE table_name = ? AND table_schema = current_schema() ORDER BY ordinal_position",
        (table,),
    ).fetchall()
    here = local.execute(f"SELECT name, \"notnull\" OR pk FROM pragma_table_xinfo('{table}')").fetchall()
    assert [(name, bool(needed)) for name, needed in here] == [
        (name, needed) for name, needed in there if name != "rowid"
    ]
    kept = {name for name, _ in there} - {"month"}
    assert table not in TABLES or kept == {*TABLES[table][1]}
    local.close()
    shared.close()


def test_a_nul_in_a_text_stops_nothing(cluster: Cluster) -> None:
    """PostgreSQL has none: what was paid for is kept all the same."""
    ledger = Ledger(open_shared(Address.parse(cluster.make_schema())))
    with ledger.transaction():
        ledger.begin_run(RUN)
        intent = Intent("a0", Reason.RUN, "mesh", "key", 1, "b" * 64, 1.0)
        attempt = ledger.intend(task(1), RUN.job_file, RUN.id, intent, Caps(), 1.0)
        ledger.accept(attempt, "t-1", replace(SENT, reason="a\0b"), 2.0)
        ledger.fail(attempt, "x\0", "y\0z", 3.0)
    found = ledger.read.attempt(attempt)
    ledger.close()
    assert found is not None
    assert (found.remote_id, found.error_message) == ("t-1", "y\ufffdz")
    assert json.dumps(found.evidence and found.evidence.reason) == json.dumps("a\0b")
