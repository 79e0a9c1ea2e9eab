"""When to look next at a generation that is under way.

A look costs a request of a budget that all tasks share; a task that is done and not looked at costs
delay. Between the two, the best rate of looks at age t is sqrt(h(t) / 2c), with h the hazard (the
chance that a task which was not done is done now, per second) and c the seconds of delay that one look
is worth; the next look comes where the integral of that rate has grown by one (J. B. Keller, "Optimum
checking schedules for systems subject to random failure", Management Science 21, 1974). So a task is
first looked at when it could be done, then often while most of its kind end, then ever more rarely.

Durations of generations are taken as log-normal above a shortest time: three figures of a sample fix
such a distribution. A share of doubt goes to "nothing like that": as likely after 10 s as after 100 s
or 1,000 s, which keeps a service that has changed from being looked at never or for ever.
"""

from __future__ import annotations

import functools
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

from runner.job.model import PollPolicy
from runner.lane.commits import Writes
from runner.ledger.rows import Kind
from runner.providers.base import Generation, GenerationStatus, generation_seconds

LOOK_PRICE = 0.3
"""Seconds of delay that one look is worth. With it the mean delay over the published durations is that
of a fixed 5 s loop, 2.5 s; benchmarks/polling.py measures both."""

EARNS_TRUST = 40
"""So many durations tell as much of their spread as the published run does; few tell only where the
middle is."""

_NORMAL = NormalDist()
_TAIL = 1.96
"""Standard deviations from the middle to the least and the most of a sample of about 40."""
_DOUBT = 0.02
_STEPS = 48
_JITTER = 0.04
_AFTER_CALL = 0.1


@dataclass(frozen=True, slots=True)
class Expectation:
    """How long a generation takes: `shortest` + `scale` x exp(`spread` x a normal), in seconds.

    `doubt` is the chance that it is nothing like that.
    """

    shortest: float
    scale: float
    spread: float
    doubt: float = _DOUBT

    def hazard(self, age: float) -> float:
        """The chance per second that a task which is not done at `age` seconds is done now."""
        age = max(age, 1e-6)
        # the wide part: the logarithm of the duration is uniform over ages that anyone waits
        left = self.doubt / (1.0 + age)
        ending = left / (1.0 + age)
        above = age - self.shortest
        if above <= 0:
            return ending / (1.0 - self.doubt + left)
        position = math.log(above / self.scale) / self.spread
        likely = 1.0 - self.doubt
        left += likely * 0.5 * math.erfc(position / math.sqrt(2.0))
        density = math.exp(-0.5 * position * position) / math.sqrt(2.0 * math.pi)
        return (ending + likely * density / (self.spread * above)) / left

    @property
    def longest(self) -> float:
        """An age that hardly one in a thousand reaches."""
        return self.shortest + self.scale * math.exp(3.1 * self.spread)


def fit(low: float, middle: float, high: float) -> Expectation:
    """The distribution with this median, and with `low` and `high` `_TAIL` deviations to its sides.

    Where the sample leans to the left, its mirror image has no log-normal: the shortest time is 0 then.
    """
    low, high = min(low, 0.99 * middle), max(high, 1.01 * middle)
    lean = low + high - 2.0 * middle
    shortest = (low * high - middle * middle) / lean if lean > 0 else 0.0
    shortest = max(0.0, min(shortest, 0.98 * low))
    scale = middle - shortest
    spread = math.log((high - shortest) / scale) / _TAIL
    return Expectation(shortest, scale, max(spread, 0.02))


SPREAD = (83.0, 105.0, 253.0)
"""Least, median and most seconds of one published run: how the durations of a kind lie about their median
where a provider names no run of its own."""

UNKNOWN = Expectation(0.0, 1.0, 1.0, doubt=1.0)
"""Of a service of which nothing was ever published or seen, such as the sandbox."""


def expect(durations: Sequence[float], usual: tuple[float, float, float] | None) -> Expectation:
    """The expected length of the next generation after these `durations` (seconds) of its like.

    `usual` are the least, the median and the most seconds of a published run of the service, if there is one.
    """
    if not durations:
        return UNKNOWN if usual is None else replace(fit(*usual), doubt=0.1)
    least, median, most = usual or SPREAD
    ordered = sorted(durations)
    middle = _quantile(ordered, 0.5)
    tail = _NORMAL.cdf(-_TAIL)
    own = len(ordered) / (len(ordered) + EARNS_TRUST)
    low, high = (
        own * _quantile(ordered, share) + (1.0 - own) * published * middle / median
        for share, published in ((tail, least), (1.0 - tail, most))
    )
    return replace(fit(low, middle, high), doubt=_DOUBT + 0.2 / len(ordered))


def next_look(
    expected: Expectation,
    policy: PollPolicy,
    waited: float,
    source: random.Random,
    *,
    queue: float = 0.0,
    price: float = LOOK_PRICE,
) -> float:
    """Seconds from now to the next look, `waited` seconds (0: not looked at yet) after acceptance.

    `queue` is how long a request has to wait for its turn: a look costs the others that much more.
    At least `policy.minimum`; at most `policy.maximum`, except for the first look. Jitter keeps
    tasks that were submitted together from being asked about together.
    """
    if waited <= 0 and policy.first is not None:
        return policy.first
    most = policy.maximum if waited > 0 else max(policy.maximum, expected.longest)
    pause = _pause(expected, waited, most, price + queue)
    return max(policy.minimum, pause * source.uniform(1.0 - _JITTER, 1.0 + _JITTER))


def look_after_call(policy: PollPolicy, waited: float) -> float:
    """Seconds to the next look where a webhook has called and a look showed nothing terminal yet.

    The call is ahead of what a GET shows, so what was expected of the duration no longer counts: a
    tenth of the time already waited, within the policy.
    """
    return max(policy.minimum, min(policy.maximum, waited * _AFTER_CALL))


@functools.lru_cache(maxsize=1024)
def _pause(expected: Expectation, age: float, most: float, price: float) -> float:
    """Seconds until the integral of the best rate of looks has grown by one; at most `most`."""
    step = most / _STEPS
    looks = 0.0
    for number in range(_STEPS):
        gained = step * math.sqrt(expected.hazard(age + (number + 0.5) * step) / (2.0 * price))
        if looks + gained >= 1.0:
            return (number + (1.0 - looks) / gained) * step
        looks += gained
    return most


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


REMEMBERED = 200
"""Durations of a kind that looks go by, the newest."""


@dataclass(slots=True)
class Durations:
    """Seconds that the newest generations of a kind took: the ledger's, and those seen since."""

    commits: Writes
    usual: tuple[float, float, float] | None
    """Seconds of the service's published run; None where they say nothing about this service."""
    _known: dict[Kind, deque[float]] = field(default_factory=dict)

    async def expected(self, kind: Kind) -> Expectation:
        if kind not in self._known:
            found = await self.commits.read(lambda reader: reader.durations(kind, REMEMBERED))
            self._known[kind] = deque(reversed(found), maxlen=REMEMBERED)
        return expect(self._known[kind], self.usual)

    def learn(self, kind: Kind, generation: Generation, *, known: float) -> None:
        """Takes the service's own times: ours would hold the delay of the look. `known` is the task's age."""
        durations = self._known.get(kind)
        if durations is None or generation.status is not GenerationStatus.SUCCEEDED:
            return
        seconds = generation_seconds(generation.created_at, generation.updated_at, known=known)
        if seconds is not None:
            durations.append(seconds)
