"""What a person is told of edits, and asked."""

from __future__ import annotations

from dataclasses import replace

from runner.job.model import OnEdit
from runner.plan.cost import total_of
from runner.plan.edits import MOST_SHOWN, Edit, Edits
from runner.plan.task import Task
from tests.support.ledger_rows import task


def edits(*changes: str, micros: int | None = 250_000) -> Edits:
    """One edit for each change."""
    found = tuple(Edit(_task(number, micros), change) for number, change in enumerate(changes))
    return Edits(found, total_of(edit.task for edit in found))


def _task(number: int, micros: int | None) -> Task:
    return replace(task(number), name=f"s{number}", estimate_micros=micros)


def test_edits_with_one_change_are_one_line() -> None:
    asked = edits(*["text: paper -> tin"] * 5, "request.duration is 5, was 4")
    assert [*asked.lines()] == [
        "edit: s0, s1, s2 and 2 more: text: paper -> tin",
        "edit: s5: request.duration is 5, was 4",
    ]


def test_many_changes_are_counted() -> None:
    lines = [*edits(*(f"text: a -> b{number}" for number in range(MOST_SHOWN + 2))).lines()]
    assert len(lines) == MOST_SHOWN + 1
    assert lines[-1].startswith("and 2 more changes")


def test_the_question_says_what_it_costs_and_fits_a_terminal() -> None:
    assert edits("a", "b").question == "Submit 2 edits for about USD 0.50? Older takes stay as NAME.v1.mp4."
    assert edits("a", micros=None).question.startswith("Submit 1 edit for an unknown price?")
    assert len(edits(*"ab" * 50).question + " [y/N]: ") < 80


def test_a_refusal_says_how_to_go_on() -> None:
    assert "--accept-edits" in edits("a").refusal(OnEdit.ASK)
    assert "`on_edit: ask`" in edits("a").refusal(OnEdit.REFUSE)
    assert "--accept-edits" not in edits("a").refusal(OnEdit.REFUSE)
