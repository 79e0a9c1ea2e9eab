"""Lists that lead from page to page: what is a whole one, and what is none."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lane.scan import NoScanError, read_by_cursor
from runner.providers.base import Generation, GenerationStatus, ListPage, ListQuery
from runner.providers.provider import Listing, ListKind

CURSOR = Listing(kind=ListKind.CURSOR, page=2)
ORDERED = Listing(kind=ListKind.CURSOR, page=2, is_ordered=True)
NOW = 1_800_000_000.0


def row(remote_id: str, at: float | None = NOW) -> Generation:
    return Generation(remote_id, GenerationStatus.RUNNING, "running", created_at=at)


def page(ids: str, cursor: str = "", *, at: float | None = NOW, **more: object) -> ListPage:
    rows = tuple(row(one, at) for one in ids.split())
    return ListPage(rows, bool(cursor), cursor=cursor, **more)  # type: ignore[arg-type]


async def read(pages: dict[str, ListPage], listing: Listing = CURSOR) -> tuple[list[str], list[ListQuery]]:
    """The ids of a whole list, and what was asked for; `pages` by their cursors."""
    asked: list[ListQuery] = []

    async def get(query: ListQuery) -> ListPage:
        asked.append(query)
        return pages[query.cursor]

    listed = await read_by_cursor(get, ListQuery(NOW - 100, listing.page), listing)
    assert listed.pages == len(asked)
    return [*listed.rows], asked


@pytest.mark.anyio
async def test_each_page_is_asked_for_by_the_cursor_of_the_one_before() -> None:
    ids, asked = await read({"": page("a b", "x"), "x": page("c d", "y"), "y": page("e")})
    assert ids == ["a", "b", "c", "d", "e"]
    assert [(query.cursor, query.offset) for query in asked] == [("", 0), ("x", 2), ("y", 4)]


@pytest.mark.anyio
async def test_an_empty_list_is_whole() -> None:
    assert (await read({"": page("")}))[0] == []


@pytest.mark.fault(103)
@pytest.mark.anyio
@pytest.mark.parametrize(
    "pages",
    [
        {"": page("a", "x"), "x": page("b", "x")},
        {"": page("a", "x"), "x": page("b", "y"), "y": page("c", "x")},
        {"": page("a", "x"), "x": page("a b")},
        {"": page("a", "x"), "x": page("b a", "y")},
        {"": page("a a")},
        {"": page("a", "x"), "x": page("", "y"), "y": page("b")},
        {"": ListPage((row("a"),), has_more=True)},
    ],
    ids=["itself", "a circle", "a row twice", "a row again", "twice on one page", "empty", "nowhere"],
)
async def test_a_list_that_repeats_itself_or_leads_nowhere_is_no_scan(pages: dict[str, ListPage]) -> None:
    with pytest.raises(NoScanError):
        await read(pages)


@pytest.mark.fault(103)
@pytest.mark.anyio
async def test_a_list_that_does_not_end_is_no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.lane.scan.MOST_ROWS", 50)
    count = 0

    async def get(query: ListQuery) -> ListPage:
        nonlocal count
        count += 1
        return page(f"r{count}", f"c{count}")

    with pytest.raises(NoScanError, match="50 rows"):
        await read_by_cursor(get, ListQuery(None, 1), CURSOR)


@pytest.mark.anyio
async def test_a_list_without_a_time_filter_is_read_until_it_is_surely_older() -> None:
    """Only where the service says that the newest come first, and shows it."""
    pages = {
        "": page("a", "x"),
        "x": page("b", "y", at=NOW - 90),
        "y": page("c", "z", at=NOW - 101),
        "z": page("d", at=NOW - 200),
    }
    assert (await read(pages, ORDERED))[0] == ["a", "b", "c"]
    assert (await read(pages, CURSOR))[0] == ["a", "b", "c", "d"]
    without_time = pages | {"y": page("c", "z", at=None)}
    assert (await read(without_time, ORDERED))[0] == ["a", "b", "c", "d"]
    with pytest.raises(NoScanError, match="newest rows first"):
        await read(pages | {"y": page("c", "z", at=NOW)}, ORDERED)


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), max_size=3), min_size=1, max_size=4),
    st.lists(st.sampled_from(["", "0", "1", "2", "3"]), min_size=4, max_size=4),
)
def test_whatever_a_list_says_it_ends_and_shows_each_row_once(
    rows: Sequence[Sequence[str]], cursors: Sequence[str]
) -> None:
    pages = {
        name: page(" ".join(ids), cursor)
        for name, ids, cursor in zip(
            ["", "0", "1", "2", "3"], [*rows] + [[]] * 5, [*cursors, ""], strict=False
        )
    }

    async def go() -> None:
        try:
            ids, asked = await read(pages)
        except NoScanError:
            return
        assert len(ids) == len({*ids}) == sum(len(pages[query.cursor].rows) for query in asked)
        assert not pages[asked[-1].cursor].has_more

    anyio.run(go)
