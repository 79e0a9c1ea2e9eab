"""Which lists a scan asks for, how fast, and for how long they say something."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import anyio
import trio.testing

from runner.job.model import RunPolicy
from runner.lane.evidence import Unclear
from runner.lane.scan import DAY, Scanner, kept
from runner.providers import every
from runner.providers.base import Generation, GenerationStatus, ListPage, ListQuery
from runner.providers.provider import Listing, ListKind
from tests.support.echoing_service import ECHOING
from tests.support.unclear_attempts import NOW, unclear


def scanner_of(listing: Listing, asked: list[tuple[float, ListQuery]], pages: int = 1) -> Scanner:
    """One whose service answers with so many pages, and notes what it was asked and when."""

    async def nothing(**_: object) -> None:
        await anyio.lowlevel.checkpoint()

    async def list_page(query: ListQuery) -> ListPage:
        asked.append((anyio.current_time(), query))
        number = int(query.cursor or 0) + 1
        row = Generation(f"r{number}", GenerationStatus.RUNNING, "running", created_at=NOW)
        return ListPage((row,), number < pages, cursor=str(number) if number < pages else "")

    lane: Any = SimpleNamespace(
        origin="o",
        key_hash="k",
        provider=replace(ECHOING, listing=listing),
        client=SimpleNamespace(list_page=list_page),
        requests=SimpleNamespace(acquire=nothing, answered=lambda: None),
        clock=SimpleNamespace(hear=lambda _: None),
    )
    return Scanner(lane)


def one(name: str, listing: Listing, *, model: str = "acme/film-2", tier: str | None = None) -> Unclear:
    request: Any = {"model": model, "prompt": "a teapot", "tier": tier}
    made = unclear(name, tag=None, seed=None, model=model, request=request)
    return replace(made, provider=replace(ECHOING, listing=listing))


def read(scanner: Scanner, *attempts: Unclear) -> None:
    """Reads the list of each in turn, while simulated time passes."""

    async def go() -> None:
        for attempt in attempts:
            await scanner._read_list(NOW - 10, attempt)

    anyio.run(go, backend="trio", backend_options={"clock": trio.testing.MockClock(autojump_threshold=0)})


def test_pages_are_as_far_apart_as_the_service_wants_across_lists_too() -> None:
    listing = Listing(kind=ListKind.CURSOR, interval=1.0)
    asked: list[tuple[float, ListQuery]] = []
    attempt = one("a", listing)
    read(scanner_of(listing, asked, pages=3), attempt, attempt)
    times = [at for at, _ in asked]
    assert len(times) == 6
    assert all(later - at >= 1.0 for at, later in itertools.pairwise(times))


def test_each_list_of_its_own_is_asked_for_by_model_and_scope() -> None:
    listing = Listing(kind=ListKind.CURSOR, by_model=True, scope_field="tier", page=7)
    asked: list[tuple[float, ListQuery]] = []
    scanner = scanner_of(listing, asked)
    attempts = [
        one("a", listing),
        one("b", listing, tier="flex"),
        one("c", listing, model="acme/film-3"),
        one("d", listing),
    ]
    parts = scanner.parts(attempts)
    assert [[each.name for each in part] for part in parts] == [["a", "d"], ["b"], ["c"]]
    read(scanner, *(part[0] for part in parts))
    assert [(query.model, query.scope, query.limit) for _, query in asked] == [
        ("acme/film-2", "default", 7),
        ("acme/film-2", "flex", 7),
        ("acme/film-3", "default", 7),
    ]


def test_one_list_for_all_models_is_read_once_and_named_no_model() -> None:
    listing = Listing(kind=ListKind.CURSOR)
    asked: list[tuple[float, ListQuery]] = []
    scanner = scanner_of(listing, asked)
    (part,) = scanner.parts([one("a", listing), one("b", listing, model="acme/film-3")])
    read(scanner, part[0])
    assert asked[0][1].model == ""


def test_a_list_that_reaches_back_less_far_says_nothing_of_older_doubts() -> None:
    life = ECHOING.record_life
    assert kept(replace(ECHOING, listing=None)) == life - DAY
    assert kept(replace(ECHOING, listing=Listing())) == life - DAY
    assert kept(replace(ECHOING, listing=Listing(window=DAY))) == 0.9 * DAY
    assert kept(replace(ECHOING, listing=Listing(window=100 * DAY))) == life - DAY


def test_a_list_of_a_short_memory_says_something_for_half_of_it() -> None:
    """vLLM-Omni keeps its jobs for a day: less a day, no list of it would ever have said anything."""
    assert kept(replace(ECHOING, record_life=DAY)) == DAY / 2
    dialects = [dialect for each in every().values() for dialect in (each, *each.dialects.values())]
    listed = [each for each in dialects if each.listing is not None]
    assert min(kept(each) for each in listed) >= 10 * RunPolicy().settle_alone
