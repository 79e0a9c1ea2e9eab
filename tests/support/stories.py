"""Stories that a ledger may be told, and what is left of them: for whoever compares two ledgers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from runner.errors import CallsheetError
from runner.http.verdicts import Evidence, Verdict
from runner.job.project_file import Where, Window, WindowCap
from runner.ledger.caps import Budgets, Caps
from runner.ledger.copy import TABLES
from runner.ledger.engine import ConflictError, Engine
from runner.ledger.ledger import _RESOLVED_AS, Ledger, RemoteIdTakenError
from runner.ledger.rows import Echoed, Grounds, Intent, OutputRow
from runner.ledger.states import Basis, Reason, Resolution
from runner.media.video import MediaFacts
from runner.providers.base import Generation, GenerationStatus, RemoteFileKind
from tests.support.ledger_rows import RUN, task

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


def table_rows(engine: Engine) -> Iterator[tuple[object, ...]]:
    for table, (size, columns) in TABLES.items():
        order = ", ".join(columns[:size])
        for row in engine.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}"):
            yield (table, *row)


def empty(engine: Engine) -> None:
    """Takes all rows away, which the triggers are there to forbid: tables take longer to make."""
    with engine.transaction():
        engine.execute("SET LOCAL session_replication_role = replica")
        engine.execute(f"TRUNCATE {', '.join(TABLES)}")
