"""A screen that is drawn again and again in place, without flicker, until there is nothing more to see."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

from runner.cli import console

_PAUSE = 1.0
_MOST_BUSY = 4.0
"""A look at 100,000 tasks takes seconds: the pause is this many times as long as the look before it."""


def watch_screen(
    look: Callable[[], list[str] | None],
    *,
    screen: Console | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Shows the lines that `look` gives, until it gives None or somebody presses Ctrl-C.

    The terminal then has again what it had before. Lines that do not fit are left out at the end.
    """
    lines = look()
    if lines is None:
        return
    try:
        with Live(console=screen or Console(), screen=True, auto_refresh=False) as live:
            while lines is not None:
                begun = time.monotonic()
                live.update(Text.from_ansi(console.screen_text(lines)), refresh=True)
                sleep(max(_PAUSE, _MOST_BUSY * (time.monotonic() - begun)))
                lines = look()
    except KeyboardInterrupt:
        return
