"""Who watches a run decides how it is shown: three lines on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from runner.cli import console
from runner.cli.common_options import common
from runner.cli.display.event_lines import EventLines
from runner.cli.display.work import Work
from runner.record.events import Observer


@contextlib.contextmanager
def watching(works: Sequence[Work]) -> Iterator[list[Observer]]:
    """An observer for each of `works`, shown together. A closed terminal costs no paid task: `stdio.Notes`
    never raises.
    """
    if console.is_terminal() and not common().quiet and not common().verbosity:
        # imported here: it loads rich
        from runner.cli.display.live import shown_live

        with shown_live(works) as observers:
            yield observers
    else:
        lines = [plain(work) for work in works]
        try:
            yield [each.observe for each in lines]
        finally:
            for each in lines:
                each.close()


def plain(work: Work) -> EventLines:
    """Plain lines, for work that takes no time."""
    return EventLines(work.name, common().verbosity, work.zone, work.names_accounts)
