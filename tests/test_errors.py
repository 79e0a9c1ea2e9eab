"""The error tree and its exit codes."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runner.ledger.rows
import runner.sandbox
import runner.store.files
import runner.store.inputs
from runner import errors
from runner.errors import CallsheetError, ExitCode, JobError, OutOfMoneyError, Problem, RefusedError, Severity
from runner.http.verdicts import ProviderError, Trouble

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "exit-codes.md"


RUNNER = Path(errors.__file__).parent
SANDBOX = RUNNER / "sandbox"


def _drawn(text: str) -> dict[str, str]:
    """Each exception below a root of the trees in `text`, with the one that it refines."""
    above: list[str] = []
    found = {}
    for mark, name in re.findall(r"^    ((?:│   |    )*[├└]── |)(\w+)(?: .*)?$", text, re.MULTILINE):
        del above[len(mark) // 4 :]
        if above:
            found[name] = above[-1]
        above.append(name)
    return found


def _written(files: Iterable[Path]) -> dict[str, str]:
    """Each exception class in the code of `files`, with its base."""
    bases = {
        node.name: ast.unparse(node.bases[0])
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.bases
    }

    def is_exception(name: str) -> bool:
        return name in bases and (is_exception(bases[name]) or _is_builtin(bases[name]))

    return {name: base for name, base in bases.items() if is_exception(name)}


def _is_builtin(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def test_every_exception_in_the_code_stands_in_the_drawn_trees() -> None:
    ours = (file for file in RUNNER.rglob("*.py") if not file.is_relative_to(SANDBOX))
    drawn = _drawn(errors.__doc__ or "")
    assert drawn.pop("ValueError") == "Exception"
    assert drawn | {"CallsheetError": "Exception"} == _written(ours)


def test_the_sandbox_draws_its_own() -> None:
    drawn = _drawn(runner.sandbox.__doc__ or "")
    assert drawn.pop("RuntimeError") == "Exception"
    assert drawn == _written(SANDBOX.rglob("*.py"))


@pytest.mark.parametrize(("name", "code"), re.findall(r"[├└]── (\w+) +(\d+)", errors.__doc__ or ""))
def test_the_drawing_shows_the_exit_code_of_each_error(name: str, code: str) -> None:
    found = {error.__name__: error.exit_code for error in _tree(CallsheetError)}
    assert found[name] == int(code)


def _tree(of: type[CallsheetError]) -> Iterator[type[CallsheetError]]:
    for error in of.__subclasses__():
        yield error
        yield from _tree(error)


def test_money_that_is_gone_is_told_with_what_to_do() -> None:
    for error in (OutOfMoneyError.no_credit("402"), OutOfMoneyError.used_up("429")):
        assert error.exit_code is ExitCode.OUT_OF_MONEY
        assert "run again" in error.hint


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
    problem = Problem(2, 3, "seeds", "are ignored", severity=Severity.WARNING)
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


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Trouble.KEY_REFUSED, ExitCode.KEY_REFUSED),
        (Trouble.USED_UP, ExitCode.OUT_OF_MONEY),
        (Trouble.CERTIFICATE, ExitCode.UNREACHABLE),
    ],
)
def test_what_a_person_has_to_mend_is_told_apart_from_what_passes(trouble: Trouble, code: ExitCode) -> None:
    refusal = ProviderError(trouble, "said so").refusal
    assert refusal is not None
    assert (refusal.exit_code, "said so" in refusal.message) == (code, True)
    passing = set(Trouble) - {Trouble.KEY_REFUSED, Trouble.USED_UP, Trouble.CERTIFICATE}
    assert not any(ProviderError(other, "").refusal for other in passing)
