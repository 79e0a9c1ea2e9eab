"""A screen that is drawn again in place."""

from __future__ import annotations

import io

from rich.console import Console

from runner.cli.display.screen import watch_screen


def test_each_look_is_drawn_in_place_until_there_is_nothing_more() -> None:
    drawn = io.StringIO()
    looks: list[list[str] | None] = [["run r1", "1 done"], ["run r1", "2 done"], None]
    pauses: list[float] = []
    screen = Console(file=drawn, force_terminal=True, width=60, height=5, legacy_windows=False)
    watch_screen(lambda: looks.pop(0), screen=screen, sleep=pauses.append)
    text = drawn.getvalue()
    assert text.index("1 done") < text.index("2 done")
    assert (text.count("\x1b[?1049h"), text.count("\x1b[?1049l")) == (1, 1), "the screen before comes back"
    assert "\x1b[2J" not in text.partition("1 done")[2], "nothing is cleared between two looks: no flicker"
    assert len(pauses) == 2
    assert min(pauses) >= 1.0


def test_ctrl_c_ends_it_cleanly() -> None:
    drawn = io.StringIO()

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    screen = Console(file=drawn, force_terminal=True, width=60, height=5, legacy_windows=False)
    watch_screen(lambda: ["1 done"], screen=screen, sleep=interrupt)
    assert "\x1b[?1049l" in drawn.getvalue()


def test_nothing_is_drawn_where_there_is_nothing_to_watch() -> None:
    drawn = io.StringIO()
    watch_screen(lambda: None, screen=Console(file=drawn, force_terminal=True), sleep=lambda _seconds: None)
    assert drawn.getvalue() == ""
