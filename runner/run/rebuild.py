"""Makes a ledger know what the folders of runs tell: each attempt goes through its states once more.

Nothing is guessed. What was intended and cannot be shown to have ended is unclear, and what was unclear
before a later submit of its task counts as possibly billed. A ledger that knows a part gets the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path, PurePosixPath

from runner.http.verdicts import Evidence, Verdict
from runner.job.expressions.rundate import RunDate
from runner.json_value import JsonValue
from runner.lane.evidence import repeats_input
from runner.ledger.caps import Caps
from runner.ledger.ledger import Ledger, RemoteIdTakenError
from runner.ledger.rows import GONE, TAKEN_OVER, AttemptRow, Grounds, Intent, OutputRow, RunRow
from runner.ledger.states import (
    IN_FLIGHT,
    TAKEN_FOR_ABSENT,
    UNCLEAR,
    Basis,
    Reason,
    Resolution,
    TaskState,
)
from runner.ledger.succession import goes_on, is_reusable, may_follow
from runner.media.boxes import NotMediaError
from runner.media.video import MediaFacts, probe, probe_image
from runner.objects.address import digest_key
from runner.plan.plan import Plan
from runner.plan.task import Task
from runner.providers import find
from runner.providers.account import Account
from runner.providers.base import Generation, GenerationStatus, RemoteFileKind
from runner.providers.place import joined
from runner.record.intents import TaskFacts
from runner.record.manifest import ManifestSession
from runner.record.recovery import Change, FileFacts, KnownAttempt, KnownRun, Moment, Recorded
from runner.record.whereabouts import siblings
from runner.typed_json import members

LOST = Evidence(
    row=154, headers_begun=None, reason="the ledger was lost, and no log tells what became of the submit"
)
"""Of an intent whose outcome nothing tells."""

LOST_LINE = Evidence(
    row=156, headers_begun=None, reason="lines of the run's log are lost, so it may have been submitted"
)

_UNKNOWN = TaskFacts(
    step="",
    provider="",
    origin="",
    model="",
    seed=None,
    sample=None,
    edition="",
    cell={},
    request={},
    output="",
)
"""For a task of which only the attempt is known."""

_FOLLOWED = "the ledger was lost; a later submit of this task is in a log, so this one had been settled"
_NO_END = "the ledger was lost, and no log tells how this ended before its task was submitted again"
_NOT_ALONE = "the logs tell of several ids at the service for this submit"
_TAKEN = "another task holds the id under which it was accepted"
_NO_ID = "the logs tell that it was accepted, and not under which id"
_SAME_MOMENT = 60.0
"""Seconds between an intent in the ledger and in a log, at most."""

PlanOf = Callable[[KnownRun], Plan | None]
"""The plan of a run by its own copy of the job; None where that cannot be planned any more."""


@dataclass(slots=True)
class Rebuild:
    """Brings what is `recorded` into a ledger, inside a transaction of the caller's.

    `hash_of` gives the key hash for the start of one that a log has. `zone` is the project's. `accounts` are
    those of now, by name.
    """

    ledger: Ledger
    recorded: Recorded
    base: Path
    now: float
    zone: tzinfo | None
    accounts: Mapping[str, Account]
    hash_of: Callable[[str], str]
    plan_of: PlanOf
    is_shared: bool = False
    """Another machine may know more of what is unclear: the list may show it, and never excludes it."""
    store: str = ""
    """That of the project file: a manifest's word about any other place is nobody's."""
    changed: set[str] = field(default_factory=set)
    """The ids of attempts that the ledger did not know, or not so far."""
    notes: list[str] = field(default_factory=list)
    _plans: dict[str, Plan | None] = field(default_factory=dict)
    _planned: dict[str, Task] = field(default_factory=dict)

    def run(self) -> None:
        attempts = list(self.recorded.attempts.values())
        for run_id in sorted({*self.recorded.runs, *(known.run_id for known in attempts)}):
            self._add_run(run_id)
        steps: list[tuple[Moment, int, Callable[[KnownAttempt], None], KnownAttempt]] = []
        for known in attempts:
            begun = _intended(known)
            steps.append((begun, 0, self._intend, known))
            doubt = _doubted(known, begun)
            if doubt is not None:
                steps.append((doubt, 1, self._doubt, known))
            steps.append((self._ended(known, begun), 2, self._end, known))
        steps.sort(key=lambda step: (step[0], step[1]))
        for _, _, step, known in steps:
            step(known)
        for run in self.recorded.runs.values():
            self._hold_lost(run)
        self._add_files()

    # runs

    def _add_run(self, run_id: str) -> None:
        run = self.recorded.runs.get(run_id) or self._gone_run(run_id)
        is_known = self.ledger.read.run(run_id) is not None
        is_used = any(known.run_id == run_id for known in self.recorded.attempts.values())
        if not is_known and not is_used and run.manifest is None:
            return
        row = self._row(run)
        if not is_known:
            self.ledger.begin_run(row)
        elif run.job_digest:
            self.ledger.update_run_digest(run_id, run.job_digest)
        sessions = run.manifest.run.sessions if run.manifest is not None else ()
        for session in sessions[len(self.ledger.read.sessions(run_id)) :]:
            self._add_session(run_id, session)
        if not is_known or run.began is not None:
            self.ledger.finish_run(run_id, row.finished_at)

    def _gone_run(self, run_id: str) -> KnownRun:
        """A run whose folder is gone, and of which another run's manifest tells: it is over."""
        told = next(known for known in self.recorded.attempts.values() if known.run_id == run_id)
        at = told.intent.at or self.now
        run = KnownRun(run_id, started_at=at, finished_at=at)
        beside = self.recorded.runs.get(told.told_by)
        if beside is not None:
            run.job_file, run.job_name, run.edition = beside.job_file, beside.job_name, beside.edition
            run.provider, run.origin, run.run_date = beside.provider, beside.origin, beside.run_date
        return run

    def _row(self, run: KnownRun) -> RunRow:
        started = run.started_at if run.started_at is not None else time_of(run.id) or self.now
        plan = None if run.job_name else self._plan(run)
        is_over = run.began is None or (run.ended is not None and run.ended >= run.began)
        return RunRow(
            id=run.id,
            job_file=run.job_file,
            job_name=plan.job.name if plan else run.job_name or PurePosixPath(run.job_file).stem,
            job_digest=plan.job.digest if plan else run.job_digest,
            edition=plan.edition if plan else run.edition,
            run_date=run.run_date or (plan.run_date if plan else RunDate.today(started, self.zone)).format(),
            provider=joined(each.provider.name for each in plan.job.accounts.values())
            if plan
            else run.provider,
            origin=plan.origin if plan else run.origin,
            started_at=started,
            finished_at=run.finished_at if is_over else None,
        )

    def _add_session(self, run_id: str, session: ManifestSession) -> None:
        facts: dict[str, JsonValue] = {
            "command": [*session.command],
            "versions": dict(session.versions),
            "git": None if session.git is None else members(session.git),
            "job_digest": session.job_digest,
            "files": dict(session.files),
        }
        number = self.ledger.begin_session(run_id, _seconds(session.started_at), facts)
        if session.ended_at is not None and session.exit_code is not None:
            self.ledger.end_session(number, _seconds(session.ended_at), session.exit_code)

    def _plan(self, run: KnownRun) -> Plan | None:
        if run.id not in self._plans:
            plan = self._plans[run.id] = self.plan_of(run)
            self._planned |= {} if plan is None else {task.identity: task for task in plan.tasks}
        return self._plans[run.id]

    # attempts

    def _task(self, known: KnownAttempt) -> Task:
        """As far as it is known: what nobody tells of is empty."""
        facts, run = self.recorded.tasks.get(known.identity), self.recorded.runs.get(known.run_id)
        if facts is None or not facts.origin or not facts.output:
            if known.identity not in self._planned and run is not None:
                self._plan(run)
            if (planned := self._planned.get(known.identity)) is not None:
                return planned
        account = self.accounts.get(known.account)
        provider = facts.provider if facts else account.provider.name if account else known.account
        facts = facts or replace(_UNKNOWN, provider=provider)
        origin = facts.origin or (run.origin.split(", ")[0] if run is not None else "")
        return Task(
            identity=known.identity,
            index=0,
            step=facts.step,
            name=self.recorded.names.get(known.identity) or known.identity[:12],
            cell=facts.cell,
            provider=facts.provider,
            account=known.account or facts.provider,
            origin=origin,
            edition=facts.edition,
            model=facts.model,
            seed=facts.seed,
            sample=facts.sample,
            request=facts.request,
            inputs=(),
            output=facts.output or f"recovered/{known.identity[:12]}.mp4",
        )

    def _intend(self, known: KnownAttempt) -> None:
        read, at = self.ledger.read, _at(known)
        row = read.attempt(known.id)
        if row is not None:
            used = [each.at for each in read.history(row.id) if each.state is TaskState.INTENDED]
            if not is_reusable(row) or any(abs(at - each) <= _SAME_MOMENT for each in used):
                return
        task = self._task(known)
        latest = read.latest([known.identity]).get(known.identity)
        if latest is not None and latest.id != known.id:
            reopened = self._make_way(latest, known, task)
        else:
            reopened = None
        self._write_intent(known, task, latest)
        self.changed.add(known.id)
        if reopened is not None:
            self.ledger.reopen(reopened, at)

    def _write_intent(self, known: KnownAttempt, task: Task, latest: AttemptRow | None) -> None:
        run, told = self.recorded.runs.get(known.run_id), known.intent
        reason = told.reason or Reason.RUN
        if latest is not None and latest.id != known.id and not may_follow(latest, reason):
            state = self.ledger.read.states([known.identity])[known.identity]
            reason = Reason.AGAIN if state is TaskState.DONE else Reason.RETRY
        planned = self._planned.get(known.identity)
        intent = Intent(
            attempt_id=known.id,
            reason=reason,
            account=known.account or task.account,
            key_hash=self.hash_of(told.key),
            tag=told.tag,
            body_sha256=told.body_sha256,
            server_time=told.server_time if told.server_time is not None else _at(known),
            estimate_micros=told.estimate_micros
            if told.body_sha256 or planned is None
            else planned.estimate_micros,
            price=told.price if told.body_sha256 or planned is None else planned.price,
            taken=told.taken,
            labels=told.labels if told.labels is not None else self._labels(known.account),
        )
        job_file = run.job_file if run is not None else ""
        self.ledger.intend(task, job_file, known.run_id, intent, Caps(), _at(known))

    def _labels(self, account: str) -> Mapping[str, str]:
        """An older log has none: those that the account has now count against budgets."""
        return self.accounts[account].labels if account in self.accounts else {}

    def _make_way(self, latest: AttemptRow, known: KnownAttempt, task: Task) -> str | None:
        """Ends the attempt before this one, as far as a later one of its task proves that it had ended. Gives
        its id where it has to be looked at again: it was accepted.
        """
        at, ledger = _at(known), self.ledger
        if goes_on(latest, known.run_id):
            # a second id in one run: somebody had settled the first
            again = replace(known, id=latest.id, intent=replace(known.intent, at=latest.intended_at))
            self._write_intent(again, task, None)
            latest = self._row_of(latest.id)
        if latest.state is TaskState.INTENDED:
            ledger.leave_unclear(latest.id, self._evidence(None), at)
            latest = self._row_of(latest.id)
        if latest.state in UNCLEAR:
            grounds = Grounds.of(Basis.NONE, reason=_FOLLOWED)
            ledger.resolve(latest.id, Resolution.AGAIN, grounds, at)
            self.changed.add(latest.id)
        elif latest.state in IN_FLIGHT:
            ledger.fail(latest.id, GONE, _NO_END, at, expired=True)
            return latest.id
        return None

    def _doubt(self, known: KnownAttempt) -> None:
        if self._row_of(known.id).state is TaskState.INTENDED:
            doubt = _doubted(known, _intended(known))
            assert doubt is not None
            self.ledger.leave_unclear(known.id, self._evidence(known), doubt.at)
            self.changed.add(known.id)

    def _evidence(self, known: KnownAttempt | None) -> Evidence:
        """Why an attempt is unclear."""
        is_told = known is not None and known.verdict is Verdict.AMBIGUOUS
        evidence = (known.evidence if known is not None and is_told else None) or LOST
        return replace(evidence, row=TAKEN_OVER) if self.is_shared else evidence

    def _end(self, known: KnownAttempt) -> None:
        """Brings an attempt to where it is known to stand, unless it stands there or further."""
        before = self._row_of(known.id)
        at, state = self._ended(known, _intended(known)).at, known.state
        match state:
            case TaskState.SUBMITTED | TaskState.COLLECTING | TaskState.DONE | TaskState.EXPIRED:
                self._accept(known, before, at)
            case TaskState.FAILED if known.remote_ids:
                self._accept(known, before, at)
            case TaskState.FAILED if before.state is TaskState.INTENDED and known.evidence is not None:
                self.ledger.reject(known.id, known.evidence, at)
            case TaskState.FAILED if before.state is TaskState.INTENDED:
                self.ledger.fail(known.id, *known.error, at)
            case TaskState.PLANNED if known.resolution in TAKEN_FOR_ABSENT:
                self._take_for_absent(known, before, at)
            case TaskState.PLANNED if before.state is TaskState.INTENDED:
                verdict = known.verdict or Verdict.NOT_SENT
                self.ledger.withdraw(known.id, verdict, known.evidence or LOST, at)
            case TaskState.HELD:
                is_resolved = known.resolution is Resolution.HELD
                self._hold(known, _grounds(known.grounds) if is_resolved else None, at)
            case TaskState.WRITTEN_OFF if before.state in UNCLEAR:
                self._unclear(known, at)
                self.ledger.resolve(known.id, Resolution.WRITTEN_OFF, _grounds(known.grounds), at)
            case _ if before.state is TaskState.INTENDED:
                self.ledger.leave_unclear(known.id, self._evidence(known), at)
            case _:
                pass
        if self._row_of(known.id).state is not before.state:
            self.changed.add(known.id)

    def _accept(self, known: KnownAttempt, row: AttemptRow, at: float) -> None:
        remote_id = next(iter(known.remote_ids), None)
        told = known.when(TaskState.SUBMITTED)
        accepted_at = told.at if told is not None else at
        if len(known.remote_ids) > 1 or (row.remote_id is not None and row.remote_id != remote_id):
            self._doubtful(known, _NOT_ALONE, at)
            return
        if remote_id is None:
            self._doubtful(known, _NO_ID, at)
            return
        if row.remote_id is None:
            try:
                with self.ledger.savepoint():
                    self._claim(known, row, remote_id, accepted_at)
            except RemoteIdTakenError:
                self._doubtful(known, _TAKEN, at)
                return
        self._observe(known, remote_id, at)
        state, target = self._row_of(known.id).state, known.state
        if state is TaskState.EXPIRED and target is not TaskState.EXPIRED:
            given_up = max(
                each.at for each in self.ledger.read.history(known.id) if each.state is TaskState.EXPIRED
            )
            if at <= given_up:
                return  # the ledger knows more
            self.ledger.reopen(known.id, at)
            state = TaskState.SUBMITTED
        if state is TaskState.SUBMITTED and target in (TaskState.COLLECTING, TaskState.DONE):
            self.ledger.collect(known.id, at)
            state = TaskState.COLLECTING
        if state is TaskState.COLLECTING and target is TaskState.DONE:
            self.ledger.finish(known.id, (), at)
        elif state is TaskState.SUBMITTED and target is TaskState.FAILED:
            self.ledger.fail(known.id, *known.error, at)
        elif state in IN_FLIGHT and target is TaskState.EXPIRED:
            self.ledger.fail(known.id, *known.error, at, expired=True)

    def _claim(self, known: KnownAttempt, row: AttemptRow, remote_id: str, at: float) -> None:
        """The attempt has this id at the service from now on. Raises RemoteIdTakenError."""
        ledger, was_unclear = self.ledger, known.resolution in (Resolution.ADOPTED, Resolution.FOUND)
        grounds = _grounds(known.grounds)
        if is_reusable(row):
            self._write_intent(known, self._task(known), None)
            row = self._row_of(known.id)
        if row.state is TaskState.INTENDED and not was_unclear:
            evidence = known.evidence if known.verdict is Verdict.ACCEPTED else None
            ledger.accept(known.id, remote_id, evidence or Evidence(0, None, "accepted"), at)
        elif row.state in UNCLEAR:
            self._unclear(known, at)
            ledger.resolve(known.id, Resolution.ADOPTED, grounds, at, remote_id=remote_id)
        else:
            ledger.find(known.id, remote_id, grounds, at)

    def _observe(self, known: KnownAttempt, remote_id: str, at: float) -> None:
        """What the service said of it when its manifest was written."""
        if known.cost_micros is not None:
            self.ledger.settle_cost(known.id, known.cost_micros)
        task = self.ledger.read.task(known.identity)
        provider = find(task.provider) if task is not None else None
        row = self._row_of(known.id)
        if not (known.echo or known.usage) or task is None or provider is None or row.generation is not None:
            return
        echo = known.echo or {}
        fields = [each for each in (provider.tag, *provider.tags.values()) if each is not None]
        is_done = known.state is TaskState.DONE
        generation = Generation(
            id=remote_id,
            status=GenerationStatus.SUCCEEDED if is_done else None,
            raw_status=GenerationStatus.SUCCEEDED.value if is_done else "",
            echo=echo,
            usage=known.usage or {},
            tag=next((each.read(echo.get(each.field)) for each in fields if row.tag in each.tags), None),
        )
        is_same = repeats_input(provider, task.model, task.request, generation)
        self.ledger.observe(known.id, generation, at, is_same_input=is_same)

    def _take_for_absent(self, known: KnownAttempt, row: AttemptRow, at: float) -> None:
        if row.state not in UNCLEAR or known.resolution is None:
            return
        self._unclear(known, at)
        grounds = _grounds(known.grounds)
        is_person = known.resolution in (Resolution.AGAIN, Resolution.NOT_BILLED)
        counted = Resolution.AGAIN if is_person else Resolution.ABSENT
        self.ledger.resolve(known.id, counted, grounds, at)
        if known.resolution is not counted:
            self.ledger.settle_absent(known.id, known.resolution, grounds)

    def _unclear(self, known: KnownAttempt, at: float) -> None:
        if self._row_of(known.id).state is TaskState.INTENDED:
            self.ledger.leave_unclear(known.id, self._evidence(known), at)

    def _hold(self, known: KnownAttempt, grounds: Grounds | None, at: float) -> None:
        """`grounds` are those of a resolution; None where the answer itself left it to a person."""
        state = self._row_of(known.id).state
        if state is TaskState.INTENDED and grounds is None:
            self.ledger.leave_unclear(known.id, self._evidence(known), at, hold=True)
        elif state in (TaskState.INTENDED, TaskState.AMBIGUOUS):
            self._unclear(known, at)
            self.ledger.resolve(known.id, Resolution.HELD, grounds or _grounds(known.grounds), at)

    def _doubtful(self, known: KnownAttempt, why: str, at: float) -> None:
        """What the logs contradict themselves about is for a person."""
        name = self.recorded.names.get(known.identity) or known.identity[:12]
        self.notes.append(f"{name}: {why}: {', '.join(known.remote_ids) or 'none'}")
        grounds, row = Grounds.of(Basis.NONE, reason=why), self._row_of(known.id)
        if is_reusable(row):
            self._write_intent(known, self._task(known), None)
        elif row.state is TaskState.PLANNED:
            # a later attempt has followed it: nobody is asked any more, and no id may be forgotten
            for remote_id in known.remote_ids:
                with contextlib.suppress(RemoteIdTakenError), self.ledger.savepoint():
                    self.ledger.find(known.id, remote_id, grounds, at)
                    break
        self._hold(known, grounds, at)

    def _ended(self, known: KnownAttempt, begun: Moment) -> Moment:
        return max(known.when(known.state) or Moment(self.now), begun)

    def _row_of(self, attempt_id: str) -> AttemptRow:
        row = self.ledger.read.attempt(attempt_id)
        assert row is not None
        return row

    def _hold_lost(self, run: KnownRun) -> None:
        """The tasks of a run that may have been submitted in a line of its log that is lost."""
        if not run.lost and not run.torn:
            return
        plan = self._plan(run)
        if plan is None:
            self.notes.append(
                f"run {run.id}: lines of its log are lost, and its job cannot be planned any more: look at"
                " the service whether it has submits that are not listed here"
            )
            return
        for task in plan.tasks:
            if not run.lost and task.name not in run.torn:
                continue
            above = self.ledger.read.states([each.identity for each in task.upstreams])
            if any(above.get(each.identity) is not TaskState.DONE for each in task.upstreams):
                continue
            latest = self.ledger.read.latest([task.identity]).get(task.identity)
            if latest is None or is_reusable(latest):
                self._hold_one(run, task, latest)

    def _hold_one(self, run: KnownRun, task: Task, latest: AttemptRow | None) -> None:
        made = hashlib.sha256(f"{run.id} {task.identity}".encode()).hexdigest()[:32]
        is_again = latest is not None and goes_on(latest, run.id)
        known = KnownAttempt(latest.id if latest and is_again else made, task.identity, run.id, task.account)
        known.changes.append(Change(Moment(run.lost_at or self.now), TaskState.INTENDED))
        self._write_intent(known, task, None)
        self.ledger.leave_unclear(known.id, LOST_LINE, self.now, hold=True)
        self.changed.add(known.id)

    # files

    def _add_files(self) -> None:
        """Where each published file is by now, by its bytes; what is nowhere keeps the path that it had."""
        places: dict[str, set[str | None]] = {}
        for files in self.recorded.files.values():
            for file in files:
                places.setdefault(file.path, set()).add(file.sha256)
        known = set(self.recorded.attempts)
        gone: list[OutputRow] = []
        here: list[OutputRow] = []
        for identity, files in self.recorded.files.items():
            own = (file for file in files if file.attempt in known)
            newest = {(file.attempt, file.kind, file.ordinal): file for file in own}
            for file in newest.values():
                found = self._find(identity, file, is_shared=len(places[file.path]) > 1)
                here += found
                if not found and file.sha256 is not None:
                    gone.append(_output(identity, file, file.path, file.sha256, file.at))
        for row, is_here in (*((row, False) for row in gone), *((row, True) for row in here)):
            owner = self.ledger.read.owners([row.path]).get(row.path)
            is_known = owner is not None and (owner.identity, owner.sha256) == (row.identity, row.sha256)
            if owner is None or (is_here and not is_known):
                self.ledger.add_outputs([row])
        self._claim_places(here)
        for stored in self.recorded.archived:
            if stored.store == self.store and stored.key == digest_key(stored.sha256, stored.key):
                self.ledger.add_archived(stored)

    def _find(self, identity: str, file: FileFacts, *, is_shared: bool) -> list[OutputRow]:
        """The file under each path where it stands. `is_shared`: its path was another file's too."""
        paths = dict.fromkeys(
            (file.path, *self.recorded.moved.get(identity, ()), *siblings(self.base, file.path))
        )
        found: list[OutputRow] = []
        for path in paths:
            at = self._standing_at(path, file, is_sure=path == file.path and not is_shared)
            if at is not None:
                found.append(_output(identity, file, path, *at, base=self.base))
        return found

    def _standing_at(self, path: str, file: FileFacts, *, is_sure: bool) -> tuple[str, float] | None:
        """The digest and the time of what stands at `path` if it is `file`; None where it is another."""
        target = self.base / path
        try:
            if not target.resolve().is_relative_to(self.base.resolve()) or not target.is_file():
                return None
            status = target.stat()
            if status.st_size != file.bytes:
                return None
            is_untouched = status.st_mtime <= file.at
            if is_sure and is_untouched and file.sha256 is not None:
                return file.sha256, file.at
            if file.sha256 is None and not (is_sure and is_untouched):
                return None  # only its size is known
            with target.open("rb") as opened:
                sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        except (OSError, ValueError):
            return None
        return (sha256, max(file.at, status.st_mtime)) if file.sha256 in (None, sha256) else None

    def _claim_places(self, here: Iterable[OutputRow]) -> None:
        """A path is for the take that stands there, unless another one is on its way to it."""
        for row in here:
            task = self.ledger.read.task(row.identity)
            if task is None or task.output != row.path:
                continue
            claim = self.ledger.read.claims([row.path]).get(row.path)
            if claim is None or claim == row.identity:
                continue
            rival = self.ledger.read.states([claim]).get(claim)
            if rival is TaskState.DONE and all(
                other.path != row.path for other in self.ledger.read.outputs([claim]).get(claim, ())
            ):
                self.ledger.claim(row.path, row.identity)


def _output(
    identity: str, file: FileFacts, path: str, sha256: str, at: float, *, base: Path | None = None
) -> OutputRow:
    media = file.media or (_media(base / path, file.kind) if base is not None else None) or MediaFacts("")
    return OutputRow(path, identity, file.attempt, file.kind, file.ordinal, file.bytes, sha256, media, at)


def _media(path: Path, kind: RemoteFileKind) -> MediaFacts | None:
    try:
        with path.open("rb") as file:
            return probe(file) if kind is RemoteFileKind.VIDEO else probe_image(file)
    except (OSError, NotMediaError):
        return None


def _at(known: KnownAttempt) -> float:
    """When it was intended last."""
    return known.intent.at if known.intent.at is not None else _intended(known).at


def _intended(known: KnownAttempt) -> Moment:
    """When it was intended last, in the order of all."""
    first = min((change.when for change in known.changes), default=Moment(known.intent.at or 0.0))
    return known.when(TaskState.INTENDED) or first


def _doubted(known: KnownAttempt, begun: Moment) -> Moment | None:
    """When it became unclear after that; None where no log tells that it did."""
    doubts = (TaskState.AMBIGUOUS, TaskState.HELD)
    return min(
        (change.when for change in known.changes if change.state in doubts and change.when >= begun),
        default=None,
    )


def _grounds(told: Mapping[str, JsonValue] | None) -> Grounds:
    facts = dict(told or {"basis": Basis.NONE, "reason": LOST.reason})
    if facts.get("basis") not in [*Basis]:
        facts["basis"] = Basis.NONE
    return Grounds(facts)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def time_of(run_id: str) -> float | None:
    """When a run began, by its id."""
    try:
        return datetime.strptime(run_id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
