"""Whose key made the attempts of a ledger that was lost: its salt is gone, so no hash of a key tells.

The list of a key shows what that key has made. Whatever it shows by id is this key's, and so is all else
whose key had the same hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anyio

from runner.http.verdicts import ProviderError
from runner.lane.evidence import DEFAULT_TAG, SHOWN_TAGS, Unclear, contradicts, repeats_input
from runner.lane.lane import Lane
from runner.lane.late import CREATED_WITHIN
from runner.lane.pace import Retry
from runner.lane.scan import NoScanError, Scanner, kept
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow, Echoed
from runner.ledger.states import TaskState
from runner.providers.base import Generation

TRIES = 5


@dataclass(frozen=True, slots=True)
class Recognised:
    """What the list of one key shows of attempts.

    `hashes` are the key hashes of attempts that are this key's, as they stand in the ledger. `echoes` are
    what came back, by attempt. `strangers` carry a tag and are no attempt's, and were made while runs of this
    project were at work. `rows` counts what was listed.
    """

    hashes: frozenset[str]
    echoes: Mapping[str, Echoed]
    strangers: tuple[Generation, ...]
    rows: int


async def recognise(lane: Lane, attempts: Sequence[AttemptRow]) -> Recognised:
    """Reads the lists that show these attempts of the lane's service; nothing is submitted.

    Raises ProviderError and NoScanError where that fails several times in a row.
    """
    scanner = Scanner(lane)
    await lane.ping()
    oldest = lane.clock.earliest() - kept(lane.provider)

    offset = scanner.offset()

    def load(reader: LedgerReader) -> list[Unclear]:
        found = scanner.unclear(reader, attempts, offset)
        return [one for one in found if one.since >= oldest]

    hashes: set[str] = set()
    echoes: dict[str, Echoed] = {}
    strangers: dict[str, Generation] = {}
    seen: set[str] = set()
    for part in scanner.parts(await lane.commits.read(load)):
        rows = await _rows(lane, scanner, part)
        seen |= rows.keys()
        claimed = await lane.commits.read(lambda reader, ids=list(rows): reader.claimed(lane.origin, ids))  # type: ignore[misc]
        free = await scanner.fill([row for row in rows.values() if row.id not in claimed])
        for one in part:
            row = rows.get(one.attempt.remote_id or "")
            if row is not None:
                hashes.add(one.attempt.key_hash)
                echoes[one.attempt.id] = _echoed(one, row)
        hashes |= _by_tags(part, free)
        strangers |= {row.id: row for row in free if _is_strange(row, part)}
    return Recognised(frozenset(hashes), echoes, tuple(strangers.values()), len(seen))


async def _rows(lane: Lane, scanner: Scanner, part: Sequence[Unclear]) -> Mapping[str, Generation]:
    retry = Retry(lane.machine.random, TRIES)
    while True:
        try:
            return await scanner.rows(part)
        except (ProviderError, NoScanError):
            if retry.failed():
                raise
        await anyio.sleep(retry.pause())


def _echoed(one: Unclear, row: Generation) -> Echoed:
    is_same = repeats_input(one.provider, one.attempt.model, one.request, row)
    return Echoed(row.final_tag if one.tag is not None else None, row.final_seed, is_same)


def _by_tags(part: Sequence[Unclear], free: Sequence[Generation]) -> set[str]:
    """The key hashes that several unclear attempts show, each by a tag that only one row carries."""
    shown: dict[str, int] = {}
    for one in part:
        attempt = one.attempt
        if one.tag is None or attempt.remote_id is not None:
            continue
        rows = [row for row in free if row.final_tag == one.tag]
        if len(rows) == 1 and not contradicts(one, rows[0]):
            shown[attempt.key_hash] = shown.get(attempt.key_hash, 0) + 1
    return {key_hash for key_hash, count in shown.items() if count >= SHOWN_TAGS}


def _is_strange(row: Generation, part: Sequence[Unclear]) -> bool:
    """Whether it may be a submit of these runs of which no log tells: another project's may look so too."""
    if row.final_tag in (None, DEFAULT_TAG) or row.created_at is None:
        return False
    open_tags = {one.tag for one in part if one.attempt.state is not TaskState.DONE}
    if row.final_tag in open_tags:
        return False
    by_run: dict[str, list[float]] = {}
    for one in part:
        by_run.setdefault(one.attempt.run_id, []).append(one.since)
    return any(min(times) <= row.created_at <= max(times) + CREATED_WITHIN for times in by_run.values())
