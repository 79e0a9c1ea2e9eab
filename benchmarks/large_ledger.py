"""q: what a run, a plan and a person ask of a ledger of many archived files, in SQLite and in PostgreSQL.

The rows are made by SQL: each task has one attempt, done, with two changes, one claim, one output and one
archived file. The questions are those of the package's own reader.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

import psycopg

from benchmarks.measure import Figure
from runner.errors import StateError
from runner.ledger.caps import Budgets
from runner.ledger.columns import BATCH
from runner.ledger.database import open_for_writing
from runner.ledger.ledger import Ledger
from runner.ledger.postgres import Address
from runner.ledger.read import LedgerReader
from runner.ledger.rows import Kind, SpendBy
from runner.ledger.shared import open_shared
from runner.ledger.states import IN_FLIGHT, TaskState
from runner.media.video import MediaFacts
from runner.providers.base import Generation, GenerationStatus
from runner.providers.provider import Listing
from runner.typed_json import members
from tests.support.postgres import Cluster

ORIGIN, KEY, MODEL, STORE = "https://api.example.com", "k", "byteplus/seedance-1-0-pro", "s3://takes/film"
A_DAY = 10_000
"""Tasks of one run and one day."""
_BEGAN = 1_700_000_000.0
_SECONDS_A_TASK = 86_400 / A_DAY
_REQUEST = (
    '{"model":"byteplus/seedance-1-0-pro","content":[{"type":"text","text":"A red fishing boat lies in a'
    ' small harbour at dawn, the camera moves slowly closer"}],"resolution":"720p","ratio":"16:9"}'
)
_GENERATION = json.dumps(
    members(
        Generation(
            "t",
            GenerationStatus.SUCCEEDED,
            "succeeded",
            model=MODEL,
            created_at=1000.0,
            updated_at=1105.0,
            echo={"seed": 7, "resolution": "720p"},
            usage={"completion_tokens": 108_900},
        )
    )
)
_MEDIA = json.dumps(members(MediaFacts("mp4", "h264")))

# what differs between the two: text of a number, and how many rows are counted up
_SQLITE = {
    "hex8": "printf('%08x', (n * 2654435761) & 4294967295)",
    "hex56": "printf('%056x', n)",
    "hex32": "printf('%032x', n)",
    "day": "date(1700000000 + n / 10000 * 86400, 'unixepoch')",
    "numbers": "WITH RECURSIVE numbers (n) AS"
    " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})",
    "from": "numbers",
}
_POSTGRES = {
    "hex8": "lpad(to_hex((n * 2654435761) & 4294967295), 8, '0')",
    "hex56": "lpad(to_hex(n), 56, '0')",
    "hex32": "lpad(to_hex(n), 32, '0')",
    "day": "to_char(to_timestamp(1700000000 + n / 10000 * 86400) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    "numbers": "",
    "from": "generate_series(1::bigint, {rows}) AS numbers (n)",
}


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


_ID = "({hex8} || {hex56})"
_TABLES: Mapping[str, str] = {
    "runs": "(id, job_file, job_name, job_digest, edition, run_date, provider, origin, started_at,"
    " finished_at) SELECT DISTINCT 'r' || (n / 10000), 'jobs/night.yaml', 'night', 'd', {day},"
    " '2026-11-27+00:00', 'mesh',"
    f" '{ORIGIN}', {_BEGAN} + n / 10000 * 86400.0, {_BEGAN} + n / 10000 * 86400.0 + 3600",
    "tasks": f" SELECT {_ID}, 's' || n, '', 'jobs/night.yaml', 'mesh', '{ORIGIN}', '{MODEL}', n, NULL,"
    " {day},"
    f" '{{{{\"seed\":1}}}}', '{_braced(_REQUEST)}',"
    " 'out/night/' || (n / 10000) || '/s' || n || '.mp4'",
    "attempts": "(seq, id, identity, run_id, reason, origin, key_hash, model, seed, tag, body_sha256,"
    " server_time, intended_at, state, verdict, remote_id, accepted_at, echoed_tag, echoed_seed, generation,"
    f" estimate_micros, cost_micros, account, day) SELECT n, {{hex32}}, {_ID}, 'r' || (n / 10000), 'run',"
    f" '{ORIGIN}', '{KEY}', '{MODEL}', n, n % 65535 + 1, 'b', {_BEGAN} + n * {_SECONDS_A_TASK},"
    f" {_BEGAN} + n * {_SECONDS_A_TASK}, 'done', 'accepted', 't-' || n, {_BEGAN} + n * {_SECONDS_A_TASK} + 1,"
    f" n % 65535 + 1, n, '{_braced(_GENERATION)}', 250000, 250000, 'mesh', {{day}}",
    "history": "(rowid, attempt_id, at, state)"
    f" SELECT 2 * n, {{hex32}}, {_BEGAN} + n * {_SECONDS_A_TASK} + 100, 'done' FROM {{from}}"
    f" UNION ALL SELECT 2 * n - 1, {{hex32}}, {_BEGAN} + n * {_SECONDS_A_TASK}, 'intended'",
    "claims": f" SELECT 'out/night/' || (n / 10000) || '/s' || n || '.mp4', {_ID}",
    "outputs": "(seq, path, identity, attempt_id, kind, ordinal, bytes, sha256, media, created_at) SELECT n,"
    f" 'out/night/' || (n / 10000) || '/s' || n || '.mp4', {_ID}, {{hex32}}, 'video', 1, 3000000, {_ID},"
    f' \'{{{{"container":"mp4"}}}}\', {_BEGAN} + n * {_SECONDS_A_TASK} + 100',
    "archived": f" SELECT {_ID}, '{STORE}', 'sha256/' || {_ID} || '.mp4', 3000000,"
    f" {_BEGAN} + n * {_SECONDS_A_TASK} + 110",
}
_SPENDS = (
    "INSERT INTO spends SELECT {span}, account, labels, count(*), sum(cost_micros), 0 FROM attempts"
    " GROUP BY {span}, account, labels"
)


@dataclass(frozen=True, slots=True)
class _Content:
    sha256: str
    bytes: int


class _Sql(Protocol):
    def __call__(self, statement: str) -> object: ...


def fill(execute: _Sql, words: Mapping[str, str], rows: int) -> None:
    """Makes the rows of so many tasks, by SQL alone."""
    numbers = {name: word.format(rows=rows) for name, word in words.items()}
    for table, select in _TABLES.items():
        what = select.format(**numbers)
        execute(f"INSERT INTO {table} {_head(what, numbers)} FROM {numbers['from']}")
    for span in ("run_id", "day", "month"):
        execute(_SPENDS.format(span=span))


def _head(what: str, numbers: Mapping[str, str]) -> str:
    """The columns, then the common table, then the SELECT."""
    columns, select, rest = what.partition("SELECT")
    return f"{columns}{numbers['numbers']} {select}{rest}"


@contextmanager
def sqlite_ledger(rows: int) -> Iterator[Ledger]:
    with tempfile.TemporaryDirectory() as folder:
        engine = open_for_writing(Path(folder, "ledger.db"))
        db: sqlite3.Connection = engine
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -1000000")
        db.execute("PRAGMA foreign_keys = OFF")
        later = [
            (kind, name, sql)
            for kind, name, sql in db.execute(
                "SELECT type, name, sql FROM sqlite_master"
                " WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
            )
        ]
        for kind, name, _ in later:
            db.execute(f"DROP {kind} {name}")
        db.execute("BEGIN")
        fill(db.execute, _SQLITE, rows)
        for _, _, sql in later:
            db.execute(sql)
        db.execute("COMMIT")
        engine.close()
        with closing(Ledger(open_for_writing(Path(folder, "ledger.db")), Budgets())) as ledger:
            yield ledger


@contextmanager
def postgres_ledger(rows: int, cluster: Cluster) -> Iterator[Ledger]:
    url = cluster.make_schema()
    open_shared(Address.parse(url)).close()
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("SET maintenance_work_mem = '512MB'")
        db.execute("SET session_replication_role = replica")
        db.execute("SET synchronous_commit = off")
        later = db.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
            " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
        ).fetchall()
        for name, _ in later:
            db.execute(f"DROP INDEX {name}".encode())
        fill(lambda statement: db.execute(statement.encode()), _POSTGRES, rows)
        for _, definition in later:
            db.execute(definition.encode())
        for table in (*_TABLES, "spends"):
            db.execute(f"VACUUM ANALYZE {table}".encode())
    with closing(Ledger(open_shared(Address.parse(url)), Budgets())) as ledger:
        yield ledger


@dataclass(frozen=True, slots=True)
class Question:
    """`whole`: it reads all rows, and no run asks it."""

    name: str
    ask: Callable[[LedgerReader], object]
    whole: bool = False


def questions(rows: int) -> Sequence[Question]:
    """Of the newest run's first BATCH tasks, and of the whole ledger."""
    first = rows - rows % A_DAY if rows > A_DAY else 1
    numbers = range(max(1, first - BATCH), max(1, first - BATCH) + BATCH)
    identities = [f"{(n * 2654435761) & 4294967295:08x}{n:056x}" for n in numbers]
    paths = [f"out/night/{n // A_DAY}/s{n}.mp4" for n in numbers]
    run = f"r{numbers[0] // A_DAY}"
    now = _BEGAN + rows * _SECONDS_A_TASK
    listing, request = Listing(), {"model": MODEL, "resolution": "720p", "duration": 5}
    scope = listing.scope(request)

    def start(reader: LedgerReader) -> object:
        """What the start of a run asks for each BATCH of its tasks."""
        return (
            reader.claims(paths),
            reader.published(identities),
            reader.latest(identities),
            reader.outputs(identities),
            reader.owners(paths),
            reader.stored([_Content(identity, 3_000_000) for identity in identities]),
        )

    return [
        Question(f"start of a run: its questions about {BATCH} tasks", start),
        Question("is anything in flight", lambda reader: [*reader.in_state(*IN_FLIGHT)]),
        Question("unfinished runs", lambda reader: reader.unfinished_runs()),
        Question(f"status of a run of {min(rows, A_DAY)} tasks", lambda reader: reader.states_of_run(run)),
        Question("caps: spent by a run", lambda reader: reader.spend(run)),
        Question("caps: runs of this name", lambda reader: reader.billed_runs_named("night", "")),
        Question("an intent: open tags", lambda reader: reader.open_tags(ORIGIN)),
        Question("the usual duration", lambda reader: reader.durations(Kind.of(ORIGIN, request), 20)),
        Question("belief in tags and seeds", lambda reader: reader.echoes(ORIGIN, KEY, now)),
        Question("a witness", lambda reader: reader.newest_accepted(ORIGIN, KEY, listing, MODEL, scope)),
        Question(
            "accepted in the last hour",
            lambda reader: reader.accepted_since(ORIGIN, KEY, listing, now - 3600),
        ),
        Question("absences that count", lambda reader: reader.counted_absences()),
        Question("where planned attempts stand", lambda reader: [*reader.in_state(TaskState.PLANNED)]),
        Question("what is not archived", lambda reader: reader.unarchived(STORE)),
        Question("known origins", lambda reader: reader.origins()),
        Question("states of all attempts", lambda reader: reader.count_states(), whole=True),
        Question("spend --by day", lambda reader: reader.spending(SpendBy.DAY), whole=True),
        Question("spend --since yesterday", lambda reader: reader.spending(None, now - 86_400), whole=True),
    ]


def measure(*, rows: Sequence[int], asked: int = 3) -> list[Figure]:
    """`rows` are how many files the ledger has; 10,000,000 take an hour to make."""
    cluster = Cluster.make()
    figures: list[Figure] = []
    for number in rows:
        for name, made in (
            ("SQLite", sqlite_ledger(number)),
            ("PostgreSQL", postgres_ledger(number, cluster)),
        ):
            began = time.monotonic()
            with made as ledger:
                print(f"{name}: {number} rows made in {time.monotonic() - began:.0f} s", flush=True)
                for question in questions(number):
                    took = 1000 * _seconds(ledger, question, 1 if question.whole else asked)
                    figures.append(Figure("q", f"{name}, {number:,} files: {question.name}, ms", took))
                    print(f"{took:12.1f}  {figures[-1].what}", flush=True)
    return figures


def _seconds(ledger: Ledger, question: Question, asked: int) -> float:
    took = []
    for _ in range(asked):
        began = time.perf_counter()
        with suppress(StateError):  # given up by the ledger's own bound on a statement
            question.ask(ledger.read)
        took.append(time.perf_counter() - began)
    return max(median(took), 1e-6)
