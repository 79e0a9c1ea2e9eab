"""What a run may spend: the caps of its job, over every run that counts as the job's, and what is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.errors import RefusedError
from runner.lane.costs import caps_of, outlook, over_all_runs, question
from runner.ledger.caps import Caps
from runner.ledger.ledger import Ledger
from runner.plan.cost import Total
from runner.plan.plan import Plan
from tests.support.job_bench import HEAD, TEXT, JobBench
from tests.support.ledger_story import START, Story, make_run

SEEDS = HEAD + "seeds: 1..4\n" + TEXT + "price: {usd_per_task: 0.25}\n"


def total(tasks: int, *, micros: int = 0, without_price: int = 0) -> Total:
    return Total(tasks=tasks, micros=micros, without_price=without_price)


def plan_of(jobs: JobBench, budget: str, text: str = SEEDS) -> Plan:
    return jobs.plan(f"{text}budget: {{{budget}}}\n")


def spent(ledger: Ledger, plan: Plan, name: str, tasks: int, *, at: float = START) -> None:
    """A run of that job's name with so many tasks of the plan in flight."""
    story = Story(ledger, make_run(name, job_name=name), at)
    for task in plan.tasks[:tasks]:
        story.submit(task)


def test_a_cap_in_dollars_takes_a_price_for_each_task(jobs: JobBench) -> None:
    plan = plan_of(jobs, "max_usd: 1, max_tasks: 3")
    assert caps_of(plan.job, total(4, micros=1_000_000), None) == Caps(max_tasks=3, max_micros=1_000_000)
    unpriced = replace(plan.tasks[0], price=None, estimate_micros=None)
    with pytest.raises(RefusedError, match=r"1 of 4 new tasks is not known.*cannot be held") as refused:
        caps_of(plan.job, total(4, micros=750_000, without_price=1), unpriced)
    assert "max_tasks" in str(refused.value)


def test_a_renamed_job_has_no_cap_of_its_own(jobs: JobBench) -> None:
    """What counts: runs of its name, and runs that submitted a task of its plan; others do not."""
    plan, ledger = plan_of(jobs, "max_tasks: 3"), Story().ledger
    spent(ledger, plan, "renamed", 1)
    other = plan_of(jobs, "max_tasks: 3", SEEDS.replace("A teapot", "A boat"))
    spent(ledger, other, "another", 1, at=START + 60)
    spent(ledger, other, plan.job.name, 0)
    assert over_all_runs(Caps(max_tasks=3), plan, ledger.read).runs == {"renamed"}
    assert over_all_runs(Caps(), plan, ledger.read) == Caps()


@pytest.mark.parametrize(
    ("budget", "new", "said"),
    [
        ("max_usd: 2", total(4, micros=1_000_000), []),
        (
            "max_usd: 1",
            total(4, micros=1_000_000),
            ["`run` stops before it exceeds USD 1.00, USD 0.25 of it spent"],
        ),
        (
            "max_usd: 1",
            total(4, without_price=4),
            ["`run` refuses: the price of 4 of 4 new tasks is not known"],
        ),
        (
            "max_tasks: 3",
            total(4, without_price=4),
            ["`run` stops after 2 of 4 new tasks, for 1 of 3 are submitted"],
        ),
        ("confirm_usd: 0.5", total(4, micros=1_000_000), ["`run` asks first: more than USD 0.5"]),
        ("max_usd: 1, max_tasks: 3", total(0), []),
    ],
)
def test_each_limit_that_bites_is_a_sentence(
    jobs: JobBench, budget: str, new: Total, said: list[str]
) -> None:
    plan, ledger = plan_of(jobs, budget), Story().ledger
    spent(ledger, plan, "before", 1)
    found = outlook(plan, new, ledger.read)
    assert len(found) == len(said)
    assert all(sentence.startswith(begin) for sentence, begin in zip(found, said, strict=True)), found


@pytest.mark.parametrize(
    ("new", "is_asked"),
    [(total(2, micros=500_000), False), (total(3, micros=500_001), True), (total(1, without_price=1), True)],
)
def test_a_person_is_asked_above_the_limit_and_for_any_unknown_price(
    jobs: JobBench, new: Total, is_asked: bool
) -> None:
    assert bool(question(plan_of(jobs, "confirm_usd: 0.5").job, new)) is is_asked
    assert question(plan_of(jobs, "max_tasks: 9").job, new) == ""
