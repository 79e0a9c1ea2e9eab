"""One ledger in two databases: the same stories, with the same results and the same rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import CallsheetError
from runner.http.verdicts import Evidence, Verdict
from runner.job.project_file import Where, Window, WindowCap
from runner.ledger.caps import Budgets, Caps
from runner.ledger.database import open_for_writing
from runner.ledger.engine import ConflictError, Engine
from runner.ledger.ledger import _RESOLVED_AS, Ledger, RemoteIdTakenError
from runner.ledger.postgres import Address
from runner.ledger.rows import Echoed, Grounds, Intent, Kind, OutputRow, SpendBy
from runner.ledger.search import LedgerSearch
from runner.ledger.shared import open_shared
from runner.ledger.states import Basis, Reason, Resolution, TaskState
from runner.ledger.tables import TABLES
from runner.media.video import MediaFacts
from runner.plan.words import TaskWords
from runner.providers.base import Generation, GenerationStatus, RemoteFileKind
from runner.providers.provider import Listing
from tests.support.ledger_rows import RUN, SENT, task
from tests.support.postgres import Cluster

TASKS = 3
ATTEMPTS = 5
OTHER = replace(RUN, id="run-2", job_file="jobs/Ä.yaml", edition="2026", started_at=2000.0)
BUDGETS = Budgets(caps=(WindowCap("budgets[0].month", Where(), Window.MONTH, 2_000_000, 4),))
Action = Callable[[Ledger], object]

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
) | st.sampled_from(["?", "?1", "$1", "%s", "'", '"', "\\", "Ärger", "a", "B", "b"])
attempts = st.integers(0, ATTEMPTS - 1).map(lambda number: f"a{number}")
moments = st.sampled_from([1000.0, 1000.125, 90_000.0, 2e9])
grounds = st.builds(lambda text: Grounds.of(Basis.PERSON, reason=text), texts)
evidence = st.builds(
    lambda text, status: Evidence(row=1, headers_begun=True, reason=text, status=status),
    texts,
    st.none() | st.integers(200, 599),
)
remote_ids = st.sampled_from(["t-1", "t-2", "T-2", "ä"])


@st.composite
def intents(draw: st.DrawFn) -> Action:
    number, attempt = draw(st.integers(1, TASKS)), draw(attempts)
    intent = Intent(
        attempt,
        draw(st.sampled_from(Reason)),
        draw(st.sampled_from(["mesh", "acme"])),
        draw(st.sampled_from(["key", "other"])),
        draw(st.none() | st.integers(1, 3)),
        "b" * 64,
        draw(moments),
        draw(st.none() | st.integers(0, 900_000)),
        labels=draw(st.sampled_from([{}, {"client": "a"}, {"client": "a", "film": "ß"}])),
    )
    caps = Caps(draw(st.none() | st.integers(1, 4)), draw(st.none() | st.integers(0, 2_000_000)))
    at, run = draw(moments), draw(st.sampled_from([RUN, OTHER]))
    asked = replace(task(number), name=draw(texts))
    return lambda ledger: ledger.intend(asked, run.job_file, run.id, intent, caps, at)


def on_attempt(*arguments: st.SearchStrategy[Any]) -> Callable[[Callable[..., object]], Any]:
    """Steps that a function of the ledger, an attempt and drawn values takes."""

    def made(step: Callable[..., object]) -> st.SearchStrategy[Action]:
        return st.builds(
            lambda attempt, *values: lambda ledger: step(ledger, attempt, *values), attempts, *arguments
        )

    return made


def outputs(attempt: str, number: int, path: str, kind: RemoteFileKind) -> list[OutputRow]:
    return [OutputRow(path, task(number).identity, attempt, kind, 1, 10, "e" * 64, MediaFacts("mp4"), 1020.0)]


paths = st.sampled_from(["out/s1.mp4", "out/S1.mp4", "out/ä.mp4", "out/s1-last.png"])
kinds = st.sampled_from(RemoteFileKind)
numbers = st.integers(1, TASKS)
generations = st.builds(
    lambda text, tag, seed, began: Generation(
        "g",
        GenerationStatus.SUCCEEDED,
        text,
        created_at=began,
        updated_at=began and began + 40.0,
        tag=tag,
        echo={"text": text, "seed": seed},
    ),
    texts,
    st.none() | st.integers(1, 3),
    st.none() | st.integers(1, 3),
    st.none() | moments,
)
actions = st.one_of(
    *[intents()] * 6,
    *[on_attempt(remote_ids, evidence, moments)(lambda led, one, *rest: led.accept(one, *rest))] * 4,
    on_attempt(st.sampled_from(Verdict), evidence, moments)(lambda led, one, *rest: led.withdraw(one, *rest)),
    on_attempt(evidence, moments)(lambda led, one, *rest: led.reject(one, *rest)),
    on_attempt(evidence, moments, st.booleans())(
        lambda led, one, said, at, hold: led.leave_unclear(one, said, at, hold=hold)
    ),
    on_attempt(st.sampled_from([*_RESOLVED_AS]), grounds, moments, st.none() | remote_ids)(
        lambda led, one, how, why, at, remote: led.resolve(one, how, why, at, remote_id=remote)
    ),
    on_attempt(remote_ids, grounds, moments)(lambda led, one, *rest: led.find(one, *rest)),
    on_attempt(st.sampled_from([Resolution.CONFIRMED, Resolution.NOT_BILLED]), grounds)(
        lambda led, one, *rest: led.settle_absent(one, *rest)
    ),
    on_attempt(moments)(lambda led, one, at: led.reopen(one, at)),
    on_attempt(
        st.builds(
            Echoed, st.none() | st.integers(1, 3), st.none() | st.integers(1, 3), st.none() | st.booleans()
        )
    )(lambda led, one, echoed: led.notice_echo(one, echoed)),
    on_attempt(generations, moments, st.none() | st.booleans())(
        lambda led, one, said, at, same: led.observe(one, said, at, is_same_input=same)
    ),
    on_attempt(moments)(lambda led, one, at: led.collect(one, at)),
    on_attempt(st.integers(0, 1_500_000))(lambda led, one, cost: led.settle_cost(one, cost)),
    on_attempt(numbers, paths, kinds, moments)(
        lambda led, one, number, path, kind, at: led.finish(one, outputs(one, number, path, kind), at)
    ),
    on_attempt(texts, texts, moments, st.booleans())(
        lambda led, one, code, said, at, expired: led.fail(one, code, said, at, expired=expired)
    ),
    on_attempt(numbers, paths, kinds)(lambda led, one, *rest: led.add_outputs(outputs(one, *rest))),
    on_attempt(numbers, paths)(lambda led, one, number, path: led.claim(path, task(number).identity)),
    on_attempt(moments, texts)(
        lambda led, one, at, text: led.begin_session(RUN.id, at, {"command": [text], "key": text})
    ),
    on_attempt(moments)(lambda led, one, at: led.finish_run(RUN.id, at)),
    on_attempt(moments)(lambda led, one, at: [row.id for row in led.recover(at)]),
)
stories = st.lists(st.lists(actions, min_size=1, max_size=4), min_size=1, max_size=8)


def outcome(ledger: Ledger, action: Action) -> object:
    """What a step gives or raises; the databases' own words for a broken rule are their own."""
    try:
        with ledger.savepoint():
            return action(ledger)
    except ConflictError:
        return ConflictError
    except (CallsheetError, RemoteIdTakenError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


def play(ledger: Ledger, story: list[list[Action]]) -> list[object]:
    with ledger.transaction():
        ledger.begin_run(RUN)
        ledger.begin_run(OTHER)
    told: list[object] = []
    for steps in story:
        with ledger.transaction():
            told += [outcome(ledger, step) for step in steps]
    return told


def rows(engine: Engine) -> Iterator[tuple[object, ...]]:
    for table, columns in {
        **TABLES,
        "spends": ("span", "account", "labels", "tasks", "micros", "unknown"),
    }.items():
        order = ", ".join(columns[:3])
        for row in engine.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}"):
            yield (table, *row)


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
    yield sorted(read.every_request()), read.claims(["out/s1.mp4", "out/S1.mp4"]), read.paths_of("e" * 64)
    yield read.is_awaited_at("out/s1.mp4", identities[2]), read.published(identities)
    yield read.open_tags(RUN.origin), read.echoes(RUN.origin, "key", 1000.0), read.counted_absences()
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


def empty(engine: Engine) -> None:
    """Takes all rows away, which the triggers are there to forbid: tables take longer to make."""
    with engine.transaction():
        engine.execute("SET LOCAL session_replication_role = replica")
        engine.execute(f"TRUNCATE {', '.join(TABLES)}, spends")


@settings(max_examples=40)
@given(story=stories)
def test_a_story_leaves_the_same_rows_and_answers_in_both(shared: Ledger, story: list[list[Action]]) -> None:
    """Whatever steps are taken, in groups of which some steps are undone."""
    empty(shared._db)
    local = Ledger(open_for_writing(None), BUDGETS)
    assert play(shared, story) == play(local, story)
    assert [*rows(shared._db)] == [*rows(local._db)]
    asked = [[*answers(LedgerSearch(ledger._db))] for ledger in (shared, local)]
    assert asked[0] == asked[1]
    local.close()


@pytest.mark.parametrize("table", [*TABLES, "spends", "meta"])
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
    assert table not in TABLES or kept == {*TABLES[table]}
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
