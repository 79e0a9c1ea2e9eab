"""The rules of the tests, read from their source: what they may share, and where it stands."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
FILES = sorted(TESTS.rglob("*.py"))


def _imported(file: Path) -> list[str]:
    """Every module that is imported anywhere in the file; of `from a import b`, `a.b` too."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            found += [f"{node.module}.{name.name}" for name in node.names]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(TESTS).as_posix())
def test_a_test_shares_only_what_stands_in_support_or_in_its_own_harness(file: Path) -> None:
    """No other test, no conftest, nothing of another room; the benchmarks are known to their own tests."""
    room, *_ = file.relative_to(TESTS).parts
    wrong = []
    for name in _imported(file):
        package, *path = name.split(".")
        if package == "tests":
            is_shared = path[0] in {"support", room} and not path[1].startswith(("test_", "conftest"))
        else:
            # the arithmetic of the benchmarks has no other tests
            is_shared = package != "benchmarks" or room == "benchmarks"
        if not is_shared:
            wrong.append(name)
    assert wrong == []


def test_no_two_helpers_have_one_name() -> None:
    """Whoever reads `fetch(...)` in a test knows which one that is."""
    names = Counter(
        node.name
        for file in (TESTS / "support").glob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []
