"""What can be asked of a ledger, by its writer and by a read-only connection alike."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from runner.json_value import JsonValue
from runner.ledger.columns import BATCH, batches, columns, marks, to_rows
from runner.ledger.engine import Value
from runner.ledger.leases import HOST, LeaseRow, rows_of
from runner.ledger.rows import (
    Accepted,
    ArchivedRow,
    Attempted,
    AttemptRow,
    Claimed,
    Content,
    Doubt,
    Echoes,
    HistoryRow,
    Kind,
    OutputRow,
    Published,
    RunRow,
    SessionRow,
    TaskRow,
)
from runner.ledger.spending import SpendReader
from runner.ledger.states import (
    COUNTED_ABSENCES,
    IN_FLIGHT,
    MAYBE_LISTED,
    OPEN,
    TAKEN_FOR_ABSENT,
    TaskState,
    sql_among,
    sql_list,
)
from runner.providers.base import generation_seconds
from runner.providers.provider import Listing

T = TypeVar("T")

_SELECT: Mapping[type, str] = {
    RunRow: f"SELECT {columns(RunRow)} FROM runs",
    SessionRow: f"SELECT {columns(SessionRow)} FROM sessions",
    TaskRow: f"SELECT {columns(TaskRow)} FROM tasks",
    AttemptRow: f"SELECT {columns(AttemptRow)} FROM attempts",
    HistoryRow: f"SELECT {columns(HistoryRow)} FROM history",
    OutputRow: f"SELECT {columns(OutputRow)} FROM outputs",
    ArchivedRow: f"SELECT {columns(ArchivedRow)} FROM archived",
}

_MAY_BE_LISTED = f"(state IN {sql_list(MAYBE_LISTED)} OR resolution IN {sql_list(TAKEN_FOR_ABSENT)})"
_MAY_TURN_UP = f"tag IS NOT NULL AND {_MAY_BE_LISTED}"
"""The words of the index `attempts_tags`, so that it is used."""

UNRECOVERED = "unrecovered"
"""The key of `meta` that names machines whose runs a recovered ledger does not know yet."""

_BEHIND_ALL = 1 << 62

_DURATIONS_WITHIN = 2000
"""Attempts, the newest, among which durations are looked for."""


class LedgerReader(SpendReader):
    """Queries over one connection. Rows come back frozen; nothing here writes."""

    def close(self) -> None:
        self._db.close()

    def run(self, run_id: str) -> RunRow | None:
        return self._row(RunRow, "WHERE id = ?", run_id)

    def runs_beginning(self, digits: str) -> list[RunRow]:
        """The runs whose id begins with `digits`, newest first; none where that is empty."""
        return self._rows(
            RunRow, "WHERE ?1 <> '' AND substr(id, 1, length(?1)) = ?1 ORDER BY id DESC", digits
        )

    def latest_run(self) -> RunRow | None:
        return self._row(RunRow, "ORDER BY started_at DESC, id DESC LIMIT 1")

    def newest_runs(self) -> Iterator[RunRow]:
        """All runs, newest first."""
        return iter(self._rows(RunRow, "ORDER BY started_at DESC, id DESC"))

    def count_runs(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM runs").fetchone()[0])

    def states_of_run(self, run_id: str) -> Counter[TaskState]:
        """Where the newest attempt that a run made at each of its tasks stands, counted."""
        rows = self._db.execute(
            "SELECT state, count(*) FROM attempts WHERE seq IN"
            " (SELECT max(seq) FROM attempts WHERE run_id = ? GROUP BY identity) GROUP BY state",
            (run_id,),
        )
        return Counter({TaskState(state): number for state, number in rows})

    def origins(self) -> list[str]:
        """Where runs have sent their requests, the first one first."""
        rows = self._db.execute("SELECT origin FROM runs GROUP BY origin ORDER BY min(started_at), origin")
        return [origin for (origin,) in rows]

    def unfinished_runs(self, job_file: str | None = None) -> list[RunRow]:
        """The unfinished runs of a job file, or of all, newest first."""
        unfinished = "WHERE (job_file = ?1 OR ?1 IS NULL) AND finished_at IS NULL"
        return self._rows(RunRow, f"{unfinished} ORDER BY started_at DESC, id DESC", job_file)

    def has_intents(self, run_id: str) -> bool:
        """Whether anything was submitted for this run, or was about to be."""
        found = self._db.execute("SELECT 1 FROM attempts WHERE run_id = ? LIMIT 1", (run_id,))
        return found.fetchone() is not None

    def sessions(self, run_id: str) -> list[SessionRow]:
        return self._rows(SessionRow, "WHERE run_id = ? ORDER BY rowid", run_id)

    def session_facts(self, run_id: str, name: str) -> list[JsonValue]:
        """What the sessions of a run that know this fact say of it, newest first, each value once."""
        rows = self._db.execute("SELECT facts FROM sessions WHERE run_id = ? ORDER BY rowid DESC", (run_id,))
        said = (json.loads(text) for (text,) in rows)
        # as JSON, for a fact may be a list
        known = {json.dumps(facts[name]): facts[name] for facts in said if name in facts}
        return [*known.values()]

    def task(self, identity: str) -> TaskRow | None:
        return self._row(TaskRow, "WHERE identity = ?", identity)

    def identities_of_run(self, run_id: str) -> list[str]:
        """The tasks that a run has an attempt at, in the order of the first ones."""
        rows = self._db.execute(
            "SELECT identity FROM attempts WHERE run_id = ? GROUP BY identity ORDER BY min(seq)", (run_id,)
        )
        return [identity for (identity,) in rows]

    def open_states(self, run_id: str) -> Counter[TaskState]:
        """How many attempts of a run are on their way or unclear, by state."""
        rows = self._db.execute(
            f"SELECT state, count(*) FROM attempts WHERE run_id = ? AND {sql_among(OPEN)} GROUP BY state",
            (run_id,),
        )
        return Counter({TaskState(state): count for state, count in rows})

    def requests(self, identities: Sequence[str]) -> dict[str, dict[str, JsonValue]]:
        """The request of each task as it was last to be sent."""
        rows = self._db.execute(
            f"SELECT identity, request FROM tasks WHERE identity IN ({marks(identities)})", tuple(identities)
        )
        return {identity: json.loads(request) for identity, request in rows}

    def task_at(self, output: str) -> TaskRow | None:
        """The newest task that was asked for under this output path."""
        newest = "(SELECT max(seq) FROM attempts WHERE attempts.identity = tasks.identity)"
        return self._row(TaskRow, f"WHERE output = ? ORDER BY coalesce({newest}, 0) DESC LIMIT 1", output)

    def latest(self, identities: Sequence[str]) -> dict[str, AttemptRow]:
        """The newest attempt of each identity that has one."""
        rows = self._rows(AttemptRow, f"WHERE seq IN {_newest(identities)}", *identities)
        return {attempt.identity: attempt for attempt in rows}

    def states(self, identities: Sequence[str]) -> dict[str, TaskState]:
        """Where the newest attempt of each identity stands; one without an attempt has no entry."""
        rows = self._db.execute(
            f"SELECT identity, state FROM attempts WHERE seq IN {_newest(identities)}", tuple(identities)
        )
        return {identity: TaskState(state) for identity, state in rows}

    def states_of(self, attempt_ids: Iterable[str]) -> list[TaskState]:
        """Where each of these attempts stands, in no order."""
        return [
            TaskState(state)
            for batch in batches(attempt_ids)
            for (state,) in self._db.execute(
                f"SELECT state FROM attempts WHERE id IN ({marks(batch)})", batch
            )
        ]

    def standing_attempts(self, identities: Sequence[str]) -> dict[str, AttemptRow]:
        """The attempt that dependent tasks go by: a task's newest done one, else its newest."""
        standing = "coalesce(max(seq) FILTER (WHERE state = 'done'), max(seq))"
        rows = self._rows(AttemptRow, f"WHERE seq IN {_newest(identities, standing)}", *identities)
        return {attempt.identity: attempt for attempt in rows}

    def attempts(self, identity: str) -> list[AttemptRow]:
        """All attempts of a task, oldest first."""
        return self._rows(AttemptRow, "WHERE identity = ? ORDER BY seq", identity)

    def attempt(self, attempt_id: str) -> AttemptRow | None:
        return self._row(AttemptRow, "WHERE id = ?", attempt_id)

    def in_state(
        self, *states: TaskState, origin: str | None = None, provider: str | None = None
    ) -> Iterator[AttemptRow]:
        """Attempts in one of these states, oldest first, in pages: the caller may write between rows.

        One origin may serve several providers: the sandbox does.
        """
        last = 0
        while True:
            rows = self._rows(
                AttemptRow,
                f"WHERE {sql_among(states)} AND seq > ?1"
                " AND (origin = ?2 OR ?2 IS NULL) AND (EXISTS (SELECT 1 FROM tasks"
                " WHERE tasks.identity = attempts.identity AND tasks.provider = ?3) OR ?3 IS NULL)"
                f" ORDER BY seq LIMIT {BATCH}",
                last,
                origin,
                provider,
            )
            yield from rows
            if len(rows) < BATCH:
                return
            last = rows[-1].seq

    def count_states(self, origin: str | None = None, provider: str | None = None) -> dict[TaskState, int]:
        """How many attempts stand in each state; at one service, or in all."""
        rows = self._db.execute(
            "SELECT state, count(*) FROM attempts JOIN tasks USING (identity)"
            " WHERE (attempts.origin = ?1 OR ?1 IS NULL) AND (provider = ?2 OR ?2 IS NULL) GROUP BY state",
            (origin, provider),
        )
        return {TaskState(state): count for state, count in rows}

    def holder(self, origin: str, remote_id: str) -> AttemptRow | None:
        """The attempt that claims a remote id."""
        return self._row(AttemptRow, "WHERE origin = ? AND remote_id = ?", origin, remote_id)

    def history(self, attempt_id: str) -> list[HistoryRow]:
        return self._rows(HistoryRow, "WHERE attempt_id = ? ORDER BY rowid", attempt_id)

    def attempts_of(self, identities: Sequence[str]) -> dict[str, list[AttemptRow]]:
        """All attempts of each of these tasks, oldest first; a task without one has no entry."""
        rows = self._rows(AttemptRow, f"WHERE identity IN ({marks(identities)}) ORDER BY seq", *identities)
        return _by_key((attempt.identity, attempt) for attempt in rows)

    def histories_of(self, identities: Sequence[str]) -> dict[str, list[HistoryRow]]:
        """The history of each attempt of these tasks, oldest first, by the attempt's id."""
        rows = self._db.execute(
            "SELECT attempt_id, at, history.state, status FROM history"
            " JOIN attempts ON attempts.id = attempt_id"
            f" WHERE identity IN ({marks(identities)}) ORDER BY history.rowid",
            tuple(identities),
        )
        found = rows.fetchall()
        changes = to_rows(HistoryRow, (row[1:] for row in found))
        return _by_key(zip((row[0] for row in found), changes, strict=True))

    def outputs(self, identities: Sequence[str]) -> dict[str, list[OutputRow]]:
        """The published files of each task, under every path that is still its own."""
        rows = self._rows(
            OutputRow,
            f"WHERE identity IN ({marks(identities)})"
            " AND seq = (SELECT max(seq) FROM outputs AS newer WHERE newer.path = outputs.path)"
            " ORDER BY kind DESC, ordinal, path",
            *identities,
        )
        return _by_key((row.identity, row) for row in rows)

    def given_away(self, identities: Sequence[str]) -> dict[str, list[OutputRow]]:
        """The published files of each task whose paths have been other tasks' since, the newest first. Where
        machines share the ledger, each has its own file at such a path.
        """
        rows = self._rows(
            OutputRow,
            f"WHERE identity IN ({marks(identities)}) AND identity <> (SELECT newer.identity"
            " FROM outputs AS newer WHERE newer.path = outputs.path ORDER BY newer.seq DESC LIMIT 1)"
            " ORDER BY seq DESC",
            *identities,
        )
        return _by_key((row.identity, row) for row in rows)

    def owners(self, paths: Sequence[str]) -> dict[str, OutputRow]:
        """For each path that was published: the newest file there, and so whose it is."""
        newest = f"(SELECT max(seq) FROM outputs WHERE path IN ({marks(paths)}) GROUP BY path)"
        return {row.path: row for row in self._rows(OutputRow, f"WHERE seq IN {newest}", *paths)}

    def standing_outputs(self) -> list[OutputRow]:
        """The newest row of each path, of done tasks alone, the oldest first."""
        return self._rows(
            OutputRow,
            "WHERE seq = (SELECT max(seq) FROM outputs AS newer WHERE newer.path = outputs.path)"
            " AND attempt_id IN (SELECT id FROM attempts WHERE state = 'done') ORDER BY created_at, seq",
        )

    def stored(self, files: Iterable[Content]) -> dict[str, ArchivedRow]:
        """By digest, where these files lie complete in a store, by the newest row whose size agrees."""
        sizes = {file.sha256: file.bytes for file in files}
        found: dict[str, ArchivedRow] = {}
        for digests in batches(sizes):
            where = f"WHERE sha256 IN ({marks(digests)}) ORDER BY archived_at"
            rows = self._rows(ArchivedRow, where, *digests)
            found |= {row.sha256: row for row in rows if row.bytes == sizes[row.sha256]}
        return found

    def archived(self, store: str) -> list[ArchivedRow]:
        """All that lies in a store."""
        return self._rows(ArchivedRow, "WHERE store = ? ORDER BY sha256", store)

    def unarchived(self, store: str) -> list[OutputRow]:
        """The published files whose content does not lie in that store, the oldest first."""
        # the digests alone, which two indexes hold in one order; then what is newest, of the few left
        found = self._db.execute(
            "SELECT seq FROM outputs WHERE NOT EXISTS (SELECT 1 FROM archived"
            " WHERE archived.sha256 = outputs.sha256 AND archived.store = ?)",
            (store,),
        )
        numbers = sorted(seq for (seq,) in found)
        return [
            row
            for batch in batches(numbers)
            for row in self._rows(
                OutputRow,
                f"WHERE seq IN ({marks(batch)})"
                " AND seq = (SELECT max(seq) FROM outputs AS newer WHERE newer.path = outputs.path)"
                " ORDER BY seq",
                *batch,
            )
        ]

    def outputs_stored_before(self, store: str, before: float) -> list[OutputRow]:
        """The published files whose content lies in that store since `before`, in Unix seconds."""
        return self._rows(
            OutputRow,
            "WHERE EXISTS (SELECT 1 FROM archived WHERE archived.sha256 = outputs.sha256"
            " AND archived.bytes = outputs.bytes AND archived.store = ? AND archived_at <= ?)"
            " AND seq = (SELECT max(seq) FROM outputs AS newer WHERE newer.path = outputs.path) ORDER BY seq",
            store,
            before,
        )

    def every_request(self) -> Iterator[str]:
        """The request of each task, as JSON."""
        yield from (text for (text,) in self._db.execute("SELECT request FROM tasks"))

    def claims(self, paths: Sequence[str]) -> dict[str, str]:
        """Whose video each path is for, by the newest decision: its identity; a free path has no entry."""
        rows = self._db.execute(
            f"SELECT path, identity FROM claims WHERE path IN ({marks(paths)})", tuple(paths)
        )
        return dict(rows.fetchall())

    def is_awaited_at(self, path: str, identity: str) -> bool:
        """Whether another task than this is in flight for `path`: a file there may be its own, published just
        before a kill.
        """
        found = self._db.execute(
            "SELECT 1 FROM tasks JOIN attempts USING (identity) WHERE output = ? AND identity <> ?"
            f" AND state IN {sql_list(IN_FLIGHT)} LIMIT 1",
            (path, identity),
        )
        return found.fetchone() is not None

    def paths_of(self, digests: Sequence[str]) -> dict[str, list[str]]:
        """Where published files with these bytes are, by the newest row of each path; the newest first."""
        rows = self._db.execute(
            f"SELECT sha256, path FROM outputs WHERE sha256 IN ({marks(digests)})"
            " AND seq = (SELECT max(seq) FROM outputs AS newer WHERE newer.path = outputs.path)"
            " ORDER BY seq DESC",
            tuple(digests),
        )
        return _by_key(rows)

    def published(self, identities: Sequence[str]) -> dict[str, list[Published]]:
        """The files of the newest attempt of each identity where that is done, the video first."""
        rows = self._db.execute(
            "SELECT attempts.identity, kind, path, bytes, outputs.created_at, sha256 FROM attempts"
            f" JOIN outputs ON attempt_id = attempts.id WHERE attempts.seq IN {_newest(identities)}"
            " AND state = 'done' AND outputs.identity = attempts.identity"
            " AND outputs.seq = (SELECT max(seq) FROM outputs AS newer WHERE newer.path = outputs.path)"
            " ORDER BY kind DESC, ordinal, path",
            tuple(identities),
        )
        return _by_key((row.identity, row) for row in to_rows(Published, rows))

    def open_tags(self, origin: str) -> set[int]:
        """The tags of attempts whose row may still turn up, and of those that are posted again: a new intent
        takes another.
        """
        rows = self._db.execute(
            f"SELECT tag FROM attempts WHERE origin = ?1 AND {_MAY_TURN_UP}"
            " UNION ALL SELECT tag FROM attempts"
            " WHERE origin = ?1 AND state = 'planned' AND resolution IS NULL AND tag IS NOT NULL",
            (origin,),
        )
        return {tag for (tag,) in rows}

    def echoes(
        self, origin: str, key_hash: str, since: float, tags: range
    ) -> dict[str, tuple[Echoes, Echoes, Echoes]]:
        """By model, what came back for (the tags, the seeds, the inputs) of accepted attempts.

        Only `tags` count: others stood in another field.

        Another value than was sent counts where its attempt was accepted at `since` or later. What was
        adopted or found does not count: it was recognised by the very values that need proof.
        """
        tag = _echoes("tag", among="tag >= ?4 AND tag < ?5")
        rows = self._db.execute(
            f"SELECT model, {tag}, {_echoes('seed')}, {_echoes('input', '1')} FROM attempts"
            " WHERE origin = ?1 AND key_hash = ?2 AND remote_id IS NOT NULL GROUP BY model",
            (origin, key_hash, since, tags.start, tags.stop),
        )
        return {
            model: (Echoes(*found[:3]), Echoes(*found[3:6]), Echoes(*found[6:])) for model, *found in rows
        }

    def claimed(self, origin: str, remote_ids: Sequence[str]) -> dict[str, Claimed]:
        """The `remote_ids` that an attempt holds, and what it sent."""
        found: dict[str, Claimed] = {}
        for batch in batches(remote_ids):
            rows = self._db.execute(
                "SELECT remote_id, id, tag, attempts.seed, attempts.model, request"
                " FROM attempts JOIN tasks USING (identity) WHERE attempts.origin = ?"
                f" AND remote_id IN ({marks(batch)})",
                (origin, *batch),
            )
            for remote_id, attempt, tag, seed, model, request in rows:
                found[remote_id] = Claimed(attempt, tag, seed, model, json.loads(request))
        return found

    def accepted_since(
        self, origin: str, key_hash: str, listing: Listing, server_time: float
    ) -> list[Accepted]:
        """What a key's list has to show: what the service accepted after an intent at `server_time` or later,
        and has neither refused nor forgotten since.
        """
        found = self._accepted(listing, "attempts.server_time >= ?", origin, key_hash, server_time)
        return [accepted for _, accepted in found]

    def newest_accepted(
        self, origin: str, key_hash: str, listing: Listing, model: str, scope: str
    ) -> Accepted | None:
        """The newest attempt of a model that one part of a key's list has to show."""
        newest = f"attempts.model = ? AND seq < ? ORDER BY seq DESC LIMIT {BATCH}"
        before = _BEHIND_ALL
        while found := self._accepted(listing, newest, origin, key_hash, model, before):
            for _, accepted in found:
                if accepted.scope == scope:
                    return accepted
            before = found[-1][0]
        return None

    def _accepted(
        self, listing: Listing, where: str, origin: str, key_hash: str, *more: str | float
    ) -> list[tuple[int, Accepted]]:
        """With the number of each attempt."""
        rows = self._db.execute(
            "SELECT seq, id, remote_id, attempts.model, request, server_time, intended_at,"
            " (SELECT max(rowid) FROM history WHERE attempt_id = attempts.id AND state = 'intended')"
            " FROM attempts JOIN tasks USING (identity)"
            " WHERE attempts.origin = ? AND key_hash = ? AND remote_id IS NOT NULL"
            " AND state IN ('submitted', 'collecting', 'done')"
            f" AND {where}",
            (origin, key_hash, *more),
        )
        return [
            (seq, Accepted(attempt, remote_id, model, listing.scope(json.loads(request)), *times))
            for seq, attempt, remote_id, model, request, *times in rows
        ]

    def key_hashes(self) -> list[str]:
        """Those of the keys that attempts were made with."""
        return [found for (found,) in self._db.execute("SELECT DISTINCT key_hash FROM attempts")]

    def tag_holder(self, origin: str, tag: int) -> AttemptRow | None:
        """The newest attempt that was sent with this tag."""
        return self._row(AttemptRow, "WHERE origin = ? AND tag = ? ORDER BY seq DESC LIMIT 1", origin, tag)

    def doubt(self, attempt_id: str) -> Doubt | None:
        """When an attempt became unclear; None where it never was."""
        row = self._db.execute(
            "SELECT rowid, at FROM history WHERE attempt_id = ? AND state IN ('ambiguous', 'held')"
            " ORDER BY rowid LIMIT 1",
            (attempt_id,),
        ).fetchone()
        return Doubt(*row) if row else None

    def counted_absences(self) -> list[AttemptRow]:
        """Attempts taken for never accepted that still count as possibly billed, oldest first."""
        planned = sql_among([TaskState.PLANNED])
        absences = f"WHERE {planned} AND resolution IN {sql_list(COUNTED_ABSENCES)}"
        return self._rows(AttemptRow, f"{absences} ORDER BY seq")

    def looked_for(
        self, origin: str | None, key_hash: str | None, since: float, *, is_by_tag: bool = True
    ) -> list[AttemptRow]:
        """Attempts whose row would still be ours: made since then, and taken for absent or written off.

        None: of any origin, or of any key. `is_by_tag`: only those with a tag, which rows are told by.
        """
        return self._rows(
            AttemptRow,
            "WHERE (origin = ?1 OR ?1 IS NULL)"
            # by either clock: one of them may have been wrong by years
            " AND (key_hash = ?2 OR ?2 IS NULL) AND (intended_at >= ?3 OR server_time >= ?3)"
            f" AND {_MAY_TURN_UP if is_by_tag else _MAY_BE_LISTED}"
            " AND state IN ('planned', 'written_off') AND remote_id IS NULL ORDER BY seq",
            origin,
            key_hash,
            since,
        )

    def durations(self, kind: Kind, most: int) -> list[float]:
        """Seconds from creation to success, by the service's times, of the newest of a kind; newest first.

        They are looked for among the newest attempts alone, so it costs the same in a large ledger.
        """
        rows = self._db.execute(
            "SELECT (SELECT request FROM tasks WHERE tasks.identity = attempts.identity), generation,"
            " (SELECT max(at) FROM history"
            " WHERE attempt_id = attempts.id AND history.state = 'done') - intended_at"
            " FROM attempts WHERE seq > ? AND origin = ? AND model = ? AND state = 'done'"
            " AND generation IS NOT NULL ORDER BY seq DESC",
            # a number, not a query for it: PostgreSQL would plan for every row
            (self.newest_seq() - _DURATIONS_WITHIN, kind.origin, kind.model),
        )
        found: list[float] = []
        for request, generation, known in rows:
            if Kind.of(kind.origin, json.loads(request)) != kind:
                continue
            said = json.loads(generation)
            seconds = generation_seconds(said["created_at"], said["updated_at"], known=known or 0.0)
            if seconds is not None:
                found.append(seconds)
                if len(found) == most:
                    break
        return found

    def integrity(self) -> str:
        """`ok`, else what SQLite finds wrong with the file."""
        return str(self._db.execute("PRAGMA integrity_check(1)").fetchone()[0])

    def newest_seq(self) -> int:
        """The number of the newest attempt; 0 where there is none."""
        return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM attempts").fetchone()[0])

    def attempted_since(self, seq: int) -> list[Attempted]:
        """What was attempted after the attempt of that number, by whatever run."""
        rows = self._db.execute(
            "SELECT seq, identity, run_id, job_name, edition FROM attempts JOIN runs ON runs.id = run_id"
            " WHERE seq > ?",
            (seq,),
        )
        return [*to_rows(Attempted, rows)]

    @property
    def is_shared(self) -> bool:
        """Whether other machines write to it."""
        return self._db.is_remote

    def leases(self) -> list[LeaseRow]:
        """Who drives which lane, or has driven it; none in a ledger of one machine."""
        return rows_of(self._db) if self.is_shared else []

    def hosts(self) -> set[str]:
        """The machines that have worked on a run, or have driven a lane."""
        facts = (json.loads(text) for (text,) in self._db.execute("SELECT facts FROM sessions"))
        return {*(row.host for row in self.leases()), *(each.get(HOST, "") for each in facts)} - {""}

    def unrecovered(self) -> list[str]:
        """The machines that a recovered ledger still waits for."""
        told = self.meta(UNRECOVERED) if self.is_shared else None
        return [*json.loads(told)] if told else []

    @property
    def project(self) -> str:
        """The id of the project that this ledger belongs to; empty where it has none yet."""
        return self.meta("project") or ""

    def meta(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def _rows(self, kind: type[T], which: str, *values: Value) -> list[T]:
        """Whole rows of one table; `which` is the query's part behind its name."""
        return [*to_rows(kind, self._db.execute(f"{_SELECT[kind]} {which}", values))]

    def _row(self, kind: type[T], which: str, *values: str | float) -> T | None:
        return next(iter(self._rows(kind, which, *values)), None)


def _echoes(value: str, sent: str = "", *, among: str = "true") -> str:
    """Three counts for `Echoes` of a value `among` some, and of what of it was `sent`; ?3 is the time since
    which another one counts.
    """
    sent = sent or value
    return (
        f"count(*) FILTER (WHERE {among} AND echoed_{value} = {sent} AND resolution IS NULL),"
        f" count(*) FILTER (WHERE {among} AND echoed_{value} <> {sent}"
        " AND (accepted_at >= ?3 OR server_time >= ?3)),"
        f" count(*) FILTER (WHERE {among} AND {sent} IS NOT NULL AND echoed_{value} IS NULL"
        " AND state = 'done')"
    )


def _newest(identities: Sequence[str], seq: str = "max(seq)") -> str:
    """One attempt of each of these tasks, by its `seq`."""
    return f"(SELECT {seq} FROM attempts WHERE identity IN ({marks(identities)}) GROUP BY identity)"


def _by_key(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found
