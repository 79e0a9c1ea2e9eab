"""The rules of the tests, read from their source: what they may share, and where it stands."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parent


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


def _is_shared(name: str, room: str) -> bool:
    """Whether a test of this room may import the module or the name in it."""
    package, *path = name.split(".")
    if package == "benchmarks":
        # their arithmetic has no other tests
        return room == "benchmarks"
    if package != "tests":
        return True
    return path[0] in {"support", room} and not path[1].startswith(("test_", "conftest"))


def test_tests_share_only_what_stands_in_support_or_in_their_own_harness() -> None:
    """No other test, no conftest, and nothing of another room."""
    wrong = [
        f"{where.as_posix()} imports {name}"
        for file in TESTS.rglob("*.py")
        for where in [file.relative_to(TESTS)]
        for name in _imported(file)
        if not _is_shared(name, where.parts[0])
    ]
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
