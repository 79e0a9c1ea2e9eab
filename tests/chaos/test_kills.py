"""SIGKILL at every named point of a task's life: nothing is paid twice, and nothing is lost."""

from __future__ import annotations

import itertools
import signal
import time

import pytest

from runner.errors import ExitCode
from tests.chaos.episode import HEAD, JOBS, Kill, play, start
from tests.chaos.oracle import judge
from tests.chaos.victim import POINTS
from tests.end_to_end.conftest import Film

NAMED = [point for point in POINTS if point != "none"]


@pytest.mark.fault(22)
@pytest.mark.fault(23)
@pytest.mark.fault(24)
@pytest.mark.fault(25)
def test_a_kill_at_every_point_pays_once_and_loses_nothing(film: Film) -> None:
    """One job of 16 tasks dies at each named point in turn, then ends with every video right.

    The backends take turns, for time; `scripts/chaos` meets every point on both.
    """
    backends = itertools.cycle(["asyncio", "trio"])
    ended = play(film, "seeds", [Kill(next(backends), point) for point in NAMED])
    assert ended.killed == len(NAMED), "a kill that did not happen proves nothing"
    assert ended.is_right, (ended.findings, ended.told)
    assert ended.findings.accepted == ended.findings.verified == 16


@pytest.mark.fault(22)
@pytest.mark.parametrize("point", ["before-intent", "intent-uncommitted"])
def test_before_the_intent_is_durable_nothing_is_sent(point: str, film: Film) -> None:
    file = film.write(HEAD + JOBS["seeds"])
    process = start(film, film.line("run", file), Kill("asyncio", point))
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert film.server.accepted == 0


@pytest.mark.fault(30)
def test_a_second_process_beside_a_running_one_sends_nothing(film: Film) -> None:
    """The first one stands still with its lock held, so whatever is accepted is the second one's."""
    file = film.write(HEAD + JOBS["seeds"])
    first = start(film, film.line("run", file), Kill("asyncio"))
    while film.server.accepted < 2:
        assert first.poll() is None
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)
    time.sleep(0.05)  # what was in the sockets arrives
    before = film.server.accepted
    second = film.call("run", file)
    assert second.returncode == ExitCode.TRY_AGAIN
    assert film.server.accepted == before
    first.send_signal(signal.SIGCONT)
    _, told = first.communicate(timeout=60)
    assert first.returncode == 0, told
    found = judge(film)
    assert (found.accepted, found.double, found.wrong) == (16, 0, ())
