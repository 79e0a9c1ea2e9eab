"""The ledger: every durable fact about what was asked for, paid for and fetched.

Each method is one step inside a transaction that the caller opens with `transaction()`; when that
ends without an exception, the step is on the disk.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

from runner.errors import ExitCode, NothingSentError, RefusedError, StateError
from runner.http.verdicts import Evidence, Verdict
from runner.json_value import JsonValue
from runner.ledger.caps import Budgets, Caps, Overshoot, span_of
from runner.ledger.database import open_for_writing
from runner.ledger.driver_lock import DriverLock
from runner.ledger.engine import Engine
from runner.ledger.leases import LaneKey, LeaseTable, SharedEngine, Taken
from runner.ledger.open import check_is_here, check_is_not_shared, shared_address, write_shared_mark
from runner.ledger.read import UNRECOVERED, LedgerReader
from runner.ledger.rows import (
    TAKEN_OVER,
    ArchivedRow,
    AttemptRow,
    Echoed,
    Grounds,
    Intent,
    Observed,
    OutputRow,
    RunRow,
)
from runner.ledger.states import COUNTED_ABSENCES, TRANSITIONS, Reason, Resolution, TaskState, sql_list
from runner.ledger.succession import goes_on, may_follow, reason_after
from runner.plan.task import Task
from runner.project import PROJECT_FILE, Project
from runner.providers.base import Generation
from runner.typed_json import members


class RemoteIdTakenError(Exception):
    """The service answered with an id that another attempt holds (row 12)."""


class MadeElsewhereError(NothingSentError):
    """Another machine has begun with the same task in a lane of its own: one POST is enough."""

    exit_code = ExitCode.TRY_AGAIN


class Ledger:
    """The one writer. `read` asks over the same connection."""

    def __init__(
        self,
        engine: Engine,
        budgets: Budgets = Budgets(),  # noqa: B008  frozen
    ) -> None:
        """Attempts belong to days of the zone of `budgets`, whose caps hold for every intent."""
        self._db = engine
        self._budgets = budgets
        self.read = LedgerReader(engine)
        for key in ("salt", "ledger_id"):
            if self.read.meta(key) is None:
                with self.transaction():
                    # of two machines that begin at one moment, the first one says it
                    self._db.execute(
                        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO NOTHING",
                        (key, secrets.token_hex(16)),
                    )
        self.leases = LeaseTable(engine, self.ledger_id) if isinstance(engine, SharedEngine) else None
        """Who drives which lane; None for a ledger of one machine, whose lock says it."""
        self.driver_lock: DriverLock | None = None
        """Let go with the ledger: nothing can be sent any more then."""

    @classmethod
    def open(cls, path: Path, budgets: Budgets = Budgets()) -> Ledger:  # noqa: B008  frozen
        """Opens or makes the ledger at `path`. Raises StateError."""
        return cls(open_for_writing(path, budgets.zone), budgets)

    @property
    def ledger_id(self) -> str:
        """Tells this ledger from any that takes its place."""
        found = self.read.meta("ledger_id")
        assert found is not None
        return found

    @property
    def salt(self) -> bytes:
        """Salts the hash under which a key is known here."""
        salt = self.read.meta("salt")
        assert salt is not None
        return bytes.fromhex(salt)

    def name_project(self, project: str) -> None:
        """Keeps the id of the project that this ledger belongs to from now on, unless it has one."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO meta VALUES ('project', ?) ON CONFLICT (key) DO NOTHING", (project,)
            )

    def replace_lost(self, kept: Mapping[str, str]) -> None:
        """This ledger takes the place of one that was lost, in the caller's transaction: it has an id of its
        own, and the facts of the other's `meta` that were `kept`.
        """
        for key, value in {**kept, "ledger_id": secrets.token_hex(16)}.items():
            self._say(key, value)

    def wait_for(self, hosts: Sequence[str]) -> None:
        """Nothing is submitted before these machines have recovered too, in the caller's transaction."""
        self._say(UNRECOVERED, json.dumps(hosts))

    def _say(self, key: str, value: str) -> None:
        self._db.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )

    def know_key(self, key_hash: str, own: str) -> None:
        """Attempts whose key is known here by `key_hash` were made with the key whose hash is `own`."""
        self._db.execute("UPDATE attempts SET key_hash = ? WHERE key_hash = ?", (own, key_hash))

    def close(self) -> None:
        self._db.close()
        if self.driver_lock is not None:
            self.driver_lock.close()

    @property
    def is_remote(self) -> bool:
        """Whether its statements belong in a worker thread."""
        return self._db.is_remote

    def transaction(self) -> AbstractContextManager[None]:
        """All of it or nothing; durable at the end. Raises StateError when it could not be saved."""
        return self._db.transaction()

    def savepoint(self) -> AbstractContextManager[None]:
        """One step of a group commit: undone alone when it raises. Raises StateError for a full disk."""
        return self._db.savepoint()

    # runs

    def begin_run(self, run: RunRow) -> None:
        self._insert("runs", members(run))

    def begin_session(self, run_id: str, at: float, facts: Mapping[str, JsonValue]) -> int:
        """Notes that a process works on this run; gives the session's number."""
        row = self._db.execute(
            "INSERT INTO sessions (run_id, started_at, facts) VALUES (?, ?, ?) RETURNING rowid",
            (run_id, at, _dumps(facts)),
        ).fetchone()
        return int(row[0])

    def end_session(self, session: int, at: float, exit_code: int) -> None:
        self._db.execute(
            "UPDATE sessions SET ended_at = ?, exit_code = ? WHERE rowid = ?", (at, exit_code, session)
        )

    def update_run_digest(self, run_id: str, digest: str) -> None:
        """The job file changed between two sessions of a run: the newest text is the one as run."""
        self._db.execute("UPDATE runs SET job_digest = ? WHERE id = ?", (digest, run_id))

    def finish_run(self, run_id: str, at: float | None) -> None:
        """`at` None opens a finished run again."""
        self._db.execute("UPDATE runs SET finished_at = ? WHERE id = ?", (at, run_id))

    # attempts

    def recover(self, at: float) -> list[AttemptRow]:
        """What an earlier process left between intent and outcome is ambiguous (rows 23, 24, 26).

        Nothing where machines share the ledger: an intent there may be another one's, under way just now;
        `recover_lane` is for a lane that was just taken.
        """
        if self.leases is not None:
            return []
        return self._recover(list(self.read.in_state(TaskState.INTENDED)), _ENDED, at)

    def recover_lane(self, key: LaneKey, taken: Taken, at: float) -> list[AttemptRow]:
        """The same for a lane, in the transaction that has taken its lease (row 128)."""
        found = self.read.in_state(TaskState.INTENDED, origin=key.origin, provider=key.provider)
        stranded = [attempt for attempt in found if attempt.key_hash == key.key_hash]
        return self._recover(stranded, _ENDED if taken.was_signed_off else _SILENT, at)

    def _recover(self, stranded: list[AttemptRow], evidence: Evidence, at: float) -> list[AttemptRow]:
        for attempt in stranded:
            self.leave_unclear(attempt.id, evidence, at)
        return stranded

    def intend(self, task: Task, job_file: str, run_id: str, intent: Intent, caps: Caps, at: float) -> str:
        """Makes a POST of `task` certain to be remembered; gives the attempt's id.

        An attempt of this run that is proved unsent is used again under its own id, and belongs to the day of
        `at` then. Raises CapReachedError, RefusedError where the project's budgets cannot be read, and
        StateError where the task has an attempt that may have been billed; MadeElsewhereError where machines
        share the ledger.
        """
        latest = self.read.latest([task.identity]).get(task.identity)
        day = self._budgets.day(at)
        self._check_caps(run_id, intent.estimate_micros, caps)
        self._check_budgets(intent, day)
        self._db.execute(
            "INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (identity) DO UPDATE SET name = excluded.name, output = excluded.output,"
            " job_file = excluded.job_file, seed = excluded.seed, request = excluded.request",
            (
                task.identity,
                task.name,
                task.step,
                job_file,
                task.provider,
                task.origin,
                task.model,
                task.seed,
                task.sample,
                task.edition,
                _dumps(task.cell),
                _dumps(task.request),
                task.output,
            ),
        )
        self.claim(task.output, task.identity)
        if latest is not None and not may_follow(latest, intent.reason):
            if self.leases is not None:
                raise MadeElsewhereError(
                    f"{task.name}: another machine has submitted it meanwhile, with the account"
                    f" {latest.account}; nothing was sent",
                    hint="run again once it is made: it is not bought twice",
                )
            raise StateError(
                f"{task.name}: refused to submit a task that stands at `{latest.state}`",
                hint="this is a defect of callsheet; nothing was sent",
            )
        facts = {
            "key_hash": intent.key_hash,
            "seed": task.seed,
            "tag": intent.tag,
            "body_sha256": intent.body_sha256,
            "server_time": intent.server_time,
            "estimate_micros": intent.estimate_micros,
            "price": intent.price_json,
            "taken": intent.taken_json,
            "intended_at": at,
            "account": intent.account,
            "labels": json.dumps(dict(intent.labels), ensure_ascii=False, sort_keys=True),
            "day": day,
        }
        if latest is not None and goes_on(latest, run_id):
            self._move(latest.id, TaskState.INTENDED, at, **facts)
            return latest.id
        made: dict[str, str | float | None] = {
            "id": intent.attempt_id,
            "identity": task.identity,
            "run_id": run_id,
            "reason": reason_after(latest, intent.reason),
            "origin": task.origin,
            "model": task.model,
            "state": TaskState.INTENDED,
            "decision": 0 if latest is None else self._decision(task.identity, intent.reason),
        }
        self._insert("attempts", made | facts)
        self._note(intent.attempt_id, at, state=TaskState.INTENDED)
        return intent.attempt_id

    def accept(
        self,
        attempt_id: str,
        remote_id: str,
        evidence: Evidence,
        at: float,
        handle: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """The service took it under `remote_id`, and gave `handle` with it. Raises RemoteIdTakenError.

        Said once more it changes nothing: nobody may have heard that it was saved.
        """
        if self._is_accepted(attempt_id, remote_id):
            return
        self._claim(attempt_id, remote_id)
        self._move(
            attempt_id,
            TaskState.SUBMITTED,
            at,
            verdict=Verdict.ACCEPTED,
            evidence=_dumps(evidence),
            accepted_at=at,
            handle=_dumps(dict(handle)),
        )

    def withdraw(self, attempt_id: str, verdict: Verdict, evidence: Evidence, at: float) -> None:
        """The POST is proved not accepted; the same intent may go again."""
        self._move(attempt_id, TaskState.PLANNED, at, verdict=verdict, evidence=_dumps(evidence))

    def reject(self, attempt_id: str, evidence: Evidence, at: float) -> None:
        """The service refused this request for good; nothing was charged."""
        self._move(
            attempt_id,
            TaskState.FAILED,
            at,
            verdict=Verdict.REJECTED,
            evidence=_dumps(evidence),
            error_code=evidence.code or str(evidence.status or ""),
            error_message=evidence.message or evidence.reason,
        )

    def leave_unclear(self, attempt_id: str, evidence: Evidence, at: float, *, hold: bool = False) -> None:
        """The POST may or may not have been accepted; with `hold` only a person can say."""
        state = TaskState.HELD if hold else TaskState.AMBIGUOUS
        self._move(attempt_id, state, at, verdict=Verdict.AMBIGUOUS, evidence=_dumps(evidence))

    def resolve(
        self,
        attempt_id: str,
        resolution: Resolution,
        grounds: Grounds,
        at: float,
        *,
        remote_id: str | None = None,
    ) -> None:
        """How an unclear attempt ended. Raises RemoteIdTakenError where another attempt has `remote_id`."""
        columns: dict[str, str | float] = {
            "resolution": resolution,
            "resolution_evidence": _dumps(grounds.facts),
        }
        if remote_id is not None:
            self._claim(attempt_id, remote_id)
            columns["accepted_at"] = at
        self._move(attempt_id, _RESOLVED_AS[resolution], at, **columns)

    def find(self, attempt_id: str, remote_id: str, grounds: Grounds, at: float) -> tuple[Overshoot, ...]:
        """The service has what was given up or taken for absent: it is a paid attempt from now on. Gives the
        caps that this passes.

        Raises RemoteIdTakenError where another attempt has `remote_id`.
        """
        before = self._overshoots(attempt_id)
        self.resolve(attempt_id, Resolution.FOUND, grounds, at, remote_id=remote_id)
        # it is its task's newest, unless a later one was sent
        self._db.execute(
            "UPDATE attempts SET seq = (SELECT max(seq) + 1 FROM attempts) WHERE id = ?1 AND NOT EXISTS"
            " (SELECT 1 FROM attempts AS later WHERE later.identity = attempts.identity"
            " AND later.seq > attempts.seq AND later.state <> 'planned')",
            (attempt_id,),
        )
        return self._passed(attempt_id, before)

    def settle_absent(self, attempt_id: str, resolution: Resolution, grounds: Grounds) -> None:
        """That an attempt taken for absent was not billed: it no longer counts against a cap."""
        self._db.execute(
            "UPDATE attempts SET resolution = ?, resolution_evidence = ? WHERE id = ?"
            f" AND resolution IN {sql_list(COUNTED_ABSENCES)}",
            (resolution, _dumps(grounds.facts), attempt_id),
        )

    def reopen(self, attempt_id: str, at: float) -> None:
        """The service still has an accepted task that was given up."""
        self._move(attempt_id, TaskState.SUBMITTED, at)

    def notice_echo(self, attempt_id: str, echoed: Echoed) -> None:
        """What came back of what an attempt sent. Another value than was sent is never forgotten."""
        is_same = echoed.is_same_input
        self._db.execute(
            "UPDATE attempts SET"
            " echoed_tag = CASE WHEN echoed_tag <> tag THEN echoed_tag ELSE coalesce(?, echoed_tag) END,"
            " echoed_seed = CASE WHEN echoed_seed <> seed THEN echoed_seed ELSE coalesce(?, echoed_seed) END,"
            " echoed_input = CASE WHEN echoed_input = 0 THEN 0 ELSE coalesce(?, echoed_input) END"
            " WHERE id = ?",
            (echoed.tag, echoed.seed, is_same if is_same is None else int(is_same), attempt_id),
        )

    def observe(
        self, attempt_id: str, generation: Generation, at: float, *, is_same_input: bool | None = None
    ) -> None:
        """What the service last said; its signed URLs are not kept. `is_same_input`: whether it showed the
        input that was sent.
        """
        observed = Observed(
            status=generation.raw_status,
            model=generation.model,
            created_at=generation.created_at,
            updated_at=generation.updated_at,
            echo=generation.echo,
            usage=generation.usage,
            request_id=generation.request_id,
        )
        self._db.execute("UPDATE attempts SET generation = ? WHERE id = ?", (_dumps(observed), attempt_id))
        self.notice_echo(attempt_id, Echoed(generation.final_tag, generation.final_seed, is_same_input))
        last = self._db.execute(
            "SELECT status FROM history WHERE attempt_id = ? AND status IS NOT NULL"
            " ORDER BY rowid DESC LIMIT 1",
            (attempt_id,),
        ).fetchone()
        if last is None or last[0] != generation.raw_status:
            self._note(attempt_id, at, status=generation.raw_status)

    def collect(self, attempt_id: str, at: float) -> None:
        """The service has the result: from here on only the download is missing."""
        self._move(attempt_id, TaskState.COLLECTING, at)

    def settle_cost(self, attempt_id: str, micros: int) -> tuple[Overshoot, ...]:
        """What it cost in the end, in millionths of a US dollar; gives the caps that this passes."""
        before = self._overshoots(attempt_id)
        self._db.execute("UPDATE attempts SET cost_micros = ? WHERE id = ?", (micros, attempt_id))
        return self._passed(attempt_id, before)

    def finish(self, attempt_id: str, outputs: Sequence[OutputRow], at: float) -> None:
        """Every file stands complete under its final name."""
        self.add_outputs(outputs)
        self._move(attempt_id, TaskState.DONE, at)

    def fail(self, attempt_id: str, code: str, message: str, at: float, *, expired: bool = False) -> None:
        """The service's own verdict (`expired`: the result can no longer be fetched)."""
        state = TaskState.EXPIRED if expired else TaskState.FAILED
        self._move(attempt_id, state, at, error_code=code, error_message=message)

    def claim(self, path: str, identity: str) -> None:
        """A path is for the video of this task from now on."""
        self._db.execute(
            "INSERT INTO claims VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET identity = excluded.identity",
            (path, identity),
        )

    def add_outputs(self, outputs: Sequence[OutputRow]) -> None:
        """Notes published files; a path that another task had is this one's from now on."""
        for row in outputs:
            self._insert("outputs", members(row) | {"media": _dumps(row.media)})

    def add_archived(self, row: ArchivedRow) -> None:
        """Notes that a content lies complete in a store. It may be there already: another process put it."""
        self._db.execute(
            "INSERT INTO archived (sha256, store, key, bytes, archived_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (sha256, store) DO NOTHING",
            (row.sha256, row.store, row.key, row.bytes, row.archived_at),
        )

    def forget_archived(self, row: ArchivedRow) -> None:
        """What the row says turned out not to be so."""
        self._db.execute("DELETE FROM archived WHERE sha256 = ? AND store = ?", (row.sha256, row.store))

    def _decision(self, identity: str, reason: Reason) -> int:
        """The number of the decision by which the next attempt at a task is made."""
        (newest,) = self._db.execute(
            "SELECT max(decision) FROM attempts WHERE identity = ?", (identity,)
        ).fetchone()
        return int(newest) + (reason in (Reason.RETRY, Reason.AGAIN))

    def _check_caps(self, run_id: str, estimate: int | None, caps: Caps) -> None:
        if not caps.is_none:
            others = frozenset() if caps.elsewhere is None else caps.elsewhere.catch_up(self.read)
            caps.check(self.read.spend(run_id, *(caps.runs | others)), estimate)

    def _check_budgets(self, intent: Intent, day: str) -> None:
        """Reserves: what is checked here is added up by the same transaction."""
        if not self._budgets.is_readable:
            raise RefusedError(
                f"{PROJECT_FILE} cannot be read, so no budget can be held; nothing was sent",
                hint=f"callsheet validate {PROJECT_FILE}",
            )
        for cap in self._budgets.caps:
            if cap.where.covers(intent.account, intent.labels):
                spent = self.read.spent_in(span_of(cap, day), cap.where)
                self._budgets.check(cap, day, spent, intent.estimate_micros)

    def _passed(self, attempt_id: str, before: Sequence[Overshoot]) -> tuple[Overshoot, ...]:
        known = [each.cap for each in before]
        return tuple(each for each in self._overshoots(attempt_id) if each.cap not in known)

    def _overshoots(self, attempt_id: str) -> list[Overshoot]:
        """The caps on what this attempt counts in that are passed."""
        if not self._budgets.caps:
            return []
        account, labels, day = self._db.execute(
            "SELECT account, labels, day FROM attempts WHERE id = ?", (attempt_id,)
        ).fetchone()
        covering = (cap for cap in self._budgets.caps if cap.where.covers(account, json.loads(labels)))
        found = (Overshoot.of(cap, day, self.read.spent_in(span_of(cap, day), cap.where)) for cap in covering)
        return [each for each in found if each is not None]

    def _is_accepted(self, attempt_id: str, remote_id: str) -> bool:
        found = self._db.execute(
            "SELECT 1 FROM attempts WHERE id = ? AND remote_id = ? AND verdict = ?",
            (attempt_id, remote_id, Verdict.ACCEPTED),
        )
        return found.fetchone() is not None

    def _claim(self, attempt_id: str, remote_id: str) -> None:
        # asked before, for an error would undo the step: callers go on with another one
        claimed = self._db.execute(
            "UPDATE attempts SET remote_id = ?1 WHERE id = ?2 AND NOT EXISTS (SELECT 1 FROM attempts AS other"
            " WHERE other.origin = attempts.origin AND other.remote_id = ?1 AND other.id <> ?2)"
            " RETURNING 1",
            (remote_id, attempt_id),
        ).fetchall()
        if not claimed:
            raise RemoteIdTakenError(remote_id)

    def _insert(self, table: str, row: Mapping[str, str | float | None]) -> None:
        marks = ", ".join("?" * len(row))
        self._db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))

    def _move(self, attempt_id: str, state: TaskState, at: float, **columns: str | float | None) -> None:
        row = self._db.execute("SELECT state FROM attempts WHERE id = ?", (attempt_id,)).fetchone()
        before = TaskState(row[0])
        if state not in TRANSITIONS.get(before, frozenset()):
            raise StateError(f"attempt {attempt_id}: `{before}` cannot become `{state}`")
        settings = "".join(f", {name} = ?" for name in columns)
        self._db.execute(
            f"UPDATE attempts SET state = ?{settings} WHERE id = ?", (state, *columns.values(), attempt_id)
        )
        self._note(attempt_id, at, state=state)

    def _note(
        self, attempt_id: str, at: float, *, state: TaskState | None = None, status: str | None = None
    ) -> None:
        self._db.execute(
            "INSERT INTO history (attempt_id, at, state, status) VALUES (?, ?, ?, ?)",
            (attempt_id, at, state, status),
        )


def open_ledger(project: Project, budgets: Budgets) -> Ledger:
    """The ledger for writing, made where there is none. Raises StateError, NoProjectError. Enter it under
    the lock.
    """
    address = shared_address(project)
    engine: Engine
    if address is None:
        check_is_not_shared(project)
        engine = open_for_writing(project.ledger_path, budgets.zone)
    else:
        # imported here: an optional extra
        from runner.ledger.shared import open_shared

        engine = open_shared(address)
    try:
        reader = LedgerReader(engine)
        check_is_here(project, reader)
        # `lease sign-off` works in a clone that keeps no state
        if reader.is_shared and project.state_dir.is_dir() and reader.latest_run() is not None:
            write_shared_mark(project)
        return Ledger(engine, budgets)
    except BaseException:
        engine.close()
        raise


_ENDED = Evidence(row=23, headers_begun=None, reason="the process ended between the intent and the outcome")
_SILENT = Evidence(
    row=TAKEN_OVER,
    headers_begun=None,
    reason="the machine that was to send it fell silent, and another one took over",
)
_RESOLVED_AS = {
    Resolution.ADOPTED: TaskState.SUBMITTED,
    Resolution.FOUND: TaskState.SUBMITTED,
    Resolution.ABSENT: TaskState.PLANNED,
    Resolution.AGAIN: TaskState.PLANNED,
    Resolution.HELD: TaskState.HELD,
    Resolution.WRITTEN_OFF: TaskState.WRITTEN_OFF,
}
# made once: json.dumps makes a new one for each call that is not its default
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=members)


def _dumps(value: object) -> str:
    return _ENCODER.encode(value)
