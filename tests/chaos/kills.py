"""Many kills at random times and points: `scripts/chaos --kills N [--seed S]`. One summary line last.

With `--hosts`, faults of all kinds on hosts that share a ledger: `host_kills.py`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runner.project import init_project
from runner.sandbox import SandboxConfig, SandboxServer
from tests.chaos.episode import JOBS, Ended, Kill, Nursery, play
from tests.chaos.host_kills import play_hosts
from tests.chaos.victim import POINTS
from tests.support.process_bench import ProcessBench

KILLS_OF_A_JOB = 8
LONGEST = 1.0
"""Seconds after its start at which a process is killed at the latest: a whole run takes about as long."""


def _plan(chance: random.Random) -> tuple[str, list[Kill]]:
    return chance.choice(sorted(JOBS)), [_kill(chance) for _ in range(KILLS_OF_A_JOB)]


def _kill(chance: random.Random) -> Kill:
    backend = chance.choice(["asyncio", "trio"])
    has_rival = chance.random() < 0.2
    if chance.random() < 0.5:
        return Kill(backend, seconds=chance.uniform(0.01, LONGEST), has_rival=has_rival)
    point = chance.choice(sorted(set(POINTS) - {"none"}))
    return Kill(backend, point, chance.randint(1, 4), has_rival=has_rival)


def _episode(seed: str) -> Ended:
    """One job in a project of its own; a failing one keeps its directory."""
    chance = random.Random(seed)
    job, kills = _plan(chance)
    root = Path(tempfile.mkdtemp(prefix="callsheet-chaos-"))
    init_project(root)
    config = SandboxConfig(latency=(0.0, 0.2), scale=0.1, seed=chance.getrandbits(32))
    with SandboxServer(config) as server, Nursery(root) as nursery, Nursery(root) as rivals:
        ended = play(ProcessBench(root, server), nursery, job, kills, rivals)
    if ended.is_right:
        shutil.rmtree(root)
    else:
        print(f"episode {seed} ({job}), kept in {root}: exit {ended.exit_code}, {ended.findings}")
        print(ended.told)
    return ended


def main() -> int:
    """Plays episodes until there were enough kills, or POSTs and faults; 1 on any violation."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=30, metavar="N", help="at least so many (default 30)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32), metavar="S")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="J", help="at a time (default: one a core)"
    )
    parser.add_argument("--hosts", action="store_true", help="on three hosts with one ledger in PostgreSQL")
    parser.add_argument("--posts", type=int, default=100, metavar="N", help="with --hosts: accepted POSTs")
    parser.add_argument(
        "--faults", type=int, default=20, metavar="N", help="with --hosts: faults of all kinds"
    )
    options = parser.parse_args()
    if options.hosts:
        return play_hosts(options.seed, options.posts, options.faults, options.jobs)
    ended: list[Ended] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        while sum(one.killed for one in ended) < options.kills:
            first = len(ended)
            ended += pool.map(_episode, [f"{options.seed}:{first + n}" for n in range(options.jobs)])
    wrong = sum(not one.is_right for one in ended)
    findings = [one.findings for one in ended]
    print(
        f"{len(ended)} jobs ({wrong} wrong), {sum(one.accepted for one in findings)} accepted POSTs,"
        f" {sum(one.refused for one in ended)} second processes turned away,"
        f" {sum(one.held for one in ended)} tasks settled by hand, seed {options.seed}"
    )
    unverified = sum(len(one.wrong) for one in findings)
    print(
        f"{sum(one.killed for one in ended)} kills, {sum(one.double for one in findings)} double-billed,"
        f" {sum(one.verified for one in findings)} outputs verified"
        + (f", {unverified} outputs missing or wrong" if unverified else "")
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
