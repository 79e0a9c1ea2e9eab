"""Who watches a run decides how it is shown: three lines on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from runner.cli import console
from runner.cli.common_options import common
from runner.cli.event_lines import EventLines
from runner.cli.work import Work
from runner.record.events import Observer


@contextlib.contextmanager
def watching(work: Work) -> Iterator[Observer]:
    """An observer that shows `work`. A closed terminal costs no paid task: `stdio.Notes` never raises."""
    if console.is_terminal() and not common().quiet and not common().verbosity:
        # imported here: it loads rich
        from runner.cli.live import shown_live

        with shown_live(work) as observer:
            yield observer
    else:
        lines = plain(work)
        try:
            yield lines.observe
        finally:
            lines.close()


def plain(work: Work) -> EventLines:
    """Plain lines, for work that takes no time."""
    return EventLines(work.name, common().verbosity, work.zone)
