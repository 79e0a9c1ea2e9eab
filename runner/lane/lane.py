"""A lane: one origin with one key, and what all work there shares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import anyio

from runner.errors import ExitCode, ServiceUnreachableError
from runner.http.verdicts import ProviderError, Trouble
from runner.job.model import RunPolicy
from runner.lane.clock import ServerClock
from runner.lane.commits import Commits
from runner.lane.control import Control
from runner.lane.machine import Machine
from runner.lane.pace import Breaker, InFlight, RequestPace, Retry
from runner.lane.uploads import Uploads
from runner.providers.base import Client
from runner.providers.provider import Provider
from runner.record.events import Observer

AN_ANSWER = "the service to answer a free request, before anything more is submitted"

FIRST_TRIES = 4
"""Free requests that may fail before the first submit."""

LIMITED_TRIES = 60
"""So many 429s in a row to the first GET are enough, however short the waits between them are."""


@dataclass(frozen=True, slots=True)
class LaneTools:
    """What the work in a lane needs. `origin` is the API's as identities name it (`sandbox` for a rehearsal
    in process, whose port changes). `key_hash` is salted; it tells keys apart, no more.
    """

    origin: str
    key_hash: str
    provider: Provider
    client: Client
    commits: Commits
    machine: Machine
    observe: Observer


class Lane:
    """One origin with one key: whom it asks, how fast, and whether the service answers."""

    def __init__(
        self, tools: LaneTools, control: Control, policy: RunPolicy, stand_back: Callable[[], Awaitable[None]]
    ) -> None:
        """`stand_back` waits until downloads keep up, before new work takes a place."""
        self.origin, self.key_hash = tools.origin, tools.key_hash
        self.provider, self.client = tools.provider, tools.client
        self.commits, self.machine, self.observe = tools.commits, tools.machine, tools.observe
        self.control = control
        self.patience = policy.timeout
        self.clock = ServerClock(tools.machine)
        self.uploads = Uploads(tools.client, tools.machine.random)
        self.requests = RequestPace(
            policy.rate,
            patience=policy.timeout,
            give_up=partial(control.stop_submitting, ExitCode.TRY_AGAIN),
            waiting=lambda what, seconds, said: control.waiting(what, seconds, self.in_flight.count, said),
        )
        self.in_flight = InFlight(policy.concurrency, lambda: self.requests.most_in_flight, stand_back)
        self.breaker = Breaker(self.ping, tools.machine.random, self._still_down)
        self._has_answered = False

    async def ping(self) -> None:
        """One free GET, which tells the clock the service's time. Raises ProviderError."""
        await self.requests.acquire()
        try:
            self.clock.hear(await self.client.ping())
        except ProviderError as error:
            self.control.trouble(error)
            if error.trouble is Trouble.RATE_LIMITED:
                self.requests.refused(error)
            raise
        self.requests.answered()
        self.control.waited(AN_ANSWER)

    async def answers(self) -> bool:
        """One free GET before the first POST: the key, the service's time, and whether it answers at all.

        Where it does not, submitting has been stopped.
        """
        if self.clock.is_known or self._has_answered:
            return True
        retry = Retry(self.machine.random)
        while True:
            try:
                await self.ping()
            except ProviderError as error:
                retry.failed()
                if self._is_over(error, retry.failures) or not self.control.may_submit:
                    return False
                pause = retry.pause()
                self.control.waiting(f"the service, before the first submit ({error.message})", pause, 0)
                await anyio.sleep(pause)
            except Exception as error:  # once, and not again for each task that would be started
                self.control.defect("the first look at the service", error)
                self.control.stop_submitting(ExitCode.BUG, "nothing was sent")
                return False
            else:
                self._has_answered = True
                return True

    def _still_down(self, error: Exception, seconds: float) -> None:
        """A ping has failed, so many seconds after the submit that tripped the breaker."""
        control = self.control
        control.waiting(AN_ANSWER, self.patience - seconds, self.in_flight.count)
        if not isinstance(error, ProviderError):
            control.defect("the look whether the service answers", error)
        elif error.refusal is not None:
            control.refuse(error.refusal)
        if seconds > self.patience:
            control.stop_submitting(
                ExitCode.TRY_AGAIN, f"the service has not answered for {seconds:.0f} s: {error}; run again"
            )

    def _is_over(self, error: ProviderError, failures: int) -> bool:
        """Whether nothing will be submitted because of `error`, which has been told then."""
        is_limited = error.trouble is Trouble.RATE_LIMITED
        if error.refusal is not None:
            self.control.refuse(error.refusal)
        elif failures < (LIMITED_TRIES if is_limited else FIRST_TRIES):
            return False
        elif is_limited:
            self.control.stop_submitting(ExitCode.TRY_AGAIN, f"{error.message}; nothing was sent")
        else:
            said = f"{self.origin}: the API cannot be used: {error.message}; nothing was sent"
            self.control.refuse(ServiceUnreachableError(said, hint="check the network and the base URL"))
        return True
