"""One look at the service's list: read whole or not at all, and laid beside what the ledger knows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio

from runner.http.verdicts import ProviderError, Trouble
from runner.lane.evidence import SKEW, Beliefs, Unclear, created_after
from runner.lane.lane import Lane
from runner.ledger.read import LedgerReader
from runner.ledger.rows import Accepted, AttemptRow
from runner.ledger.states import MAYBE_LISTED, TAKEN_FOR_ABSENT, TaskState
from runner.providers.base import Generation, ListQuery, RemoteTask
from runner.providers.provider import Listing

PAGE = 200

DAY = 86_400.0
"""Seconds before the end of a record's life from which on a list proves nothing."""

MOST_ROWS = 100_000
"""500 pages: more are not read for one doubt."""


SCAN_SECONDS = 600.0
"""For all pages together."""

MARGIN = 24 * 3600.0
"""Seconds by which the window is opened too early: a filter may be wrong by a time zone."""

EPOCH = 1_577_836_800.0
"""2020-01-01: no service of this kind has older rows."""

_FORBIDDEN = 403
_ALL_ROWS = frozenset({Trouble.UNREACHABLE, Trouble.RATE_LIMITED, Trouble.USED_UP, Trouble.CERTIFICATE})
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


@dataclass(slots=True)
class Scanner:
    lane: Lane
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

    async def look(self, unclear: Sequence[Unclear]) -> ListView:
        """One full scan over the time of these attempts, and of a witness for each where there is one.

        Raises ProviderError and NoScanError.
        """
        begins = min(one.since for one in unclear)
        oldest = self.lane.clock.earliest() - self.lane.provider.record_life + DAY

        def window(reader: LedgerReader) -> float:
            kinds = {(one.attempt.model, one.scope) for one in unclear}
            found = (reader.newest_accepted(*self._list, *kind) for kind in kinds)
            return min([begins, *(max(oldest, self._created_after(each)) for each in found if each)])

        since = await self.lane.commits.read(window)
        # half of the margin is for what has to be shown, so that the service's edge of the window hides none
        found = await self.lane.commits.read(
            lambda reader: reader.accepted_since(*self._list, since - MARGIN / 2)
        )
        accepted = [one for one in found if self._created_after(one) >= since - MARGIN / 2]
        listed = await self._read_list(since - MARGIN)
        rows = listed.rows
        ids = list(rows)
        claimed = await self.lane.commits.read(lambda reader: reader.claimed(self.lane.origin, ids))
        tags = {one.attempt.tag for one in unclear} - {None}
        behind = self._behind(accepted, rows)
        candidates: list[Generation] = []
        foreign: set[str] = set()
        for row in map(self._timed, rows.values()):
            if row.id in claimed:
                if row.tag not in tags or row.tag == claimed[row.id][1]:
                    self._notice(*claimed[row.id], row)
                    continue
                # an id that the service has given away twice: the tag says whose it is
                foreign.add(row.id)
            elif row.created_at is not None and row.created_at + behind < begins and row.tag not in tags:
                continue
            created_at = None if row.created_at is None else row.created_at + behind
            candidates.append(replace(row, created_at=created_at))
        filled = await self._fill(candidates)
        return ListView(
            rows.keys(), filled, accepted, frozenset(foreign), not listed.unreadable, listed.pages
        )

    def _timed(self, row: Generation) -> Generation:
        """The row without a time of creation that cannot be: a service's times count within bounds."""
        is_possible = row.created_at is None or EPOCH <= row.created_at <= self.lane.clock.latest() + DAY
        return row if is_possible else replace(row, created_at=None)

    def _behind(self, accepted: Sequence[Accepted], rows: Mapping[str, Generation]) -> float:
        """Seconds by which the list's times lag behind the service's own clock, as rows of ours show."""
        shown = ((one, self._timed(rows[one.remote_id])) for one in accepted if one.remote_id in rows)
        lags = (
            self._created_after(one) + SKEW - row.created_at
            for one, row in shown
            if row.created_at is not None
        )
        # never less than 0: our own clock may have jumped, and no row of ours is to be hidden by that
        return max((0.0, *lags))

    def unclear(self, reader: LedgerReader, attempts: Sequence[AttemptRow]) -> list[Unclear]:
        """The attempts with what is believed of their tags and seeds now."""
        since = self.lane.machine.wall() - self.lane.provider.record_life
        echoes = {
            key: reader.echoes(self.lane.origin, key, since) for key in {one.key_hash for one in attempts}
        }
        found: list[Unclear] = []
        for attempt in attempts:
            task = reader.task(attempt.identity)
            assert task is not None
            belief = Beliefs.of(attempt.model, echoes[attempt.key_hash])
            found.append(Unclear(attempt, task.name, task.request, belief, self.lane.provider, self.offset()))
        return found

    def unresolved(self, reader: LedgerReader) -> list[Unclear]:
        """Every attempt that a row may belong to, also those that nobody waits for here."""
        place = {"origin": self.lane.origin, "provider": self.lane.provider.name}
        found = [*reader.in_state(*MAYBE_LISTED, **place)]
        # neither absence nor a person's word proves that the first POST was not accepted
        planned = reader.in_state(TaskState.PLANNED, **place)
        found += [one for one in planned if one.resolution in TAKEN_FOR_ABSENT]
        return self.unclear(reader, found)

    def offset(self) -> float:
        """Seconds that the service's clock is ahead of ours, at least."""
        return self.lane.clock.earliest() - self.lane.machine.wall()

    def _created_after(self, one: Accepted) -> float:
        return created_after(one.server_time, one.intended_at, self.offset())

    def _notice(self, attempt_id: str, tag: int | None, seed: int | None, row: Generation) -> None:
        """A row of ours that shows another tag or seed than was sent ends the belief in them."""
        is_other_tag = None not in (tag, row.final_tag) and tag != row.final_tag
        is_other_seed = None not in (seed, row.final_seed) and seed != row.final_seed
        if is_other_tag or is_other_seed:
            shown = (row.final_tag if is_other_tag else None, row.final_seed if is_other_seed else None)
            self.lane.commits.note(lambda ledger: ledger.notice_echo(attempt_id, *shown))

    async def _read_list(self, since: float) -> _Listed:
        """Every row created since then (Unix seconds, the service's clock).

        Raises NoScanError, ProviderError.
        """
        with anyio.move_on_after(SCAN_SECONDS):
            return await self._scan(since)
        raise NoScanError(f"the list could not be read within {SCAN_SECONDS:.0f} s")

    async def _scan(self, since: float) -> _Listed:
        """Each page has to bring as many new rows as its place and the list's `total` promise, which bounds
        the scan too.
        """
        rows: dict[str, Generation] = {}
        total: int | None = None
        unreadable = pages = 0
        while True:
            await self.lane.requests.acquire()
            offset = len(rows) + unreadable
            page = await self.lane.client.list_page(ListQuery(since, PAGE, offset))
            pages += 1
            self.lane.requests.answered()
            self.lane.clock.hear(page.server_time)
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

    async def _fill(self, candidates: Sequence[Generation]) -> list[Generation]:
        """The rows with their nulls read again by a GET each, for the list may lag. Raises ProviderError.

        Those that were asked for longest ago come first, and so many at most: an account may have
        hundreds of other tasks that wait.
        """
        lacking = [row for row in candidates if not _is_whole(row) and not self._is_final(row.id)]
        lacking.sort(key=lambda row: self._asked.get(row.id, 0.0))
        for row in lacking[:MOST_ASKED]:
            self._filled[row.id] = await self._read_again(row)
            self._asked[row.id] = anyio.current_time()
        return [row if _is_whole(row) else self._filled.get(row.id, row) for row in candidates]

    def _is_final(self, remote_id: str) -> bool:
        """Whether a GET has shown all that there will be."""
        row = self._filled.get(remote_id)
        return row is not None and (_is_whole(row) or (row.status is not None and row.status.is_terminal))

    async def _read_again(self, row: Generation) -> Generation:
        await self.lane.requests.acquire()
        try:
            fresh = await self.lane.client.get(RemoteTask(row.id, row.model))
        except ProviderError as error:
            is_key = error.trouble is Trouble.KEY_REFUSED and error.status != _FORBIDDEN
            if is_key or error.trouble in _ALL_ROWS:
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


def _is_whole(row: Generation) -> bool:
    return row.final_tag is not None and row.final_seed is not None
