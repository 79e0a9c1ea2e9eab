"""Three lines at the bottom of a terminal while work is under way; what a person must read scrolls above.

1. Tasks that are done, at the service, failed, and a bar of them.
2. What is spent and what the budget still allows, the time so far, and the time to go where the ledger
   knows how long such tasks take.
3. What happened last, or what is waited for and how long.

`watching` imports this module, and rich with it, only where a terminal is: alone it takes 47 ms; a run that
works has loaded it anyway, for structlog does.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from runner.cli import console
from runner.cli.display.event_words import Known, Weight, waits_until, with_account, words
from runner.cli.display.tally import ABSENT, DONE, FAILED, HELD, STAGES, THERE, UNCLEAR, Tally
from runner.cli.display.work import Work, together
from runner.cli.humanize import clock_words, fitting, spend_words, to_go_words
from runner.ledger.rows import Spend
from runner.money import usd_words
from runner.plural import count
from runner.record.events import Observer
from runner.redact import printable

T = TypeVar("T")

_STYLES: Mapping[str, str] = {DONE: "green", THERE: "cyan", FAILED: "red", UNCLEAR: "yellow", HELD: "yellow"}
"""Of the terminal's own sixteen colours, which a light and a dark theme both keep readable. Red is for failed
tasks alone."""
_TO_COME = "to come"
_GLYPHS: Mapping[str, tuple[str, str]] = {
    DONE: ("█", "#"),
    THERE: ("▒", "="),
    FAILED: ("x", "x"),
    UNCLEAR: ("?", "?"),
    HELD: ("?", "?"),
    ABSENT: ("-", "-"),
    _TO_COME: ("·", "."),
}
"""What a cell of the bar means, with and without Unicode: the bar can be read without colour."""

_SHORTEST_BAR = 6
_REFRESHES = 2
"""A second. tmux tells of a new width a quarter of a second after it has broken the lines: what is drawn in
between leaves a row behind."""
_SPEND_SECONDS, _USUAL_SECONDS, _UNKNOWN_SECONDS = 1.0, 15.0, 2.0
"""How old a figure from the ledger may be, the last where it is not known yet."""
_INDENT = "  "
_NARROWEST = 20


@contextlib.contextmanager
def shown_live(works: Sequence[Work]) -> Iterator[list[Observer]]:
    """Observers, one for each of `works`, that draw three lines for all of them on stderr until the block
    ends, and leave none of them.
    """
    drawn = Console(
        stderr=True,
        no_color=not console.has_colour(sys.stderr),
        highlight=False,
        markup=False,
        emoji=False,
    )

    def show(line: str) -> None:
        # rich has stderr meanwhile, and moves what comes there above the display
        for number, row in enumerate(Text(line).wrap(drawn, max(_NARROWEST, drawn.width - len(_INDENT)))):
            console.note(f"{_INDENT if number else ''}{row.plain.rstrip()}")

    display = Display(together(works), show)
    with Reflowing(display, drawn) as live:
        # who suspends or kills the process wants the cursor back
        drawn.show_cursor(True)

        def observe(work: Work, name: str, fields: Mapping[str, object]) -> None:
            if name == "run.left_at_once":
                live.stop()
            else:
                display.observe(name, fields, work)

        yield [functools.partial(observe, work) for work in works]


@dataclass(slots=True)
class _Figure(Generic[T]):
    """A figure of the ledger, read again when it is old."""

    read: Callable[[], T]
    seconds: float
    _value: T | None = None
    _read_at: float = -math.inf

    def at(self, now: float) -> T | None:
        if now - self._read_at >= (self.seconds if self._value is not None else _UNKNOWN_SECONDS):
            self._value, self._read_at = self.read(), now
        return self._value


@dataclass(slots=True)
class Display:
    """What the three lines say. `now` is a monotonic clock, `wall` gives Unix seconds."""

    work: Work
    show: Callable[[str], None]
    """Puts a line above the display."""
    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    drawn: list[int] = field(default_factory=list)
    """The columns that each line took when it was drawn last."""
    _tally: Tally = field(init=False)
    _began: float = field(init=False)
    _spend: _Figure[Spend | None] = field(init=False)
    _usual: _Figure[float | None] = field(init=False)
    _known: Known = field(default_factory=Known)
    _last: str = ""
    _waits: dict[str, float] = field(default_factory=dict)
    """What is awaited, and until when (Unix seconds) at the latest."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._tally = Tally(self.work.total, self.work.at_once)
        self._began = self.now()
        self._spend = _Figure(self.work.spend, _SPEND_SECONDS)
        self._usual = _Figure(self.work.usual_seconds, _USUAL_SECONDS)

    def observe(self, name: str, fields: Mapping[str, object], work: Work | None = None) -> None:
        """Takes an event, of `work` where that is a part of what is shown; what is news stands above the
        display at once, and once.
        """
        told = words(name, fields)
        with self._lock:
            self._tally.observe(name, fields, self.now())
            if name == "run.waiting":
                self._waits[str(fields.get("for"))] = waits_until(fields)
            elif told is not None:
                self._last = told.short or told.text
        # not under the lock, which whoever draws takes
        is_new = self._known.is_new(name, fields, self.now())
        if told is not None and told.weight is Weight.NEWS and is_new:
            whose = work or self.work
            of = "" if whose is self.work else f"{printable(whose.name)}: "
            self.show(of + with_account(name, fields, told.text, whose.names_accounts))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # a full line would be broken as soon as the terminal gets narrower by one column
        lines = self.lines(max(1, options.max_width - 1), has_unicode=console.encoding.startswith("utf"))
        self.drawn = [line.cell_len for line in lines]
        yield Text("\n").join(lines)

    def lines(self, width: int, *, has_unicode: bool) -> list[Text]:
        """The three lines, none of them wider than `width` columns."""
        now = self.now()
        usual = self._usual.at(now)
        with self._lock:
            counts, total = self._tally.counts, self._tally.all
            to_go = self._tally.seconds_to_go(usual, now)
            last, waits = self._last, dict(self._waits)
        return [
            tasks_line(counts, total, width, has_unicode=has_unicode),
            Text(fitting(width, self._money_and_time(now, to_go))),
            Text(fitting(width, self._what_happens(last, waits))),
        ]

    def _money_and_time(self, now: float, to_go: float | None) -> Iterator[str]:
        """The second line, its longest form first."""
        clock = clock_words(now - self._began)
        left = f"about {to_go_words(to_go)} to go" if to_go is not None else ""
        for money in (*self._money(now), ""):
            yield ", ".join(part for part in (money, clock, left) if part)
            yield ", ".join(part for part in (money, left or clock) if part)

    def _money(self, now: float) -> Iterator[str]:
        spent = self._spend.at(now)
        if spent is None:
            return
        caps = self.work.caps
        if self.work.is_rehearsal:
            long, said = (f"{world}, for real {spend_words(spent)}" for world in ("rehearsal", "free"))
        else:
            long, said = f"{spend_words(spent)} spent", spend_words(spent)
        if caps.max_micros is not None and not spent.unknown:
            left = usd_words(max(0, caps.max_micros - spent.micros)).removeprefix("USD ")
            of = usd_words(caps.max_micros).removeprefix("USD ")
            yield f"{long}, {left} of {of} left"
            yield f"{said}, {left} left"
        elif caps.max_tasks is not None:
            submits = max(0, caps.max_tasks - spent.tasks)
            yield f"{long}, {submits:,} of {count(caps.max_tasks, 'submit')} left"
            yield f"{said}, {count(submits, 'submit')} left"
        yield long
        yield said

    def _what_happens(self, last: str, waits: Mapping[str, float]) -> Iterator[str]:
        """The third line, its longest form first. What is awaited in full stands above."""
        now = self.wall()
        awaited = {what: until for what, until in waits.items() if until > now}
        if not awaited:
            yield last
            return
        what, until = max(awaited.items(), key=lambda each: each[1])
        yield f"waiting {clock_words(until - now)} at most for {what}"
        yield f"waiting {clock_words(until - now)} at most, for what is told above"
        yield f"waiting {clock_words(until - now)} at most"


def tasks_line(counts: Mapping[str, int], total: int, width: int, *, has_unicode: bool) -> Text:
    """`████▒▒··· 4 done, 2 at the service of 9`: the words first, and a bar as wide as the rest."""
    shown = {stage: counts[stage] for stage in STAGES if counts.get(stage)}
    shown = shown or {DONE: 0}
    told = ", ".join(f"{number:,} {stage}" for stage, number in shown.items())
    short = ", ".join(f"{number} {_BRIEF.get(stage, stage)}" for stage, number in shown.items())
    forms = (f"{told} of {total:,}", told, short)
    beside_a_bar = (form for form in forms if width - len(form) - 2 >= _SHORTEST_BAR)
    said = next(beside_a_bar, None) or fitting(width, forms)
    room = width - len(said) - 2
    line = Text()
    if room >= _SHORTEST_BAR:
        to_come = max(0, total - sum(counts.values()))
        for stage, cells in shares({**shown, _TO_COME: to_come}, room).items():
            glyph = _GLYPHS[stage][0 if has_unicode else 1]
            line.append(glyph * cells, _STYLES.get(stage, ""))
        line.append("  ")
    line.append(said)
    for stage, style in _STYLES.items():
        if stage in (FAILED, UNCLEAR, HELD):
            line.highlight_regex(rf"\b[\d,]+ {stage}\b", style)
    return line


_BRIEF: Mapping[str, str] = {THERE: "in flight"}


def shares(numbers: Mapping[str, int], cells: int) -> dict[str, int]:
    """`cells` shared out in proportion; what is there at all has one where there is room."""
    some = {name: number for name, number in numbers.items() if number > 0}
    total = sum(some.values())
    if not total or cells < len(some):
        return {_TO_COME: cells}
    # one cell each, the rest in proportion: the ends of the parts are rounded, so they add up
    spare, found, done, end = cells - len(some), {}, 0, 0
    for name, number in some.items():
        done += number
        until = round(spare * done / total)
        found[name] = 1 + until - end
        end = until
    return found


class Reflowing(Live):
    """rich's live display in a terminal that may be made narrower while it stands there.

    A terminal breaks lines that no longer fit, so the display takes more rows than were drawn, and rich would
    leave the upper ones behind. xterm and GNU screen cut such lines instead.
    """

    def __init__(self, display: Display, drawn: Console) -> None:
        super().__init__(
            get_renderable=lambda: display,
            console=drawn,
            refresh_per_second=_REFRESHES,
            transient=True,
            redirect_stdout=False,
        )
        self._display = display

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        rows = broken_rows(self._display.drawn, self.console.width) if _breaks_lines() else 0
        up = Control(*[(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * rows)
        return [up, *super().process_renderables(renderables)]


def broken_rows(drawn: Sequence[int], width: int) -> int:
    """The rows that lines of so many columns take beyond one each, `width` columns wide."""
    return sum(max(0, math.ceil(columns / width) - 1) for columns in drawn)


def _breaks_lines() -> bool:
    is_screen = "STY" in os.environ and "TMUX" not in os.environ
    return "XTERM_VERSION" not in os.environ and not is_screen
