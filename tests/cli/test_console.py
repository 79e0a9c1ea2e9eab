"""What is printed, and where."""

from __future__ import annotations

import itertools

from runner.cli import console


def test_columns_line_up_by_their_widest_cell() -> None:
    lines = list(console.table([("new", "a", "x"), ("in flight", "bb", "")]))
    assert lines == ["new        a   x", "in flight  bb"]


def test_no_rows_give_no_lines() -> None:
    assert list(console.table([])) == []


def test_a_table_streams() -> None:
    """The first line comes before the last row is known: 100,000 tasks must not be held."""
    endless = ((str(number), "task") for number in itertools.count())
    assert list(itertools.islice(console.table(endless), 1000))[-1].split() == ["999", "task"]


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_a_bug_report_names_the_place_and_no_secret() -> None:
    report = console.bug_report(
        _raised(
            ValueError(
                "GET https://cdn.example/a.mp4?sig=canary with rsk_canary and data:image/png;base64,canary"
            )
        )
    )
    assert "ValueError" in report
    assert "test_console.py" in report
    assert "canary" not in report
