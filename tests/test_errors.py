"""The error tree and its exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import errors
from runner.errors import CallsheetError, ExitCode, JobError, Problem, RefusedError

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "exit-codes.md"


def _tree(of: type[CallsheetError] = CallsheetError) -> Iterator[type[CallsheetError]]:
    for error in of.__subclasses__():
        yield error
        yield from _tree(error)


def test_the_drawing_shows_every_error_with_its_code() -> None:
    """The tree in the docstring is the tree of the module; refinements elsewhere keep a code of it."""
    drawn = dict(re.findall(r"[├└]── (\w+) +(\d+)", errors.__doc__ or ""))
    assert drawn == {
        error.__name__: str(int(error.exit_code)) for error in _tree() if error.__module__ == errors.__name__
    }


def test_the_reference_lists_every_exit_code_and_the_precedence() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)} == set(map(int, ExitCode))
    listed = re.search(r"the first of: ([\d, ]+)\.", text)
    assert listed is not None
    codes = [ExitCode(int(code)) for code in listed.group(1).split(",")]
    assert [ExitCode.first(codes[place:]) for place in range(len(codes))] == codes


@given(st.lists(st.sampled_from(ExitCode)))
def test_the_first_of_several_conditions_does_not_depend_on_their_order(codes: list[ExitCode]) -> None:
    assert ExitCode.first(codes) == ExitCode.first(reversed(codes))


def test_no_condition_is_success() -> None:
    assert ExitCode.first([]) is ExitCode.DONE


def test_a_hint_ends_the_sentence() -> None:
    assert str(RefusedError("over the cap", hint="raise it")) == "over the cap; hint: raise it"
    assert str(RefusedError("over the cap")) == "over the cap"


def test_a_problem_reads_as_file_line_column_path_message_hint() -> None:
    problem = Problem(31, 17, "request.ratio", "must be text", hint="quote it")
    assert (
        problem.render("jobs/hero.yaml")
        == "jobs/hero.yaml:31:17: request.ratio: must be text; hint: quote it"
    )


def test_a_problem_of_the_whole_document_has_no_path() -> None:
    assert Problem(1, 1, "", "is empty").render("a.yaml") == "a.yaml:1:1: is empty"


def test_a_warning_says_that_it_is_one() -> None:
    problem = Problem(2, 3, "seeds", "are ignored", severity="warning")
    assert problem.render("a.yaml") == "a.yaml:2:3: warning: seeds: are ignored"


def test_problems_are_told_in_the_order_of_the_file() -> None:
    error = JobError(
        "a.yaml", [Problem(9, 1, "", "last"), Problem(2, 5, "", "second"), Problem(2, 1, "", "first")]
    )
    assert [problem.message for problem in error.problems] == ["first", "second", "last"]


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ([True], ExitCode.INPUT_MISSING),
        ([True, False], ExitCode.JOB_INVALID),
        ([False], ExitCode.JOB_INVALID),
    ],
)
def test_only_missing_inputs_have_a_code_of_their_own(missing: list[bool], code: ExitCode) -> None:
    error = JobError("a.yaml", [Problem(1, 1, "", "gone", is_missing_input=each) for each in missing])
    assert error.exit_code is code


def test_a_flood_of_problems_is_cut() -> None:
    error = JobError("a.yaml", [Problem(line, 1, "", "wrong") for line in range(1, 200)])
    assert len(str(error).splitlines()) == JobError.MOST_SHOWN
    assert len(error.problems) == 199
