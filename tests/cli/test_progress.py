"""What is shown of a run under way."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
import time
from pathlib import Path

import pytest

from runner.cli import console, progress
from runner.cli.humanize import size
from runner.cli.progress import Tally, line
from runner.cli.stdio import Notes
from runner.times import iso_time


def _tally(*events: tuple[str, str]) -> Tally:
    tally = Tally()
    for name, task in events:
        tally.observe(name, {"task": task, "identity": task, "bytes": 1000})
    return tally


def test_each_task_counts_where_it_stands_now() -> None:
    tally = _tally(
        ("task.intended", "a"),
        ("task.submitted", "a"),
        ("task.download", "a"),
        ("task.file", "a"),
        ("task.done", "a"),
        ("task.intended", "b"),
        ("task.submitted", "b"),
        ("task.intended", "c"),
    )
    assert tally.words() == "1 done, 1 in flight, 1 submitting"
    assert (tally.finished, tally.received) == (1, 1000)


def test_a_refused_submit_waits_again() -> None:
    assert _tally(("task.intended", "a"), ("task.refused", "a")).words() == ""


def test_an_unclear_task_that_is_adopted_is_in_flight() -> None:
    assert (
        _tally(("task.intended", "a"), ("task.ambiguous", "a"), ("task.adopted", "a")).words()
        == "1 in flight"
    )


def test_tasks_that_have_ended_are_counted_and_forgotten() -> None:
    """Memory does not grow with a run of 100,000 tasks."""
    tally = _tally(*[("task.done", str(number)) for number in range(1000)])
    assert (tally.finished, tally._under_way) == (1000, {})


def test_an_event_without_a_task_moves_none() -> None:
    tally = Tally()
    tally.observe("run.started", {"tasks": 6})
    tally.observe("run.stopping", {"reason": "interrupted"})
    assert (tally.total, tally.words()) == (6, "")


def test_a_transition_is_one_plain_line() -> None:
    assert line("task.submitted", {"task": "boat", "identity": "ab", "remote_id": "t-1"}) == (
        "submitted boat remote_id=t-1"
    )


def test_an_event_that_knows_only_the_identity_is_told_by_its_beginning() -> None:
    told = line("task.adopted", {"identity": "0123456789abcdef" * 4, "remote_id": "t-1"})
    assert told == "adopted 0123456789ab remote_id=t-1"


@pytest.mark.parametrize("name", ["task.intended", "run.started", "run.cached"])
def test_what_is_no_transition_makes_no_line(name: str) -> None:
    assert line(name, {"task": "boat"}) is None


@pytest.mark.security(17)
def test_a_line_shows_neither_secrets_nor_control_characters() -> None:
    told = line("task.failed", {"task": "a\x1b[2J", "error": "https://cdn.example/a.mp4?sig=canary"})
    assert told is not None
    assert "canary" not in told
    assert "\x1b" not in told


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_440_000, "3.4 MB"), (2 * 10**13, "20.0 TB")],
)
def test_bytes_are_told_for_people(count: int, words: str) -> None:
    assert size(count) == words


def test_without_a_terminal_each_transition_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress() as observe:
        observe("task.submitted", {"task": "boat"})
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "submitted boat\n")


def test_a_status_is_told_when_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """Every look is an event; only a new word is a transition."""
    lines = progress.Lines()
    for status in ("queued", "queued", "running", "running"):
        lines.observe("task.status", {"task": "boat", "identity": "ab", "status": status})
    lines.observe("task.done", {"task": "boat", "identity": "ab"})
    assert capsys.readouterr().err == "status boat status=queued\nstatus boat status=running\ndone boat\n"
    assert lines._statuses == {}


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "is_terminal", lambda: True)


@pytest.mark.usefixtures("_terminal")
def test_on_a_terminal_the_progress_is_drawn_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress() as observe:
        observe("run.started", {"tasks": 2})
        observe("task.file", {"task": "boat", "identity": "ab", "bytes": 2500})
        observe("task.done", {"task": "boat", "identity": "ab"})
        observe("run.stopping", {"reason": "interrupted", "exit_code": 130})
        observe("run.submitting_stopped", {"reason": "interrupted", "exit_code": 130})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("stopping: what is in flight is left for later") == 1
    assert "interrupted" not in captured.err, "the end of the run tells the reason"


LEFT = "stopping: what is in flight is left for later"


@pytest.mark.parametrize(
    ("code", "told"),
    [(130, f"{LEFT} (Ctrl-C again: at once)"), (143, f"{LEFT} (Ctrl-C again: at once)"), (75, LEFT)],
)
def test_only_a_signal_is_told_that_another_one_ends_it_at_once(
    code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.progress() as observe:
        observe("run.stopping", {"reason": "it is time", "exit_code": code})
        observe("run.submitting_stopped", {"reason": "it is time", "exit_code": code})
    assert capsys.readouterr().err == f"{told}\n"


@pytest.mark.parametrize(
    ("name", "fields", "told"),
    [
        (
            "run.submitting_stopped",
            {"reason": "the {cap}\nis reached", "exit_code": 3},
            "nothing more is submitted: the {cap}\\nis reached",
        ),
        (
            "run.unclear",
            {"tasks": 2, "settle": 300.0},
            "unclear submits of earlier starts, looked for now: 2",
        ),
        (
            "run.cost_drift",
            {"tasks": 1, "estimate_usd": "0.05", "cost_usd": "0.1"},
            "tasks with a known cost: USD 0.1 instead of the estimated USD 0.05;"
            " hint: `price:` in the job file says what you pay",
        ),
        (
            "run.not_looked_back",
            {"reason": "HTTP 500"},
            "submits taken for absent were not looked for: HTTP 500; the next run looks again",
        ),
    ],
)
def test_what_concerns_the_whole_run_is_a_sentence(
    name: str, fields: dict[str, object], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.progress() as observe:
        observe(name, fields)
    assert capsys.readouterr().err == f"{told}\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_collect_says_nothing_of_submitting(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "is_terminal", lambda: terminal)
    with progress.progress() as observe:
        observe("collect.started", {})
        observe("run.submitting_stopped", {"reason": "429 again and again", "exit_code": 75})
        observe("collect.finished", {"exit_code": 75, "reasons": ("429 again and again",)})
    assert capsys.readouterr().err.strip() == ""


def _wait(seconds: float, tasks: int = 3) -> dict[str, object]:
    return {"for": "the list to \x1b catch up", "until": iso_time(time.time() + seconds), "tasks": tasks}


@pytest.mark.fault(74)
def test_a_wait_is_one_line_with_its_end_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    lines = progress.Lines()
    lines.observe("run.waiting", _wait(300))
    lines.observe("run.waiting", _wait(0, tasks=0))
    (told,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"waiting until \d\d:\d\d:\d\d at the latest for the list to \\x1b catch up \(3 tasks\)", told
    )


@pytest.mark.parametrize("until", [None, "soon", 7, float("inf"), "9" * 400])
def test_a_wait_without_an_end_is_no_line(until: object) -> None:
    assert line("run.waiting", {"for": "x", "until": until, "tasks": 1}) is None


@pytest.mark.usefixtures("_terminal")
@pytest.mark.fault(74)
def test_on_a_terminal_the_bar_says_what_is_awaited(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.progress() as observe:
        observe("run.started", {"tasks": 2})
        observe("run.waiting", _wait(300))
    assert "waiting until" in capsys.readouterr().err


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_closed_stderr_stops_the_telling_and_not_the_run(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paid task is worth more than a line about it; a terminal's window may be closed under a run."""
    reader, writer = pty.openpty() if is_terminal else os.pipe()
    raw = io.BufferedWriter(io.FileIO(writer, "wb"))
    monkeypatch.setenv("TERM", "xterm")
    with Notes(raw, "utf-8", line_buffering=True) as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with progress.progress() as observe:
            observe("task.done", {"task": "one"})
            os.close(reader)
            for _ in range(20):
                observe("run.submitting_stopped", {"reason": "no money"})
        assert os.path.samestat(os.fstat(writer), Path(os.devnull).stat())


def test_at_the_highest_verbosity_every_event_is_told_with_its_ids() -> None:
    fields = {"task": "a", "identity": "f" * 64, "attempt": "1"}
    assert line("task.intended", fields) is None
    assert line("task.intended", fields, is_full=True) == f"intended a identity={'f' * 64} attempt=1"
