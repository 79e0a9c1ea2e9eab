"""Whether a lane takes submits, why not, and what it waits for: each job with tasks there hears of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from runner.errors import CallsheetError, ExitCode, StateError
from runner.http.verdicts import ProviderError
from runner.lane.control import Control
from runner.ledger.caps import CapReachedError
from runner.ledger.leases import LaneHeldError
from runner.times import iso_time

WORTH_TELLING = 10.0
"""Seconds: a shorter wait is not told."""

QUIET = 60.0
"""Seconds without a repetition, after which the same trouble is told again."""


@dataclass(frozen=True, slots=True)
class _Stop:
    """Why a lane takes no submits; `account` is empty where the reason itself says whose they are."""

    code: ExitCode
    reason: str
    account: str


@dataclass(slots=True, eq=False)
class Gate:
    """What happens here all its jobs hear of. A stop concerns only those that have `joined`, as they have
    tasks here.

    `account` is what people call the lane, and `labels` are its account's; `wall` gives Unix seconds.
    """

    account: str
    wall: Callable[[], float]
    labels: Mapping[str, str] = field(default_factory=dict)
    peers: list[Gate] = field(default_factory=list)
    """Those of all lanes of this process, itself among them: a budget may be for several."""
    hearing: list[Control] = field(default_factory=list)
    is_closed: bool = False
    """Nothing more is asked of the service either: it refuses the key, or there is none."""
    unpriced: CapReachedError | None = None
    """The budget in dollars that keeps every task without a price from being submitted here."""
    when_stopped: list[Callable[[], None]] = field(default_factory=list)
    """Called when submitting stops, and when the lane is closed."""
    _jobs: list[Control] = field(default_factory=list)
    _stops: list[_Stop] = field(default_factory=list)
    _work: set[anyio.CancelScope] = field(default_factory=set)
    _waits: dict[str, float] = field(default_factory=dict)
    """The reasons for waits, with the monotonic time until which each was told."""
    _troubles: dict[tuple[int | None, str], float] = field(default_factory=dict)
    """When each trouble with free requests, by status and code, was met last (monotonic)."""

    @property
    def may_submit(self) -> bool:
        return not self._stops

    @property
    def is_wanted(self) -> bool:
        """Whether a job still has something to submit here."""
        return self.may_submit and any(job.may_submit for job in self._jobs)

    def join(self, control: Control) -> None:
        """The job has tasks here: it is told of what stops the lane, and of what has stopped it before."""
        if control in self._jobs:
            return
        self._jobs.append(control)
        for stop in self._stops:
            self._tell_stop(control, stop)

    def stop_submitting(self, code: ExitCode, reason: str) -> None:
        """No new POST here; what is in flight is still collected."""
        self._stop(_Stop(code, reason, self.account))

    def reach(self, cap: CapReachedError) -> None:
        """A budget of the project is spent: no new POST in any lane whose account it is for, or none without
        a price.
        """
        for gate in self.peers:
            if not cap.stops(gate.account, gate.labels):
                continue
            if cap.is_of_unpriced:
                gate.unpriced = cap
            else:
                gate._stop(_Stop(cap.exit_code, str(cap), ""))

    def refuse(self, error: CallsheetError) -> None:
        """No new POST here, for the reason and with the exit code of `error`; what is wrong with the ledger
        stops all jobs.
        """
        if isinstance(error, StateError):
            self.hearing[0].refuse(error)
        elif not isinstance(error, LaneHeldError):  # which has closed it
            self.stop_submitting(error.exit_code, str(error))

    def close(self, error: CallsheetError) -> None:
        """Ends all work at the service, with its state kept: it would refuse whatever is asked."""
        self.is_closed = True
        self.stop_submitting(error.exit_code, str(error))
        for scope in self._work:
            scope.cancel()

    @contextmanager
    def work(self) -> Iterator[None]:
        """Work that asks the service: it ends here where the lane is closed."""
        with anyio.CancelScope() as scope:
            self._work.add(scope)
            try:
                if self.is_closed:
                    scope.cancel()
                yield
            finally:
                self._work.discard(scope)

    def defect(self, name: str, error: Exception) -> None:
        """Something of ours broke in the work on `name`."""
        for job in self.hearing:
            job.defect(name, error)

    def condition(self, code: ExitCode, reason: str) -> None:
        """Something that the exit codes tell, and that stops nothing."""
        for job in self._jobs:
            job.condition(code, self._named(job, reason))

    def trouble(self, error: ProviderError) -> None:
        """Tells that a free request failed and is sent again: once, until it has been quiet for a minute."""
        if not error.may_pass:
            return
        now, key = anyio.current_time(), (error.status, error.code)
        is_new = now - self._troubles.get(key, -math.inf) > QUIET
        self._troubles[key] = now
        if is_new:
            self.tell("service.trouble", status=error.status, code=error.code, message=error.message)

    def waiting(self, what: str, seconds: float, tasks: int, said: str = "") -> None:
        """Tells what `tasks` of the lane wait for, for at most `seconds`: once, until that time has passed.

        `said` are the service's own words, where it asked for the wait.
        """
        now = anyio.current_time()
        if seconds < WORTH_TELLING or self._waits.get(what, -math.inf) >= now:
            return
        self._waits[what] = now + seconds
        self._tell_wait(what, seconds, tasks, said)

    def waited(self, what: str) -> None:
        """Ends a wait, also one that was told to last longer."""
        if self._waits.pop(what, None) is not None:
            self._tell_wait(what, 0.0, 0)

    def tell(self, event: str, **fields: object) -> None:
        """An event of the lane."""
        for job in self.hearing:
            job.observe(event, {**fields, "account": self.account})

    def _stop(self, stop: _Stop) -> None:
        if stop in self._stops:
            return
        self._stops.append(stop)
        for job in self._jobs:
            self._tell_stop(job, stop)
        self._wake()

    def _tell_stop(self, job: Control, stop: _Stop) -> None:
        said = self._named(job, stop.reason) if stop.account else stop.reason
        job.lane_stopped(self.account, stop.code, said, is_first=stop is self._stops[0])

    def _named(self, job: Control, reason: str) -> str:
        return f"{self.account}: {reason}" if job.names_accounts else reason

    def _tell_wait(self, what: str, seconds: float, tasks: int, said: str = "") -> None:
        until = iso_time(self.wall() + seconds)
        fields: dict[str, object] = {"for": what, "until": until, "tasks": tasks}
        self.tell("run.waiting", **fields, **({"said": said} if said else {}))

    def _wake(self) -> None:
        for callback in self.when_stopped:
            callback()
