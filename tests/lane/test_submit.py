"""One decision to pay, called directly: a durable intent, a POST, a durable outcome, in that order."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from runner.errors import ExitCode
from runner.http.verdicts import Verdict
from runner.lane.paid import InDoubt, Paid
from runner.lane.submit import MOST_DOUBTS
from runner.ledger.caps import Caps
from runner.ledger.database import open_for_reading
from runner.ledger.read import LedgerReader
from runner.ledger.states import Reason, TaskState
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.lane_bench import open_lane
from tests.support.run_bench import RunBench, job_text
from tests.support.unclear_runs import cut

pytestmark = pytest.mark.anyio


async def test_what_is_accepted_is_in_the_ledger_with_its_id(bench: RunBench, server: SandboxServer) -> None:
    async with open_lane(bench, job_text(seeds=1)) as lane:
        paid = await lane.submit(0)
        attempt = lane.latest(0)
    [there] = server.tasks()
    assert isinstance(paid, Paid)
    assert (paid.attempt_id, paid.remote_id) == (attempt.id, there.id)
    assert (attempt.state, attempt.remote_id) == (TaskState.SUBMITTED, there.id)


async def test_the_intent_is_on_the_disk_before_anything_is_sent(
    bench: RunBench, server: SandboxServer
) -> None:
    """As another process would read it, at the moment when the intent is told."""
    seen: list[tuple[TaskState, int]] = []

    def hear(name: str, fields: Mapping[str, object]) -> None:
        if name == "task.intended":
            other = LedgerReader(open_for_reading(bench.project.ledger_path))
            found = other.attempt(str(fields["attempt"]))
            other.close()
            assert found is not None
            seen.append((found.state, server.accepted))

    bench.tell = hear
    async with open_lane(bench, job_text(seeds=1)) as lane:
        await lane.submit(0)
    assert seen == [(TaskState.INTENDED, 0)]


async def test_a_refused_intent_goes_again_as_itself(bench: RunBench, server: SandboxServer) -> None:
    """429 proves that nothing was accepted: one attempt, with one tag, is what is paid in the end."""
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=429, retry_after=0.0))
    async with open_lane(bench, job_text(seeds=1)) as lane:
        paid = await lane.submit(0)
        attempt = lane.latest(0)
        [only] = lane.ledger.read.in_state(*TaskState)
    assert isinstance(paid, Paid)
    intents = [fields["attempt"] for name, fields in bench.events if name == "task.intended"]
    assert intents == [attempt.id] * 2 == [only.id] * 2
    assert server.accepted == 1


async def test_without_credit_nothing_more_is_submitted(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=402, code="insufficient_credits"))
    async with open_lane(bench, job_text(seeds=2)) as lane:
        assert [await lane.submit(index) for index in (0, 1)] == [None, None]
        assert lane.session.control.conditions == {ExitCode.OUT_OF_MONEY}
        assert (lane.latest(0).state, lane.latest(0).verdict) == (TaskState.PLANNED, Verdict.REJECTED)
    assert (server.accepted, server.faults.struck) == (0, 1)


@pytest.mark.parametrize("accept", [True, False])
async def test_a_cut_connection_is_a_doubt_and_no_second_post(
    bench: RunBench, server: SandboxServer, accept: bool
) -> None:
    server.faults.add(cut(accept=accept, times=None))
    async with open_lane(bench, job_text(seeds=1)) as lane:
        doubt = await lane.submit(0)
        attempt = lane.latest(0)
    assert isinstance(doubt, InDoubt)
    assert (doubt.attempt_id, attempt.state) == (attempt.id, TaskState.AMBIGUOUS)
    assert (server.accepted, server.faults.struck) == (int(accept), 1)


async def test_doubts_in_a_row_close_the_lane(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(cut(accept=True, times=None))
    async with open_lane(bench, job_text(seeds=MOST_DOUBTS + 1)) as lane:
        ends = [await lane.submit(index) for index in range(MOST_DOUBTS + 1)]
    assert [type(end) for end in ends] == [InDoubt] * MOST_DOUBTS + [type(None)]
    assert server.accepted == MOST_DOUBTS


async def test_a_cap_refuses_the_intent_and_nothing_is_sent(bench: RunBench, server: SandboxServer) -> None:
    async with open_lane(bench, job_text(seeds=2), caps=Caps(max_tasks=1)) as lane:
        assert isinstance(await lane.submit(0), Paid)
        assert await lane.submit(1) is None
        assert lane.session.control.conditions == {ExitCode.REFUSED}
        assert lane.ledger.read.latest([lane.task(1).identity]) == {}
    assert server.accepted == 1


async def test_once_submitting_has_stopped_nothing_is_intended(
    bench: RunBench, server: SandboxServer
) -> None:
    async with open_lane(bench, job_text(seeds=1)) as lane:
        lane.session.control.stop_submitting(ExitCode.REFUSED, "a person said no")
        assert await lane.submit(0, reason=Reason.RUN) is None
        assert lane.ledger.read.latest([lane.task(0).identity]) == {}
    assert server.accepted == 0
