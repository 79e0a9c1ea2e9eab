"""When to look next at a generation that is under way."""

from __future__ import annotations

import random

from runner.job.model import PollPolicy

SHARE = 0.1
"""The next look comes after this share of the time already waited."""

FIRST = 5.0
"""Seconds to the first look where nothing is known of how long it takes."""


def first_look(policy: PollPolicy) -> float:
    """Seconds from acceptance to the first look."""
    return policy.first if policy.first is not None else max(policy.minimum, min(FIRST, policy.maximum))


def next_look(policy: PollPolicy, waited: float, source: random.Random) -> float:
    """Seconds from now to the next look, `waited` seconds after acceptance.

    In proportion to the time already waited: the delay from done to noticed stays a fixed share of
    the whole, and the number of looks grows with the logarithm of the duration. A tenth of jitter
    keeps tasks that were submitted together from being asked about together.
    """
    delay = max(policy.minimum, min(policy.maximum, waited * SHARE))
    return delay * source.uniform(0.9, 1.1)
