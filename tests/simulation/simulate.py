"""One schedule from its seed to its verdict."""

from __future__ import annotations

import gc
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import anyio

from runner.errors import ExitCode
from runner.job.expressions.rundate import RunDate
from runner.job.model import Job
from runner.lane.control import Control
from runner.ledger.states import TaskState
from runner.media import video
from runner.plan.plan import Plan, make_plan
from runner.plan.task import Task
from runner.run import prepare, stop
from tests.simulation.absence import may_turn_up
from tests.simulation.bench import Bench, clean_folder, empty_image, job_of, ledger_of
from tests.simulation.checks import check_between, check_end, check_exit
from tests.simulation.disk import Platter
from tests.simulation.hands import settle_held
from tests.simulation.history import give_history
from tests.simulation.kinds import PLUGINS, PROVIDERS
from tests.simulation.loops import Backend
from tests.simulation.loops import run as run_loop
from tests.simulation.process import Ended, live
from tests.simulation.schedule import (
    Foreign,
    ProcessSpec,
    Schedule,
    Shape,
    Sky,
    Verb,
    draw,
    side_by_side,
    sky,
)
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


def replay(seed: int, backend: Backend = Backend.TRIO, *, lies: bool = True, lanes: bool = False) -> Verdict:
    """The verdict on the schedule of a seed."""
    return play(side_by_side(seed) if lanes else draw(seed, lies=lies), backend)


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
        services=tuple(
            Service(habits, random.Random(f"service {schedule.seed}{number or ''}"), kind, origin)
            for number, (kind, origin, habits) in enumerate(schedule.places)
        ),
        platter=Platter(root),
        random=random.Random(f"processes {schedule.seed}"),
        ledger=ledger_of(empty_image()),
        trace=Trace(root),
    )
    plan = plans_of(schedule, schedule.processes[0])[0]
    if schedule.has_history:
        give_history(bench, plan)
    for foreign in schedule.foreign:
        _submit_foreign(bench, plan, foreign)
    tasks = plan.tasks
    states: dict[str, TaskState] = {}
    steps: list[int] = []
    crashes = 0
    ended = Ended(ExitCode.DONE, 0)
    for spec in schedule.processes:
        await anyio.sleep(spec.pause)
        settle_held(bench, spec.hand)
        states = _standing(bench)
        ended = await live(bench, spec)
        tasks = tasks_of(schedule, spec)
        states = _check(bench, tasks, ended, states, spec.verb)
        steps.append(ended.steps)
        crashes += ended.exit_code is None
    last = schedule.processes[-1]
    has_said_so = ended.exit_code is not None and last.verb is not Verb.COLLECT and last.accepts_edits
    for number in range(CALM_RUNS):
        if (number or has_said_so) and _is_settled(bench, tasks, ended):
            break
        await anyio.sleep(min(60.0 * 4**number, LONGEST_PAUSE))
        ended = await live(bench, ProcessSpec(weather=CALM, is_edited=last.is_edited))
        states = _check(bench, tasks, ended, states, Verb.RUN)
    edited = [task for spec in schedule.processes for task in tasks_of(schedule, spec)]
    held = check_end(bench, bench.reader(), tasks, edited, ended)
    bench.ledger.close()
    return Verdict(
        seed=schedule.seed,
        violations=tuple(dict.fromkeys(bench.violations)),
        held=held,
        digest=bench.trace.digest,
        trace=tuple(bench.trace.lines),
        steps=tuple(steps),
        accepted=sum(row.at >= 0 for row in bench.accepted()),
        beyond=len(bench.beyond),
        sky=sky(schedule),
        has_history=schedule.has_history,
        crashes=crashes,
        finished=ended.exit_code is ExitCode.DONE,
    )


def _check(
    bench: Bench, tasks: Sequence[Task], ended: Ended, before: dict[str, TaskState], verb: Verb
) -> dict[str, TaskState]:
    ledger = bench.reader()
    check_exit(bench, ledger, tasks, ended, verb)
    return check_between(bench, ledger, before)


def _standing(bench: Bench) -> dict[str, TaskState]:
    return {attempt.id: attempt.state for attempt in bench.reader().read.in_state(*TaskState)}


def _is_settled(bench: Bench, tasks: Sequence[Task], ended: Ended) -> bool:
    """Whether a further process would find nothing to do."""
    identities = [task.identity for task in tasks]
    states = [attempt.state for attempt in bench.reader().read.latest(identities).values()]
    # a cap of a day lets more through on the next one
    is_refused = ended.exit_code is ExitCode.REFUSED and not bench.schedule.caps
    has_all = len(states) == len(identities) or is_refused
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


def plans_of(schedule: Schedule, process: ProcessSpec) -> list[Plan]:
    """By job."""
    return [
        _make_plan(job_of(spec), origins=schedule.origins, run_date=RunDate.today(START))
        for spec in schedule.jobs_of(process)
    ]


def tasks_of(schedule: Schedule, process: ProcessSpec) -> tuple[Task, ...]:
    return tuple(task for plan in plans_of(schedule, process) for task in plan.tasks)


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
