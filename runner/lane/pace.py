"""How fast we may ask, and ask again: one pace of requests per API key, a circuit breaker, slots.

Rate limiters such as aiolimiter need a rate that is known, and asyncio; a service here teaches its own by its
429s. No slots of anyio's or trio's serve the nearest deadline first. Retries such as stamina's do not wait by
the run's own random source, without which no simulated run repeats.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import anyio

from runner.http.verdicts import ProviderError, Trouble


@dataclass(slots=True)
class Retry:
    """Counts failures in a row; a new one begins where a success lies between.

    `base` and `most` are seconds: the longest wait after the first failure, and after any.
    """

    source: random.Random
    tries: int | None = None
    base: float = 0.5
    most: float = 60.0
    failures: int = 0
    _began: float = field(default_factory=anyio.current_time)

    @property
    def seconds(self) -> float:
        """How long it has been tried."""
        return anyio.current_time() - self._began

    def failed(self) -> bool:
        """Counts one more; whether that was the last of `tries`."""
        self.failures += 1
        return self.failures == self.tries

    def pause(self) -> float:
        """Seconds to wait before the next try: exponential with equal jitter.

        Half of the wait is fixed, so that a retry never comes at once; the other half spreads clients
        that failed together.
        """
        ceiling = min(self.most, self.base * 2.0 ** min(self.failures - 1, 30))
        return ceiling / 2 + self.source.uniform(0, ceiling / 2)


class StillLimitedError(ProviderError):
    """The service has answered free requests with nothing but 429 for as long as we wait for that, or asks
    for a longer wait.
    """


@dataclass
class RequestPace:
    """Spaces requests by GCRA (the generic cell rate algorithm): submits, polls and lists alike.

    All wait in one line, so neither polls nor submits starve. Without a rate it lets everything
    through until the service answers 429. What was sent until then, over the time that the service
    wants it spread over, less a fifth, is the rate from there on; it grows again by a twentieth for
    each minute without a 429. A configured rate is a ceiling.

    A limit on tasks at once answers 429 too, and nothing in the answer tells the two apart where a
    service documents one code for all. But a rate refuses when much is sent: a submit that is refused
    though half as many requests a minute have passed before meets the other limit. Then
    `most_in_flight` sinks, for submits alone there is a pause, and the rate is what it was.

    After `patience` seconds in which no free request was answered with anything else, or where the service
    asks for a longer wait than that, all waiting ends: free requests raise, submits come back to find that
    `give_up` has stopped them. A limit on tasks at once, where the wait is too long, ends the submits alone.
    """

    BURST: ClassVar = 5
    WINDOW: ClassVar = 60.0

    rate: float | None
    """Requests per second, None while there is no reason for a limit."""
    patience: float = math.inf
    give_up: Callable[[str], None] = lambda said: None
    """Told why, once."""
    waiting: Callable[[str, float, str], None] = lambda what, seconds, said: None
    """Told at each pause what is waited for, how long, and what the service said."""
    _refused_since: float | None = None
    _lost: str = ""
    _has_lost: anyio.Event = field(default_factory=anyio.Event)
    _has_stopped: anyio.Event = field(default_factory=anyio.Event)
    _next: float = -math.inf
    _blocked_until: float = -math.inf
    _submits_blocked_until: float = -math.inf
    _raised_at: float = -math.inf
    _room_raised_at: float = -math.inf
    _sent: deque[float] = field(default_factory=lambda: deque(maxlen=65_536))
    _proved: int = 0
    _most_in_flight: int | None = None

    def __post_init__(self) -> None:
        self._ceiling = self._rate_before = self.rate

    @property
    def queue(self) -> float:
        """Seconds that one more request would wait."""
        now = anyio.current_time()
        line = now if self.rate is None else self._next
        return max(0.0, line - now, self._blocked_until - now)

    @property
    def most_in_flight(self) -> int | None:
        """Tasks at once that the service takes, None while there is no reason for a limit.

        Grows by one for each minute without a refusal.
        """
        now = anyio.current_time()
        if self._most_in_flight is not None and now - self._room_raised_at >= self.WINDOW:
            self._most_in_flight += 1
            self._room_raised_at = now
        return self._most_in_flight

    async def acquire(self, *, is_submit: bool = False) -> None:
        """Waits until one more request may go. Raises StillLimitedError, but not for a submit."""
        slot = self._reserve()
        # a 429 that arrives meanwhile moves the moment
        ended = self._has_stopped if is_submit else self._has_lost
        while not ended.is_set() and (wait := max(slot, self._blocked(is_submit)) - anyio.current_time()) > 0:
            with anyio.move_on_after(wait):
                await ended.wait()
        if self._lost and not is_submit:
            raise StillLimitedError(Trouble.RATE_LIMITED, self._lost, status=429)
        now = anyio.current_time()
        self._sent.append(now)
        self._proved = max(self._proved, self._recent(now))

    def stop_submits(self) -> None:
        """No submit waits any more: those that do come back at once."""
        self._has_stopped.set()

    def answered(self) -> None:
        """A free request got an answer that is not a 429."""
        self._refused_since = None

    def refused(self, error: ProviderError) -> None:
        """A free request got 429: as `throttled`, and counted against the patience."""
        now = anyio.current_time()
        if self._refused_since is None:
            self._refused_since = now
        self.throttled(error.retry_after, error.message)
        if max(now, self._blocked_until) - self._refused_since > self.patience:
            self._lose(f"the service answers nothing but 429, and {self._too_long(error.message)}")

    def _too_long(self, said: str) -> str:
        return f"its next wait would pass run.timeout ({self.patience:g} s): {said}"

    def _lose(self, why: str) -> None:
        if self._lost:
            return
        self._lost = why
        self.give_up(why)
        self.stop_submits()
        self._has_lost.set()

    def throttled(self, retry_after: float | None, said: str = "", *, in_flight: int | None = None) -> None:
        """The service answered 429 with the message `said`: nothing goes out for that long, and less
        afterwards.

        `in_flight` comes with a refused submit: how many tasks are under way beside it.
        """
        now = anyio.current_time()
        pause = retry_after if retry_after is not None else 1.0
        recent = self._recent(now)
        if in_flight and 2 * recent <= self._proved:
            self._lower_room(now, pause, said, in_flight)
            return
        is_echo = now < self._blocked_until
        self._blocked_until = max(self._blocked_until, now + pause)
        if self._refused_since is None and pause > self.patience:
            self._lose(f"the service refuses submits (429), and {self._too_long(said)}")
        if is_echo:
            # requests that were on their way together are refused together: one lesson, not many
            return
        self.waiting("the service's limit on requests (429)", pause, said)
        spread = min(max(now - self._sent[0] + pause, 1.0), self.WINDOW) if self._sent else self.WINDOW
        seen = max(recent, 1) / spread
        self._rate_before = self.rate
        self.rate = max(0.8 * min(seen, self.rate or seen), 1 / self.WINDOW)
        self._next = now + pause
        self._raised_at = now

    def _lower_room(self, now: float, pause: float, said: str, in_flight: int) -> None:
        is_echo = now < self._submits_blocked_until
        self._submits_blocked_until = max(self._submits_blocked_until, now + pause)
        if pause > self.patience and not self._has_stopped.is_set():
            self.give_up(f"the service takes no more tasks at once (429), and {self._too_long(said)}")
            self.stop_submits()
        if is_echo:
            return
        self.waiting("the service's limit on tasks at once (429)", pause, said)
        # tasks that wait for their first POST are counted too, so one lesson may not be enough
        self._most_in_flight = max(1, min(in_flight, (self._most_in_flight or in_flight + 1) - 1))
        self._room_raised_at = now
        self.rate = self._rate_before

    def _blocked(self, is_submit: bool) -> float:
        return max(self._blocked_until, self._submits_blocked_until) if is_submit else self._blocked_until

    def _recent(self, now: float) -> int:
        """Requests of the last minute."""
        while self._sent and self._sent[0] <= now - self.WINDOW:
            self._sent.popleft()
        return len(self._sent)

    def _reserve(self) -> float:
        now = anyio.current_time()
        self._grow(now)
        if self.rate is None:
            return now
        interval = 1 / self.rate
        self._next = max(self._next, now - self.BURST * interval)
        slot = max(now, self._next)
        self._next += interval
        return slot

    def _grow(self, now: float) -> None:
        if self.rate is None or now - self._raised_at < self.WINDOW:
            return
        grown = self.rate * 1.05
        self.rate = grown if self._ceiling is None else min(grown, self._ceiling)
        self._raised_at = now


@dataclass(slots=True)
class Breaker:
    """Open after an ambiguous or 5xx submit, until a free GET succeeds (invariant 11).

    So an outage makes at most as many submits unclear as there are submit slots.
    """

    ping: Callable[[], Awaitable[None]]
    source: random.Random
    failed: Callable[[Exception, float], None]
    """Told of each GET that fails, however, and of the seconds since the breaker opened."""
    is_wanted: Callable[[], bool] = lambda: True
    """Whether anybody still waits to submit."""
    is_open: bool = False
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def trip(self) -> None:
        if not self.is_open:
            self.is_open = True
            self.wake()

    async def closed(self, may_submit: Callable[[], bool]) -> None:
        """Waits until submitting is allowed, or over."""
        while self.is_open and may_submit():
            await self._changed.wait()

    async def heal(self) -> None:
        """Runs beside the work for ever: tries at once when tripped, then with backoff."""
        while True:
            retry = Retry(self.source, base=1.0)
            while self.is_open and self.is_wanted():
                try:
                    await self.ping()
                except Exception as error:  # nobody else would open the way again
                    retry.failed()
                    self.failed(error, retry.seconds)
                    await anyio.sleep(retry.pause())
                else:
                    self.is_open = False
                    self.wake()
            await self._changed.wait()

    def wake(self) -> None:
        """Those that wait look again: it has closed, or somebody will submit no more."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class PrioritySlots:
    """A limit on work at once that serves the nearest deadline first.

    `line`: how many may wait before new work stands back.
    """

    def __init__(self, slots: int, *, line: int) -> None:
        self._free = slots
        self._slots = slots
        self._line = line
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, anyio.Event]] = []
        self._room = anyio.Event()

    @asynccontextmanager
    async def slot(self, deadline: float) -> AsyncIterator[None]:
        """Holds one slot; among those that wait the smallest `deadline` goes first."""
        if self._free > 0:
            self._free -= 1
        else:
            entry = (deadline, next(self._order), anyio.Event())
            heapq.heappush(self._waiting, entry)
            try:
                await entry[2].wait()
            except BaseException:
                if entry[2].is_set():
                    self._pass_on()
                else:
                    self._waiting.remove(entry)
                    heapq.heapify(self._waiting)
                raise
        try:
            yield
        finally:
            self._pass_on()

    @property
    def is_idle(self) -> bool:
        """Whether nobody works or waits."""
        return self._free == self._slots

    async def room(self) -> None:
        """Waits for room in the line: new submits stand back behind downloads that do not keep up."""
        while len(self._waiting) >= self._line:
            self._room = anyio.Event() if self._room.is_set() else self._room
            await self._room.wait()

    def _pass_on(self) -> None:
        if self._waiting:
            heapq.heappop(self._waiting)[2].set()
        else:
            self._free += 1
        if len(self._waiting) < self._line:
            self._room.set()


@dataclass(slots=True)
class InFlight:
    """The limit on tasks at the service. Only new work waits for a place; what is paid for never does.

    `taught` is what the service has shown of how many it takes, None where that is nothing; `stand_back`
    waits until downloads, which come before new work, keep up.
    """

    limit: int
    taught: Callable[[], int | None]
    stand_back: Callable[[], Awaitable[None]]
    count: int = 0
    _left: anyio.Event = field(default_factory=anyio.Event)

    async def place(self, *, is_paid: bool) -> AbstractContextManager[None]:
        """One place, which counts from now on; the end of its `with` leaves it. New work waits for it.

        Where one is free it is had at once: tasks that begin together join one commit.
        """
        if not is_paid:
            while self.count >= min(self.limit, self.taught() or self.limit):
                await self._left.wait()
            await self.stand_back()
        self.count += 1
        return self._held()

    @contextmanager
    def _held(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.count -= 1
            left, self._left = self._left, anyio.Event()
            left.set()
