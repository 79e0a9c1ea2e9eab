"""Problems: yielded by checks, kept in one place, raised together."""

from __future__ import annotations

import pytest

from runner.errors import JobError, Problem
from runner.job.problems import Checked, InvalidValueError, ProblemError, Problems, require
from runner.job.yaml.nodes import Location

HERE = Location(3, 5, ("content", 0, "text"))
THERE = Location(1, 1, ("name",))


def check(*problems: Problem) -> Checked[int]:
    """Yields `problems`; how many there are."""
    yield from problems
    return len(problems)


def test_gathering_keeps_each_problem_once_and_gives_the_result() -> None:
    problems = Problems("job.yaml")
    assert problems.gather(check(HERE.error("wrong"), THERE.warning("odd"), HERE.error("wrong"))) == 3
    assert problems.errors == (HERE.error("wrong"),)
    assert problems.warnings == (THERE.warning("odd"),)


def test_leaving_the_block_raises_every_error_in_the_order_of_the_file() -> None:
    with pytest.raises(JobError) as caught, Problems("job.yaml") as problems:
        problems.gather(check(HERE.error("below", "mend it"), THERE.warning("odd"), THERE.error("above")))
    assert str(caught.value).splitlines() == [
        "job.yaml:1:1: name: above",
        "job.yaml:3:5: content[0].text: below; hint: mend it",
    ]


def test_warnings_alone_raise_nothing() -> None:
    with Problems("job.yaml") as problems:
        problems.gather(check(HERE.warning("odd")))
    assert problems.is_sound


def test_another_error_in_the_block_is_not_hidden() -> None:
    problems = Problems("job.yaml")
    problems.add(HERE.error("wrong"))
    with pytest.raises(ZeroDivisionError), problems:
        _ = 1 // 0


def test_what_the_parser_or_the_schema_reported_is_not_reported_again() -> None:
    beside = Location(HERE.line, HERE.column, ("content", 0))
    problems = Problems(
        "job.yaml",
        earlier=[HERE.error("not text")],
        schema=[HERE.error("of the wrong type"), beside.error("incomplete"), THERE.error("unknown")],
    )
    for location in (HERE, beside, THERE):
        problems.add(location.error("in other words"))
    assert problems.errors == (HERE.error("not text"), THERE.error("unknown"))


def test_only_missing_inputs_leave_a_plan_sound() -> None:
    problems = Problems("job.yaml")
    problems.add(InvalidValueError("gone.png: no such file", is_missing_input=True).at(HERE))
    assert problems.is_sound
    problems.add(THERE.error("wrong"))
    assert not problems.is_sound


def test_what_is_required_gives_its_result_or_raises_every_problem() -> None:
    assert require(check()) == 0
    with pytest.raises(ProblemError) as caught:
        require(check(HERE.error("one"), THERE.error("two")))
    assert caught.value.problems == (HERE.error("one"), THERE.error("two"))
