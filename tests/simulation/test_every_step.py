"""A few plain jobs, with the process gone at each of its steps in turn."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import pytest

from tests.simulation.loops import Backend
from tests.simulation.schedule import JobSpec, ProcessSpec, Schedule, Shape
from tests.simulation.service import Echo, Habits
from tests.simulation.simulate import play
from tests.support.evidence import evidence_but

JOB = JobSpec(
    shape=Shape.SEEDS,
    tasks=2,
    settle=1,
    slots=2,
    concurrency=8,
    max_tasks=None,
    holds=False,
    last_frame=False,
)
HABITS = Habits(latency=(0.5, 2.0), lag=0.3, url_life=20.0)

BASES = {
    "two seeds": Schedule(1, JOB, HABITS, (ProcessSpec(),), ()),
    "two prompts under one seed, no tag echoed": Schedule(
        2, replace(JOB, shape=Shape.PROMPTS), replace(HABITS, echo=Echo.NEVER), (ProcessSpec(),), ()
    ),
    "two samples with last frames": Schedule(
        3, replace(JOB, shape=Shape.SAMPLES, last_frame=True), HABITS, (ProcessSpec(),), ()
    ),
    "a chain of two shots": Schedule(
        4, replace(JOB, shape=Shape.CHAIN, last_frame=True), HABITS, (ProcessSpec(),), ()
    ),
    "two shots and what joins them": Schedule(
        5, replace(JOB, shape=Shape.JOIN, tasks=3, last_frame=True), HABITS, (ProcessSpec(),), ()
    ),
}
PARTS = 4
EACH_TIME = ("two seeds", "an edit")
"""The others are evidence."""

EDITS = {
    "an edit": (ProcessSpec(), ProcessSpec(is_edited=True)),
    "an edit with last frames": (ProcessSpec(), ProcessSpec(is_edited=True)),
    "an edit undone": (ProcessSpec(), ProcessSpec(is_edited=True), ProcessSpec()),
}


@pytest.mark.parametrize("part", evidence_but(lambda part: part == 0, range(PARTS)))
@pytest.mark.parametrize("name", evidence_but(lambda name: name in EACH_TIME, BASES))
def test_a_crash_at_any_step_costs_nothing(name: str, part: int) -> None:
    """Steps are task switches and touches of the disk; together the parts take every one of them."""
    base = BASES[name]
    whole = play(base)
    tasks = base.job.tasks
    assert (whole.violations, whole.finished, whole.accepted) == ((), True, tasks)
    steps = whole.steps[0]
    assert steps > 80
    for step in range(1 + part, steps + 1, PARTS):
        verdict = play(replace(base, processes=(ProcessSpec(dies_at=step),)))
        assert verdict.crashes == 1, f"step {step}"
        assert verdict.violations == (), f"step {step}"
        assert verdict.accepted == tasks or verdict.held, f"step {step}"


@pytest.mark.parametrize("backend", Backend)
@pytest.mark.parametrize("name", BASES)
def test_a_slow_machine_takes_the_same_steps(
    name: str, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real seconds decide nothing: here ten minutes pass between two looks at a clock."""
    before = play(BASES[name], backend)
    looks = itertools.count(time.time(), 600.0)
    with monkeypatch.context() as slow:
        for clock in ("monotonic", "perf_counter", "time"):
            slow.setattr(time, clock, lambda: next(looks))
        after = play(BASES[name], backend)
    assert (after.trace, after.steps) == (before.trace, before.steps)


@pytest.mark.fault(83)
@pytest.mark.parametrize("part", evidence_but(lambda part: part == 0, range(PARTS)))
@pytest.mark.parametrize("name", evidence_but(lambda name: name in EACH_TIME, EDITS))
def test_a_crash_at_any_step_of_an_edit_loses_neither_take(name: str, part: int) -> None:
    """The last process dies; what follows brings the job to what its file says."""
    job = replace(JOB, last_frame="frames" in name)
    *before, last = EDITS[name]
    base = Schedule(4, job, HABITS, (*before, last), ())
    whole = play(base)
    assert (whole.violations, whole.finished, whole.accepted) == ((), True, 4)
    steps = whole.steps[-1]
    assert steps > 50
    for step in range(1 + part, steps + 1, PARTS):
        verdict = play(replace(base, processes=(*before, replace(last, dies_at=step))))
        assert verdict.crashes == 1, f"step {step}"
        assert verdict.violations == (), f"step {step}"
        assert verdict.finished, f"step {step}"
        assert verdict.accepted == 4 or verdict.held, f"step {step}"
