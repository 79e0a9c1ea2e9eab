"""One look at the service's list: read whole or not at all, and laid beside what the ledger knows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio

from runner.http.verdicts import ProviderError, Trouble
from runner.lane.evidence import SKEW, Beliefs, Unclear, created_after, repeats_input
from runner.lane.lane import Lane
from runner.ledger.read import LedgerReader
from runner.ledger.rows import Accepted, AttemptRow, Claimed, Echoed
from runner.ledger.states import MAYBE_LISTED, TAKEN_FOR_ABSENT, TaskState
from runner.providers.base import Generation, ListPage, ListQuery, RemoteTask
from runner.providers.provider import Echo, Listing, ListKind, Provider

DAY = 86_400.0
"""Seconds before the end of a record's life from which on a list proves nothing."""

MOST_ROWS = 100_000
"""500 pages of 200: more are not read for one doubt."""

WITHIN = 0.9
"""Of the time that a list reaches back: its end may be nearer than the service says."""

SCAN_SECONDS = 600.0
"""For all pages together."""

MARGIN = 24 * 3600.0
"""Seconds by which the window is opened too early: a filter may be wrong by a time zone."""

EPOCH = 1_577_836_800.0
"""2020-01-01: no service of this kind has older rows."""

_FORBIDDEN = 403
ALL_ROWS = frozenset({Trouble.UNREACHABLE, Trouble.RATE_LIMITED, Trouble.USED_UP, Trouble.CERTIFICATE})
"""Troubles that are not one row's."""

MOST_ASKED = 20
"""GETs of rows that are undecided, for each scan."""


class NoScanError(Exception):
    """The list changed while it was read, or contradicts itself: it proves nothing (row 36)."""


@dataclass(frozen=True, slots=True)
class ListView:
    """The result of a scan: the ids of all rows, those that no attempt claims, and ours that it has to show.

    A row of `foreign_ids` is a candidate although another attempt holds its id: it shows the tag of one
    that is unclear. `is_readable` is False where a row could not be read: then nothing is absent.
    """

    rows: Collection[str]
    candidates: Sequence[Generation]
    accepted: Sequence[Accepted]
    foreign_ids: frozenset[str] = frozenset()
    is_readable: bool = True
    pages: int = 1


@dataclass(frozen=True, slots=True)
class _Listed:
    rows: Mapping[str, Generation]
    unreadable: int
    pages: int


def kept(provider: Provider) -> float:
    """Seconds from an intent for which the list says something of it: until a day before the record's life
    ends, for half of a life below two days, and no longer than the list reaches back.
    """
    listing, life = provider.listing, provider.record_life - min(DAY, provider.record_life / 2)
    return life if listing is None or listing.window is None else min(life, WITHIN * listing.window)


@dataclass(slots=True)
class Scanner:
    lane: Lane
    _next_page: float = 0.0
    """When (monotonic) the service takes the next request for a page."""
    _page_turn: anyio.Lock = field(default_factory=lambda: anyio.Lock(fast_acquire=True))
    _filled: dict[str, Generation] = field(default_factory=dict)
    """Rows as a GET has filled their nulls: what a service has decided once it does not take back."""
    _asked: dict[str, float] = field(default_factory=dict)
    """When (monotonic) each was asked for last."""

    @property
    def _list(self) -> tuple[str, str, Listing]:
        """Whose list it is, and which parts it has."""
        listing = self.lane.provider.listing
        assert listing is not None, "nothing is looked for at a service without a list"
        return self.lane.origin, self.lane.key_hash, listing

    def parts(self, unclear: Sequence[Unclear]) -> list[list[Unclear]]:
        """The attempts by the list that shows them: a service may keep several."""
        listing, found = self._list[2], dict[tuple[str, str], list[Unclear]]()
        for one in unclear:
            found.setdefault((one.attempt.model if listing.by_model else "", one.scope), []).append(one)
        return [*found.values()]

    async def look(self, unclear: Sequence[Unclear]) -> ListView:
        """One full scan over the time of these attempts, which are of one of `parts`, and of a witness for
        each where there is one.

        Raises ProviderError and NoScanError.
        """
        begins = min(one.since for one in unclear)
        oldest, offset = self.lane.clock.earliest() - kept(self.lane.provider), self.offset()

        def window(reader: LedgerReader) -> float:
            kinds = {(one.attempt.model, one.scope) for one in unclear}
            found = (reader.newest_accepted(*self._list, *kind) for kind in kinds)
            return min([begins, *(max(oldest, _created_after(each, offset)) for each in found if each)])

        since = await self.lane.commits.read(window)
        # half of the margin is for what has to be shown, so that the service's edge of the window hides none
        shown_from = since - MARGIN / 2
        if self._list[2].window is not None:
            shown_from = max(shown_from, oldest)
        found = await self.lane.commits.read(lambda reader: reader.accepted_since(*self._list, shown_from))
        accepted = [one for one in found if _created_after(one, self.offset()) >= shown_from]
        listed = await self._read_list(since - MARGIN, unclear[0])
        rows = listed.rows
        ids = list(rows)
        claimed = await self.lane.commits.read(lambda reader: reader.claimed(self.lane.origin, ids))
        tags = {one.tag for one in unclear} - {None}
        behind = self._behind(accepted, rows)
        candidates: list[Generation] = []
        foreign: set[str] = set()
        for row in map(self._timed, rows.values()):
            if row.id in claimed:
                if row.tag not in tags or row.tag == claimed[row.id].tag:
                    self._notice(claimed[row.id], row)
                    continue
                # an id that the service has given away twice: the tag says whose it is
                foreign.add(row.id)
            elif row.created_at is not None and row.created_at + behind < begins and row.tag not in tags:
                continue
            created_at = None if row.created_at is None else row.created_at + behind
            candidates.append(replace(row, created_at=created_at))
        filled = await self.fill(candidates)
        return ListView(
            rows.keys(), filled, accepted, frozenset(foreign), not listed.unreadable, listed.pages
        )

    async def rows(self, part: Sequence[Unclear]) -> Mapping[str, Generation]:
        """All rows, by id, of the list that shows these attempts, since a day before the first of them.

        Raises ProviderError and NoScanError.
        """
        listed = await self._read_list(min(one.since for one in part) - MARGIN, part[0])
        return {row.id: self._timed(row) for row in listed.rows.values()}

    def _timed(self, row: Generation) -> Generation:
        """The row without a time of creation that cannot be: a service's times count within bounds."""
        is_possible = row.created_at is None or EPOCH <= row.created_at <= self.lane.clock.latest() + DAY
        return row if is_possible else replace(row, created_at=None)

    def _behind(self, accepted: Sequence[Accepted], rows: Mapping[str, Generation]) -> float:
        """Seconds by which the list's times lag behind the service's own clock, as rows of ours show."""
        shown = ((one, self._timed(rows[one.remote_id])) for one in accepted if one.remote_id in rows)
        lags = (
            _created_after(one, self.offset()) + SKEW - row.created_at
            for one, row in shown
            if row.created_at is not None
        )
        # never less than 0: our own clock may have jumped, and no row of ours is to be hidden by that
        return max((0.0, *lags))

    def unclear(self, reader: LedgerReader, attempts: Sequence[AttemptRow], offset: float) -> list[Unclear]:
        """The attempts with what is believed of their tags and seeds now.

        `offset` is `self.offset()`, which asks the event loop: a shared ledger is read in a worker thread.
        """
        since = self.lane.machine.wall() - self.lane.provider.record_life
        echoes = {
            key: reader.echoes(self.lane.origin, key, since, self.lane.provider.own_tags)
            for key in {one.key_hash for one in attempts}
        }
        found: list[Unclear] = []
        for attempt in attempts:
            task = reader.task(attempt.identity)
            assert task is not None
            belief = Beliefs.of(attempt.model, echoes[attempt.key_hash])
            found.append(Unclear(attempt, task.name, task.request, belief, self.lane.provider, offset))
        return found

    def unresolved(self, reader: LedgerReader, offset: float) -> list[Unclear]:
        """Every attempt that a row may belong to, also those that nobody waits for here."""
        place = {"origin": self.lane.origin, "provider": self.lane.provider.name}
        found = [*reader.in_state(*MAYBE_LISTED, **place)]
        # neither absence nor a person's word proves that the first POST was not accepted
        planned = reader.in_state(TaskState.PLANNED, **place)
        found += [one for one in planned if one.resolution in TAKEN_FOR_ABSENT]
        return self.unclear(reader, found, offset)

    def offset(self) -> float:
        """Seconds that the service's clock is ahead of ours, at least."""
        return self.lane.clock.earliest() - self.lane.machine.wall()

    def _notice(self, ours: Claimed, row: Generation) -> None:
        """A row of ours that shows another tag, seed or input than was sent ends the belief in them."""
        is_own = ours.tag in self.lane.provider.own_tags
        tag = row.final_tag if is_own and row.final_tag not in (None, ours.tag) else None
        seed = (
            row.final_seed
            if None not in (ours.seed, row.final_seed) and ours.seed != row.final_seed
            else None
        )
        is_same = repeats_input(self.lane.provider, ours.model, ours.request, row)
        if tag is not None or seed is not None or is_same is False:
            echoed = Echoed(tag, seed, None if is_same is not False else False)
            self.lane.commits.note(lambda ledger: ledger.notice_echo(ours.attempt_id, echoed))

    async def _read_list(self, since: float, one: Unclear) -> _Listed:
        """Every row created since then (Unix seconds, the service's clock) in the list that shows `one`.

        Raises NoScanError, ProviderError.
        """
        listing = self._list[2]
        model = one.attempt.model if listing.by_model else ""
        query = ListQuery(since, listing.page, model=model, scope=one.scope)
        read = _READERS[listing.kind]
        with anyio.move_on_after(SCAN_SECONDS):
            return await read(self._page, query, listing)
        raise NoScanError(f"the list could not be read within {SCAN_SECONDS:.0f} s")

    async def _page(self, query: ListQuery) -> ListPage:
        """Raises ProviderError."""
        async with self._page_turn:
            await anyio.sleep_until(self._next_page)
            await self.lane.requests.acquire()
            # from when it is sent: one that a busy machine sends late moves the next one too
            self._next_page = anyio.current_time() + self._list[2].interval
        page = await self.lane.client.list_page(query)
        self.lane.requests.answered()
        self.lane.clock.hear(page.server_time)
        return page

    async def fill(self, candidates: Sequence[Generation]) -> list[Generation]:
        """The rows with their nulls read again by a GET each, for the list may lag. Raises ProviderError.

        Those that were asked for longest ago come first, and so many at most: an account may have
        hundreds of other tasks that wait.
        """
        lacking = [row for row in candidates if not self._is_whole(row) and not self._is_final(row.id)]
        lacking.sort(key=lambda row: self._asked.get(row.id, 0.0))
        for row in lacking[:MOST_ASKED]:
            self._filled[row.id] = await self._read_again(row)
            self._asked[row.id] = anyio.current_time()
        return [row if self._is_whole(row) else self._filled.get(row.id, row) for row in candidates]

    def _is_whole(self, row: Generation) -> bool:
        """Whether it shows all that the service can tell it apart by."""
        provider = self.lane.provider
        roles = frozenset(provider.echoes.values())
        return (
            not row.is_undecided
            and (provider.tag is None or row.final_tag is not None)
            and (Echo.SEED not in roles or row.final_seed is not None)
            and (Echo.INPUT not in roles or not provider.input_fields.isdisjoint(row.echo))
        )

    def _is_final(self, remote_id: str) -> bool:
        """Whether a GET has shown all that there will be."""
        row = self._filled.get(remote_id)
        is_ended = row is not None and row.status is not None and row.status.is_terminal
        return is_ended or (row is not None and self._is_whole(row))

    async def _read_again(self, row: Generation) -> Generation:
        await self.lane.requests.acquire()
        try:
            fresh = await self.lane.client.get(RemoteTask(row.id, row.model))
        except ProviderError as error:
            is_key = error.trouble is Trouble.KEY_REFUSED and error.status != _FORBIDDEN
            if is_key or error.trouble in ALL_ROWS:
                raise
            # listed, and not ours to read: it stays a candidate that nothing excludes
            return row
        return replace(
            row,
            status=fresh.status,
            tag=row.tag if fresh.tag is None else fresh.tag,
            echo={**row.echo, **fresh.echo},
            model=fresh.model or row.model,
        )


GetPage = Callable[[ListQuery], Awaitable[ListPage]]


async def read_by_number(get: GetPage, query: ListQuery, listing: Listing) -> _Listed:
    """Each page has to bring as many new rows as its place and the list's `total` promise, which bounds the
    scan too.
    """
    rows: dict[str, Generation] = {}
    total: int | None = None
    unreadable = pages = 0
    while True:
        offset = len(rows) + unreadable
        page = await get(replace(query, offset=offset))
        pages += 1
        if total is not None and page.total != total:
            raise NoScanError("the list changed while it was read")
        total = page.total
        if total is None:
            raise NoScanError("the list does not say how many rows it has")
        if total > MOST_ROWS:
            raise NoScanError(f"the list has {total} rows, more than the {MOST_ROWS} that are read")
        known = len(rows)
        rows.update((row.id, row) for row in page.rows)
        unreadable += page.unreadable
        read = len(rows) + unreadable
        if len(rows) != known + len(page.rows) or read > total:
            raise NoScanError("the list's pages overlap, or hold more rows than its total")
        if not page.has_more:
            break
        if read in (offset, total):
            raise NoScanError("the list promises more rows than its total, and does not end")
    if read != total:
        raise NoScanError("the list leaves out rows that its total counts")
    return _Listed(rows, unreadable, pages)


async def read_by_cursor(get: GetPage, query: ListQuery, listing: Listing) -> _Listed:
    """Nothing counts the rows: each page has to bring rows that were not shown before, and to lead to a page
    that was not read, until the list ends, or is surely older than what is looked for.
    """
    rows: dict[str, Generation] = {}
    cursors = {""}
    unreadable = pages = 0
    newest = math.inf
    while True:
        page = await get(replace(query, offset=len(rows) + unreadable))
        pages += 1
        known = len(rows)
        rows.update((row.id, row) for row in page.rows)
        unreadable += page.unreadable
        if len(rows) != known + len(page.rows):
            raise NoScanError("the list shows a row twice")
        if len(rows) + unreadable > MOST_ROWS:
            raise NoScanError(f"the list has more than the {MOST_ROWS} rows that are read")
        created = [row.created_at for row in page.rows]
        times = [newest, *(at for at in created if at is not None)]
        if listing.is_ordered and any(later > at + SKEW for at, later in itertools.pairwise(times)):
            raise NoScanError("the list does not show the newest rows first")
        newest = times[-1]
        is_older = query.created_after is not None and len(times) > 1 and times[1] < query.created_after
        if not page.has_more or (listing.is_ordered and is_older and None not in created):
            return _Listed(rows, unreadable, pages)
        if not page.rows and not page.unreadable:
            raise NoScanError("the list promises more rows, and shows none")
        if page.cursor in cursors:
            raise NoScanError("the list promises more rows, and leads to none that were not read")
        cursors.add(page.cursor)
        query = replace(query, cursor=page.cursor)


_READERS: Mapping[ListKind, Callable[[GetPage, ListQuery, Listing], Awaitable[_Listed]]] = {
    ListKind.PAGES: read_by_number,
    ListKind.CURSOR: read_by_cursor,
    ListKind.HISTORY: read_by_cursor,
}


def _created_after(one: Accepted, offset: float) -> float:
    return created_after(one.server_time, one.intended_at, offset)
