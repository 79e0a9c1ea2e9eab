"""Many kills at random times and points: `python -m tests.chaos.kills --kills N [--seed S]`."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runner.project import init_project
from runner.sandbox import SandboxConfig, SandboxServer
from tests.chaos.episode import JOBS, Ended, Kill, play
from tests.chaos.victim import POINTS
from tests.end_to_end.conftest import Film

KILLS_OF_A_JOB = 8
LONGEST = 1.5
"""Seconds after its start at which a process is killed at the latest: a whole run takes about two."""


def _plan(chance: random.Random) -> tuple[str, list[Kill]]:
    return chance.choice(sorted(JOBS)), [_kill(chance) for _ in range(KILLS_OF_A_JOB)]


def _kill(chance: random.Random) -> Kill:
    backend = chance.choice(["asyncio", "trio"])
    if chance.random() < 0.5:
        return Kill(backend, seconds=chance.uniform(0.2, LONGEST))
    return Kill(backend, chance.choice(sorted(set(POINTS) - {"none"})), chance.randint(1, 4))


def _episode(seed: str) -> Ended:
    """One job in a project of its own; a failing one keeps its directory."""
    chance = random.Random(seed)
    job, kills = _plan(chance)
    root = Path(tempfile.mkdtemp(prefix="callsheet-chaos-"))
    init_project(root)
    with SandboxServer(SandboxConfig(latency=(0.0, 0.2), scale=0.1, seed=chance.getrandbits(32))) as server:
        ended = play(Film(root, server), job, kills)
    if ended.is_right:
        shutil.rmtree(root)
    else:
        print(f"episode {seed} ({job}), kept in {root}: exit {ended.exit_code}, {ended.findings}")
        print(ended.told)
    return ended


def main() -> int:
    """Plays episodes until `--kills` processes have died; 1 on any violation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--jobs", type=int, default=2, help="episodes at a time")
    options = parser.parse_args()
    ended: list[Ended] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        while sum(one.killed for one in ended) < options.kills:
            first = len(ended)
            ended += pool.map(_episode, [f"{options.seed}:{first + n}" for n in range(options.jobs)])
    wrong = sum(not one.is_right for one in ended)
    tasks = sum(one.findings.verified + len(one.findings.wrong) for one in ended)
    print(
        f"{sum(one.killed for one in ended)} kills over {tasks} tasks:"
        f" {sum(one.findings.double for one in ended)} double-billed,"
        f" {sum(one.findings.verified for one in ended)} outputs verified,"
        f" {sum(one.findings.accepted for one in ended)} accepted POSTs,"
        f" {wrong} of {len(ended)} jobs wrong (seed {options.seed})"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
