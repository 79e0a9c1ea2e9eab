"""SIGKILL at every named point of a task's life: nothing is paid twice, and nothing is lost."""

from __future__ import annotations

import itertools
import os
import signal
import time

import pytest

from runner.errors import ExitCode
from runner.sandbox import Fault, Where
from runner.sandbox import Kind as FaultKind
from tests.chaos.episode import HEAD, JOBS, PATIENCE, Kill, Nursery, play
from tests.chaos.victim import POINTS
from tests.support.oracle import judge
from tests.support.process_bench import ProcessBench

NAMED = [point for point in POINTS if point != "none"]


@pytest.mark.fault(22)
@pytest.mark.fault(23)
@pytest.mark.fault(24)
@pytest.mark.fault(25)
def test_a_kill_at_every_point_pays_once_and_loses_nothing(film: ProcessBench, nursery: Nursery) -> None:
    """One job of 16 tasks dies at each named point in turn, then ends with every video right.

    The backends take turns, for time; `scripts/chaos` meets every point on both.
    """
    backends = itertools.cycle(["asyncio", "trio"])
    ended = play(film, nursery, "seeds", [Kill(next(backends), point) for point in NAMED])
    assert ended.killed == len(NAMED), "a kill that did not happen proves nothing"
    assert ended.is_right, (ended.findings, ended.told)
    assert ended.findings.accepted == ended.findings.verified == 16


@pytest.mark.fault(22)
@pytest.mark.parametrize("point", ["before-intent", "intent-uncommitted"])
def test_before_the_intent_is_durable_nothing_is_sent(
    point: str, film: ProcessBench, nursery: Nursery
) -> None:
    file = film.write(HEAD + JOBS["seeds"])
    pid = nursery.start(film.line("run", file), Kill("asyncio", point), film.root / "victims.log")
    assert nursery.wait(pid, PATIENCE) == -signal.SIGKILL
    assert film.server.accepted == 0


@pytest.mark.fault(30)
def test_a_second_process_beside_a_running_one_sends_nothing(film: ProcessBench, nursery: Nursery) -> None:
    """The first one stands still with its lock held, so whatever is accepted is the second one's.

    It has two in flight and sees neither done, so no third POST can be in its sockets.
    """
    file = film.write(HEAD.replace("settle: 1s", "settle: 1s, concurrency: 2") + JOBS["prompts"])
    film.server.faults.add(Fault(where=Where.GET, kind=FaultKind.REGRESS, times=None))
    log = film.root / "victims.log"
    first = nursery.start(film.line("run", file), Kill("asyncio"), log)
    until = time.monotonic() + PATIENCE
    while film.server.accepted < 2 or not film.server.faults.struck:
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.005)
    os.kill(first, signal.SIGSTOP)
    assert nursery.wait(first, PATIENCE) == -signal.SIGSTOP
    second = film.call("run", file)
    assert second.returncode == ExitCode.TRY_AGAIN
    assert film.server.accepted == 2
    film.server.faults.clear()
    os.kill(first, signal.SIGCONT)
    assert nursery.wait(first, PATIENCE) == ExitCode.DONE, log.read_text()
    found = judge(film)
    assert (found.accepted, found.double, found.wrong) == (8, 0, ())


def test_what_only_tags_tell_apart_is_adopted_though_none_had_come_back(
    film: ProcessBench, nursery: Nursery
) -> None:
    """Equal seeds, and each killed before its answer: two tags in a row each show that tags come back."""
    kills = [Kill(backend, "id-uncommitted") for backend in ("asyncio", "trio") * 4]
    ended = play(film, nursery, "prompts", kills)
    assert ended.held == 0
    assert ended.is_right, (ended.findings, ended.told)
    assert ended.findings.accepted == ended.findings.verified == 8
