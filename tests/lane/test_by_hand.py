"""A person's answers to what is unclear: found by name or digits, durable, and never two for one id."""

from __future__ import annotations

import pytest

from runner.errors import UsageError
from runner.lane.by_hand import (
    absent_tasks,
    check_adoptable,
    find_in_flight,
    find_unclear,
    give_up,
    record_answer,
    unclear_tasks,
)
from runner.ledger.rows import GIVEN_UP, AttemptRow, Grounds
from runner.ledger.states import Basis, Resolution, TaskState
from runner.plan.words import TaskWords
from runner.providers.base import Generation, GenerationStatus
from runner.providers.mesh import MESH
from tests.support.ledger_story import MODEL, Story, make_task


@pytest.fixture
def story() -> Story:
    return Story()


def attempt_of(story: Story, attempt_id: str) -> AttemptRow:
    found = story.ledger.read.attempt(attempt_id)
    assert found is not None
    return found


def answer(story: Story, name: str, said: Resolution, remote_id: str | None = None) -> None:
    one = find_unclear(story.ledger.read, TaskWords(name), said)
    with story.ledger.transaction():
        record_answer(story.ledger, one, said, story.tick(), remote_id=remote_id)


def test_an_unclear_task_is_found_by_name_identity_and_attempt(story: Story) -> None:
    task = make_task(1)
    lost = story.lose(task)
    story.submit(make_task(2))
    reader = story.ledger.read
    for name in ("s1", task.identity, task.identity[:6], lost):
        assert find_unclear(reader, TaskWords(name)).attempt.id == lost
    for name in ("s2", task.identity[:5], "s"):
        with pytest.raises(UsageError, match="no unclear task"):
            find_unclear(reader, TaskWords(name))
    [one] = unclear_tasks(reader)
    assert (one.state_word, one.evidence) == ("ambiguous", "reset while reading the answer")


@pytest.mark.parametrize(
    ("said", "remote_id", "state"),
    [
        (Resolution.ADOPTED, "t-found", TaskState.SUBMITTED),
        (Resolution.WRITTEN_OFF, None, TaskState.WRITTEN_OFF),
        (Resolution.AGAIN, None, TaskState.PLANNED),
    ],
)
def test_an_answer_is_durable_with_its_basis(
    story: Story, said: Resolution, remote_id: str | None, state: TaskState
) -> None:
    lost = story.lose(make_task(1))
    answer(story, "s1", said, remote_id)
    found = attempt_of(story, lost)
    assert (found.state, found.resolution, found.remote_id) == (state, said, remote_id)
    assert found.resolution_evidence is not None
    assert found.resolution_evidence.facts == {"basis": Basis.PERSON, "was": "ambiguous"}
    assert list(unclear_tasks(story.ledger.read)) == []


def test_no_generation_is_adopted_twice(story: Story) -> None:
    holder = story.submit(make_task(1))
    lost = story.lose(make_task(2))
    one = find_unclear(story.ledger.read, TaskWords("s2"))
    taken = Generation(f"t-{holder}", GenerationStatus.RUNNING, "running", model=MODEL)
    with pytest.raises(UsageError, match="belongs to another task"):
        check_adoptable(story.ledger.read, one, MESH, taken)
    with pytest.raises(UsageError, match="belongs to another task"):
        answer(story, "s2", Resolution.ADOPTED, taken.id)
    assert attempt_of(story, lost).state is TaskState.AMBIGUOUS


def test_what_speaks_against_a_generation_is_told(story: Story) -> None:
    story.lose(make_task(1))
    one = find_unclear(story.ledger.read, TaskWords("s1"))
    free = Generation("t-free", GenerationStatus.RUNNING, "running", model=MODEL)
    assert check_adoptable(story.ledger.read, one, MESH, free) == ""
    other = Generation("t-other", GenerationStatus.RUNNING, "running", model="byteplus/dreamina-seedance-2-0")
    assert "model" in check_adoptable(story.ledger.read, one, MESH, other)


def test_only_what_counts_as_absent_can_be_not_billed(story: Story) -> None:
    lost = story.lose(make_task(1))
    with pytest.raises(UsageError, match="no unclear task"):
        find_unclear(story.ledger.read, TaskWords("s1"), Resolution.NOT_BILLED)
    with story.ledger.transaction():
        story.ledger.resolve(lost, Resolution.ABSENT, Grounds.of(Basis.LIST), story.tick())
    assert [one.state_word for one in absent_tasks(story.ledger.read)] == ["absent"]
    before = story.ledger.read.spend(story.run.id).tasks
    answer(story, "s1", Resolution.NOT_BILLED)
    assert (before, story.ledger.read.spend(story.run.id).tasks) == (1, 0)
    assert list(absent_tasks(story.ledger.read)) == []


def test_what_is_given_up_is_in_flight_no_more(story: Story) -> None:
    task = make_task(1)
    attempt = story.submit(task)
    for name in ("s1", task.output, f"t-{attempt}", attempt):
        assert find_in_flight(story.ledger.read, TaskWords(name))[1].id == attempt
    with story.ledger.transaction():
        give_up(story.ledger, attempt_of(story, attempt), story.tick())
    found = attempt_of(story, attempt)
    assert (found.state, found.error_code) == (TaskState.EXPIRED, GIVEN_UP)
    assert "may be billed" in found.error_message
    with pytest.raises(UsageError, match="no task in flight"):
        find_in_flight(story.ledger.read, TaskWords("s1"))
