"""What became of unclear submits: adopted, absent or held, by evidence and never by a guess.

Runs beside the other work. A service without a list leaves nothing to go by: held at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import anyio

from runner.errors import CallsheetError, ExitCode, KeyRefusedError
from runner.http.verdicts import ProviderError, Trouble
from runner.job.model import OnAmbiguous, RunPolicy
from runner.lane.clock import Passed
from runner.lane.control import Control
from runner.lane.evidence import Finding, Hope, Unclear, Witness, match_rows, witness
from runner.lane.lane import Lane
from runner.lane.pace import Retry, StillLimitedError
from runner.lane.scan import ALL_ROWS, ListView, NoScanError, Scanner, kept
from runner.ledger.ledger import RemoteIdTakenError
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow, Doubt, Grounds
from runner.ledger.states import Basis, Reason, Resolution, TaskState
from runner.times import iso_time

SCANS = 3
"""Full scans in a row that have to say the same."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What is missing to judge a case; `until` (monotonic) is set if time alone will bring it."""

    reason: str
    until: float | None = None
    is_for_others: bool = False
    """Only a task accepted later can supply it."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one scan, begun at `started` (monotonic), says of a case.

    `age` is how long ago the intent was; `is_clock_sure` says that the service's clock and ours agree.
    """

    finding: Finding
    witness: Witness | None
    started: float
    age: Passed
    is_clock_sure: bool


@dataclass(slots=True)
class Case:
    """`control` is that of the job which waits for it. Times are monotonic. `since` is when the connection
    was closed, None before the service has told its time; `began` is when this process took the case up.

    `late` and `early` count scans in a row that exclude every row and show such a witness or a better one.
    """

    doubt: Doubt
    began: float
    control: Control
    since: float | None = None
    late: int = 0
    early: int = 0
    settled: int = 0
    """Scans after `run.settle`."""
    quiet: int = 0
    """Scans in a row that only a task accepted later could help, while none was under way."""
    wait: Wait | None = None
    resolution: Resolution | None = None
    closed: anyio.Event = field(default_factory=anyio.Event)

    def count(self, sight: Sight, policy: RunPolicy) -> None:
        """Adds one scan."""
        assert self.since is not None
        is_excluded = sight.finding.is_excluded
        is_settled = sight.started >= self.since + policy.settle
        is_settled_alone = sight.started >= self.since + policy.settle_alone
        is_late = is_excluded and is_settled and sight.witness is Witness.LATE
        has_witness = sight.witness in (Witness.EARLY, Witness.LATE)
        self.settled += is_settled
        self.late = self.late + 1 if is_late else 0
        self.early = self.early + 1 if is_excluded and is_settled_alone and has_witness else 0

    def hold_reason(self, one: Unclear, sight: Sight, policy: RunPolicy, life: float) -> str | None:
        """Why only a person can settle it; None where a later scan may. For `life` seconds the list says
        something of it.
        """
        if sight.age.least >= life:
            return "not found, and so old that the service may have dropped its record"
        if not sight.finding.is_excluded:
            is_certain = self.settled >= SCANS and sight.finding.hope is Hope.NONE
            return sight.finding.reason if is_certain else None
        is_answered = one.attempt.evidence is not None and one.attempt.evidence.status is not None
        if is_answered and self.settled >= SCANS and sight.witness is not Witness.NEVER:
            # the row may come later than any scan: no witness would make it absent
            return "not in the list, but the service itself did not know what became of it"
        if max(self.late, self.early) < SCANS:
            return None
        if one.attempt.is_taken_over:
            return "not in the list, but the machine that was to send it fell silent, and may send it still"
        if one.attempt.reason is Reason.RECONCILE:
            return "not in the list, as the submit before it; absence is taken once for each decision to pay"
        if policy.on_ambiguous is OnAmbiguous.HOLD:
            return "shown to be absent; run.on_ambiguous is hold"
        return None

    def is_absent(self, sight: Sight, life: float) -> bool:
        """Whether it was never accepted, as far as a list can show that."""
        is_young = sight.age.most < life
        return max(self.late, self.early) >= SCANS and is_young and sight.is_clock_sure

    def missing(self, sight: Sight, policy: RunPolicy, life: float) -> Wait:
        """The evidence that is missing before it can be judged."""
        assert self.since is not None
        settle, alone = self.since + policy.settle, self.since + policy.settle_alone
        if sight.started < settle:
            return Wait("the service's list may lag (run.settle)", settle)
        if not sight.finding.is_excluded:
            match sight.finding.hope:
                case Hope.NONE:
                    return Wait(sight.finding.reason, sight.started)
                case hope:
                    return Wait(sight.finding.reason, is_for_others=hope is Hope.BELIEF)
        if sight.witness is Witness.NEVER:
            reason = "the service lists only what has ended, and it may be at work"
            return Wait(reason, alone) if sight.started < alone else Wait(reason, is_for_others=True)
        if sight.witness is None:
            reason = "the service's list leaves out what the service has accepted"
            return Wait(reason, alone) if sight.started < alone else Wait(reason, is_for_others=True)
        if sight.witness is Witness.NONE:
            reason = "the service's list shows no task that is known to be ours, so it proves nothing"
            return Wait(reason, is_for_others=True)
        if sight.witness is Witness.EARLY and sight.started < alone:
            return Wait("the service's list shows nothing accepted later (run.settle_alone)", alone)
        if not sight.is_clock_sure or sight.age.most >= life:
            return Wait("the service's clock and this machine's are hours apart", is_for_others=True)
        return Wait("the service's list is read again", sight.started)


CLOCKS_APART = 6 * 3600.0
"""Seconds between the service's clock and ours beyond which one of them is wrong by hours."""

MOST_PAUSE = 10.0
"""Seconds between scans, at most."""

GATHER = 0.05
"""Seconds in which cases that come together join one scan."""

SCAN_TRIES = 10
"""Lists that contradict themselves, or fail, in a row before the case is left for the next run."""

_EVENTS = {
    Resolution.ADOPTED: "task.adopted",
    Resolution.ABSENT: "task.never_accepted",
    Resolution.HELD: "task.held",
}


@dataclass(slots=True)
class Reconciler:
    """Settles unclear attempts; `clarify` is how a task's life waits for that."""

    lane: Lane
    scanner: Scanner
    policy: RunPolicy
    is_run: bool
    """Without it (`collect`) nothing is waited for: what cannot be judged now is left."""
    is_quiet: Callable[[], bool]
    """Whether no task is in flight, so that no more will be submitted and accepted."""
    _cases: dict[str, Case] = field(default_factory=dict)
    _has_cases: anyio.Event = field(default_factory=anyio.Event)
    _told: str = ""
    _pages: int = 1

    async def clarify(self, attempt_id: str, control: Control) -> Resolution | None:
        """Waits until it is known what became of an attempt; None where it stays unclear for now."""
        if self.lane.gate.is_closed:
            return None
        case = self._cases.get(attempt_id)
        if case is None:
            doubt = await self.lane.commits.read(lambda reader: reader.doubt(attempt_id))
            assert doubt is not None
            case = self._cases[attempt_id] = Case(doubt, anyio.current_time(), control)
        self._has_cases.set()
        await case.closed.wait()
        return case.resolution

    async def run(self) -> None:
        """Runs beside the work for ever: scans while there are cases."""
        retry = self._tries()
        while True:
            await self._has_cases.wait()
            await anyio.sleep(GATHER)
            try:
                await self._round()
            except CallsheetError as error:
                # the ledger did not take what was found: the cases stay as they are
                self.lane.gate.refuse(error)
                self._leave_all()
            except (ProviderError, NoScanError) as error:
                if isinstance(error, ProviderError):
                    self.lane.gate.trouble(error)
                if self._is_over(error, is_last=retry.failed()):
                    await self._give_up(error)
                    retry = self._tries()
                else:
                    await anyio.sleep(retry.pause())
            except Exception as error:
                self.lane.gate.defect("the reconciliation of unclear submits", error)
                self._leave_all()
            else:
                retry = self._tries()
                if self._cases:
                    # with the age of the newest case: a short `run.settle` must not mean a list a second
                    waited = anyio.current_time() - max(case.began for case in self._cases.values())
                    pause = max(0.2, min(MOST_PAUSE, max(self.policy.settle, waited) / 10))
                    # a list of many pages leaves the request budget to others
                    await anyio.sleep(pause * max(1, self._pages))

    def _tries(self) -> Retry:
        return Retry(self.lane.machine.random, SCAN_TRIES, base=1.0)

    async def _round(self) -> None:
        """One scan over all cases. Raises ProviderError and NoScanError."""
        cases = dict(self._cases)
        # what polls have just learned of tags and seeds counts
        await self.lane.commits.flush()
        unclear = await self._read(cases)
        mine = [one for one in unclear if await self._is_open_to_evidence(one)]
        if not mine:
            return
        trouble: ProviderError | NoScanError | None = None
        pages = 0
        for part in self.scanner.parts(mine):
            started = anyio.current_time()
            try:
                view = await self.scanner.look(part)
            except (ProviderError, NoScanError) as error:
                # what one of several lists has is no reason to leave the others unread
                if isinstance(error, ProviderError) and error.trouble in ALL_ROWS | {Trouble.KEY_REFUSED}:
                    raise
                trouble = error
                continue
            pages += view.pages
            unresolved = await self.lane.commits.read(
                partial(self.scanner.unresolved, offset=self.scanner.offset())
            )
            for finding, one in zip(match_rows(part, view.candidates, unresolved), part, strict=True):
                await self._act(one, cases[one.attempt.id], finding, view, started)
        self._pages = max(1, pages)
        self._tell_waits()
        if trouble is not None:
            raise trouble

    async def _read(self, cases: Iterable[str]) -> list[Unclear]:
        known, offset = [*cases], self.scanner.offset()

        def load(reader: LedgerReader) -> list[Unclear]:
            attempts = [reader.attempt(attempt_id) for attempt_id in known]
            return self.scanner.unclear(reader, [one for one in attempts if one is not None], offset)

        return await self.lane.commits.read(load)

    async def _is_open_to_evidence(self, one: Unclear) -> bool:
        """Closes the cases that no scan can help, and says so."""
        attempt = one.attempt
        if attempt.state is not TaskState.AMBIGUOUS:
            self._close(attempt.id, None)
            return False
        if self.lane.provider.listing is None:
            await self._hold(one, "the service has no list in which it could be found")
            return False
        if attempt.key_hash != self.lane.key_hash:
            self._cases[attempt.id].control.condition(
                ExitCode.PERSON_NEEDED,
                "an unclear submit was made under another API key, whose list this one does not show;"
                " hint: run again with the key used then",
                identity=attempt.identity,
            )
            self._close(attempt.id, None)
            return False
        return True

    async def _act(self, one: Unclear, case: Case, finding: Finding, view: ListView, started: float) -> None:
        """Brings a case to its end where the scan that began at `started` allows it."""
        if finding.adopted is not None and finding.adopted.id in view.foreign_ids:
            await self._hold(one, f"{finding.adopted.id} carries the tag, but another task holds that id")
            return
        if finding.adopted is not None:
            await self._adopt(one, finding)
            return
        attempt, life = one.attempt, kept(self.lane.provider)
        if case.since is None:
            case.since = case.began - self._elapsed(attempt, case)
        clock = self.lane.clock
        sight = Sight(
            finding,
            witness(one, case.doubt.order, view.accepted, view.rows) if view.is_readable else None,
            started,
            clock.passed(attempt.server_time, attempt.intended_at),
            clock.is_known and abs(clock.latest() - self.lane.machine.wall()) < CLOCKS_APART,
        )
        case.count(sight, self.policy)
        if (why := case.hold_reason(one, sight, self.policy, life)) is not None:
            await self._hold(one, why)
        elif case.is_absent(sight, life):
            is_late = case.late >= SCANS
            grounds = Grounds.of(
                Basis.LIST,
                scans=SCANS,
                candidates=len(view.candidates),
                witness="late" if is_late else "early",
                settle_seconds=self.policy.settle if is_late else self.policy.settle_alone,
                reason=finding.reason,
            )
            await self._resolve(one, Resolution.ABSENT, grounds)
        else:
            case.wait = case.missing(sight, self.policy, life)
            case.quiet = case.quiet + 1 if case.wait.is_for_others and self.is_quiet() else 0
            if self._is_hopeless(case):
                self._leave(one, case)

    def _elapsed(self, attempt: AttemptRow, case: Case) -> float:
        """Seconds since the connection was closed until this process took the case up, by the slower of the
        service's clock and ours; 0 where the service does not tell its time.
        """
        if not self.lane.clock.is_known:
            return 0.0
        closed_at = attempt.server_time + case.doubt.at - attempt.intended_at
        passed = self.lane.clock.passed(closed_at, case.doubt.at)
        return max(0.0, passed.least - (anyio.current_time() - case.began))

    def _is_hopeless(self, case: Case) -> bool:
        """Whether this process has nothing to wait for: a later one judges again."""
        assert case.wait is not None
        now = anyio.current_time()
        if now - case.began > self._longest or case.quiet >= SCANS:
            return True
        is_counting = case.wait.until is not None and case.wait.until <= now
        if not self.is_run:
            return not is_counting
        # nothing would be submitted again: what is worth waiting for is a row of its own
        may_submit = case.control.may_submit and self.lane.gate.may_submit
        return not may_submit and case.settled >= SCANS and not is_counting

    async def _adopt(self, one: Unclear, finding: Finding) -> None:
        assert finding.adopted is not None
        # one that was claimed between the scan and now the next scan leaves out
        with contextlib.suppress(RemoteIdTakenError):
            await self._resolve(one, Resolution.ADOPTED, finding.grounds(), remote_id=finding.adopted.id)

    async def _hold(self, one: Unclear, reason: str) -> None:
        said = f"an unclear submit is held for a person: {reason}; hint: `callsheet reconcile` lists it"
        control = self._cases[one.attempt.id].control
        control.condition(ExitCode.PERSON_NEEDED, said, identity=one.attempt.identity)
        await self._resolve(one, Resolution.HELD, Grounds.of(Basis.NONE, reason=reason))

    def _leave(self, one: Unclear, case: Case) -> None:
        assert case.wait is not None
        attempt = one.attempt
        ends = attempt.intended_at + kept(self.lane.provider)
        case.control.condition(
            ExitCode.TRY_AGAIN,
            f"what became of a submit is still unclear: {case.wait.reason}; nothing is submitted in its"
            " place, and each later `run` or `collect` looks again",
            identity=attempt.identity,
        )
        reason = f"unclear: {case.wait.reason}; looked for until {iso_time(ends)}"
        case.control.left(one.name, reason, attempt.identity)
        self._close(attempt.id, None)

    async def _resolve(
        self,
        one: Unclear,
        resolution: Resolution,
        grounds: Grounds,
        *,
        remote_id: str | None = None,
    ) -> None:
        attempt, at = one.attempt, self.lane.machine.wall()
        await self.lane.commits.write(
            lambda ledger: ledger.resolve(attempt.id, resolution, grounds, at, remote_id=remote_id)
        )
        who = {"task": one.name, "identity": attempt.identity, "attempt": attempt.id}
        told = {**who, "remote_id": remote_id, **grounds.facts}
        self._cases[attempt.id].control.observe(
            _EVENTS[resolution], {**told, "account": self.lane.gate.account}
        )
        self._close(attempt.id, resolution)

    def _close(self, attempt_id: str, resolution: Resolution | None) -> None:
        case = self._cases.pop(attempt_id)
        case.resolution = resolution
        case.closed.set()
        if not self._cases:
            self._has_cases = anyio.Event()

    def _tell_waits(self) -> None:
        """Says what is waited for, and until when at the latest."""
        waits = [(case.wait, case) for case in self._cases.values() if case.wait is not None]
        said = ""
        if waits:
            now = anyio.current_time()
            wait, case = max(waits, key=lambda each: each[0].until or 0.0)
            ends = wait.until if wait.until is not None else case.began + self._longest
            said = f"what becomes of unclear submits: {wait.reason}"
            self.lane.gate.waiting(said, ends - now, len(waits))
        if said != self._told:
            self.lane.gate.waited(self._told)
            self._told = said

    @property
    def _longest(self) -> float:
        """Seconds for which this process waits until a case can be judged."""
        return max(self.policy.timeout, self.policy.settle_alone + SCANS * MOST_PAUSE)

    def _is_over(self, error: ProviderError | NoScanError, *, is_last: bool) -> bool:
        """Whether the list cannot be had in this process."""
        if is_last or isinstance(error, StillLimitedError):
            return True
        if isinstance(error, NoScanError):
            return False
        if error.trouble is Trouble.KEY_REFUSED:
            self.lane.gate.close(KeyRefusedError.by_service(error.message))
            return True
        if error.trouble is Trouble.RATE_LIMITED:
            self.lane.requests.refused(error)
        return error.trouble is Trouble.USED_UP

    async def _give_up(self, error: ProviderError | NoScanError) -> None:
        """The cases stay unclear; those whose records end soon are held."""
        unclear = await self._read(self._cases)
        for one in unclear:
            attempt = one.attempt
            age = self.lane.clock.passed(attempt.server_time, attempt.intended_at)
            if attempt.state is TaskState.AMBIGUOUS and age.least >= kept(self.lane.provider):
                await self._hold(
                    one, f"so old that the service may drop its record, and not looked up: {error}"
                )
        self.lane.gate.condition(
            ExitCode.TRY_AGAIN, f"unclear submits wait for the service's list: {error}; run again later"
        )
        self._leave_all()

    def _leave_all(self) -> None:
        for attempt_id in list(self._cases):
            self._close(attempt_id, None)
