"""Many schedules at once, and what came of them in one line."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from tests.simulation.loops import Backend
from tests.simulation.schedule import Sky
from tests.simulation.simulate import Verdict, replay

_AT_A_TIME = 20
_KINDS = ("double-billed", "lost", "stuck")


@dataclass(slots=True)
class Tally:
    """Of all schedules so far; `failed` maps a seed to what was wrong."""

    schedules: int = 0
    accepted: int = 0
    crashes: int = 0
    finished: int = 0
    beyond: int = 0
    held: Counter[str] = field(default_factory=Counter)
    shares: dict[tuple[Sky, bool], tuple[int, int]] = field(default_factory=dict)
    """(held, accepted) by kind of service, and by whether the project had a task there before."""
    failed: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def add(self, verdict: Verdict) -> None:
        self.schedules += 1
        self.accepted += verdict.accepted
        self.crashes += verdict.crashes
        self.finished += verdict.finished
        self.beyond += verdict.beyond
        self.held.update(verdict.held)
        place = verdict.sky, verdict.has_history
        held, accepted = self.shares.get(place, (0, 0))
        self.shares[place] = held + verdict.held.total(), accepted + verdict.accepted
        if verdict.violations:
            self.failed[verdict.seed] = verdict.violations

    def held_line(self) -> str:
        """The share of held tasks among accepted POSTs: safety must not be bought by holding."""
        told: list[str] = []
        for (sky, has_history), (held, accepted) in sorted(self.shares.items()):
            project = "known project" if has_history else "new project"
            told.append(f"{sky}, {project}: {held} of {accepted} ({held / max(accepted, 1):.1%})")
        return f"held: {'; '.join(told)}"

    def line(self) -> str:
        """`N schedules, 0 double-billed, 0 lost, 0 stuck, H held (why: count, ...)`."""
        kinds: Counter[str] = Counter()
        for violations in self.failed.values():
            kinds.update({violation.partition(":")[0] for violation in violations})
        counts = [f"{kinds[kind]} {kind}" for kind in _KINDS]
        counts += [f"{count} {kind}" for kind, count in sorted(kinds.items()) if kind not in _KINDS]
        reasons = ", ".join(f"{reason}: {count}" for reason, count in self.held.most_common())
        held = f"{self.held.total()} held ({reasons})" if reasons else "0 held"
        return f"{self.schedules} schedules, {', '.join(counts)}, {held}"


def play_here(
    seeds: Iterable[int], backend: Backend = Backend.TRIO, *, lies: bool = True, lanes: bool = False
) -> Tally:
    """Plays the schedules of these seeds one after another."""
    tally = Tally()
    for seed in seeds:
        tally.add(replay(seed, backend, lies=lies, lanes=lanes))
    return tally


def play_on_all_cores(
    first: int, count: int, backend: Backend, *, lies: bool, lanes: bool
) -> Iterator[Verdict]:
    """The verdicts on so many seeds from `first`, as they come."""
    # spawned, for a fork would share one directory and trio's state
    context = multiprocessing.get_context("spawn")
    pool = context.Pool(os.cpu_count() or 1)
    try:
        play = partial(replay, backend=backend, lies=lies, lanes=lanes)
        yield from pool.imap_unordered(play, range(first, first + count), chunksize=_AT_A_TIME)
    finally:
        pool.close()
        pool.join()
