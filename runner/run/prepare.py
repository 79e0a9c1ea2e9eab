"""Before anything is sent: which run this is, what it would do, and whether it may."""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from runner.errors import JobError, Problem, UsageError
from runner.job.expressions.rundate import RunDate
from runner.job.model import Job, OnEdit
from runner.lane.costs import caps_of, over_all_runs
from runner.ledger.caps import Caps
from runner.ledger.read import LedgerReader
from runner.ledger.rows import RunRow
from runner.ledger.states import Reason, TaskState
from runner.plan.cost import Total, total_of
from runner.plan.edits import Edit, Edits
from runner.plan.plan import Plan, make_plan
from runner.plan.task import Task
from runner.project import Project
from runner.providers.place import joined
from runner.run.dating import ClockDate
from runner.run.only import Named, Only
from runner.run.remembered import check_is_remembered
from runner.run.task.progress import Progress, progress_of

_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Tasks that a person asked to submit a second time, with `retry` or `run --again`.

    `reason` is `retry` (failed tasks and what was written off) or `again` (a new take of a done one
    too). `named` are the tasks, None for every one that `reason` allows.
    """

    reason: Reason
    named: Named | None = None

    def allows(self, state: TaskState) -> bool:
        if self.reason is Reason.RETRY:
            return state in (TaskState.FAILED, TaskState.EXPIRED, TaskState.WRITTEN_OFF)
        return state.is_terminal

    def takes_along(self, progress: Progress, retried: Container[str]) -> bool:
        """Whether a task that was never accepted is submitted beside these, too.

        A `retry` pays for nothing that has not failed, except what builds on a task that it has `retried`
        (identities) and an earlier retry that could not be sent.
        """
        if self.reason is not Reason.RETRY:
            return True
        if any(upstream.identity in retried for upstream in progress.task.upstreams):
            return True
        return progress.attempt is not None and progress.attempt.reason is Reason.RETRY


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that may start: its row (`is_new` where the ledger has none yet) and its plan.

    `new` is the estimate of what it would submit. `only` limits that to `selected` tasks of the plan.
    """

    run: RunRow
    plan: Plan
    caps: Caps
    new: Total
    is_new: bool
    resubmit: Resubmit | None = None
    only: Only | None = None
    selected: int = 0
    unsettled: tuple[Task, ...] = ()
    """The tasks, of those selected, that are not done and in place."""
    asked_again: frozenset[str] = frozenset()
    """The identities that `resubmit` means, as they stood: what fails later is not bought again unasked."""
    left_edits: Edits | None = None
    """The edits that nobody agreed to: they are not submitted, nor is what needs them."""
    clock_date: ClockDate | None = None
    """The date that still has to be held against the service's clock; None where it may be used."""

    def beside(self, others: Iterable[Prepared]) -> Prepared:
        """This run in a process that works on the others too: what they spend counts against its caps where
        they have its name and edition, or one of its tasks.
        """
        if self.caps.is_none:
            return self
        own = {task.identity for task in self.plan.tasks}
        name = (self.plan.job.name, self.plan.edition)
        runs = {
            other.run.id
            for other in others
            if (other.plan.job.name, other.plan.edition) == name
            or any(task.identity in own for task in other.plan.tasks)
        }
        return replace(self, caps=replace(self.caps, runs=self.caps.runs | runs))

    @property
    def roots(self) -> tuple[Task, ...]:
        """The tasks to begin with; what is settled is left out where no other task needs it."""
        is_flat = len(self.plan.roots) == self.plan.count
        return self.unsettled if is_flat and self.only is None and self.resubmit is None else self.plan.roots


def prepare_run(
    job: Job,
    *,
    project: Project,
    reader: LedgerReader,
    origins: Mapping[str, str],
    now: float,
    source: random.Random,
    date: RunDate | None = None,
    run: RunRow | None = None,
    resubmit: Resubmit | None = None,
    only: Named | None = None,
    plan: Plan | None = None,
    agree: Callable[[Edits], bool] = lambda _edits: False,
) -> Prepared:
    """The run that brings `job` to done. `origins` are those of its accounts by name. `run` is the one to
    resume; `date` is what --date said.

    Without `run`, the unfinished run of the same job and edition goes on under its id and date,
    else one starts. Where `plan` is given nothing is planned again, and an unfinished run goes on only
    if it asks for the same tasks. `agree` says of edits, where `run.on_edit` is `ask`, whether they are
    submitted; it may raise RefusedError.

    Raises JobError for output paths that would overwrite something, RefusedError where the budget
    cannot be held, StateError where the ledger has forgotten a submit.
    """
    check_is_remembered(project, reader)
    is_new = False
    clock: ClockDate | None = None
    zone = job.project_file.timezone
    if run is not None:
        frozen = RunDate.parse(run.run_date)
        if date is not None and date.date != frozen.date:
            raise UsageError(
                f"run {run.id} is dated {frozen} and keeps that date",
                hint=f"callsheet run {job.file} --date {date}",
            )
        plan = make_plan(job, origins=origins, run_date=frozen, began=run.started_at)
        clock = None if date is not None else ClockDate(frozen, None, zone=zone)
    else:
        if plan is None:
            run, plan = _choose(job, reader, origins, date, now)
            clock = (
                None
                if date is not None
                else ClockDate(plan.run_date, now if run is None else None, zone=zone)
            )
        else:
            run = _with_the_tasks_of(plan, reader)
            if plan.clock is not None:
                wall, monotonic = plan.clock
                clock = ClockDate(plan.run_date, wall, age=time.monotonic() - monotonic, zone=zone)
        if run is None:
            is_new = True
            run = RunRow(
                id=new_run_id(now, source),
                job_file=job.file,
                job_name=job.name,
                job_digest=job.digest,
                edition=plan.edition,
                run_date=plan.run_date.format(),
                provider=joined(account.provider.name for account in job.accounts.values()),
                origin=joined(origins.values()),
                started_at=plan.began if job.uses_time else now,
            )
    again = resubmit.named.choose(plan) if resubmit is not None and resubmit.named is not None else None
    chosen = only.choose(plan) if only is not None else None
    tasks = plan.tasks if chosen is None else filter(chosen.names, plan.tasks)
    seen = _look_over(job, progress_of(tasks, reader, project.base), resubmit, again)
    left = None
    if seen.edits is not None and not _may_edit(job, seen.edits, agree):
        left, seen = seen.edits, seen.without_edits()
    caps = over_all_runs(caps_of(job, seen.new, seen.unpriced), plan, reader)
    return Prepared(
        run=run,
        plan=plan,
        caps=caps,
        new=seen.new,
        is_new=is_new,
        resubmit=resubmit,
        only=chosen,
        selected=plan.count if chosen is None else len(chosen.identities),
        unsettled=seen.unsettled,
        asked_again=seen.asked_again,
        left_edits=left,
        clock_date=clock if job.uses_date and not reader.has_intents(run.id) else None,
    )


def _choose(
    job: Job, reader: LedgerReader, origins: Mapping[str, str], date: RunDate | None, now: float
) -> tuple[RunRow | None, Plan]:
    today = date or RunDate.today(now, job.project_file.timezone)
    new = make_plan(job, origins=origins, run_date=today, began=now)
    for run in reader.unfinished_runs(job.file):
        if run.origin != joined(origins.values()):
            continue
        frozen, plan = RunDate.parse(run.run_date), new
        if job.uses_time:  # by its own time, which may be a part of its edition
            day = replace(today, offset=frozen.offset)
            plan = make_plan(job, origins=origins, run_date=day, began=run.started_at)
        if run.edition != plan.edition:
            continue
        # the day alone: its offset differs with the time zone, and when the clocks change
        if date is not None and frozen.date != date.date:
            continue
        if frozen.date != plan.run_date.date and job.uses_date and not reader.has_intents(run.id):
            continue  # nothing was submitted under its date, which may be that of a wrong clock
        if frozen == plan.run_date or not job.uses_date:
            return run, replace(plan, run_date=frozen)
        return run, make_plan(job, origins=origins, run_date=frozen, began=run.started_at)
    return None, new


def _with_the_tasks_of(plan: Plan, reader: LedgerReader) -> RunRow | None:
    """The unfinished run that asks for the same tasks: of another day or time only where no expression reads
    it.
    """
    for run in reader.unfinished_runs(plan.job.file):
        if plan.job.uses_time and run.started_at != plan.began:
            continue
        is_of_day = RunDate.parse(run.run_date).date == plan.run_date.date
        if (run.edition, run.origin) == (plan.edition, plan.origin) and (is_of_day or not plan.job.uses_date):
            return run
    return None


def new_run_id(now: float, source: random.Random) -> str:
    """Such as `20260530T061500Z-8041b0`: ids sort as runs began, down to 4 ms (the first two digits)."""
    started = datetime.datetime.fromtimestamp(now, datetime.UTC)
    part = started.microsecond * 256 // 1_000_000
    return f"{started:%Y%m%dT%H%M%SZ}-{part:02x}{source.getrandbits(16):04x}"


@dataclass(frozen=True, slots=True)
class _Overview:
    """`submits` are the tasks that would be submitted, in plan order."""

    submits: tuple[Task, ...]
    unsettled: tuple[Task, ...]
    asked_again: frozenset[str]
    edits: Edits | None = None

    @property
    def new(self) -> Total:
        """The estimate of all that would be submitted."""
        return total_of(self.submits)

    @property
    def unpriced(self) -> Task | None:
        """The first task that would be submitted without a price."""
        return next((task for task in self.submits if task.estimate_micros is None), None)

    def without_edits(self) -> _Overview:
        """What is left when no edit is submitted, nor what builds on one."""
        left = set() if self.edits is None else set(self.edits.identities)
        submits: list[Task] = []
        for task in self.submits:
            if task.identity in left or any(upstream.identity in left for upstream in task.upstreams):
                left.add(task.identity)
            else:
                submits.append(task)
        return replace(self, submits=tuple(submits), edits=None)


def _may_edit(job: Job, edits: Edits, agree: Callable[[Edits], bool]) -> bool:
    match job.run.on_edit:
        case OnEdit.VERSION:
            return True
        case OnEdit.REFUSE:
            return False
        case OnEdit.ASK:
            return agree(edits)


def _look_over(
    job: Job, found: Iterable[Progress], resubmit: Resubmit | None, again: Only | None
) -> _Overview:
    """`again` are the tasks that `resubmit` names, None where it names none.

    Raises JobError for an output path that would overwrite something.
    """
    submits: list[Task] = []
    edits: list[Edit] = []
    conflicts: dict[tuple[str, str], list[Task]] = {}
    submitted: set[str] = set()
    unsettled: list[Task] = []
    for progress in found:
        task = progress.task
        if progress.state is not TaskState.DONE or progress.elsewhere:
            unsettled.append(task)
        if _would_submit(progress, resubmit, again, submitted):
            if resubmit is not None:
                submitted.add(task.identity)
            submits.append(task)
            if progress.edit is not None:
                edits.append(progress.edit)
        if progress.state is TaskState.PLANNED and progress.conflict:
            conflicts.setdefault((task.step, progress.conflict), []).append(task)
            if len(conflicts) >= JobError.MOST_SHOWN:
                break
    if conflicts:
        raise JobError(
            job.file, [_conflict(job, step, why, tasks) for (step, why), tasks in conflicts.items()]
        )
    found_edits = Edits(tuple(edits), total_of(edit.task for edit in edits)) if edits else None
    return _Overview(tuple(submits), tuple(unsettled), frozenset(submitted), found_edits)


CONFLICT_HINT = "give `output` another path, for example out/v2/..., or move the old files away"


def _conflict(job: Job, step: str, why: str, tasks: Sequence[Task]) -> Problem:
    """One problem for all tasks whose paths are taken for the same reason."""
    first = tasks[0]
    if len(tasks) == 1:
        said = f"{first.name}: {first.output} {why}"
    else:
        names = ", ".join(task.name for task in tasks[:_NAMES_SHOWN])
        more = ", ..." if len(tasks) > _NAMES_SHOWN else ""
        said = f"{len(tasks)} tasks ({names}{more}): the path of each {why}"
    return job.steps[step].output_location.error(said, CONFLICT_HINT)


def _would_submit(
    progress: Progress, resubmit: Resubmit | None, again: Only | None, submitted: Container[str]
) -> bool:
    if progress.state in (TaskState.PLANNED, TaskState.WAITING):
        return resubmit is None or resubmit.takes_along(progress, submitted)
    if resubmit is None or not resubmit.allows(progress.state):
        return False
    return again is None or again.names(progress.task)
