"""SIGKILL at the named points of a task's life, and the ledger lost too: `recover` pays for nothing twice."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from runner.errors import ExitCode
from tests.chaos.episode import HEAD, JOBS, LAST_RUNS, PATIENCE, Kill, Nursery, settle_by_hand
from tests.chaos.victim import POINTS
from tests.support.oracle import Findings, judge
from tests.support.process_bench import ProcessBench

NAMED = [point for point in POINTS if point != "none"]


def lose(film: ProcessBench, chance: random.Random, copies: list[bytes]) -> None:
    """The ledger is gone, damaged, or an earlier copy of it."""
    ledger = film.base / ".callsheet" / "ledger.db"
    content = ledger.read_bytes() if ledger.exists() else b""
    for end in ("", "-wal", "-shm"):
        ledger.with_name(ledger.name + end).unlink(missing_ok=True)
    match chance.choice(["gone", "damaged", "older"]):
        case "damaged":
            ledger.write_bytes(content[: len(content) // 2])
        case "older" if copies:
            ledger.write_bytes(chance.choice(copies))
    copies.append(content)


def play(
    film: ProcessBench, nursery: Nursery, job: str, kills: list[Kill], chance: random.Random
) -> tuple[int, int, Findings]:
    """Kills, losses and recoveries in turn, and then the end: killed and held in all, and the judgement."""
    file, log = film.write(HEAD + job), film.root / "victims.log"
    killed = held = 0
    copies: list[bytes] = []
    for kill in kills:
        pid = nursery.start(film.line("run", file), kill, log)
        killed += nursery.wait(pid, PATIENCE) == -signal.SIGKILL
        before = film.server.accepted
        lose(film, chance, copies)
        told = film.call("recover", "--yes")
        assert told.returncode in (ExitCode.DONE, ExitCode.PERSON_NEEDED), told.stderr
        assert film.server.accepted == before, "recover itself submits nothing"
        if told.returncode == ExitCode.PERSON_NEEDED:
            held += settle_by_hand(film)
    for _ in range(LAST_RUNS):
        told = film.call("run", file)
        if told.returncode == ExitCode.PERSON_NEEDED:
            held += settle_by_hand(film)
        elif told.returncode != ExitCode.TRY_AGAIN:
            break
    assert told.returncode == ExitCode.DONE, told.stderr
    return killed, held, judge(film)


@pytest.mark.fault(154)
def test_a_ledger_lost_after_a_kill_is_made_again_and_nothing_is_paid_twice(
    film: ProcessBench, nursery: Nursery
) -> None:
    """With one video published and not recorded, and others in flight or without an answer."""
    text = JOBS["seeds"].replace("1..16", "1..4")
    killed, _, found = play(film, nursery, text, [Kill("trio", "published")], random.Random(1))
    assert (killed, found.double, found.wrong) == (1, 0, ())
    assert found.accepted == found.verified == 4


@pytest.mark.evidence
@pytest.mark.parametrize("job", sorted(JOBS))
@pytest.mark.parametrize("seed", range(4))
def test_a_ledger_lost_after_every_kill(
    job: str, seed: int, film: ProcessBench, nursery: Nursery, tmp_path: Path
) -> None:
    """Each named point in a random order, the ledger gone, damaged or older after each."""
    chance = random.Random(f"{job} {seed}")
    points = chance.sample(NAMED, len(NAMED))
    kills = [Kill(chance.choice(["asyncio", "trio"]), point, chance.randint(1, 3)) for point in points]
    killed, held, found = play(film, nursery, JOBS[job], kills, chance)
    print(f"{job} {seed}: {killed} kills, {held} settled by hand, {found}")
    assert (found.double, found.wrong) == (0, ())
