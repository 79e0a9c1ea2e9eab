"""What is printed, and where."""

from __future__ import annotations

import io
import itertools
import json

import click
import pytest

from runner.cli import console
from runner.redact import escape, json_text


def test_columns_line_up_by_their_widest_cell() -> None:
    lines = list(console.table([("new", "a", "x"), ("in flight", "bb", "")]))
    assert lines == ["new        a   x", "in flight  bb"]


def test_wide_characters_and_colours_do_not_disturb_the_columns() -> None:
    lines = list(console.table([(click.style("new", fg="red"), "雨", "x"), ("done", "bb", "y")]))
    assert [click.unstyle(line) for line in lines] == ["new   雨  x", "done  bb  y"]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "on_terminal", "elsewhere"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"CLICOLOR": "0"}, False, False),
        ({"CLICOLOR": "0", "FORCE_COLOR": "1"}, True, True),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_colour_follows_the_conventions(
    environment: dict[str, str], on_terminal: bool, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert console.has_colour(_Terminal()) is on_terminal
    assert console.has_colour(io.StringIO()) is elsewhere


def test_no_rows_give_no_lines() -> None:
    assert list(console.table([])) == []


def test_a_table_streams() -> None:
    """The first line comes before the last row is known: 100,000 tasks must not be held."""
    endless = ((str(number), "task") for number in itertools.count())
    assert list(itertools.islice(console.table(endless), 1000))[-1].split() == ["999", "task"]


_ROW = ("done", "hall-16x9", "rehearsal/out/campaign/hall-16x9.mp4", "t-2e0f21b7cf9914973fdc", "")


def _on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr("sys.stdout", _Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (
            200,
            ["done  hall-16x9  rehearsal/out/campaign/hall-16x9.mp4  t-2e0f21b7cf9914973fdc"],
        ),
        (
            60,
            [
                "done  hall-16x9  rehearsal/out/campaign/hall-16x9.mp4",
                "    t-2e0f21b7cf9914973fdc",
            ],
        ),
        (
            50,
            [
                "done  hall-16x9",
                "    rehearsal/out/campaign/hall-16x9.mp4",
                "    t-2e0f21b7cf9914973fdc",
            ],
        ),
    ],
)
def test_what_a_terminal_has_no_room_for_stands_below_its_task(
    columns: int, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _on_terminal(monkeypatch, columns)
    assert list(console.task_table([_ROW])) == lines


def test_a_long_cell_is_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    _on_terminal(monkeypatch, 40)
    lines = list(console.task_table([("new", "s1", "a prompt of more words than there is room for")]))
    assert lines == ["new  s1", "    a prompt of more words than there is", "    room for"]


def test_a_headed_table_that_does_not_fit_says_what_each_cell_is(monkeypatch: pytest.MonkeyPatch) -> None:
    head, rows = ("model", "seconds", "seed"), [("pro", "4..12 or -1", "yes"), ("lite", "2..12", "no")]
    _on_terminal(monkeypatch, 30)
    assert list(console.headed_table(head, rows))[1] == "pro    4..12 or -1  yes"
    _on_terminal(monkeypatch, 22)
    assert list(console.headed_table(head, rows))[:3] == [
        "pro",
        "  seconds  4..12 or -1",
        "  seed     yes",
    ]


def test_a_file_has_each_task_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert len(list(console.task_table([_ROW]))) == 1


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_a_bug_report_names_the_place_and_no_secret() -> None:
    report = "\n".join(
        console.bug_report(
            _raised(
                ValueError(
                    "GET https://cdn.example/a.mp4?sig=canary, rsk_canary and data:image/png;base64,canary"
                )
            )
        )
    )
    assert "ValueError" in report
    assert "test_console.py" in report
    assert "canary" not in report


@pytest.mark.security(17)
@pytest.mark.parametrize("name", ["result", "summary", "note", "error"])
def test_a_line_is_one_line_and_does_nothing_to_a_terminal(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own colours pass; nothing else that stands in it does."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    hostile = "a\r\nnext: rm\x1b[2J\x1b]0;title\x07\x1b[8m\u202e\x9b31m\u2066\x00"
    getattr(console, name)(click.style("ok", fg="green") + hostile)
    told = "".join(capsys.readouterr())
    assert told == (
        "\x1b[32mok\x1b[0ma\\r\\nnext: rm\\x1b[2J\\x1b]0;title\\x07\\x1b[8m\\u202e\\x9b31m\\u2066\\x00\n"
    )


@pytest.mark.security(17)
def test_json_is_safe_to_print_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x00\x1b[2J\x7f\x9b31m\xad\u061c\u200f\u202e\u2066\u2028\ufeff\U000e0041 雨 😀"
    console.document({hostile: [hostile]})
    console.result(json_text({"a": hostile}))
    told = capsys.readouterr().out
    assert told == escape(told.replace("\n", "~")).replace("~", "\n")
    document, line = told[: told.index("}") + 1], told.splitlines()[-1]
    assert json.loads(document) == {hostile: [hostile]}
    assert json.loads(line) == {"a": hostile}
    assert "雨 😀" in line


def test_how_far_something_is_gives_way_to_the_next_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console.status("report: 1 of 3 posters")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    console.status("report: 1 of 3 posters")
    console.status("report: 2 of 3 posters\n" + "x" * 200)
    console.note("done")
    console.note("and more")
    wipe = "\r\x1b[K"
    first, second, last = capsys.readouterr().err.removeprefix(wipe).split(wipe)
    assert first == "report: 1 of 3 posters"
    assert second.startswith("report: 2 of 3 posters\\n")
    assert len(second) == 99
    assert last == "done\nand more\n"
