"""Machines that share one ledger: what a run does when a lane is another's, or becomes one."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import pytest

from runner.errors import ExitCode, StateError
from runner.http.verdicts import SubmitOutcome
from runner.lane import lane, lease
from runner.ledger.states import TaskState
from runner.providers.base import Body
from runner.providers.mesh.client import MeshClient
from runner.sandbox import SANDBOX_KEY, SandboxServer
from tests.support.evidence import evidence_but
from tests.support.postgres_proxy import Break, Strike, postgres_proxy
from tests.support.run_bench import job_text
from tests.support.shared_bench import database
from tests.support.shared_runs import SharedBench, rival, take_over
from tests.support.unclear_runs import sweep

__all__ = ["database"]

pytestmark = pytest.mark.anyio

Submit = Callable[[MeshClient, Body], Awaitable[SubmitOutcome]]


@pytest.fixture
def one(tmp_path: Path, server: SandboxServer, database: str, monkeypatch: pytest.MonkeyPatch) -> SharedBench:
    """A machine that beats fast; its lease's clock stands still."""
    monkeypatch.setattr(lease, "LOOK", 0.01)
    monkeypatch.setattr(lease, "HEARTBEAT", 0.03)
    return SharedBench(tmp_path / "one", server.url, SANDBOX_KEY, database=database)


@pytest.fixture
def two(one: SharedBench, tmp_path: Path) -> SharedBench:
    """Another one, with the same job file."""
    return replace(one, root=tmp_path / "two", events=[], told=[])


def once(monkeypatch: pytest.MonkeyPatch, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Does something before, and after, the first POST alone."""
    submit: Submit = MeshClient.submit
    first = [True]

    async def watched(client: MeshClient, body: Body) -> SubmitOutcome:
        is_first, first[:] = first == [True], [False]
        if is_first:
            await anyio.to_thread.run_sync(before)
        outcome = await submit(client, body)
        if is_first:
            await anyio.to_thread.run_sync(after)
        return outcome

    monkeypatch.setattr(MeshClient, "submit", watched)


def nothing() -> None:
    pass


async def test_a_second_machine_fetches_for_free_what_the_first_one_made(
    one: SharedBench, two: SharedBench, server: SandboxServer
) -> None:
    assert (await one.run(one.write_job(job_text()))).exit_code is ExitCode.DONE
    result = await two.run(two.write_job(job_text()))
    assert (result.exit_code, dict(result.counts)) == (ExitCode.DONE, {TaskState.DONE: 3})
    assert sorted(path.name for path in (two.root / "out").iterdir()) == ["s1.mp4", "s2.mp4", "s3.mp4"]
    assert server.accepted == 3


@pytest.mark.fault(136)
async def test_a_lane_that_another_machine_drives_is_left_with_words(
    one: SharedBench, server: SandboxServer
) -> None:
    file = one.write_job(job_text())
    with rival(one) as host:
        held = host.take(key=one.lane_key(host.ledger))
        async with anyio.create_task_group() as alive:

            async def beat() -> None:
                while True:
                    await anyio.to_thread.run_sync(host.beat)
                    await anyio.sleep(0.01)

            alive.start_soon(beat)
            result = await one.run(file)
            alive.cancel_scope.cancel()
        assert held.held, "it was disturbed by nothing"
        assert result.exit_code is ExitCode.TRY_AGAIN
        assert any("driven by" in reason and "--wait 6h" in reason for reason in result.reasons)
        assert server.accepted == 0
        host.leases.sign_off()
    assert (await one.run(file)).exit_code is ExitCode.DONE
    assert server.accepted == 3


@pytest.mark.fault(130)
async def test_a_lease_that_is_lost_before_the_intent_lets_nothing_be_sent(
    one: SharedBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rival(one) as host:
        begun: list[bool] = []

        def steal(name: str, _fields: object) -> None:
            if name == "run.started" and not begun:
                begun.append(True)
                take_over(host, one)

        one.tell = steal
        monkeypatch.setattr(lease, "HEARTBEAT", 60.0)
        result = await one.run(one.write_job(job_text()))
        assert result.exit_code is ExitCode.TRY_AGAIN
        assert any("lease was lost to" in reason for reason in result.reasons)
        assert not one.has_seen("task.intended")
        assert server.accepted == 0


@pytest.mark.fault(132)
@pytest.mark.fault(128)
async def test_a_machine_that_slept_between_intent_and_post_sends_nothing_and_its_task_is_never_absent(
    one: SharedBench, two: SharedBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rival(one) as host:
        monkeypatch.setattr(lease, "HEARTBEAT", 60.0)
        once(monkeypatch, lambda: take_over(host, one), nothing)
        result = await one.run(one.write_job(sweep(seeds=1)))
        assert result.exit_code is ExitCode.TRY_AGAIN
        assert server.accepted == 0
        host.leases.sign_off()
    # later tasks are accepted and show: all that a list can say of absence
    result = await two.run(two.write_job(sweep(seeds=4)))
    assert (result.exit_code, result.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 1)
    assert any("may send it still" in reason for reason in result.reasons)
    assert server.accepted == 3


@pytest.mark.fault(131)
async def test_a_lease_that_is_lost_between_post_and_outcome_loses_no_task(
    one: SharedBench, two: SharedBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rival(one) as host:
        monkeypatch.setattr(lease, "HEARTBEAT", 60.0)
        once(monkeypatch, nothing, lambda: take_over(host, one))
        result = await one.run(one.write_job(sweep(seeds=1)))
        assert result.exit_code is ExitCode.TRY_AGAIN
        (told,) = [reason for reason in result.reasons if "was accepted as" in reason]
        assert f"--adopt {server.tasks()[0].id}" in told
        assert server.accepted == 1
        host.leases.sign_off()
    result = await two.run(two.write_job(sweep(seeds=1)))
    assert result.exit_code is ExitCode.DONE
    assert two.has_seen("task.adopted")
    assert server.accepted == 1


@pytest.mark.fault(129)
@pytest.mark.fault(133)
async def test_a_guard_that_ran_out_sends_nothing_until_a_heartbeat_and_a_fresh_intent(
    one: SharedBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stand_still() -> None:
        one.clock += lease.GUARD

    once(monkeypatch, stand_still, nothing)
    monkeypatch.setattr(lease, "HEARTBEAT", 0.5)
    result = await one.run(one.write_job(job_text(seeds=1)))
    assert result.exit_code is ExitCode.DONE
    assert server.accepted == 1
    names = [name for name, _ in one.events if name in ("task.intended", "task.refused", "task.submitted")]
    assert names[:2] == ["task.intended", "task.refused"]
    assert names[-2:] == ["task.intended", "task.submitted"]


@pytest.mark.fault(133)
async def test_a_database_that_hangs_lets_nothing_be_sent_and_is_told(
    one: SharedBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(_leases: lease.Leases, _lease: lease.Lease) -> None:
        raise StateError("the server took more than 4 seconds")

    monkeypatch.setattr(lease.Leases, "_renew", hang)

    def stand_still() -> None:
        one.clock += lease.GUARD

    once(monkeypatch, stand_still, nothing)
    result = await one.run(one.write_job(job_text(seeds=1, run="timeout: 100ms")))
    assert result.exit_code is ExitCode.TRY_AGAIN
    assert any("has not renewed the account's lease" in reason for reason in result.reasons)
    waits = [fields["for"] for name, fields in one.events if name == "run.waiting"]
    assert lane.A_RENEWAL in waits
    assert server.accepted == 0


@pytest.mark.fault(139)
@pytest.mark.parametrize(
    ("statement", "kind"),
    evidence_but(
        lambda given: given[0] in {"SELECT 1 FROM leases", "SET counter"},
        [
            ("INTO leases", Break.BEFORE),
            ("SELECT 1 FROM leases", Break.BEFORE),
            ("SET counter", Break.AFTER),
            ("is_free = 1", Break.AFTER),
        ],
    ),
)
async def test_a_connection_that_is_lost_at_a_step_of_the_lease_buys_nothing_twice(
    one: SharedBench, server: SandboxServer, statement: str, kind: Break
) -> None:
    direct = one.database
    port = urlsplit(direct).port
    assert port is not None
    with postgres_proxy(port) as proxy:
        one.database = direct.replace(f":{port}/", f":{proxy.port}/")
        proxy.add(Strike(kind, text=statement))
        file = one.write_job(job_text(seeds=2))
        try:
            code = (await one.run(file)).exit_code
        except StateError as error:
            code = error.exit_code
        assert code in (ExitCode.DONE, ExitCode.CANNOT_WRITE)
        assert proxy.struck[kind] == 1
        # whoever was not heard to sign off is waited for, by a clock that goes on
        with rival(one) as host:
            host.take(key=one.lane_key(host.ledger))
            host.leases.sign_off()
        assert (await one.run(file)).exit_code is ExitCode.DONE
    assert server.accepted == 2


@pytest.mark.fault(138)
async def test_a_run_that_is_stopped_signs_off_and_another_machine_goes_on_at_once(
    one: SharedBench, two: SharedBench, server: SandboxServer
) -> None:
    result = await one.run(one.write_job(job_text()), until=lambda: one.has_seen("task.submitted", 3))
    assert result.exit_code is ExitCode.TRY_AGAIN
    began = two.clock
    result = await two.run(two.write_job(job_text()))
    assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 3)
    assert two.clock == began
    assert two.told == []
    assert server.accepted == 3


@pytest.mark.fault(161)
async def test_a_stop_while_an_intent_is_committed_lets_nothing_be_sent(
    one: SharedBench, server: SandboxServer
) -> None:
    asked, stopped = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        stopped.wait(60)

    one.tell = lambda name, _fields: stopped.set() if name == "run.stopping" else None
    direct = one.database
    port = urlsplit(direct).port
    assert port is not None
    with postgres_proxy(port) as proxy:
        one.database = direct.replace(f":{port}/", f":{proxy.port}/")
        proxy.add(Strike(Break.HELD, text="COMMIT", within="INTO attempts", meanwhile=wait))
        file = one.write_job(job_text())
        result = await one.run(file, until=asked.is_set)
        assert result.exit_code is ExitCode.TRY_AGAIN
        assert stopped.is_set()
        assert server.accepted == 0
        result = await one.run(file)
    assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 3)
    assert one.told == [], "the first one has signed off"
    assert not one.has_seen("task.held")
    assert server.accepted == 3
