"""The likeliest ways to pay twice from several hosts, each as one named episode; `scripts/chaos --hosts` has
the others.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.sandbox import Fault, SandboxConfig, SandboxServer, Where
from runner.sandbox import Kind as FaultKind
from tests.chaos.episode import Nursery
from tests.chaos.hosts import Act, Fleet, Found
from tests.support.evidence import evidence_but
from tests.support.postgres import Cluster
from tests.support.postgres_proxy import Break, Strike

TAKES = 4
WHOLE = Found(accepted=2 * TAKES, double=0, lost=(), missing=(), verified=2 * TAKES)


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    """One of its own: these tests stop it in the middle."""
    return Cluster.make()


@pytest.fixture(scope="module")
def nurseries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Nursery]]:
    home = tmp_path_factory.mktemp("home")
    with ExitStack() as stack:
        yield {name: stack.enter_context(Nursery(home)) for name in ("anna", "bert", "carl")}


@pytest.fixture
def fleet(tmp_path: Path, cluster: Cluster, nurseries: dict[str, Nursery]) -> Iterator[Fleet]:
    with (
        SandboxServer(SandboxConfig(latency=(0.0, 0.1), scale=0.1)) as server,
        Fleet.open(tmp_path, server, cluster, nurseries, takes=TAKES) as fleet,
    ):
        yield fleet


@pytest.mark.fault(121)
@pytest.mark.parametrize(
    ("kind", "backend"),
    evidence_but(
        lambda given: given[0] is Break.AFTER,
        [(Break.BEFORE, "asyncio"), (Break.AFTER, "trio"), (Break.LATE, "asyncio")],
    ),
)
def test_a_commit_whose_answer_is_lost_is_settled_and_pays_once(
    kind: Break, backend: str, fleet: Fleet
) -> None:
    """One of an intent, and one of an accepted POST; where it was not made, the run ends."""
    anna = fleet.hosts[0]
    strikes = {
        account: Strike(kind, text="^COMMIT", within=within, seconds=0.5)
        for account, within in (("east", "INSERT INTO attempts"), ("west", "UPDATE attempts SET remote_id"))
    }
    for account, strike in strikes.items():
        anna.proxy.add(strike)
        anna.run(account, act=Act(backend))
        assert strike.has_struck.is_set(), anna.log.read_text()
    assert fleet.finish(anna)[:2] == (ExitCode.DONE, 0), anna.log.read_text()
    assert fleet.judge() == WHOLE


@pytest.mark.fault(128)
@pytest.mark.fault(131)
@pytest.mark.fault(132)
@pytest.mark.evidence
def test_who_was_taken_over_between_guard_and_post_pays_once_for_what_the_next_one_holds(
    fleet: Fleet,
) -> None:
    """Anna stands still with her POST allowed, Bert dies with his on its way, Carl takes over from both, and
    then Anna's POST is sent. The lists have shown before that tags come back.
    """
    anna, bert, carl = fleet.hosts
    fleet.write(TAKES - 2)
    assert carl.run() == ExitCode.DONE
    fleet.write(TAKES)
    stops = anna.start("run", *anna.jobs("east"), act=Act(point="guard-passed", signal=signal.SIGSTOP))
    assert bert.run("west", act=Act("trio", "post-written")) == -signal.SIGKILL
    assert anna.wait(stops) == -signal.SIGSTOP
    assert carl.run() == ExitCode.PERSON_NEEDED, carl.log.read_text()
    sent = fleet.server.accepted
    os.kill(stops, signal.SIGCONT)
    assert anna.wait(stops) == ExitCode.PERSON_NEEDED, anna.log.read_text()
    assert fleet.server.accepted == sent + 1, "a POST that was not sent proves nothing"
    status, held, told = fleet.finish(carl)
    assert (status, held) == (ExitCode.DONE, 0), told
    assert fleet.judge() == WHOLE


@pytest.mark.fault(122)
def test_a_server_that_is_stopped_while_posts_are_out_loses_none(fleet: Fleet, cluster: Cluster) -> None:
    def restart() -> None:
        cluster.stop("immediate")
        cluster.start()

    anna = fleet.hosts[0]
    fleet.server.faults.add(Fault(where=Where.SUBMIT, kind=FaultKind.DELAY, seconds=0.2, times=4))
    struck = Strike(Break.BEFORE, text="UPDATE attempts SET remote_id", meanwhile=restart)
    anna.proxy.add(struck)
    anna.run(act=Act("trio"))
    assert struck.has_struck.wait(20)
    assert fleet.finish(anna)[:2] == (ExitCode.DONE, 0), anna.log.read_text()
    assert fleet.judge() == WHOLE


@pytest.mark.fault(127)
@pytest.mark.fault(135)
def test_of_two_hosts_that_start_on_one_lane_at_one_moment_one_sends(fleet: Fleet) -> None:
    """On a ledger that both find empty."""
    anna, bert, _ = fleet.hosts
    started = [
        (host, host.start("run", *host.jobs("east"), act=Act(backend)))
        for host, backend in ((anna, "asyncio"), (bert, "trio"))
    ]
    ended = sorted(host.wait(pid) for host, pid in started)
    assert ended in ([ExitCode.DONE, ExitCode.TRY_AGAIN], [ExitCode.DONE, ExitCode.DONE]), ended
    assert fleet.server.accepted == TAKES
    assert fleet.finish(anna)[:2] == (ExitCode.DONE, 0)
    assert fleet.judge() == WHOLE


def test_two_hosts_at_the_edge_of_one_cap_do_not_pass_it(fleet: Fleet) -> None:
    """Each has a lane of its own, and their clocks are hours apart."""
    anna, bert, _ = fleet.hosts
    fleet.cap(TAKES + 1)
    started = [
        (host, host.start("run", *host.jobs(account), act=Act(backend)))
        for host, account, backend in ((anna, "east", "asyncio"), (bert, "west", "trio"))
    ]
    assert ExitCode.REFUSED in [host.wait(pid) for host, pid in started]
    assert fleet.server.accepted == TAKES + 1
    fleet.cap(None)
    assert fleet.finish(anna)[:2] == (ExitCode.DONE, 0)
    assert fleet.judge() == WHOLE
