"""Many items through one function, at real threads and processes: in order, and each trouble its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from runner.errors import StateError
from runner.work.crew import Crew, Lost, work
from runner.work.hire import Threads
from runner.work.processes import Processes
from tests.support.command_process import CHECKOUT, environment
from tests.support.patience import wait_until
from tests.support.work_functions import is_running, obey, processes


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    with Processes(2) as running:
        yield running


@pytest.fixture(scope="module")
def threads() -> Iterator[Threads]:
    with Threads() as running:
        yield running


@pytest.fixture(params=["threads", "pool"])
def crew(request: pytest.FixtureRequest) -> Crew:
    made: Crew = request.getfixturevalue(request.param)
    return made


def done(crew: Crew, folder: Path, items: list[str]) -> list[str | Lost]:
    given = list(work(crew, obey, str(folder), items, expected=len(items)))
    assert [item for item, _ in given] == items
    return [found for _, found in given]


def test_results_come_in_order_and_items_are_taken_as_the_work_goes_on(crew: Crew, tmp_path: Path) -> None:
    taken = 0

    def items() -> Iterator[str]:
        nonlocal taken
        for taken in range(1, 2001):
            yield "sleep 0.02" if taken == 1 else str(taken)

    most = 0
    told: list[str | Lost] = []
    for _, found in work(crew, obey, str(tmp_path), items(), expected=2000):
        told.append(found)
        most = max(most, taken - len(told))
    assert told == ["sleep 0.02", *map(str, range(2, 2001))]
    assert most <= 4 * crew.slots * crew.most_items


def test_a_few_items_are_shared_among_all(pool: Processes, tmp_path: Path) -> None:
    assert done(pool, tmp_path, ["sleep 0.05"] * 8) == ["sleep 0.05"] * 8
    assert len(processes(tmp_path)) == 2


def test_an_item_over_which_the_function_breaks_costs_no_other_one(crew: Crew, tmp_path: Path) -> None:
    items = ["a", "raise too deep https://files.example/v.mp4?signature=secret", *"bcdefghij"]
    found = done(crew, tmp_path, items)
    assert found.pop(1) == Lost("RecursionError: too deep https://files.example/v.mp4")
    assert found == [*"abcdefghij"]


def test_a_refusal_ends_all(crew: Crew, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no FFmpeg"):
        done(crew, tmp_path, ["a", "refuse no FFmpeg", "b"])


@pytest.mark.fault(150)
@pytest.mark.parametrize("killers", [[0], [7, 8, 30]])
def test_an_item_that_kills_its_process_is_found_and_told(
    killers: list[int], pool: Processes, tmp_path: Path
) -> None:
    items = ["die" if number in killers else str(number) for number in range(40)]
    lost = Lost("the process that read it died, each time")
    assert done(pool, tmp_path, items) == [lost if item == "die" else item for item in items]


@pytest.mark.fault(151)
def test_a_process_that_dies_while_another_one_starts_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = SpawnProcess.start
    started: list[SpawnProcess] = []

    def start_and_kill(process: SpawnProcess) -> None:
        start(process)
        for other in started:
            other.kill()
        wait_until(lambda: not any(is_running(other.pid) for other in started))
        started.append(process)

    monkeypatch.setattr(SpawnProcess, "start", start_and_kill)
    with Processes(2) as pool:
        found = done(pool, tmp_path, ["sleep 0.05", *"abcdefgh"])
    assert [one for one in found if one != Lost("the process that read it died, each time")]
    assert len(started) >= 2


def test_a_process_that_cannot_be_started_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(process: SpawnProcess) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(SpawnProcess, "start", start)
    with Processes(2) as pool, pytest.raises(StateError, match="cannot start a process: Resource"):
        done(pool, tmp_path, [*"abc"])


@pytest.mark.fault(151)
def test_a_process_that_is_killed_takes_no_item_along(pool: Processes, tmp_path: Path) -> None:
    def items() -> Iterator[str]:
        yield "sleep 0.01"
        for number in range(600):
            if number == 200:
                wait_until(lambda: bool(processes(tmp_path)))
                os.kill(processes(tmp_path)[0], signal.SIGKILL)
            yield str(number)

    given = list(work(pool, obey, str(tmp_path), items(), expected=600))
    assert [found for _, found in given] == ["sleep 0.01", *map(str, range(600))]
    assert len(processes(tmp_path)) > pool.slots


@pytest.mark.security(33)
def test_a_process_has_no_key_in_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHAPI_API_KEY", "rsk_canary")
    monkeypatch.setenv("ACME_KEY", "canary")
    with Processes(1) as running:
        ((_, said),) = work(running, obey, str(tmp_path), ["environment"], expected=1)
    assert isinstance(said, str)
    assert "PATH" in said.split()
    assert "KEY" not in said


SCRIPT = """\
import sys
from runner.work.crew import work
from runner.work.processes import Processes
from tests.support.work_functions import obey

if __name__ == "__main__":
    with Processes(2) as crew:
        for _, found in work(crew, obey, sys.argv[1], sys.argv[2:], expected=1):
            print(found, flush=True)
"""


def start_script(folder: Path, *items: str) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    (folder / "done").mkdir()
    return subprocess.Popen(
        [sys.executable, folder / "script.py", folder / "done", *items],
        cwd=CHECKOUT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_no_process_hears_a_ctrl_c(tmp_path: Path) -> None:
    out, _ = start_script(tmp_path, *["blocked"] * 8).communicate(timeout=60)
    assert out == "SIGINT\n" * 8


@pytest.mark.fault(47)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_command_ends_its_processes(how: signal.Signals, tmp_path: Path) -> None:
    """A terminal tells Ctrl-C to each process of the group; only the first one has a word to say."""
    child = start_script(tmp_path, "now", *["sleep 600"] * 20)
    wait_until(lambda: len(processes(tmp_path / "done")) == 2)
    if how is signal.SIGINT:
        os.killpg(child.pid, how)
    else:
        child.send_signal(how)
    out, err = child.communicate(timeout=60)
    assert child.returncode == -how
    assert out in ("", "now\n")
    assert err.count("Traceback") == (how is signal.SIGINT)
    wait_until(lambda: not any(map(is_running, processes(tmp_path / "done"))))


def test_leaving_a_pool_leaves_no_process_and_no_thread(tmp_path: Path) -> None:
    before = {*threading.enumerate()}
    items = ["a", *["sleep 600"] * 20]
    with Processes(2) as running:
        first, _ = next(work(running, obey, str(tmp_path), items, expected=1))
    assert first == "a"
    assert not any(map(is_running, processes(tmp_path)))
    assert {*threading.enumerate()} <= before
