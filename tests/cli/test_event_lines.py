"""Plain lines: what a log and cron's mail hold of a run."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
import zoneinfo
from pathlib import Path

import pytest

from runner.cli import console
from runner.cli.display.event_lines import EventLines
from runner.cli.display.watching import watching
from runner.cli.display.work import Work
from runner.cli.stdio import Notes

REFUSED = {"task": "a", "identity": "aa", "status": 503, "code": "busy", "message": "later", "row": 14}


def told(lines: EventLines, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was printed, without the time."""
    lines.close()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d night: ", line) for line in printed.err.splitlines())
    return [line[20:] for line in printed.err.splitlines()]


def test_without_a_terminal_each_step_is_a_line_with_time_and_job(capsys: pytest.CaptureFixture[str]) -> None:
    with watching([Work("night")]) as (observe,):
        observe("task.submitted", {"task": "boat"})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d night: boat was accepted\n", captured.err)


def test_times_are_those_of_the_projects_time_zone(capsys: pytest.CaptureFixture[str]) -> None:
    zone = zoneinfo.ZoneInfo("Pacific/Kiritimati")
    EventLines("night", zone=zone, wall=lambda: 1_780_000_000.0).observe("task.submitted", {"task": "boat"})
    assert capsys.readouterr().err == "2026-05-29 10:26:40 night: boat was accepted\n"


def test_repetitions_are_folded_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lines = EventLines("night")
    for _ in range(4):
        lines.observe("task.refused", REFUSED)
    lines.observe("task.submitted", {"task": "a", "identity": "aa"})
    assert told(lines, capsys) == [
        "night: the service refuses submits for now (503 busy: later); they are tried again",
        "night: a was accepted",
        "night: 3 repetitions of the service's answers above not shown",
    ]


def test_statuses_are_told_with_v_and_when_they_change(capsys: pytest.CaptureFixture[str]) -> None:
    for verbosity, expected in ((0, []), (1, ["night: boat is queued", "night: boat is running"])):
        lines = EventLines("night", verbosity)
        for status in ("queued", "queued", "running", "running"):
            lines.observe("task.status", {"task": "boat", "identity": "ab", "status": status})
        lines.observe("task.status_unknown", {})
        lines._statuses.clear()
        assert told(lines, capsys)[: len(expected)] == expected


def test_every_event_is_told_with_vv(capsys: pytest.CaptureFixture[str]) -> None:
    lines = EventLines("night", 2)
    lines.observe("task.intended", {"task": "a", "identity": "f" * 64, "attempt": "1"})
    lines.observe("task.refused", REFUSED)
    lines.observe("task.refused", REFUSED)
    first, second, third = told(lines, capsys)
    assert first == f"night: intended a identity={'f' * 64} attempt=1"
    assert second == third == "night: refused a identity=aa status=503 code=busy message=later"


@pytest.mark.parametrize("code", [130, 143, 75])
def test_a_stop_is_told_once_with_what_another_signal_does(
    code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = EventLines("night")
    lines.observe("run.stopping", {"reason": "it is time", "exit_code": code})
    lines.observe("run.submitting_stopped", {"reason": "it is time", "exit_code": code})
    again = " (Ctrl-C again: at once)" if code != 75 else ""
    assert told(lines, capsys) == [f"night: stopping: what is in flight is left for later{again}"]


def test_a_collect_says_nothing_of_submitting(capsys: pytest.CaptureFixture[str]) -> None:
    lines = EventLines("night")
    lines.observe("collect.started", {})
    lines.observe("run.submitting_stopped", {"reason": "429 again and again", "exit_code": 75})
    lines.observe("collect.finished", {"exit_code": 75, "reasons": ("429 again and again",)})
    assert told(lines, capsys) == []


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
        with watching([Work("night")]) as (observe,):
            observe("task.done", {"task": "one"})
            os.close(reader)
            for _ in range(20):
                observe("run.cost_drift", {"cost_usd": "1", "estimate_usd": "2"})
        assert os.path.samestat(os.fstat(writer), Path(os.devnull).stat())


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_cannot_draw_gets_lines(
    term: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert not console.is_terminal()
    with watching([Work("night")]) as (observe,):
        observe("task.done", {"task": "one"})
    assert capsys.readouterr().err.endswith("night: one is done\n")
