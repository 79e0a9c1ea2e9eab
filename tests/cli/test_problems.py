"""The line that a problem is about, and the caret below the place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.__main__ import main
from runner.cli.console import width
from runner.cli.problems import excerpt

COLUMNS = 60


def _place_of_caret(lines: tuple[str, ...]) -> str:
    """The character above the caret, found as a terminal would show it."""
    line, caret = lines
    at = caret.index("^")
    used = 0
    for character in line:
        if used == at:
            return character
        used += width(character)
    return ""


@pytest.mark.parametrize(
    ("text", "line", "column", "under"),
    [
        ("version: 1\nratio: 16:9\n", 2, 8, "1"),
        ("a: 1\r\nb: 2\r\n", 2, 1, "b"),
        ("a: 1\rb: 2", 2, 4, "2"),
        ("\tkey: value", 1, 2, "k"),
        ("prompt: 雨の中 x", 1, 13, "x"),
        ("prompt: e\u0301te\u0301 x", 1, 15, "x"),
        ("\ufeffversion: 2", 1, 10, "2"),
        ("a: " + "x" * 200 + "!" + "y" * 200, 1, 204, "!"),
        ("a: !" + "x" * 400, 1, 4, "!"),
        ("a: " + "雨" * 200 + "!", 1, 204, "!"),
    ],
)
def test_the_caret_stands_below_the_place(text: str, line: int, column: int, under: str) -> None:
    """With tabs, wide and joining characters, every line break and long lines."""
    lines = excerpt(text, line, column, COLUMNS)
    assert _place_of_caret(lines) == under
    assert all(width(shown) <= COLUMNS for shown in lines)


@pytest.mark.parametrize(("text", "line"), [("", 1), ("a: 1", 2), ("\n\n", 1), ("a: 1", 0)])
def test_a_line_that_is_not_there_or_empty_is_not_shown(text: str, line: int) -> None:
    assert excerpt(text, line, 1, COLUMNS) == ()


def test_what_a_terminal_would_act_on_is_escaped() -> None:
    line, _ = excerpt('a: "\x1b[31m\u202e"', 1, 1, COLUMNS)
    assert line.isprintable()


@pytest.mark.parametrize("column", range(1, 30))
def test_a_key_is_not_shown_wherever_the_caret_is(column: int) -> None:
    shown = "".join(excerpt("token: rsk_canarycanary", 1, column, COLUMNS))
    assert "canary" not in shown


@given(st.text(), st.integers(1, 500), st.integers(20, 200))
def test_every_line_fits_whatever_is_in_it(text: str, column: int, columns: int) -> None:
    for line in excerpt(text, 1, column, columns):
        assert width(line) <= max(columns, 28)


@pytest.mark.security(20)
@pytest.mark.parametrize("key", ["a1b2c3d4-e5f6-7890-abcd-ef0123456789", "api:hunter2"])
def test_a_key_in_the_place_of_its_variable_s_name_is_not_shown(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ark's keys have no form of their own."""
    file = tmp_path / "callsheet.yaml"
    file.write_text(f'version: 1\naccounts:\n  acme: {{provider: ark, api_key_env: "{key}"}}\n')
    assert main(["validate", str(file)]) == 65
    told = "".join(capsys.readouterr())
    assert "must be the name of an environment variable, never the key" in told
    assert key not in told
