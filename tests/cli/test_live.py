"""The three lines of a terminal: each by itself, and on the screen of a run that meets trouble."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from runner.cli.display.live import Display, Reflowing, broken_rows, shares, tasks_line
from runner.cli.display.work import Work
from runner.ledger.caps import Caps
from runner.ledger.rows import Spend
from runner.sandbox import SANDBOX_KEY, Fault, Kind, SandboxConfig, SandboxServer, Where
from runner.times import iso_time
from tests.support.command_process import callsheet, command, environment
from tests.support.evidence import evidence_but
from tests.support.screens import Screen, in_terminal

BAR = re.compile(r"^([█▒·x?]{6,}|[#=.x?]{6,})  ")
COUNTS = {"done": 12, "at the service": 4, "failed": 1}
WIDTHS = (40, 60, 80, 200)


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def shown(
    *,
    total: int = 20,
    spend: Spend | None = None,
    caps: Caps = Caps(),  # noqa: B008  frozen
    usual: float | None = None,
    is_rehearsal: bool = False,
) -> tuple[Display, list[str], Clock]:
    clock, told = Clock(), []
    work = Work(
        "night",
        total,
        4,
        caps,
        is_rehearsal,
        spend=lambda: spend,
        usual_seconds=lambda: usual,
    )
    return Display(work, told.append, clock, clock), told, clock


def lines(display: Display, width: int) -> list[str]:
    return [line.plain for line in display.lines(width, has_unicode=True)]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_bar_takes_the_width_that_the_words_leave(width: int) -> None:
    line = tasks_line(COUNTS, 36, width, has_unicode=True)
    told = "12 done, 4 in flight, 1 failed" if width == 40 else "12 done, 4 at the service, 1 failed of 36"
    assert line.plain.endswith(f"  {told}")
    assert line.cell_len == width


def test_the_bar_means_the_same_with_and_without_unicode() -> None:
    told = tasks_line(COUNTS, 36, 86, has_unicode=True).plain
    plain = tasks_line(COUNTS, 36, 86, has_unicode=False).plain
    assert told.translate(str.maketrans("█▒·", "#=.")) == plain
    assert plain == "#" * 14 + "=" * 5 + "x" * 2 + "." * 22 + "  12 done, 4 at the service, 1 failed of 36"


def test_one_failure_among_a_thousand_has_its_cell() -> None:
    assert shares({"done": 999, "failed": 1, "to come": 0}, 40) == {"done": 39, "failed": 1}
    assert shares({"done": 0}, 10) == {"to come": 10}
    assert sum(shares({"done": 7, "failed": 2, "held": 1, "to come": 90}, 33).values()) == 33


def test_a_great_run_fits_a_narrow_terminal() -> None:
    counts = {"done": 99_998, "at the service": 100, "failed": 1, "unclear": 1}
    for width in WIDTHS:
        assert tasks_line(counts, 100_100, width, has_unicode=True).cell_len <= width


@pytest.mark.parametrize(
    ("width", "told"),
    [
        (80, "USD 3.40 spent, 16.60 of 20.00 left, 0:18, about 4 min to go"),
        (60, "USD 3.40 spent, 16.60 of 20.00 left, 0:18, about 4 min to go"),
        (50, "USD 3.40, 16.60 left, 0:18, about 4 min to go"),
        (40, "USD 3.40, 16.60 left, about 4 min to go"),
    ],
)
def test_the_second_line_has_money_and_time(width: int, told: str) -> None:
    display, _, clock = shown(
        spend=Spend(2, 3_400_000, 0), caps=Caps(max_micros=20_000_000), usual=50.0, total=20
    )
    clock.at += 18
    assert lines(display, width)[1] == told


@pytest.mark.parametrize(
    ("spend", "caps", "told"),
    [
        (Spend(3, 0, 3), Caps(max_tasks=8), "3 tasks of unknown price spent, 5 of 8 submits left, 0:00"),
        (Spend(3, 1_000_000, 1), Caps(), "USD 1.00 and 1 task of unknown price spent, 0:00"),
        (Spend(1, 4_600, 0), Caps(), "USD 0.0046 spent, 0:00"),
        (None, Caps(), "0:00"),
    ],
)
def test_a_price_that_is_not_known_is_not_zero(spend: Spend | None, caps: Caps, told: str) -> None:
    display, _, _ = shown(spend=spend, caps=caps)
    assert lines(display, 80)[1] == told


def test_a_rehearsal_says_that_it_is_free() -> None:
    display, _, _ = shown(spend=Spend(2, 3_400_000, 0), is_rehearsal=True)
    assert lines(display, 80)[1] == "rehearsal, for real USD 3.40, 0:00"


def test_nothing_is_said_of_the_time_to_go_where_nothing_is_known() -> None:
    display, _, _ = shown(usual=None)
    assert "to go" not in lines(display, 200)[1]


def test_the_third_line_is_the_last_thing_in_words() -> None:
    display, told, _ = shown()
    display.observe("task.submitted", {"task": "boat-1", "identity": "a"})
    assert lines(display, 60)[2] == "boat-1 was accepted"
    display.observe("task.failed", {"task": "boat-1", "identity": "a", "code": "policy", "error": "no"})
    assert lines(display, 60)[2] == "boat-1 failed"
    assert told == ["boat-1 failed: policy: no"]


def test_a_long_name_loses_its_middle_and_no_word() -> None:
    display, _, _ = shown()
    display.observe("task.done", {"task": f"harbour-{'x' * 60}-s1", "identity": "a"})
    line = lines(display, 40)[2]
    assert len(line) <= 40
    assert re.fullmatch(r"harbour-x+\.\.\.x+-s1 is done", line)


@pytest.mark.fault(74)
def test_a_wait_counts_down_and_ends() -> None:
    display, told, clock = shown()
    what = "the service's list to show what was paid for"
    wait: dict[str, object] = {"for": what, "until": iso_time(clock.at + 252), "tasks": 3}
    display.observe("run.waiting", wait)
    assert lines(display, 80)[2] == f"waiting 4:12 at most for {what}"
    clock.at += 60
    assert lines(display, 60)[2] == "waiting 3:12 at most, for what is told above"
    assert lines(display, 30)[2] == "waiting 3:12 at most"
    display.observe("run.waiting", wait | {"until": iso_time(clock.at), "tasks": 0})
    assert lines(display, 60)[2] == ""
    assert told == []  # long past by the real clock: see test_event_words


def test_a_terminal_that_got_narrower_has_broken_the_lines() -> None:
    assert broken_rows([199, 60, 20], 200) == 0
    assert broken_rows([199, 60, 20], 60) == 3
    assert broken_rows([79, 40, 41], 40) == 2


def test_the_rows_of_broken_lines_are_wiped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich goes back over as many rows as it has drawn."""
    for variable in ("XTERM_VERSION", "STY"):
        monkeypatch.delenv(variable, raising=False)
    display, _, _ = shown()
    drawn = Console(force_terminal=True, width=60, height=24)
    live = Reflowing(display, drawn)
    display.drawn = [199, 60, 20]
    with drawn.capture() as first:
        drawn.print(*live.process_renderables([])[:1], end="")
    monkeypatch.setenv("XTERM_VERSION", "XTerm(379)")
    with drawn.capture() as second:
        drawn.print(*live.process_renderables([])[:1], end="")
    assert first.get().count("\x1b[1A") == 3
    assert second.get().count("\x1b[1A") == 0


JOB = """\
version: 1
models: [byteplus/seedance-1-0-pro]
matrix:
  shot:
    - {name: harbour, prompt: A harbour}
    - {name: boat, prompt: "A boat [violate]"}
samples: 4
request: {resolution: 480p, ratio: 1:1, duration: 4}
content:
  - type: text
    text: ${{ shot.prompt }}
output: out/${{ shot.name }}-${{ sample }}.mp4
budget: {max_usd: 5}
price: {usd_per_mtok: 2.5}
run: {settle: 100ms, settle_alone: 12s, concurrency: 3, poll: {first: 100ms, min: 100ms, max: 200ms}}
"""

Open = Callable[[int], Screen]


@pytest.fixture
def troubled(tmp_path: Path) -> SandboxServer:
    """A service that refuses submits for a while, and leaves one unclear."""
    assert callsheet("init", cwd=tmp_path).returncode == 0
    (tmp_path / "jobs" / "night.yaml").write_text(JOB, encoding="utf-8")
    return SandboxServer(SandboxConfig(latency=(0.3, 0.6), scale=0.1))


def terminal(root: Path, url: str, columns: int, **changes: str):
    changed = environment(
        MESHAPI_API_KEY=SANDBOX_KEY, MESHAPI_BASE_URL=url, TERM="xterm-256color", LANG="C.UTF-8", **changes
    )
    for variable in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        if variable not in changes:
            changed.pop(variable, None)
    return in_terminal(command("run", "jobs/night.yaml"), columns, root, changed)


def add_trouble(server: SandboxServer) -> None:
    server.faults.add(
        Fault(
            where=Where.SUBMIT,
            kind=Kind.ANSWER,
            status=503,
            code="provider_not_available",
            message="upstream is overloaded",
            after=2,
            times=3,
        ),
        Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, after=6, times=1),
        Fault(where=Where.GET, kind=Kind.ANSWER, status=503, code="upstream_error", after=3, times=2),
    )


@pytest.mark.fault(74)
@pytest.mark.parametrize("columns", evidence_but(lambda columns: columns == 80, [60, 80, 200]))
def test_the_screen_of_a_run_that_meets_trouble(
    columns: int, tmp_path: Path, troubled: SandboxServer
) -> None:
    with troubled as server:
        add_trouble(server)
        with terminal(tmp_path, server.url, columns) as screen:
            assert screen.end() == 1
    assert server.accepted == 8
    bars = [[row for row in rows if BAR.search(row)] for rows in screen.snapshots]
    assert any(bars), "a bar was drawn"
    assert all(len(each) <= 1 for each in bars), "never two bars, and none is left behind"
    assert not any(BAR.search(row) for row in screen.rows)
    widest = max(len(row) for each in bars for row in each)
    assert widest == columns - 1, "the whole width is used"
    told = " ".join(row.strip() for row in screen.rows)
    assert told.count("the service refuses submits for now") == 1, "at once, and not for each retry"
    assert told.count("503 provider_not_available: upstream is overloaded") == 1
    assert told.count("the service does not answer for now") == 1
    assert told.count(" is unclear: it may have been accepted") == 1
    for number in range(1, 5):
        assert told.count(f"boat-{number} failed: content_policy_violation: the prompt violates") == 1
    assert "free, a rehearsal; for real USD" in told
    assert "4 failed: content_policy_violation: the prompt violates the content policy" in told
    assert not screen.screen.cursor.hidden
    seen = {row for rows in screen.snapshots for row in rows}
    assert any(re.match(r"(rehearsal|free), for real USD \d+\.\d\d, ", row) for row in seen)
    assert any(re.match(r"(harbour|boat)-\d (is|was|failed)", row) for row in seen)
    assert all(len(row) <= columns for row in seen)


@pytest.mark.evidence
def test_without_trouble_nothing_is_red(tmp_path: Path, troubled: SandboxServer) -> None:
    job = tmp_path / "jobs" / "night.yaml"
    job.write_text(JOB.replace(" [violate]", ""), encoding="utf-8")
    with troubled as server, terminal(tmp_path, server.url, 80) as screen:
        assert screen.end() == 0
    assert {"green", "cyan"} <= screen.colours
    assert screen.colours <= {"default", "green", "cyan"}


@pytest.mark.evidence
def test_no_color_draws_the_same_without_colours(tmp_path: Path, troubled: SandboxServer) -> None:
    with troubled as server, terminal(tmp_path, server.url, 80, NO_COLOR="1") as screen:
        assert screen.end() == 1
    assert screen.colours == {"default"}
    assert any(BAR.search(row) for rows in screen.snapshots for row in rows)


def test_an_ascii_terminal_gets_a_bar_that_it_can_show(tmp_path: Path, troubled: SandboxServer) -> None:
    with (
        troubled as server,
        terminal(tmp_path, server.url, 80, PYTHONIOENCODING="ascii", NO_COLOR="1") as screen,
    ):
        assert screen.end() == 1
    seen = [row for rows in screen.snapshots for row in rows]
    assert all(row.isascii() for row in seen)
    assert any(re.match(r"[#=.x]{8,}  ", row) for row in seen)


def test_a_terminal_that_is_resized_under_a_run_keeps_one_bar(
    tmp_path: Path, troubled: SandboxServer
) -> None:
    with (
        troubled as server,
        terminal(tmp_path, server.url, 120, XTERM_VERSION="XTerm(379)") as screen,
    ):
        screen.wait_until(lambda rows: any(BAR.search(row) for row in rows))
        screen.resize(60)
        screen.wait_until(lambda rows: any(BAR.search(row) and len(row) == 59 for row in rows))
        screen.resize(140)
        screen.wait_until(lambda rows: any(BAR.search(row) and len(row) == 139 for row in rows))
        assert sum(bool(BAR.search(row)) for row in screen.rows) == 1
        assert screen.end() == 1
    assert not any(BAR.search(row) for row in screen.rows)


def test_an_interrupted_run_leaves_no_bar_and_gives_the_cursor_back(
    tmp_path: Path, troubled: SandboxServer
) -> None:
    with troubled as server, terminal(tmp_path, server.url, 80) as screen:
        screen.wait_until(lambda rows: any("at the service" in row for row in rows))
        os.kill(screen.process.pid, signal.SIGINT)
        assert screen.end() == 130
    told = " ".join(screen.rows)
    assert "stopping: what is in flight is left for later (Ctrl-C again: at once)" in told
    assert not any(BAR.search(row) for row in screen.rows)
    assert not screen.screen.cursor.hidden
