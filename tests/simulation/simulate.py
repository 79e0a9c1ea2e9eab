"""One schedule from its seed to its verdict."""

from __future__ import annotations

import gc
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import anyio

from runner.errors import ExitCode
from runner.job.model import Job
from runner.job.rundate import RunDate
from runner.lane.control import Control
from runner.ledger.states import TaskState
from runner.media import video
from runner.plan.plan import Plan, make_plan
from runner.run import prepare, stop
from tests.simulation.absence import may_turn_up
from tests.simulation.bench import ORIGIN, Bench, clean_folder, empty_image, job_of, ledger_of
from tests.simulation.checks import check_between, check_end, check_exit
from tests.simulation.disk import Platter
from tests.simulation.hands import settle_held
from tests.simulation.history import give_history
from tests.simulation.kinds import PLUGINS, PROVIDERS
from tests.simulation.loops import Backend
from tests.simulation.loops import run as run_loop
from tests.simulation.process import Ended, live
from tests.simulation.schedule import Foreign, ProcessSpec, Schedule, Shape, Sky, Verb, draw, sky
from tests.simulation.service import START, Service
from tests.simulation.trace import Trace
from tests.simulation.weather import CALM
from tests.support.plugins import installed

CALM_RUNS = 10
"""So many processes without faults may follow; each brings the job on, or the schedule is judged."""

LONGEST_PAUSE = 2 * 86_400.0
"""Seconds between two of them: all together outlast the service's records."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a schedule ended. `steps` are those of each process, for crashing at every one of them."""

    seed: int
    violations: tuple[str, ...]
    held: Counter[str]
    digest: str
    trace: tuple[str, ...]
    steps: tuple[int, ...]
    accepted: int
    beyond: int
    """Tasks paid for a second time where the list passed a limit that is told."""
    sky: Sky
    has_history: bool
    crashes: int
    finished: bool


def play(schedule: Schedule, backend: Backend = Backend.TRIO) -> Verdict:
    """Runs a schedule; the same one gives the same trace on a backend, always."""
    with _simulated(), installed(**PLUGINS), _without_collector():
        return run_loop(backend, schedule.seed, _play, schedule)


def replay(seed: int, backend: Backend = Backend.TRIO, *, lies: bool = True) -> Verdict:
    """The verdict on the schedule of a seed."""
    return play(draw(seed, lies=lies), backend)


@contextmanager
def _without_collector() -> Iterator[None]:
    """A schedule is over before garbage could matter, and looking for it costs a quarter of the time.

    What is loaded is frozen meanwhile: modules are never garbage.
    """
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@contextmanager
def _simulated() -> Iterator[None]:
    kept = prepare.make_plan, video.has_pyav, stop._watch_signals
    # PyAV opens a file in a millisecond, and the boxes say whether it is whole
    prepare.make_plan, video.has_pyav = _make_plan, lambda: False  # type: ignore[assignment]
    # signals belong to the process that plays; a stop comes by deadline here
    stop._watch_signals = _no_signals
    try:
        yield
    finally:
        prepare.make_plan, video.has_pyav, stop._watch_signals = kept


async def _no_signals(_control: Control) -> None:
    await anyio.sleep_forever()


async def _play(schedule: Schedule) -> Verdict:
    root = clean_folder()
    bench = Bench(
        schedule=schedule,
        service=Service(schedule.habits, random.Random(f"service {schedule.seed}"), schedule.kind),
        platter=Platter(root),
        random=random.Random(f"processes {schedule.seed}"),
        ledger=ledger_of(empty_image()),
        trace=Trace(root),
    )
    plan = plan_of(schedule, schedule.processes[0])
    if schedule.has_history:
        give_history(bench, plan)
    for foreign in schedule.foreign:
        _submit_foreign(bench, plan, foreign)
    states: dict[str, TaskState] = {}
    steps: list[int] = []
    crashes = 0
    ended = Ended(ExitCode.DONE, 0)
    for spec in schedule.processes:
        await anyio.sleep(spec.pause)
        settle_held(bench, spec.hand)
        states = _standing(bench)
        ended = await live(bench, spec)
        plan = plan_of(schedule, spec)
        states = _check(bench, plan, ended, states, spec.verb)
        steps.append(ended.steps)
        crashes += ended.exit_code is None
    last = schedule.processes[-1]
    has_said_so = ended.exit_code is not None and last.verb is not Verb.COLLECT and last.accepts_edits
    for number in range(CALM_RUNS):
        if (number or has_said_so) and _is_settled(bench, plan, ended):
            break
        await anyio.sleep(min(60.0 * 4**number, LONGEST_PAUSE))
        ended = await live(bench, ProcessSpec(weather=CALM, is_edited=last.is_edited))
        states = _check(bench, plan, ended, states, Verb.RUN)
    plans = [plan_of(schedule, one) for one in {spec.is_edited: spec for spec in schedule.processes}.values()]
    held = check_end(bench, bench.reader(), plan, plans, ended)
    bench.ledger.close()
    return Verdict(
        seed=schedule.seed,
        violations=tuple(dict.fromkeys(bench.violations)),
        held=held,
        digest=bench.trace.digest,
        trace=tuple(bench.trace.lines),
        steps=tuple(steps),
        accepted=sum(row.at >= 0 for row in bench.service.accepted()),
        beyond=len(bench.beyond),
        sky=sky(schedule),
        has_history=schedule.has_history,
        crashes=crashes,
        finished=ended.exit_code is ExitCode.DONE,
    )


def _check(
    bench: Bench, plan: Plan, ended: Ended, before: dict[str, TaskState], verb: Verb
) -> dict[str, TaskState]:
    ledger = bench.reader()
    check_exit(bench, ledger, plan, ended, verb)
    return check_between(bench, ledger, before)


def _standing(bench: Bench) -> dict[str, TaskState]:
    return {attempt.id: attempt.state for attempt in bench.reader().read.in_state(*TaskState)}


def _is_settled(bench: Bench, plan: Plan, ended: Ended) -> bool:
    """Whether a further process would find nothing to do."""
    identities = [task.identity for task in plan.tasks]
    states = [attempt.state for attempt in bench.reader().read.latest(identities).values()]
    has_all = len(states) == len(identities) or ended.exit_code is ExitCode.REFUSED
    return (
        has_all
        and all(state.is_terminal or state is TaskState.HELD for state in states)
        and not may_turn_up(bench, bench.reader())
    )


_PLANS: dict[tuple[str, str], Plan] = {}
"""The job language has tests of its own: each job is planned once for each date."""


def _make_plan(job: Job, *, origins: Mapping[str, str], run_date: RunDate, began: float = START) -> Plan:
    key = (job.digest, run_date.format())
    if key not in _PLANS:
        _PLANS[key] = make_plan(job, origins=origins, run_date=run_date, began=began)
    return replace(_PLANS[key], job=job, began=began)


def plan_of(schedule: Schedule, process: ProcessSpec) -> Plan:
    job = job_of(schedule.job_of(process))
    return _make_plan(job, origins={job.provider.name: ORIGIN}, run_date=RunDate.today(START))


def _submit_foreign(bench: Bench, plan: Plan, foreign: Foreign) -> None:
    """Another project's POST: alike in every field that the list shows but the tag, or not."""
    task = plan.tasks[0]
    request = json.loads(json.dumps(task.request))
    request["content"][0]["text"] = f"another project's film, shot{foreign.shot}"
    if "prompt" in request:
        request["prompt"] = request["content"][0]["text"]
    tag, number = PROVIDERS[bench.schedule.kind].tag, bench.random.randrange(1, 65_536)
    if tag is not None:
        request[tag.field] = tag.value(number)
    if bench.schedule.job.shape is not Shape.SAMPLES:
        request["seed"] = foreign.seed
    if not foreign.is_alike:
        request["duration"] = 8
    bench.service.accept(request, foreign.at, owner="another project")
