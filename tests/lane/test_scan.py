"""One look at the service's list, called directly: what it has to show, and what is no scan at all."""

from __future__ import annotations

import pytest

from runner.lane.paid import InDoubt, Paid
from runner.lane.scan import NoScanError, Scanner
from runner.record.write import View
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.lane_bench import LaneBench, open_lane
from tests.support.run_bench import RunBench, job_text
from tests.support.unclear_runs import cut

pytestmark = pytest.mark.anyio


async def scan(lane: LaneBench, doubt: object) -> View:
    assert isinstance(doubt, InDoubt)
    scanner = Scanner(lane.session.lane)
    attempt = lane.ledger.read.attempt(doubt.attempt_id)
    assert attempt is not None
    return await scanner.look(scanner.unclear(lane.ledger.read, [attempt], scanner.offset()))


async def test_a_scan_shows_what_is_ours_and_what_nobody_claims(
    bench: RunBench, server: SandboxServer
) -> None:
    async with open_lane(bench, job_text(seeds=2)) as lane:
        paid = await lane.submit(0)
        server.faults.add(cut(accept=True))
        view = await scan(lane, await lane.submit(1))
    assert isinstance(paid, Paid)
    accepted, in_doubt = (task.id for task in server.tasks())
    assert set(view.rows) == {accepted, in_doubt}
    assert [row.id for row in view.candidates] == [in_doubt]
    assert [one.remote_id for one in view.accepted] == [accepted] == [paid.remote_id]


async def test_what_was_never_accepted_leaves_no_candidate(bench: RunBench, server: SandboxServer) -> None:
    async with open_lane(bench, job_text(seeds=2)) as lane:
        await lane.submit(0)
        server.faults.add(cut(accept=False))
        view = await scan(lane, await lane.submit(1))
    assert (len(view.rows), list(view.candidates), view.is_readable) == (1, [], True)


@pytest.mark.fault(59)
@pytest.mark.parametrize("kind", [Kind.ENDLESS, Kind.TOTAL])
async def test_a_list_that_contradicts_itself_raises(
    bench: RunBench, server: SandboxServer, kind: Kind
) -> None:
    async with open_lane(bench, job_text(seeds=2)) as lane:
        await lane.submit(0)
        server.faults.add(cut(accept=True))
        doubt = await lane.submit(1)
        server.faults.add(Fault(where=Where.LIST, kind=kind, times=None))
        with pytest.raises(NoScanError):
            await scan(lane, doubt)
