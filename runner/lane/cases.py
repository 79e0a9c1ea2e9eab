"""One unclear submit in this process: what was seen of it, and what is still missing to judge it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from runner.job.model import OnAmbiguous, RunPolicy
from runner.lane.clock import Passed
from runner.lane.evidence import Finding, Hope, Unclear, Witness
from runner.lane.scan import DAY
from runner.ledger.rows import Doubt
from runner.ledger.states import Reason, Resolution

SCANS = 3
"""Full scans in a row that have to say the same."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What is missing to judge a case; `until` is monotonic, where time alone will bring it."""

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
    """Times are monotonic. `since` is when the connection was closed, None before the service has told its
    time; `began` is when this process took the case up.

    `late` and `early` count scans in a row that exclude every row and show such a witness or a better one.
    """

    doubt: Doubt
    began: float
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

    def hold_reason(self, one: Unclear, sight: Sight, policy: RunPolicy, record_life: float) -> str | None:
        """Why only a person can settle it; None where a later scan may."""
        if sight.age.least >= record_life - DAY:
            return "not found, and so old that the service may have dropped its record"
        if not sight.finding.is_excluded:
            is_certain = self.settled >= SCANS and sight.finding.hope is Hope.NONE
            return sight.finding.reason if is_certain else None
        is_answered = one.attempt.evidence is not None and one.attempt.evidence.status is not None
        if is_answered and self.settled >= SCANS:
            # the row may come later than any scan: no witness would make it absent
            return "not in the list, but the service itself did not know what became of it"
        if max(self.late, self.early) < SCANS:
            return None
        if one.attempt.reason is Reason.RECONCILE:
            return "not in the list, as the submit before it; absence is taken once for each decision to pay"
        if policy.on_ambiguous is OnAmbiguous.HOLD:
            return "shown to be absent; run.on_ambiguous is hold"
        return None

    def is_absent(self, sight: Sight, record_life: float) -> bool:
        """Whether it was never accepted, as far as a list can show that."""
        is_young = sight.age.most < record_life - DAY
        return max(self.late, self.early) >= SCANS and is_young and sight.is_clock_sure

    def missing(self, sight: Sight, policy: RunPolicy, record_life: float) -> Wait:
        """What has to come before it can be judged."""
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
        if sight.witness is None:
            reason = "the service's list leaves out what the service has accepted"
            return Wait(reason, alone) if sight.started < alone else Wait(reason, is_for_others=True)
        if sight.witness is Witness.NONE:
            reason = "the service's list shows no task that is known to be ours, so it proves nothing"
            return Wait(reason, is_for_others=True)
        if sight.witness is Witness.EARLY and sight.started < alone:
            return Wait("the service's list shows nothing accepted later (run.settle_alone)", alone)
        if not sight.is_clock_sure or sight.age.most >= record_life - DAY:
            return Wait("the service's clock and this machine's are hours apart", is_for_others=True)
        return Wait("the service's list is read again", sight.started)
