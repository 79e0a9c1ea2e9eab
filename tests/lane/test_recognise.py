"""Whose key attempts were made with, where the salt of its hash is lost: the list of that key shows it."""

from __future__ import annotations

import anyio
import pytest

from runner.lane.paid import InDoubt
from runner.lane.recognise import Recognised, recognise
from runner.ledger.rows import KEY_HASH_SHOWN
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.lane_bench import LaneBench, open_lane
from tests.support.run_bench import RunBench, job_text

pytestmark = pytest.mark.anyio


def forget_key(lane: LaneBench) -> str:
    """The ledger knows the start of the key's hash alone, as logs do."""
    known = lane.session.lane.key_hash
    with lane.ledger.transaction():
        lane.ledger.know_key(known, known[:KEY_HASH_SHOWN])
    return known[:KEY_HASH_SHOWN]


async def look(lane: LaneBench, *indexes: int, for_stranger: bool = False) -> Recognised:
    """Again until the service has decided what it echoes."""
    with anyio.fail_after(20):
        while True:
            seen = await recognise(lane.session.lane, [lane.latest(index) for index in indexes])
            if seen.strangers if for_stranger else seen.hashes or len(indexes) == 1:
                return seen
            await anyio.sleep(0.02)


async def test_an_id_in_its_list_shows_whose_all_are(bench: RunBench, server: SandboxServer) -> None:
    async with open_lane(bench, job_text(seeds=2)) as lane:
        await lane.submit(0)
        start = forget_key(lane)
        seen = await look(lane, 0)
        attempt = lane.latest(0)
    assert (seen.hashes, seen.rows, seen.strangers) == ({start}, 1, ())
    assert [*seen.echoes] == [attempt.id]


@pytest.mark.fault(159)
@pytest.mark.parametrize("lost", [1, 2])
async def test_one_tag_may_be_chance_and_two_are_not(
    lost: int, bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=True, times=None))
    async with open_lane(bench, job_text(seeds=2)) as lane:
        for index in range(lost):
            assert isinstance(await lane.submit(index), InDoubt)
        start = forget_key(lane)
        seen = await look(lane, *range(lost))
    assert seen.hashes == ({start} if lost == 2 else set())
    assert seen.strangers == ()


@pytest.mark.fault(159)
async def test_a_tag_that_no_log_tells_of_is_a_stranger_s(bench: RunBench, server: SandboxServer) -> None:
    async with open_lane(bench, job_text(seeds=2)) as lane:
        await lane.submit(0)
        await lane.submit(1)
        attempt = lane.latest(1)
        with lane.ledger.transaction():
            lane.ledger._db.execute("DROP TRIGGER remote_id_stays")
            lane.ledger._db.execute("UPDATE attempts SET remote_id = 'other' WHERE id = ?", (attempt.id,))
        seen = await look(lane, 0, for_stranger=True)
    assert [row.id for row in seen.strangers] == [attempt.remote_id]
