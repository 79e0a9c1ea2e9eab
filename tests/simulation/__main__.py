"""`scripts/simulate`: many schedules on all cores; one summary line last."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.batch import Tally, play_on_all_cores
from tests.simulation.loops import Backend
from tests.simulation.mutants import MUTANTS, catch
from tests.simulation.simulate import replay

MOST_FOR_A_MUTANT = 500


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--schedules", type=int, default=2000, metavar="N", help="how many (default 2000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the first seed (default 0)")
    parser.add_argument(
        "--trace", action="store_true", help="play the one schedule of --seed, told step by step"
    )
    parser.add_argument(
        "--mutants", action="store_true", help="how many schedules it takes to catch each mutant"
    )
    parser.add_argument(
        "--plain", action="store_true", help="only services that do not lie, as the schedules were at first"
    )
    parser.add_argument(
        "--lanes", action="store_true", help="each in two or three lanes, with jobs side by side and budgets"
    )
    parser.add_argument(
        "--backend",
        type=Backend,
        choices=list(Backend),
        default=Backend.TRIO,
        help="default trio",
    )
    options = parser.parse_args()
    if options.trace:
        return _tell(options)
    if options.mutants:
        return _catch_mutants()
    return _play(options)


def _play(options: argparse.Namespace) -> int:
    tally, started, count = Tally(), time.monotonic(), options.schedules
    for verdict in play_on_all_cores(
        options.seed, count, options.backend, lies=not options.plain, lanes=options.lanes
    ):
        tally.add(verdict)
        if verdict.violations:
            print(f"seed {verdict.seed}: {'; '.join(verdict.violations)}", flush=True)
        if tally.schedules % 1000 == 0:
            print(f"{tally.schedules} of {count}", file=sys.stderr, flush=True)
    how = f"--backend {options.backend}{' --lanes' * options.lanes}"
    for seed in sorted(tally.failed)[:5]:
        print(f"to see it: scripts/simulate --seed {seed} --trace {how}")
    print(
        f"{tally.accepted} accepted POSTs, {tally.crashes} crashes, {tally.finished} schedules ended with"
        f" everything done, {time.monotonic() - started:.0f} s"
    )
    print(f"{tally.beyond} accepted POSTs were shown later than is promised, and paid for twice")
    print(tally.held_line())
    print(tally.line())
    return 1 if tally.failed or tally.schedules != count else 0


def _tell(options: argparse.Namespace) -> int:
    seed = options.seed
    verdict = replay(seed, options.backend, lies=not options.plain, lanes=options.lanes)
    print("\n".join(verdict.trace))
    print(f"seed {seed}: digest {verdict.digest[:16]}, {'; '.join(verdict.violations) or 'nothing wrong'}")
    return 1 if verdict.violations else 0


def _catch_mutants() -> int:
    survivors = 0
    for name in MUTANTS:
        caught = catch(name, most=MOST_FOR_A_MUTANT)
        survivors += caught is None
        said = (
            f"schedule {caught.schedules}, seed {caught.seed}: {caught.violation}" if caught else "SURVIVED"
        )
        print(f"{name}: {said}", flush=True)
    print(f"{len(MUTANTS)} mutants: {survivors} survived {MOST_FOR_A_MUTANT} schedules")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
