"""`run`, `resume` and `retry`: the verbs that submit."""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import click

from runner.cli import console
from runner.cli.advice import tell_advice, trouble_lines
from runner.cli.common_options import common, common_options
from runner.cli.completion import complete_task
from runner.cli.endings import Cost, report_after_runs, tell_nearing_expiry, tell_reasons
from runner.cli.fetching import fetch_first
from runner.cli.humanize import shown_path
from runner.cli.jobs import Loaded, load, showing_lines
from runner.cli.monitor import Ending, pinged
from runner.cli.next_commands import command, tell_next
from runner.cli.notify import JobEnd, notify
from runner.cli.options import RunOptions, jobs_argument, run_argument, run_options
from runner.cli.place import choose_place, named
from runner.cli.problems import show, show_warnings
from runner.cli.runs import find_run_to_go_on
from runner.cli.task_list import counts_words
from runner.cli.watching import plain, watching
from runner.cli.work import work_of
from runner.errors import INTERRUPTS, BusyError, CallsheetError, ExitCode, JobError, UsageError
from runner.http.access import ApiKey
from runner.job.load_project import load_project_file, readable_project_file
from runner.job.model import OnEdit
from runner.job.sources import JobCopy
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
from runner.providers import DEFAULT
from runner.record.events import fan_out
from runner.record.facts import KEY_VARIABLE, session_facts
from runner.record.folder import RunFolder
from runner.redact import Redactor, json_text, printable
from runner.run.finish import RunResult
from runner.run.idle import conclude_idle, is_idle
from runner.run.lock import locked_ledger
from runner.run.prepare import Prepared, Resubmit, prepare_run
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
    one after the other, once all of them are valid.

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
    works = [Work(_load(job, options)) for job in jobs]
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
        is_rehearsal = choose_place(DEFAULT, project, options.service).project.is_rehearsal
        ended = Outcome(shown_path(job), error.exit_code, error=str(error), is_rehearsal=is_rehearsal)
        _notify([ended], error.exit_code, project, options)
        raise


def _run_all(works: Sequence[Work], options: RunOptions) -> ExitCode:
    """One job after the other. A failure of one does not stop the next, an interrupt does.

    The deadline holds for all of them together.
    """
    ends = None if options.deadline is None else time.monotonic() + options.deadline
    outcomes: list[Outcome] = []
    root = works[0].loaded.place.project.root
    with (
        pinged(root, frozenset(options.job_options.allow_env))
        if options.ping
        else contextlib.nullcontext(Ending()) as ending
    ):
        for work in works:
            left = None if ends is None else max(0.0, ends - time.monotonic())
            outcome = _run_one(work, options, left)
            outcomes.append(outcome)
            ending.lines.append(json_text(outcome.document()))
            if options.output_format == "text" and outcome.finished is not None:
                if len(works) > 1:
                    console.summary(f"{outcome.job}:")
                _tell(outcome.finished)
            if options.output_format == "jsonl":
                console.outcome(ending.lines[-1])
            if outcome.exit_code in INTERRUPTS:
                break
        ending.code = ExitCode.first([outcome.exit_code for outcome in outcomes])
    # after all jobs, and after the monitor was told: pictures delay no submit
    finished = [(outcome, outcome.finished) for outcome in outcomes if outcome.finished is not None]
    runs = [(run.project, run.run_id) for _, run in finished]
    report_after_runs(runs, ending.code, is_told=options.output_format == "text")
    if options.output_format == "json":
        documents = ",\n".join(ending.lines)
        console.outcome(documents if len(works) == 1 else f"[{documents}]")
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


def _run_one(work: Work, options: RunOptions, deadline: float | None) -> Outcome:
    """Brings one job to done within `deadline` seconds.

    Raises no CallsheetError: what is in flight is fetched, and then the error is shown.
    """
    job, place = work.loaded.job, work.loaded.place
    try:
        if deadline == 0:
            raise BusyError(f"{job.file}: not begun: the deadline has passed", hint="run again to go on")
        key = place.find_key(work.loaded.environment, variable=job.api_key_env)
        with locked_ledger(place.project, wait=options.wait, tell=console.note) as ledger:
            prepared = _prepare(work, options, ledger)
            finished = _finish(prepared, work.loaded, key, ledger, deadline)
    except CallsheetError as error:
        project = find_project(job.root, root=job.root)
        code = fetch_first(error, project, options, deadline=deadline)
        show(error)
        return Outcome(job.file, code, error=str(error), is_rehearsal=place.project.is_rehearsal)
    return Outcome(job.file, finished.result.exit_code, finished, is_rehearsal=place.project.is_rehearsal)


def _prepare(work: Work, options: RunOptions, ledger: Ledger) -> Prepared:
    """The run, once a person has agreed to its cost. Raises RefusedError where nobody does."""
    job, place = work.loaded.job, work.loaded.place
    with showing_lines(job.copy):
        prepared = prepare_run(
            job,
            project=place.project,
            reader=ledger.read,
            origin=place.origin,
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


def _finish(
    prepared: Prepared, loaded: Loaded, key: ApiKey, ledger: Ledger, deadline: float | None
) -> Finished:
    job, place = loaded.job, loaded.place
    redactor = Redactor([key.value])
    root = place.project.root
    facts = session_facts(sys.argv[1:], root / job.file, root, redactor)
    facts |= {KEY_VARIABLE: job.api_key_env}
    submits, work = Submits(), work_of(prepared, place.project)
    began, started = time.time(), time.monotonic()
    if is_idle(prepared, ledger.read, time.time()):
        result = conclude_idle(
            prepared,
            place.project,
            ledger,
            facts=facts,
            observe=plain(work).observe,
            warn=console.error,
            redactor=redactor,
        )
    else:
        # imported here: the engine takes 0.3 s, and a job that is done needs none
        import anyio

        from runner.assemble import carry_out

        with watching(work) as shown:
            work_on = functools.partial(
                carry_out,
                prepared,
                place,
                key,
                ledger,
                facts=facts,
                observe=fan_out(submits.observe, shown),
                warn=console.error,
                deadline=deadline,
            )
            result = anyio.run(work_on)
    folders = dict.fromkeys(task.output.rpartition("/")[0] for task in prepared.plan.tasks)
    return Finished(
        place.project,
        result,
        run_id=prepared.run.id,
        tasks=prepared.plan.count,
        folders=tuple(islice(folders, _MOST_FOLDERS)),
        submitted=submits.count,
        spent=ledger.read.spend(prepared.run.id),
        cost=Cost.read(prepared, ledger.read, began if submits.count else None, time.monotonic() - started),
        fetched=submits.done,
        overdue=nearing_expiry(ledger.read, time.time()),
        left_edits=prepared.left_edits if job.run.on_edit is OnEdit.ASK else None,
    )


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
