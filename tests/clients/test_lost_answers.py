"""docs/explanation/why-not-the-sdk.md: what each client does with a POST whose answer is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.clients import names
from tests.support.cut_posts import EVENTS, PAGE, load, measure, rows_of
from tests.support.evidence import evidence_but

ROWS = rows_of(PAGE.read_text(encoding="utf-8"))


def test_the_table_has_every_client_and_every_event_once() -> None:
    clients = [load(name).distribution for name in names()]
    wanted = [(f"`{client}`", event) for client in clients for event in EVENTS]
    assert [(row.client, row.answer) for row in ROWS] == wanted


@pytest.mark.parametrize("event", evidence_but(lambda event: event == next(iter(EVENTS)), EVENTS))
@pytest.mark.parametrize("name", names())
def test_a_row_of_the_table_is_what_is_measured(name: str, event: str) -> None:
    """A newer version of a client may be installed; its figures have to be those of the page."""
    client = load(name)
    (told,) = [row for row in ROWS if (row.client, row.answer) == (f"`{client.distribution}`", event)]
    measured = measure(client, event)
    assert replace(measured, version=told.version) == told
