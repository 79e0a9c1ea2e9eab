"""Each row of docs/reference/faults.md is a test that carries its number."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
TABLE = TESTS.parent / "docs" / "reference" / "faults.md"

LATER: dict[int, str] = {}
"""Rows that a later issue proves, with the reason; printed, so that none is forgotten."""


def _rows() -> list[int]:
    """The number in the first cell of each row."""
    return [int(number) for number in re.findall(r"^\| (\d+) \|", TABLE.read_text(encoding="utf-8"), re.M)]


def _proved() -> set[int]:
    """The numbers of all `@pytest.mark.fault(N)`, on functions, modules and parameters alike."""
    found: set[int] = set()
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return found


def test_each_row_has_a_number_of_its_own_in_order() -> None:
    rows = _rows()
    assert rows
    assert rows == list(range(1, len(rows) + 1))


def test_every_row_of_the_fault_table_has_a_test() -> None:
    print(*(f"row {row}: {reason}" for row, reason in LATER.items()), sep="\n")
    assert set(_rows()) - _proved() - set(LATER) == set()


def test_no_test_names_a_row_that_is_not_there() -> None:
    assert _proved() <= set(_rows())
