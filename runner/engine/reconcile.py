"""What became of ambiguous submits: adopted, absent or held, by evidence and never by a guess.

Runs beside the other work. A service without a list leaves nothing to go by: held at once.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio

from runner.engine.control import Control
from runner.engine.evidence import Finding, Unclear, created_after, judge
from runner.engine.pacing import RequestBudget, backoff
from runner.engine.world import ServerClock, World
from runner.errors import CallsheetError, ExitCode
from runner.job.model import OnAmbiguous
from runner.job.node import JsonValue
from runner.ledger.ledger import RemoteIdTakenError
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow
from runner.ledger.states import TaskState
from runner.providers.base import Generation, ProviderError, Trouble

PAGE = 200
ABSENT_SCANS = 3
MOST_SCANS = 60
"""Scans after the settle time in which other work may still clear a case up; then a person has to."""

ABSENT_WITHIN = 20 * 3600.0
"""Seconds of server time: an older attempt may have left the list, and absence proves nothing."""

CLOCKS_APART = 6 * 3600.0
"""Seconds between the service's clock and ours beyond which one of them is wrong by hours."""

SCAN_TRIES = 10
"""Lists that shift under the scan, or fail, in a row before the case is left for the next run."""


class Resolution(enum.StrEnum):
    """How an unclear attempt left this process."""

    ADOPTED = "adopted"
    ABSENT = "absent"
    HELD = "held"
    LEFT = "left"
    """Still ambiguous: the list could not be read, or is another key's."""


_EVENTS = {
    Resolution.ADOPTED: "task.adopted",
    Resolution.ABSENT: "task.never_accepted",
    Resolution.HELD: "task.held",
}


class ShiftedError(Exception):
    """The list changed while it was read: what was seen is no full scan (row 36)."""


@dataclass(slots=True)
class Case:
    """An unclear attempt in this process. `since` is monotonic: when its connection was closed, or
    when this process took it up."""

    since: float
    clean_scans: int = 0
    scans: int = 0
    resolution: Resolution | None = None
    closed: anyio.Event = field(default_factory=anyio.Event)


@dataclass(slots=True)
class Reconciler:
    """Settles unclear attempts; `clarify` is how a task's life waits for that."""

    world: World
    control: Control
    budget: RequestBudget
    clock: ServerClock
    settle: float
    on_ambiguous: OnAmbiguous
    may_submit: bool
    """Without it (`collect`) nothing waits to be shown absent: one look for adoption, then left."""
    _cases: dict[str, Case] = field(default_factory=dict)
    _has_cases: anyio.Event = field(default_factory=anyio.Event)
    _filled_rows: dict[str, Generation] = field(default_factory=dict)
    """Rows whose nulls a GET has filled: what a service has echoed once it does not take back."""

    async def clarify(self, attempt_id: str) -> Resolution:
        """Waits until it is known what became of an attempt, or that only a person can say."""
        case = self._cases.setdefault(attempt_id, Case(anyio.current_time()))
        self._has_cases.set()
        await case.closed.wait()
        assert case.resolution is not None
        return case.resolution

    async def run(self) -> None:
        """Runs beside the work for ever: scans while there are cases."""
        failures = 0
        while True:
            await self._has_cases.wait()
            try:
                await self._round()
            except CallsheetError as error:
                # the ledger did not take what was found: the cases stay as they are
                self.control.stop_submitting(error.exit_code, str(error))
                self._leave_all()
                continue
            except (ProviderError, ShiftedError) as error:
                failures += 1
                if await self._give_up(error, failures):
                    failures = 0
                    continue
                await anyio.sleep(backoff(failures, self.world.seams.random, base=1.0))
                continue
            failures = 0
            if self._cases:
                await anyio.sleep(max(0.2, min(10.0, self.settle / 10)))

    async def _round(self) -> None:
        """One scan over all cases. Raises ProviderError and ShiftedError."""
        started = anyio.current_time()
        cases = dict(self._cases)
        # what polls have just learned of tags counts
        await self.world.commits.flush()
        unclear = await self.world.commits.read(lambda reader: self._load(reader, cases))
        mine = [one for one in unclear if await self._is_open_to_evidence(one)]
        if not mine:
            return
        window = min(one.since for one in mine)
        ours = await self.world.commits.read(lambda reader: self._accepted_within(reader, window))
        rows = await self._scan(window)
        ids = list(rows)
        claimed = await self.world.commits.read(lambda reader: reader.claimed(self.world.origin, ids))
        candidates = [await self._filled(row) for row in rows.values() if row.id not in claimed]
        unresolved = await self.world.commits.read(self._unresolved)
        # a list that lags behind what we know was accepted proves no absence
        is_whole = ours <= rows.keys()
        for finding, one in zip(judge(mine, candidates, unresolved), mine, strict=True):
            case = cases[one.attempt.id]
            is_settled = started >= case.since + self.settle
            case.scans += is_settled
            case.clean_scans = case.clean_scans + 1 if finding.is_absent and is_settled and is_whole else 0
            await self._act(one, case, finding, len(candidates), is_whole=is_whole)

    def _load(self, reader: LedgerReader, cases: Mapping[str, Case]) -> list[Unclear]:
        attempts: list[AttemptRow] = []
        for attempt_id in cases:
            attempt = reader.attempt(attempt_id)
            assert attempt is not None
            attempts.append(attempt)
        return self._unclear(reader, attempts)

    def _unresolved(self, reader: LedgerReader) -> list[Unclear]:
        """Every attempt that a row may belong to, also those that nobody waits for here."""
        states = (TaskState.INTENDED, TaskState.AMBIGUOUS, TaskState.HELD, TaskState.WRITTEN_OFF)
        place = {"origin": self.world.origin, "provider": self.world.provider.name}
        found = [*reader.in_state(*states, **place)]
        # a person's `--again` proves nothing about the first POST
        found += [one for one in reader.in_state(TaskState.PLANNED, **place) if one.resolution == "again"]
        return self._unclear(reader, found)

    def _unclear(self, reader: LedgerReader, attempts: Sequence[AttemptRow]) -> list[Unclear]:
        offset = self._offset()
        believed: dict[tuple[str, str, str], bool] = {}
        found: list[Unclear] = []
        for attempt in attempts:
            task = reader.task(attempt.identity)
            assert task is not None
            place = (attempt.origin, attempt.key_hash, attempt.model)
            if place not in believed:
                believed[place] = reader.is_tag_believed(*place)
            found.append(Unclear(attempt, task.name, task.request, believed[place], offset))
        return found

    async def _is_open_to_evidence(self, one: Unclear) -> bool:
        """Closes the cases that no scan can help, and says so."""
        attempt = one.attempt
        if attempt.state is not TaskState.AMBIGUOUS:
            self._close(attempt.id, Resolution.LEFT)
            return False
        if not self.world.provider.can_list:
            await self._hold(one, "the service has no list in which it could be found")
            return False
        if attempt.key_hash != self.world.key_hash:
            self.control.condition(
                ExitCode.PERSON_NEEDED,
                "an unclear submit was made under another API key, whose list this one does not show;"
                " hint: run again with the key of that time",
            )
            self._close(attempt.id, Resolution.LEFT)
            return False
        return True

    def _accepted_within(self, reader: LedgerReader, window: float) -> set[str]:
        """The ids of ours that a full list of what was created since `window` shows."""
        found = reader.accepted_since(self.world.origin, self.world.key_hash, window)
        offset = self._offset()
        return {
            remote_id
            for remote_id, server_time, intended_at in found
            if created_after(server_time, intended_at, offset) >= window
        }

    def _offset(self) -> float:
        """Seconds that the service's clock is ahead of ours, at least."""
        return self.clock.earliest() - self.world.seams.wall()

    async def _scan(self, since: float) -> dict[str, Generation]:
        """Every row of the list since then, by its id."""
        rows: dict[str, Generation] = {}
        total: int | None = None
        offset = 0
        while True:
            await self.budget.acquire()
            page = await self.world.provider.list_page(created_after=since, limit=PAGE, offset=offset)
            self.clock.hear(page.server_time)
            if total is not None and page.total != total:
                raise ShiftedError("the list changed while it was read")
            total = page.total
            rows.update((row.id, row) for row in page.rows)
            offset += len(page.rows)
            if not page.has_more or not page.rows:
                break
        if len(rows) != offset or offset != total:
            raise ShiftedError("the list's pages overlap or leave rows out")
        return rows

    async def _filled(self, row: Generation) -> Generation:
        """The row with its nulls read again, for the list may lag."""
        if _is_whole(row):
            return row
        if row.id in self._filled_rows:
            return self._filled_rows[row.id]
        await self.budget.acquire()
        try:
            fresh = await self.world.provider.get(row.id)
        except ProviderError as error:
            if error.trouble is Trouble.NOT_FOUND:
                # listed, and not ours to read: it stays a candidate that nothing excludes
                return row
            raise
        filled = replace(
            row,
            tag=row.tag if fresh.tag is None else fresh.tag,
            echo={**row.echo, **fresh.echo},
            model=fresh.model or row.model,
        )
        if _is_whole(filled):
            self._filled_rows[row.id] = filled
        return filled

    async def _act(
        self, one: Unclear, case: Case, finding: Finding, candidates: int, *, is_whole: bool
    ) -> None:
        attempt = one.attempt
        if finding.adopted is not None:
            await self._adopt(one, finding)
            return
        if not self.may_submit:
            self._close(attempt.id, Resolution.LEFT)
            return
        if case.scans < ABSENT_SCANS:
            return
        evidence: dict[str, JsonValue] = {
            "basis": "list",
            "scans": case.clean_scans,
            "candidates": candidates,
            "settle_seconds": self.settle,
            "reason": finding.reason,
        }
        age = self.clock.latest() - attempt.server_time
        answered = (attempt.evidence or {}).get("status") is not None
        if not finding.is_absent:
            may_clear = finding.may_change or await self._may_learn(one)
            if case.scans >= MOST_SCANS or not may_clear:
                await self._hold(one, finding.reason)
        elif case.clean_scans < ABSENT_SCANS:
            if not is_whole and case.scans >= MOST_SCANS:
                await self._hold(one, "the list leaves out what the service has accepted: it proves nothing")
        elif answered:
            await self._hold(one, "not in the list, but the service itself did not know what became of it")
        elif age >= ABSENT_WITHIN:
            await self._hold(one, "not in the list, but too old for that to prove anything")
        elif not self._tells_time():
            await self._hold(one, "not in the list, but its window hangs on a clock that cannot be trusted")
        elif self.on_ambiguous is OnAmbiguous.HOLD:
            await self._hold(one, "shown to be absent; run.on_ambiguous is hold")
        else:
            await self._resolve(one, Resolution.ABSENT, evidence)

    def _tells_time(self) -> bool:
        """Whether the list was searched from the right moment on: by a clock of the service's that our
        own does not contradict."""
        return self.clock.is_known and abs(self.clock.latest() - self.world.seams.wall()) < CLOCKS_APART

    async def _may_learn(self, one: Unclear) -> bool:
        """Whether an accepted task in flight may still show that tags come back."""
        attempt = one.attempt
        if attempt.tag is None or one.is_tag_believed:
            return False
        return await self.world.commits.read(
            lambda reader: reader.awaits_echo(attempt.origin, attempt.key_hash, attempt.model)
        )

    async def _adopt(self, one: Unclear, finding: Finding) -> None:
        row = finding.adopted
        assert row is not None
        evidence: dict[str, JsonValue] = {
            "basis": str(finding.basis),
            "tag": row.tag,
            "seed": row.echo.get("seed"),
            "created_at": row.created_at,
        }
        try:
            await self._resolve(one, Resolution.ADOPTED, evidence, remote_id=row.id)
        except RemoteIdTakenError:
            # claimed between the scan and now: the next scan leaves it out
            return

    async def _hold(self, one: Unclear, reason: str) -> None:
        # said here as well: the task may be of another job than the one that runs
        self.control.condition(ExitCode.PERSON_NEEDED)
        await self._resolve(one, Resolution.HELD, {"basis": "none", "reason": reason})

    async def _resolve(
        self,
        one: Unclear,
        resolution: Resolution,
        evidence: Mapping[str, JsonValue],
        *,
        remote_id: str | None = None,
    ) -> None:
        attempt, at = one.attempt, self.world.seams.wall()
        await self.world.commits.write(
            lambda ledger: ledger.resolve(attempt.id, resolution, evidence, at, remote_id=remote_id)
        )
        self.world.observe(
            _EVENTS[resolution],
            {"task": one.name, "identity": attempt.identity, "remote_id": remote_id, **evidence},
        )
        self._close(attempt.id, resolution)

    def _close(self, attempt_id: str, resolution: Resolution) -> None:
        case = self._cases.pop(attempt_id)
        case.resolution = resolution
        case.closed.set()
        if not self._cases:
            self._has_cases = anyio.Event()

    async def _give_up(self, error: ProviderError | ShiftedError, failures: int) -> bool:
        """Whether the list cannot be had in this process: the cases then stay ambiguous."""
        if isinstance(error, ProviderError):
            if error.trouble is Trouble.KEY_REFUSED:
                self.control.stop(ExitCode.KEY_REFUSED, f"the service refused the API key: {error.message}")
            if error.trouble is Trouble.RATE_LIMITED:
                self.budget.throttled(error.retry_after)
        if failures < SCAN_TRIES:
            return False
        self.control.condition(
            ExitCode.TRY_AGAIN, f"unclear submits wait for the service's list: {error}; run again later"
        )
        self._leave_all()
        return True

    def _leave_all(self) -> None:
        for attempt_id in list(self._cases):
            self._close(attempt_id, Resolution.LEFT)


def _is_whole(row: Generation) -> bool:
    return row.tag is not None and row.echo.get("seed") is not None
