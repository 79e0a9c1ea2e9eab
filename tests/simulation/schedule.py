"""A schedule: everything that a seed decides before the first process starts."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import tzinfo
from enum import StrEnum

from runner.job.model import Budget, OnAmbiguous, RunPolicy
from runner.job.project_file import Where, Window, WindowCap
from runner.ledger.caps import Budgets
from runner.money import MICROS
from tests.simulation.kinds import Kind
from tests.simulation.midnight import BERLIN, ZONE
from tests.simulation.service import ORIGIN, Dates, Echo, Habits, ListFault
from tests.simulation.weather import CALM, Weather, storm

SETTLE_ALONE = 12
"""So many times `settle` is what a list takes that shows nothing newer, by default."""


EDITED = "samovar"
"""What edited prompts are about. Its files are longer than those of a teapot: the engine asks a real
directory whether a file was changed, and that has sizes alone."""


class Shape(StrEnum):
    """What tells a job's tasks apart."""

    SEEDS = "seeds"
    PROMPTS = "prompts"
    """Equal seeds, different prompts."""
    SAMPLES = "samples"
    """A model that ignores seeds: every POST has the same body but for its tag."""
    BOTH = "both"
    CHAIN = "chain"
    """Shots that each begin with the last frame of the one before."""
    JOIN = "join"
    """Two shots, and a third one that begins with the last frame of one and ends with that of the other."""


DRAWN = (Shape.SEEDS, Shape.PROMPTS, Shape.SAMPLES, Shape.BOTH)
"""Those that a seed decides between; the others have tests of their own."""


_AFTER = (
    "  - {type: image_url, image_url: '${{ previous.last_frame }}', role: first_frame}",
    "chain: shot",
)

_JOIN = """\
version: 1
models: [byteplus/seedance-1-0-pro]
request: {resolution: 480p, ratio: 16:9, duration: 4, return_last_frame: true}
steps:
  first:
    seeds: [7]
    content: [{type: text, text: the teapot in shot0}]
    output: out/shot0-7.mp4
  last:
    seeds: [7]
    content: [{type: text, text: the teapot in shot1}]
    output: out/shot1-7.mp4
  film:
    needs: [first, last]
    seeds: [7]
    content:
      - {type: text, text: the teapot in shot2}
      - {type: image_url, image_url: "${{ needs.first.last_frame }}", role: first_frame}
      - {type: image_url, image_url: "${{ needs.last.last_frame }}", role: last_frame}
    output: out/shot2-7.mp4
"""


@dataclass(frozen=True, slots=True)
class JobSpec:
    shape: Shape
    tasks: int
    settle: int
    slots: int
    concurrency: int
    max_tasks: int | None
    holds: bool
    last_frame: bool
    timeout: float = 3600.0
    webhook: bool = False
    max_usd: int | None = None
    """Each task costs one dollar where this is given, and so it caps their number as well."""
    models: int = 1
    kind: Kind = Kind.PAGES
    """Of the service that it names."""
    thing: str = "teapot"
    """What the prompts are about: a person may edit it."""
    folder: str = "out"
    usd: int = 0
    """What each task costs where no cap needs it; 0: nobody says."""
    lanes: tuple[Kind, ...] = ()
    """The kinds of the further services that it names: each makes the same tasks."""

    @property
    def cap(self) -> int | None:
        """How many tasks a run may pay for."""
        return self.max_tasks if self.max_usd is None else self.max_usd

    @property
    def max_micros(self) -> int | None:
        return None if self.max_usd is None else self.max_usd * MICROS

    @property
    def price(self) -> int:
        """Dollars for each task, 0 where the job file tells none."""
        return self.usd or int(self.max_usd is not None)

    def text(self) -> str:
        """The job file, but for `run` and `budget`: few texts, and each is read once."""
        if self.shape is Shape.JOIN:
            return _JOIN
        provider = () if self.kind is Kind.PAGES else (f"provider: {self.kind}",)
        model = "seedance-2-0" if self.shape is Shape.SAMPLES else "seedance-1-0-pro"
        is_listed = self.shape in (Shape.PROMPTS, Shape.CHAIN)
        shots = self.tasks if is_listed else 2 if self.shape is Shape.BOTH else 1
        takes = {
            Shape.SEEDS: f"seeds: 1..{self.tasks}",
            Shape.PROMPTS: "seeds: [7]",
            Shape.CHAIN: "seeds: [7]",
            Shape.SAMPLES: f"samples: {self.tasks}",
            Shape.BOTH: f"seeds: 1..{max(self.tasks // 2, 1)}",
        }[self.shape]
        take = "sample" if self.shape is Shape.SAMPLES else "seed"
        last_frame = ", return_last_frame: true" if self.last_frame else ""
        models = [f"byteplus/{model}", "byteplus/seedance-1-0-pro-fast"][: self.models]
        if self.lanes:
            models = [f"{{id: {models[0]}, at: {at}, name: {at}}}" for at in (self.kind, *self.lanes)]
        folder = f"{self.folder}/{'${{ model }}/' if len(models) > 1 else ''}"
        lines = [
            "version: 1",
            f"name: {self.folder}" if self.folder != "out" else "",
            *provider,
            f"models: [{', '.join(models)}]",
            takes,
            f"matrix: {{shot: [{', '.join(f'shot{number}' for number in range(shots))}]}}",
            f"request: {{resolution: 480p, ratio: 16:9, duration: 4{last_frame}}}",
            "content:",
            "  - type: text",
            f"    text: the {self.thing} in ${{{{ shot }}}}",
            *(_AFTER if self.shape is Shape.CHAIN else ()),
            *((f"price: {{usd_per_task: {self.price}}}",) if self.price else ()),
            f"output: {folder}${{{{ shot }}}}-${{{{ {take} }}}}.mp4",
        ]
        return "\n".join(lines) + "\n"

    def policy(self) -> RunPolicy:
        return RunPolicy(
            settle=self.settle,
            settle_alone=SETTLE_ALONE * self.settle,
            submit_slots=self.slots,
            concurrency=self.concurrency,
            on_ambiguous=OnAmbiguous.HOLD if self.holds else OnAmbiguous.AUTO,
            timeout=self.timeout,
        )

    def budget(self) -> Budget:
        return Budget(max_tasks=self.max_tasks, max_micros=self.max_micros)


class Verb(StrEnum):
    RUN = "run"
    RESUME = "resume"
    COLLECT = "collect"
    RETRY = "retry"
    AGAIN = "again"
    """`run --again` with the name of one task, whatever became of it."""


class Hand(StrEnum):
    """What a person types with `reconcile`, before a process starts, about each held task."""

    NONE = "none"
    HONEST = "honest"
    """Adopts what the service's own list of prompts shows, else sends it again or gives it up."""
    RASH = "rash"
    """Sends it again without looking."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process. `pause` is simulated seconds before it starts; `rival_after` lets a second
    process start so many seconds later beside it; `dies_at` counts steps (see life.py)."""

    verb: Verb = Verb.RUN
    pause: float = 0.0
    weather: Weather = CALM
    dies_at: int | None = None
    deadline: float | None = None
    rival_after: float | None = None
    hand: Hand = Hand.NONE
    is_edited: bool = False
    """Whether a person has edited the prompts before it starts, else they are as at first."""
    accepts_edits: bool = True
    cut_at: float | None = None
    """Simulated seconds after which whoever runs it cancels it: asyncio's own way, which knows no shield."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A POST of another project under the same key, `at` simulated seconds."""

    at: float
    seed: int | None
    shot: int
    is_alike: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    seed: int
    job: JobSpec
    habits: Habits
    processes: tuple[ProcessSpec, ...]
    foreign: tuple[Foreign, ...]
    has_history: bool = False
    """Whether the project has a task of this model from before (history.py), in the first lane."""
    others: tuple[Habits, ...] = ()
    """Of the services of the further lanes."""
    beside: JobSpec | None = None
    """A second job, in the same lanes, that every `run` works on beside the first."""
    caps: tuple[WindowCap, ...] = ()
    """Those of the project."""
    zone: tzinfo = ZONE
    """Whose days and months those are."""

    @property
    def kind(self) -> Kind:
        return self.job.kind

    @property
    def has_edits(self) -> bool:
        return any(process.is_edited for process in self.processes)

    def jobs_of(self, process: ProcessSpec) -> list[JobSpec]:
        """The jobs as their files say when this process starts."""
        first = replace(self.job, thing=EDITED) if process.is_edited else self.job
        return [first] if self.beside is None else [first, self.beside]

    def job_said(self, prompt: str) -> JobSpec:
        """The job that a prompt is from."""
        return self.beside if self.beside is not None and self.beside.thing in prompt else self.job

    @property
    def places(self) -> list[tuple[Kind, str, Habits]]:
        """The services by lane: kind, origin, habits."""
        further = zip(self.job.lanes, self.others, strict=True)
        lanes = [(kind, f"https://{kind}.sim.test", habits) for kind, habits in further]
        return [(self.kind, ORIGIN, self.habits), *lanes]

    @property
    def origins(self) -> dict[str, str]:
        return {kind.value: origin for kind, origin, _ in self.places}

    @property
    def has_caps(self) -> bool:
        return self.job.cap is not None or bool(self.caps)

    @property
    def budgets(self) -> Budgets:
        return Budgets(self.zone, self.caps)


_KINDS: Mapping[int, Kind] = {1: Kind.TEXT, 3: Kind.INPUT, 6: Kind.HISTORY}
"""By the rest of a seed that is divided by 7."""


def draw(seed: int, *, lies: bool = True) -> Schedule:
    """The schedule of a seed: the same for ever, or the fixed cases lose their meaning.

    With `lies`, half of the services lie, lag and forget in ways that the others do not; all else is the
    same as without.
    """
    source = random.Random(seed)
    job = _job(source)
    # so that the seeds that once failed keep their service
    job = replace(job, kind=_KINDS.get(seed % 7, Kind.PAGES))
    if seed % 2:
        job = replace(job, max_tasks=None, max_usd=job.max_tasks)
    habits = _habits(source, job)
    further = random.Random(f"further {seed}")
    count = source.choices((1, 2, 3, 5), (6, 6, 2, 1))[0]
    schedule = Schedule(
        seed=seed,
        job=job,
        habits=habits,
        processes=tuple(
            replace(_process(source, number, habits), cut_at=_cut(further)) for number in range(count)
        ),
        foreign=_foreign(source, job, habits),
        has_history=random.Random(f"history {seed}").random() < 0.5,
    )
    schedule = _edited(schedule, random.Random(f"edits {seed}"))
    return _lying(schedule, random.Random(f"lies {seed}")) if lies and further.random() < 0.5 else schedule


def _edited(schedule: Schedule, source: random.Random) -> Schedule:
    """In a third of the schedules of several processes a person edits the prompts, and may undo that."""
    if len(schedule.processes) == 1 or source.random() > 0.35:
        return schedule
    first, *later = schedule.processes
    processes = [first]
    for process in later:
        is_edited = processes[-1].is_edited != (source.random() < 0.7)
        processes.append(replace(process, is_edited=is_edited, accepts_edits=source.random() < 0.8))
    return replace(schedule, processes=tuple(processes))


def _job(source: random.Random) -> JobSpec:
    shape = source.choice(DRAWN)
    tasks = source.choices((1, 2, 3, 4, 6, 8, 12), (30, 40, 20, 10, 4, 2, 1))[0]
    if shape is Shape.BOTH:
        tasks = max(2, tasks // 2 * 2)
    return JobSpec(
        shape=shape,
        tasks=tasks,
        settle=source.choice((1, 5, 5)),
        slots=source.choice((1, 2, 4, 4)),
        concurrency=source.choice((1, 3, 8, 8)),
        max_tasks=source.randint(1, tasks) if source.random() < 0.1 else None,
        holds=source.random() < 0.05,
        last_frame=source.random() < 0.2,
        timeout=source.choice((3600.0, 3600.0, 3600.0, 20.0, 5.0)),
        webhook=source.random() < 0.2,
    )


def _habits(source: random.Random, job: JobSpec) -> Habits:
    echo = source.choices((Echo.SENT, Echo.NEVER, Echo.DEFAULT), (8, 2, 1))[0]
    # what the service may take to show an accepted POST is what run.settle has to cover
    late = source.choice((0.0, 0.0, 0.4 * job.settle))
    lag = source.choice((0.0, 0.1 * job.settle, 0.5 * job.settle, 0.5 * job.settle))
    clock_skew = source.choice((0.0, 0.0, -7200.0, 7200.0))
    return Habits(
        echo=echo,
        latency=source.choice(((0.5, 4.0), (0.5, 4.0), (3.0, 12.0), (10.0, 20.0))),
        late=late,
        lag=lag,
        nulls=source.choice((0.0, 0.0, 0.0, 2.0, 100.0)),
        missing=source.choice((0.0, 0.0, 5.0, 20.0)),
        node_skew=source.choice((0.0, 0.0, 2.0, 45.0)),
        clock_skew=clock_skew,
        # two clocks ahead at once hide a paid row for ever (docs/explanation/simulation.md)
        edge_skew=0.0 if clock_skew else source.choice((0.0, 0.0, -3600.0, 3600.0)),
        # many rows in small pages are hundreds of requests that show nothing new
        page=source.choice((200, 200, 200, 3)) if job.tasks <= 4 else 200,
        url_life=source.choice((86_400.0, 86_400.0, 20.0)),
        fails=source.choice((0.0, 0.0, 0.0, 0.2)),
        regresses=source.choice((0.0, 0.0, 0.3)),
        suffix=source.choice(("", "", "-250928")),
        new_etags=source.choice((0.0, 0.0, 0.2)),
        forgets=source.choice((0.0, 0.0, 0.0, 0.2)),
    )


def _process(source: random.Random, number: int, habits: Habits) -> ProcessSpec:
    verb, weather = Verb.RUN, storm(source)
    if habits.edge_skew > 0:
        weather = replace(weather, jumps=())
    if number:
        verb = source.choices(list(Verb), (6, 2, 2, 1, 1))[0]
    pause = source.choices((0.0, 5.0, 120.0, 600.0, 86_400.0), (6, 4, 3, 2, 1))[0] if number else 0.0
    return ProcessSpec(
        verb=verb,
        pause=pause,
        weather=weather,
        dies_at=int(10 ** source.uniform(1.2, 2.8)) if source.random() < 0.7 else None,
        deadline=source.uniform(1, 120) if source.random() < 0.15 else None,
        rival_after=source.uniform(0, 6) if source.random() < 0.15 else None,
        hand=source.choices(list(Hand), (6, 3, 1))[0] if number else Hand.NONE,
    )


class Sky(StrEnum):
    """How much a schedule's service lies, for what is counted."""

    PLAIN = "plain services"
    HONEST = "honest lists"
    """Lies, but its list shows what it has to."""
    LYING = "lying lists"


def sky(schedule: Schedule) -> Sky:
    services = [habits for _, _, habits in schedule.places]
    if not any(habits.lies for habits in services):
        return Sky.PLAIN
    return Sky.HONEST if all(habits.is_list_honest for habits in services) else Sky.LYING


def _lying(schedule: Schedule, source: random.Random) -> Schedule:
    """The same schedule with one to three further habits."""
    lies = list(_LIES)
    for lie in source.sample(lies, source.choice((1, 1, 2, 3))):
        job, habits = _LIES[lie](source, schedule.job, schedule.habits)
        schedule = replace(schedule, job=job, habits=replace(habits, lies=(*habits.lies, lie)))
    if schedule.habits.seed is not Echo.SENT:
        # as with samples: tags alone tell tasks apart
        schedule = replace(schedule, habits=replace(schedule.habits, turns_for_all=True))
    if {"list lags", "list stops", "tags", "seeds", "tags turn", "undecided"} & set(schedule.habits.lies):
        schedule = replace(schedule, has_history=source.random() < 0.8)
    if schedule.habits.echo is Echo.NEVER and schedule.job.shape is not Shape.SAMPLES:
        foreign = tuple(replace(one, seed=1000 + number) for number, one in enumerate(schedule.foreign))
        schedule = replace(schedule, foreign=foreign)
    return schedule


def _spell(source: random.Random, *, ends: bool = False) -> tuple[float, float]:
    begins = source.choice((0.0, source.uniform(0, 20), source.uniform(0, 120)))
    lengths = (20.0, 600.0, 7200.0, 100_000.0)
    return begins, begins + source.choice(lengths if ends else (*lengths, math.inf))


Drawn = tuple[JobSpec, Habits]


def _unclear(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    accepted = source.choice((1.0, 1.0, 0.0, 0.5))
    if source.random() < 0.3 and job.shape is Shape.SEEDS:
        # enough for doubts in a row to matter
        job = replace(job, tasks=12, slots=1)
    return job, replace(habits, unclear=_spell(source), unclear_accepted=accepted)


def _list_fault(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    faults = [fault for fault in ListFault if fault is not ListFault.NONE]
    return job, replace(habits, list_fault=source.choice(faults), list_fault_in=_spell(source))


def _list_lag(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    alone = SETTLE_ALONE * job.settle
    lag = source.choice(
        (2.0 * job.settle, 0.5 * alone, 0.8 * alone, 3.0 * alone, 3.0 * alone, 3600.0, 60_000.0)
    )
    return _behind(source, job, replace(habits, list_lag=lag))


def _list_stops(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    return _behind(source, job, replace(habits, list_stops=_spell(source)))


def _behind(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    """What makes such a service dangerous: nothing newer that shows how it is, and money that is counted."""
    if source.random() < 0.5:
        habits = replace(habits, unclear=(0.0, source.choice((10.0, 30.0))), unclear_accepted=1.0)
    if source.random() < 0.4 and job.max_usd is None:
        job = replace(job, max_tasks=job.tasks)
    return job, habits


def _tags(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    return _behind(source, job, replace(habits, echo=source.choice(list(Echo))))


def _seeds(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    return _behind(source, job, replace(habits, seed=source.choice(list(Echo))))


def _undecided(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    queued = source.choice((2.0, 30.0, 200.0, 200.0))
    habits = replace(habits, echo=Echo.UNDECIDED, seed=Echo.UNDECIDED, queued=queued)
    return _behind(source, job, habits)


def _turning(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    turned = source.choice((Echo.DEFAULT, Echo.OTHER))
    # where tags alone tell tasks apart, nothing shows that those of new tasks alone have changed
    for_all = turned is Echo.OTHER or job.shape is Shape.SAMPLES or source.random() < 0.5
    habits = replace(
        habits, echo=Echo.SENT, turns=source.uniform(0, 30), turned=turned, turns_for_all=for_all
    )
    return _behind(source, job, habits)


def _lost(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    return job, replace(habits, lost=source.choice((0.3, 1.0)))


def _frames(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    late = source.choice((2.0, 2.0, 300.0, 20_000.0, math.inf))
    return replace(job, last_frame=True), replace(habits, frame_late=late)


def _times(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    return job, replace(habits, odd_times=source.choice((0.3, 1.0)))


def _dates(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    # two clocks ahead at once hide a paid row for ever (docs/explanation/simulation.md)
    wrong = [one for one in Dates if one is not Dates.RIGHT]
    return job, replace(habits, dates=source.choice(wrong), clock_skew=0.0, edge_skew=0.0)


def _limited(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    return job, replace(habits, limited=_spell(source, ends=True))


def _quota(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    return job, replace(habits, quota=_spell(source, ends=True))


def _two_models(source: random.Random, job: JobSpec, habits: Habits) -> Drawn:
    if job.shape in (Shape.SEEDS, Shape.PROMPTS) and job.tasks <= 4:
        job = replace(job, models=2)
        if source.random() < 0.5:
            habits = replace(habits, list_fault=ListFault.HALF, list_fault_in=_spell(source))
    return job, habits


_LIES: Mapping[str, Callable[[random.Random, JobSpec, Habits], Drawn]] = {
    "unclear": _unclear,
    "list fault": _list_fault,
    "list lags": _list_lag,
    "list stops": _list_stops,
    "tags": _tags,
    "seeds": _seeds,
    "undecided": _undecided,
    "tags turn": _turning,
    "lost": _lost,
    "frames": _frames,
    "times": _times,
    "dates": _dates,
    "limited": _limited,
    "quota": _quota,
    "models": _two_models,
}


def _cut(source: random.Random) -> float | None:
    return source.uniform(0, 60) if source.random() < 0.05 else None


def _foreign(source: random.Random, job: JobSpec, habits: Habits) -> tuple[Foreign, ...]:
    count = source.choices((0, 1, 2, 4), (8, 2, 2, 1))[0]
    found: list[Foreign] = []
    for _ in range(count):
        # without an echo of tags nothing in the list tells an alike row of another project from ours
        # (docs/explanation/simulation.md): its seed is another one then
        may_be_alike = habits.echo is not Echo.NEVER or job.shape is Shape.SAMPLES
        found.append(
            Foreign(
                at=source.choice((0.0, source.uniform(0, 60), source.uniform(0, 600))),
                seed=source.choice((1, 2, 7)) if may_be_alike else 1000 + source.randrange(9),
                shot=source.randrange(3),
                is_alike=source.random() < 0.8,
            )
        )
    return tuple(found)


def daily(schedule: Schedule) -> Schedule:
    """The same with its caps as those of each day, in a zone where midnight comes twice."""
    job = schedule.job
    cap = WindowCap("budgets[0].day", Where(), Window.DAY, job.max_micros, job.max_tasks)
    return replace(schedule, job=replace(job, max_tasks=None, max_usd=None, usd=job.price), caps=(cap,))


def side_by_side(seed: int) -> Schedule:
    """The schedule of a seed in two or three lanes, with a second job in half of them.

    Most have caps of days and months, of the project or of one account.
    """
    schedule, source = draw(seed), random.Random(f"lanes {seed}")
    job = schedule.job
    kinds = source.sample([kind for kind in Kind if kind is not job.kind], source.choice((1, 1, 2)))
    job = replace(job, tasks=min(job.tasks, 4), models=1, usd=1, lanes=tuple(kinds))
    schedule = replace(
        schedule, job=job, others=tuple(_habits_beside(schedule, source) for _ in kinds), zone=BERLIN
    )
    if source.random() < 0.5:
        beside = replace(job, thing="kettle", folder="more", usd=2, max_tasks=None, max_usd=None)
        # the other verbs are for one job
        verbs = (Verb.RUN, Verb.COLLECT)
        processes = tuple(
            one if one.verb in verbs else replace(one, verb=Verb.RUN) for one in schedule.processes
        )
        schedule = replace(schedule, beside=beside, processes=processes)
    if source.random() < 0.7:
        job = replace(job, max_tasks=None, max_usd=None)
        caps = tuple(_window(source, number, schedule) for number in range(source.choice((1, 2, 3))))
        schedule = replace(schedule, job=job, caps=caps)
    return schedule


def _habits_beside(schedule: Schedule, source: random.Random) -> Habits:
    """Those of a service in a further lane."""
    # two clocks ahead at once hide a paid row for ever (docs/explanation/simulation.md)
    habits = replace(_habits(source, schedule.job), edge_skew=0.0)
    other = replace(schedule, habits=habits)
    return _lying(other, source).habits if source.random() < 0.3 else habits


def _window(source: random.Random, number: int, schedule: Schedule) -> WindowCap:
    window = source.choice((Window.DAY, Window.DAY, Window.MONTH))
    account = source.choice(("", "", *schedule.origins))
    most = source.randint(1, schedule.job.tasks * (2 if account else 4))
    path = f"budgets[{number}].{window}"
    if source.random() < 0.5:
        return WindowCap(path, Where(account), window, max_tasks=most)
    return WindowCap(path, Where(account), window, max_micros=most * MICROS)
