"""`run`, `resume` and `retry`: the verbs that submit."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from runner.cli import console
from runner.cli.closing.advice import tell_advice, trouble_lines
from runner.cli.closing.endings import Cost, report_after_runs, tell_nearing_expiry, tell_reasons
from runner.cli.closing.evicting import evict_old
from runner.cli.closing.monitor import Ending, pinged
from runner.cli.closing.notify import JobEnd, notify
from runner.cli.common_options import common, common_options
from runner.cli.completion import complete_task
from runner.cli.display.watching import plain, watching
from runner.cli.display.work import Work as ShownWork
from runner.cli.display.work import work_of
from runner.cli.fetching import fetch_first
from runner.cli.humanize import shown_path
from runner.cli.jobs import Loaded, load, showing_lines
from runner.cli.next_commands import command, tell_next
from runner.cli.options import RunOptions, jobs_argument, run_argument, run_options
from runner.cli.place import named, world_of
from runner.cli.problems import show, show_warnings
from runner.cli.runs import find_run_to_go_on
from runner.cli.task_list import counts_words
from runner.errors import (
    INTERRUPTS,
    BusyError,
    CallsheetError,
    ExitCode,
    JobError,
    KeyRefusedError,
    RefusedError,
    UsageError,
)
from runner.http.access import ApiKey
from runner.job.files.sources import JobCopy
from runner.job.model import OnEdit
from runner.job.project.environment import redactor_of
from runner.job.project.load_project import load_project_file, readable_project_file
from runner.json_value import JsonValue
from runner.lane.costs import question
from runner.lane.forecast import budget_outlook
from runner.lane.under_way import NearingExpiry, nearing_expiry
from runner.ledger.ledger import Ledger
from runner.ledger.rows import RunRow, Spend
from runner.ledger.states import Reason, TaskState
from runner.plan.edits import Edits
from runner.plural import count
from runner.project import Project, find_project
from runner.providers.place import find_keys
from runner.record.events import fan_out, redacted
from runner.record.facts import KEY_VARIABLE, key_variables, session_facts
from runner.record.folder import RunFolder
from runner.redact import Redactor, json_text, printable
from runner.run.finish import RunResult
from runner.run.idle import conclude_idle, is_all_archived, is_idle
from runner.run.lock import locked_ledger
from runner.run.prepare import Prepared, Resubmit, prepare_run
from runner.run.task.progress import still_needed
from runner.run.troubles import Trouble

_MOST_FOLDERS = 5
_MOST_NOTES = 3


@click.command()
@jobs_argument
@run_options
@click.option(
    "--again",
    multiple=True,
    metavar="TASK",
    shell_complete=complete_task,
    help="Pay for a new take of this task (a name or an output path, with * and ?); may be repeated.",
)
@common_options
def run(jobs: tuple[Path, ...], options: RunOptions, again: tuple[str, ...]) -> ExitCode:
    """Bring each JOB to done: submit what is new, collect what is in flight, download and check it.

    An unfinished run of the same job goes on; what is done is never submitted again. Several jobs run
    side by side, once all of them are valid and agreed to.

    --only limits what is submitted now, and nothing else: the run stays the whole job's, with one
    manifest, one date and one cap, and the next `run` without it goes on with the rest.

    \b
    Examples:
      callsheet run jobs/hello.yaml --sandbox        rehearse it, free and offline
      callsheet run jobs/hello.yaml                  for real
      callsheet run jobs/hello.yaml --only '*-s1'    the first seed of each shot
    """
    for option, given in (("--again", again), ("--only", options.only)):
        if given and len(jobs) > 1:
            raise UsageError(f"{option} is about one job", hint="give one JOB with it")
    works = [Work(_load(job, options)) for job in {job.resolve(): job for job in jobs}.values()]
    if again:
        (work,) = works
        resubmit = Resubmit(Reason.AGAIN, named(again, work.loaded.place.project))
        works = [replace(work, resubmit=resubmit)]
    return _run_all(works, options)


@click.command()
@run_argument
@run_options
@common_options
def resume(run_name: str, options: RunOptions) -> ExitCode:
    """Go on with RUN (an id, a path to a run, or `latest`), from the copy of the job that it kept.

    \b
    Examples:
      callsheet resume
      callsheet resume 20260531T220000Z-a1b2c3
    """
    return _go_on("resume", run_name, options, None)


@click.command()
@run_argument
@run_options
@common_options
def retry(run_name: str, options: RunOptions) -> ExitCode:
    """Submit the failed, expired and written-off tasks of RUN once more, and pay for them again.

    RUN is an id, a path to a run, or `latest`. What is in flight is collected as always; tasks that were
    never submitted are left to `run`, except those that need a retried task. --only limits what is
    submitted.

    \b
    Examples:
      callsheet retry
      callsheet retry --only 'pour-*'
    """
    return _go_on("retry", run_name, options, Resubmit(Reason.RETRY))


@dataclass(frozen=True, slots=True)
class Work:
    """One job to bring to done; `run` is the run that goes on, `resubmit` what is submitted once more."""

    loaded: Loaded
    run: RunRow | None = None
    resubmit: Resubmit | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a run. It holds no plan: the advice is given once all other jobs have had their turn."""

    project: Project
    result: RunResult
    run_id: str
    tasks: int
    folders: tuple[str, ...]
    """The folders of the videos, in plan order; the first few of many."""
    submitted: int
    spent: Spend
    cost: Cost
    fetched: int
    """Tasks that became done now."""
    overdue: NearingExpiry | None
    left_edits: Edits | None = None
    """The edits that --accept-edits would have submitted."""
    needed: frozenset[str] = frozenset()
    """Identities whose files a later task of the job begins with."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one job ended. `finished` is None where it was refused, and `error` then says why."""

    job: str
    exit_code: ExitCode
    finished: Finished | None = None
    error: str = ""
    is_rehearsal: bool = False

    def document(self) -> dict[str, JsonValue]:
        """What `--output-format json` prints, and a monitor and `notify` are told."""
        document: dict[str, JsonValue] = {"job": self.job, "exit_code": int(self.exit_code)}
        if self.error:
            document["error"] = self.error
        if self.finished is not None:
            result, spent = self.finished.result, self.finished.spent
            document |= {
                "run": result.run_id,
                "counts": {str(state): number for state, number in result.counts.items() if number},
                "submitted": self.finished.submitted,
                "usd": spent.usd,
                "unpriced_tasks": spent.unknown,
                "usd_now": self.finished.cost.now.usd,
                "usd_in_all": self.finished.cost.in_all.usd,
                "seconds": round(self.finished.cost.seconds, 3),
                "failed": [_told(each) for each in result.troubles if each.state is not TaskState.HELD],
                "held": [_told(each) for each in result.troubles if each.state is TaskState.HELD],
                "manifest": None if result.manifest is None else str(result.manifest),
                "report": str(RunFolder(self.finished.project, self.finished.run_id).report),
                "reasons": list(result.reasons),
                "waits": list(result.waits),
                "notes": list(result.notes),
            }
        return document

    def end(self) -> JobEnd:
        """For `notify`."""
        run = self.finished
        if run is None:
            return JobEnd(
                frozenset({self.exit_code}),
                False,
                self.is_rehearsal,
                f"{self.job}: {self.error}",
                self.document(),
            )
        counts = run.result.counts
        is_done = all(state is TaskState.DONE for state, number in counts.items() if number)
        said = [f"{self.job}: {counts_words(counts)}; {run.cost.words(is_rehearsal=self.is_rehearsal)}"]
        said += [*trouble_lines(run.result.troubles), *map(printable, run.result.reasons)]
        return JobEnd(
            run.result.conditions | {self.exit_code},
            is_done and run.fetched > 0,
            self.is_rehearsal,
            "\n".join(said),
            self.document(),
        )


def _told(trouble: Trouble) -> dict[str, JsonValue]:
    """For programs."""
    return {
        "task": trouble.name,
        "identity": trouble.identity,
        "state": trouble.state,
        "code": trouble.code,
        "message": trouble.message,
        "cause": trouble.cause,
    }


def _go_on(verb: str, run_name: str, options: RunOptions, resubmit: Resubmit | None) -> ExitCode:
    found = find_run_to_go_on(run_name, options.service, verb)
    loaded = _load(found.job_file, options, copy=found.job_copy)
    return _run_all([Work(loaded, found.run, resubmit)], options)


def _load(job: Path, options: RunOptions, *, copy: JobCopy | None = None) -> Loaded:
    """`load`; before it raises JobError, what is in flight is fetched."""
    try:
        return load(job, options.service, options.job_options, copy=copy)
    except JobError as error:
        project = find_project(job, root=common().root)
        error.exit_code = fetch_first(error, project, options, deadline=options.deadline)
        # the sandbox or a service on loopback, as far as that can be known of a job that cannot be read
        is_rehearsal = world_of(project, options.service).is_rehearsal
        ended = Outcome(shown_path(job), error.exit_code, error=str(error), is_rehearsal=is_rehearsal)
        _notify([ended], error.exit_code, project, options)
        raise


def _run_all(works: Sequence[Work], options: RunOptions) -> ExitCode:
    """All jobs side by side. A failure of one stops no other, an interrupt does.

    The deadline holds for all of them together.
    """
    root = works[0].loaded.place.project.root
    with (
        pinged(root, frozenset(options.job_options.allow_env))
        if options.ping
        else contextlib.nullcontext(Ending()) as ending
    ):
        outcomes = _bring_to_done(works, options)
        for outcome in outcomes:
            ending.lines.append(json_text(outcome.document()))
            if options.output_format == "text" and outcome.finished is not None:
                if len(works) > 1:
                    console.summary(f"{outcome.job}:")
                _tell(outcome.finished)
            if options.output_format == "jsonl":
                console.outcome(ending.lines[-1])
        ending.code = ExitCode.first([outcome.exit_code for outcome in outcomes])
    # after all jobs, and after the monitor was told: pictures delay no submit
    finished = [(outcome, outcome.finished) for outcome in outcomes if outcome.finished is not None]
    runs = [(run.project, run.run_id) for _, run in finished]
    report_after_runs(runs, ending.code, is_told=options.output_format == "text")
    if options.output_format == "json":
        documents = ",\n".join(ending.lines)
        console.outcome(documents if len(works) == 1 else f"[{documents}]")
    # after the contact sheet, which is made of them
    for project in {run.project.base: run.project for _, run in finished}.values():
        needed = frozenset[str]().union(*(run.needed for _, run in finished))
        evict_old(project, needed, trust_env=options.service.trust_env)
    for outcome, run in finished:
        _advise(outcome, run, options, run_id=run.run_id if len(works) > 1 else "")
    _notify(outcomes, ending.code, works[0].loaded.place.project, options)
    return ending.code


def _notify(outcomes: Sequence[Outcome], code: ExitCode, project: Project, options: RunOptions) -> None:
    try:
        said = load_project_file(project.root)
    except JobError:
        return  # it has been told, for no job can be read then
    ends = [outcome.end() for outcome in outcomes]
    allowed = frozenset(options.job_options.allow_env)
    notify(said.notify, ends, code, root=project.root, allow_env=allowed, trust_env=said.trust_env)


def _bring_to_done(works: Sequence[Work], options: RunOptions) -> list[Outcome]:
    """The outcome of each job, in their order.

    Raises no CallsheetError: what is in flight is fetched, and then the error is shown.
    """
    ends = None if options.deadline is None else time.monotonic() + options.deadline

    def left() -> float | None:
        return None if ends is None else max(0.0, ends - time.monotonic())

    outcomes: list[Outcome] = []
    for project, its in itertools.groupby(works, lambda work: work.loaded.place.project):
        there = list(its)
        outcomes += _side_by_side(there, options, project, left)
        if any(outcome.exit_code in INTERRUPTS for outcome in outcomes):
            break
    return outcomes


def _side_by_side(
    works: Sequence[Work], options: RunOptions, project: Project, left: Callable[[], float | None]
) -> list[Outcome]:
    """Jobs of one project. `left` are the seconds until the deadline."""
    ready: dict[int, Ready] = {}
    refused: dict[int, CallsheetError] = {}
    outcomes: dict[int, Outcome] = {}
    try:
        with locked_ledger(project, wait=options.wait, tell=console.note) as ledger:
            for number, work in enumerate(works):
                try:
                    ready[number] = _make_ready(work, options, ledger, [*ready.values()])
                except CallsheetError as error:
                    refused[number] = error
            if any(isinstance(error, JobError) for error in refused.values()):
                ready.clear()  # nothing is sent where a job is invalid
            jobs = [job.beside([*ready.values()]) for job in ready.values()]
            results = _carry_out(jobs, ledger, left, options.wait)
            for number, job, result in zip(ready, jobs, results, strict=True):
                if isinstance(result, RunResult):
                    outcomes[number] = _finished(job, result, ledger)
                else:
                    refused[number] = result
    except CallsheetError as error:
        refused |= {number: error for number in range(len(works)) if number not in outcomes}
    first = next((error for error in refused.values() if isinstance(error, JobError | RefusedError)), None)
    meanwhile = ExitCode.DONE
    if first is not None and not any(outcome.exit_code in INTERRUPTS for outcome in outcomes.values()):
        root = find_project(project.root, root=project.root)
        meanwhile = fetch_first(first, root, options, deadline=left())
    for why in dict.fromkeys(refused.values()):
        show(why)
    for number, why in refused.items():
        code = ExitCode.first({why.exit_code, *(INTERRUPTS & {meanwhile})})
        file = works[number].loaded.job.file
        outcomes[number] = Outcome(file, code, error=str(why), is_rehearsal=project.is_rehearsal)
    return [outcomes[number] for number in sorted(outcomes)]


@dataclass(frozen=True, slots=True)
class Ready:
    """A job that may begin. `began` is in Unix seconds, `started` by the monotonic clock."""

    prepared: Prepared
    loaded: Loaded
    keys: Mapping[str, ApiKey | KeyRefusedError]
    submits: Submits
    shown: ShownWork
    began: float
    started: float

    def beside(self, jobs: Iterable[Ready]) -> Ready:
        """The same in a process that works on all these jobs."""
        return replace(self, prepared=self.prepared.beside([job.prepared for job in jobs]))


def _make_ready(work: Work, options: RunOptions, ledger: Ledger, others: Sequence[Ready]) -> Ready:
    """Raises CallsheetError where the job cannot run: without a key, or where nobody agrees to what it does.

    `others` are ready before it: where one makes another take for its path, it is refused.
    """
    loaded = work.loaded
    named = loaded.job.project_file.accounts.values()
    keys = find_keys(loaded.places, loaded.environment, loaded.job.api_key_env, named=named)
    prepared = _prepare(work, options, ledger)
    _check_paths(prepared, [each.prepared for each in others])
    shown = work_of(prepared, loaded.place.project)
    return Ready(prepared, loaded, keys, Submits(), shown, time.time(), time.monotonic())


def _check_paths(prepared: Prepared, others: Iterable[Prepared]) -> None:
    """Raises RefusedError where another job of this process makes another take for one of its paths."""
    own = {task.output: task for task in prepared.unsettled}
    for other in others:
        for task in other.unsettled:
            mine = own.get(task.output)
            if mine is not None and mine.identity != task.identity:
                file, beside = prepared.plan.job.file, other.plan.job.file
                raise RefusedError(
                    f"{file}: {mine.output} is also made by {beside}, from another request; nothing was sent",
                    hint=f"give it another `output`, or run it once {beside} is done",
                )


def _prepare(work: Work, options: RunOptions, ledger: Ledger) -> Prepared:
    """The run, once a person has agreed to its cost. Raises RefusedError where nobody does."""
    job, place = work.loaded.job, work.loaded.place
    with showing_lines(job.copy):
        prepared = prepare_run(
            job,
            project=place.project,
            reader=ledger.read,
            origins=work.loaded.origins,
            date=options.job_options.run_date(job.project_file.timezone),
            run=work.run,
            now=time.time(),
            source=random.SystemRandom(),
            resubmit=work.resubmit,
            only=named(options.only, place.project) if options.only else None,
            agree=functools.partial(_agree_to_edits, options),
        )
    show_warnings(prepared.plan.warnings, job.file)
    if prepared.only is not None:
        console.note(f"--only: {prepared.selected} of {count(prepared.plan.count, 'task')}")
    if not place.project.is_rehearsal:
        for sentence in budget_outlook(job.project_file, prepared.new, ledger.read, time.time()):
            console.note(f"{job.file}: {sentence}")
    asked = question(job, prepared.new)
    if asked and not options.yes:
        console.agree(f"{asked}. Go on?", f"{asked}; nothing was sent")
    return prepared


def _agree_to_edits(options: RunOptions, edits: Edits) -> bool:
    """Whether edits are submitted. Raises RefusedError where a person says no; where nobody is there, and
    --accept-edits was not given, they are left and all else goes on.
    """
    for line in edits.lines():
        console.note(line)
    if options.accept_edits:
        return True
    if not console.is_somebody_there():
        return False
    console.agree(edits.question, f"{edits.words}; nothing was sent")
    return True


def _carry_out(
    jobs: Sequence[Ready], ledger: Ledger, left: Callable[[], float | None], wait: float
) -> list[RunResult | CallsheetError]:
    """The results in the same order; jobs that have nothing to do load no engine. Another machine that drives
    an account is waited for `wait` seconds.
    """
    keys = [key.value for job in jobs for key in job.keys.values() if isinstance(key, ApiKey)]
    also = frozenset[str]().union(*(key_variables(ledger, job.prepared.run.id) for job in jobs))
    roots = {job.loaded.place.project.root for job in jobs}
    redactors = {root: redactor_of(root, os.environ, keys, also=also) for root in roots}
    facts = [_facts(job, redactors[job.loaded.place.project.root]) for job in jobs]
    results: dict[int, RunResult | CallsheetError] = {}
    at_work: list[int] = []
    for number, job in enumerate(jobs):
        project = job.loaded.place.project
        if not (is_idle(job.prepared, ledger.read, time.time()) and is_all_archived(project, ledger.read)):
            at_work.append(number)
            continue
        try:
            results[number] = conclude_idle(
                job.prepared,
                project,
                ledger,
                facts=facts[number],
                observe=plain(job.shown).observe,
                warn=console.error,
                redactor=redactors[project.root],
            )
        except CallsheetError as error:
            results[number] = error
    if at_work and (deadline := left()) == 0:
        for number in at_work:
            file = jobs[number].prepared.plan.job.file
            hint = "run again to go on"
            results[number] = BusyError(f"{file}: not begun: the deadline has passed", hint=hint)
    elif at_work:
        # imported here: the engine takes 0.3 s, and a job that is done needs none
        import anyio

        from runner.assemble import JobOrder, carry_out

        with watching([jobs[number].shown for number in at_work]) as observers:
            orders = [
                JobOrder(
                    job.prepared,
                    job.loaded.places,
                    job.keys,
                    facts[number],
                    fan_out(job.submits.observe, redacted(shown, redactors[job.loaded.place.project.root])),
                    console.error,
                )
                for number, shown in zip(at_work, observers, strict=True)
                for job in (jobs[number],)
            ]
            go = functools.partial(carry_out, orders, ledger, deadline=deadline, wait=wait, tell=console.note)
            ended = anyio.run(go)
        results |= zip(at_work, ended, strict=True)
    return [results[number] for number in range(len(jobs))]


def _facts(job: Ready, redactor: Redactor) -> dict[str, JsonValue]:
    own, root = job.prepared.plan.job, job.loaded.place.project.root
    return session_facts(sys.argv[1:], root / own.file, root, redactor) | {KEY_VARIABLE: own.api_key_env}


def _finished(job: Ready, result: RunResult, ledger: Ledger) -> Outcome:
    prepared, project = job.prepared, job.loaded.place.project
    began = job.began if job.submits.count else None
    folders = dict.fromkeys(task.output.rpartition("/")[0] for task in prepared.plan.tasks)
    finished = Finished(
        project,
        result,
        run_id=prepared.run.id,
        tasks=prepared.plan.count,
        folders=tuple(itertools.islice(folders, _MOST_FOLDERS)),
        submitted=job.submits.count,
        spent=ledger.read.spend(prepared.run.id),
        cost=Cost.read(prepared, ledger.read, began, time.monotonic() - job.started),
        fetched=job.submits.done,
        overdue=nearing_expiry(ledger.read, time.time(), prepared.plan.job.project_file.accounts),
        left_edits=prepared.left_edits if prepared.plan.job.run.on_edit is OnEdit.ASK else None,
        needed=still_needed(prepared.plan.tasks, ledger.read),
    )
    file = prepared.plan.job.file
    return Outcome(file, result.exit_code, finished, is_rehearsal=project.is_rehearsal)


@dataclass(slots=True)
class Submits:
    """Counts the tasks that this process submitted and that may cost something, unclear ones too, and those
    that are done now.
    """

    done: int = 0
    _posted: set[object] = field(default_factory=set)
    _accepted: int = 0

    @property
    def count(self) -> int:
        return self._accepted + len(self._posted)

    def observe(self, name: str, fields: Mapping[str, object]) -> None:
        task = fields.get("identity")
        match name:
            case "task.submitted":
                self._accepted += 1
                self._posted.discard(task)
            case "task.adopted" if task in self._posted:  # else an earlier process has submitted it
                self._accepted += 1
                self._posted.discard(task)
            case "task.intended":
                self._posted.add(task)
            case "task.done":
                self.done += 1
            case "task.refused" | "task.failed" | "task.never_accepted":
                self._posted.discard(task)


def _tell(run: Finished) -> None:
    submitted = f"{run.submitted} submitted now" if run.submitted else "nothing was submitted"
    console.summary(f"{count(run.tasks, 'task')}: {counts_words(run.result.counts)}; {submitted}")
    console.summary(f"cost:     {run.cost.words(is_rehearsal=run.project.is_rehearsal)}")
    for folder in run.folders:
        if (run.project.base / folder).is_dir():
            console.summary(f"videos:   {shown_path(run.project.base / folder)}")
    if run.result.manifest is not None:
        console.summary(f"manifest: {shown_path(run.result.manifest)}")
    for sentence in run.result.waits:
        console.summary(f"waiting for you: {sentence}")


def _advise(outcome: Outcome, run: Finished, options: RunOptions, *, run_id: str) -> None:
    """On stderr: why it ended as it did, and what to do next. `run_id` where others ran too."""
    counts, code, service = run.result.counts, outcome.exit_code, options.service
    job_file = shown_path(run.project.root / outcome.job)
    tell_reasons(run.result)
    tell_nearing_expiry(run.overdue, readable_project_file(run.project.root).timezone)
    # what became of other jobs' tasks that were looked at along the way
    notes = run.result.notes
    for note in notes[:_MOST_NOTES]:
        console.note(f"of another job: {printable(note)}")
    if len(notes) > _MOST_NOTES:
        console.note(f"and {len(notes) - _MOST_NOTES} more of other jobs")
    if notes:
        console.next_step(command("collect", service=service), "fetches what other jobs have in flight")
    for line in trouble_lines(run.result.troubles):
        console.advice(line)
    is_all_done = all(state is TaskState.DONE for state, number in counts.items() if number)
    if code is not ExitCode.DONE and not is_all_done:
        console.error(f"{job_file}: not all is done: {counts_words(counts)}")
    tell_advice(run.result.troubles, job_file, service, run_id=run_id)
    tell_next(
        counts,
        code,
        job_file,
        service,
        is_pick_awaited=bool(run.result.waits),
        left_edits=run.left_edits,
    )
    left_out = counts.get(TaskState.PLANNED, 0)
    if options.only and left_out and code is ExitCode.DONE:
        again = command("run", job_file, service=service)
        console.next_step(again, f"goes on with the {left_out} that --only left out")
