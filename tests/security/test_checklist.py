"""Each line of docs/reference/security.md has a test that carries its number."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

LATER: dict[int, tuple[str, str]] = {}
"""Lines about a part that is not built: its module, and the reason. An entry goes when the part comes."""


def lines() -> dict[int, str]:
    """The checklist: its numbers with their texts."""
    page = (ROOT / "docs" / "reference" / "security.md").read_text(encoding="utf-8")
    return {int(number): text for number, text in re.findall(r"^(\d+)\. (.+)$", page, re.MULTILINE)}


def marks() -> Iterator[tuple[int, str]]:
    """(number, test) for each `security(N)` mark of a test function, or of a module's `pytestmark`."""
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            marked: list[ast.expr] = []
            name = file.relative_to(ROOT).as_posix()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                marked, name = node.decorator_list, f"{name}::{node.name}"
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
                marked = [node.value]
            for number in _numbers(marked):
                yield number, name


def _numbers(expressions: list[ast.expr]) -> Iterator[int]:
    for node in (inner for outer in expressions for inner in ast.walk(outer)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.security":
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))  # type: ignore[misc]


def test_every_line_has_a_test_that_carries_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = lines()
    found: dict[int, list[str]] = {number: [] for number in wanted}
    for number, test in marks():
        assert number in wanted, f"{test}: there is no line {number}"
        found[number].append(test)
    with capsys.disabled():
        for number, (_, reason) in LATER.items():
            print(f"\nsecurity line {number} has no test: {reason}")
    assert list(wanted) == list(range(1, 34))
    assert {number for number, tests in found.items() if not tests} - LATER.keys() == set()


def test_a_line_is_put_off_only_while_its_part_is_not_there() -> None:
    for number, (module, _) in LATER.items():
        assert not (ROOT / "runner" / module).exists(), f"line {number} needs a test now"
