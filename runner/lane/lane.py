"""A lane: one origin with one key, and what all work there shares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import anyio

from runner.errors import CallsheetError, ExitCode, KeyRefusedError, ServiceUnreachableError
from runner.http.verdicts import ProviderError, Trouble
from runner.job.model import RunPolicy
from runner.lane.clock import ServerClock
from runner.lane.commits import Writes
from runner.lane.gate import Gate
from runner.lane.lease import TAKEOVER, FencedWrites, Lease
from runner.lane.machine import Machine
from runner.lane.pace import Breaker, InFlight, RequestPace, Retry
from runner.lane.uploads import ObjectUploads, Uploads
from runner.providers.base import Client
from runner.providers.provider import Provider

AN_ANSWER = "the service to answer a free request, before anything more is submitted"

A_RENEWAL = "the shared ledger, to renew the account's lease before anything more is submitted"

FIRST_TRIES = 4
"""Free requests that may fail before the first submit."""

LIMITED_TRIES = 60
"""So many 429s in a row to the first GET are enough, however short the waits between them are."""


@dataclass(frozen=True, slots=True, eq=False)
class LaneTools:
    """What leads to a service: one object for one lane. `account` is the name of the first that uses it, and
    `rate` its requests a second; `labels` are that account's.

    `origin` is the API's as identities name it (`sandbox` for a rehearsal in process, whose port changes).
    `key_hash` is salted; it tells keys apart, no more. Only an API on loopback (`is_loopback`) may have its
    results there. `refusal` is set where the key is missing; no request is sent then. `lease` is None where
    no other machine shares the ledger.
    """

    account: str
    origin: str
    key_hash: str
    provider: Provider
    client: Client
    is_loopback: bool
    rate: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    refusal: KeyRefusedError | None = None
    uploads: ObjectUploads | None = None
    """Where the project has a place for inputs; None where it has none, and in a rehearsal."""
    lease: Lease | None = None


class Lane:
    """One origin with one key: whom it asks, how fast, and whether the service answers."""

    def __init__(
        self,
        tools: LaneTools,
        commits: Writes,
        machine: Machine,
        policy: RunPolicy,
        stand_back: Callable[[], Awaitable[None]],
    ) -> None:
        """`policy` is what all jobs here agree on. `stand_back` waits until downloads keep up, before new
        work takes a place.
        """
        self.origin, self.key_hash = tools.origin, tools.key_hash
        self.provider, self.client, self.is_loopback = tools.provider, tools.client, tools.is_loopback
        self.lease = tools.lease
        self.commits = commits if tools.lease is None else FencedWrites(commits, tools.lease)
        self.machine = machine
        self.gate = gate = Gate(tools.account, machine.wall, tools.labels)
        self.patience = policy.timeout
        rates = [rate for rate in (tools.rate, policy.rate) if rate is not None]
        self.clock = ServerClock(machine)
        self.uploads = Uploads(tools.client.upload, machine.random, patience=policy.timeout)
        self.object_uploads = tools.uploads
        self.requests = RequestPace(
            min(rates, default=None),
            patience=policy.timeout,
            give_up=partial(gate.stop_submitting, ExitCode.TRY_AGAIN),
            waiting=lambda what, seconds, said: gate.waiting(what, seconds, self.in_flight.count, said),
        )
        self.in_flight = InFlight(policy.concurrency, lambda: self.requests.most_in_flight, stand_back)
        self.breaker = Breaker(self.ping, machine.random, self._still_down, lambda: gate.is_wanted)
        gate.when_stopped += [self.breaker.wake, self.requests.stop_submits]
        self.slots = anyio.Semaphore(policy.submit_slots, fast_acquire=True)
        """At most so many submits are between intent and outcome."""
        self.tags: set[int] = set()
        """Picked for intents that are not durable yet."""
        self.doubts = 0
        """Submits in a row whose outcome is unknown."""
        self._first_look = anyio.Lock()
        self._has_answered = False
        refusal: CallsheetError | None = tools.refusal
        if tools.lease is not None:
            tools.lease.when_lost.append(gate.close)
            tools.lease.when_late.append(self._tell_late)
            refusal = refusal or tools.lease.refusal
        if refusal is not None:
            gate.close(refusal)

    def _tell_late(self, is_late: bool) -> None:
        if is_late:
            self.gate.waiting(A_RENEWAL, TAKEOVER, self.in_flight.count)
        else:
            self.gate.waited(A_RENEWAL)

    @property
    def is_anothers(self) -> bool:
        """Whether another machine drives it, so that nothing may be written of its tasks here."""
        return self.lease is not None and not self.lease.held

    async def ping(self) -> None:
        """One free GET, which tells the clock the service's time. Raises ProviderError."""
        await self.requests.acquire()
        try:
            self.clock.hear(await self.client.ping())
        except ProviderError as error:
            self.gate.trouble(error)
            if error.trouble is Trouble.RATE_LIMITED:
                self.requests.refused(error)
            raise
        self.requests.answered()
        self.gate.waited(AN_ANSWER)

    async def answers(self, may_submit: Callable[[], bool]) -> bool:
        """One free GET before the first POST: the key, the service's time, and whether it answers at all.

        Where it does not, or `may_submit` says no meanwhile, submitting has been stopped.
        """
        if self._answers:  # no checkpoint: tasks that start together share one commit
            return True
        async with self._first_look:
            return self._answers or await self._look(may_submit)

    @property
    def _answers(self) -> bool:
        return self.clock.is_known or self._has_answered

    async def _look(self, may_submit: Callable[[], bool]) -> bool:
        retry = Retry(self.machine.random)
        while True:
            try:
                await self.ping()
            except ProviderError as error:
                retry.failed()
                if self._is_over(error, retry.failures) or not may_submit():
                    return False
                pause = retry.pause()
                self.gate.waiting(f"the service, before the first submit ({error.message})", pause, 0)
                await anyio.sleep(pause)
            except Exception as error:  # once, and not again for each task that would be started
                self.gate.defect("the first look at the service", error)
                self.gate.stop_submitting(ExitCode.BUG, "nothing was sent")
                return False
            else:
                self._has_answered = True
                return True

    def _still_down(self, error: Exception, seconds: float) -> None:
        """A ping has failed, so many seconds after the submit that tripped the breaker."""
        gate = self.gate
        gate.waiting(AN_ANSWER, self.patience - seconds, self.in_flight.count)
        if not isinstance(error, ProviderError):
            gate.defect("the look whether the service answers", error)
        elif error.refusal is not None:
            gate.refuse(error.refusal)
        if seconds > self.patience:
            gate.stop_submitting(
                ExitCode.TRY_AGAIN, f"the service has not answered for {seconds:.0f} s: {error}; run again"
            )

    def _is_over(self, error: ProviderError, failures: int) -> bool:
        """Whether nothing will be submitted because of `error`, which has been told then."""
        is_limited = error.trouble is Trouble.RATE_LIMITED
        if error.refusal is not None:
            self.gate.refuse(error.refusal)
        elif failures < (LIMITED_TRIES if is_limited else FIRST_TRIES):
            return False
        elif is_limited:
            self.gate.stop_submitting(ExitCode.TRY_AGAIN, f"{error.message}; nothing was sent")
        else:
            said = f"{self.origin}: the API cannot be used: {error.message}; nothing was sent"
            self.gate.refuse(ServiceUnreachableError(said, hint="check the network and the base URL"))
        return True
