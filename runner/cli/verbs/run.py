"""`run`, `resume` and `retry`: the verbs that submit."""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from runner.cli import console
from runner.cli.completion import complete_task
from runner.cli.humanize import count, shown_path
from runner.cli.jobs import Loaded, given_date, load, showing_lines
from runner.cli.monitor import Ending, pinged
from runner.cli.next_steps import command, tell_next
from runner.cli.options import (
    JobOptions,
    RunOptions,
    ServiceOptions,
    common,
    common_options,
    job_options,
    jobs_argument,
    run_argument,
    run_options,
    service_options,
)
from runner.cli.problems import show, show_warnings
from runner.cli.progress import lines, progress
from runner.cli.runs import find_run_here
from runner.cli.task_list import counts_words
from runner.cli.verbs.collect import fetch_first, tell_late, tell_reasons
from runner.cli.verbs.report import report_after_runs
from runner.errors import INTERRUPTS, BusyError, CallsheetError, ExitCode, JobError, UsageError
from runner.json_value import JsonValue
from runner.lane.budget import question
from runner.ledger.rows import RunRow, Spend
from runner.ledger.states import TaskState
from runner.project import Project, find_project
from runner.providers.place import Place
from runner.record.events import fan_out
from runner.record.facts import KEY_VARIABLE, session_facts
from runner.redact import Redactor, json_text
from runner.run.ends import RunResult
from runner.run.idle import conclude_idle, is_idle
from runner.run.lateness import Late, late
from runner.run.lock import locked_ledger
from runner.run.only import Only
from runner.run.prepare import Prepared, Resubmit, prepare_run


@click.command()
@jobs_argument
@service_options
@job_options
@run_options
@click.option(
    "--again",
    multiple=True,
    metavar="TASK",
    shell_complete=complete_task,
    help="Pay for a new take of this task (a name with * and ?, or an identity); may be repeated.",
)
@common_options
def run(
    jobs: tuple[Path, ...],
    service: ServiceOptions,
    job_options: JobOptions,
    run_options: RunOptions,
    again: tuple[str, ...],
) -> ExitCode:
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
    for option, given in (("--again", again), ("--only", run_options.only)):
        if given and len(jobs) > 1:
            raise UsageError(f"{option} is about one job", hint="give one JOB with it")
    resubmit = Resubmit("again", again) if again else None
    works = [Work(_load(job, service, job_options, run_options), service, resubmit=resubmit) for job in jobs]
    return bring_all_to_done(works, job_options, run_options)


@click.command()
@run_argument
@service_options
@job_options
@run_options
@common_options
def resume(
    run_name: str, service: ServiceOptions, job_options: JobOptions, run_options: RunOptions
) -> ExitCode:
    """Go on with RUN (an id, a path to a run, or `latest`), from the copy of the job that it kept.

    \b
    Examples:
      callsheet resume
      callsheet resume 20260531T220000Z-a1b2c3
    """
    return _go_on(run_name, service, job_options, run_options, None)


@click.command()
@run_argument
@service_options
@job_options
@run_options
@common_options
def retry(
    run_name: str,
    service: ServiceOptions,
    job_options: JobOptions,
    run_options: RunOptions,
) -> ExitCode:
    """Submit the failed, expired and written-off tasks of RUN once more, and pay for them again.

    RUN is an id, a path to a run, or `latest`. What is in flight is collected as always; tasks that were
    never submitted are left to `run`, except those that need a retried task. With --only, only the tasks
    that it names are submitted.

    \b
    Examples:
      callsheet retry
      callsheet retry --only 'pour-*'
    """
    return _go_on(run_name, service, job_options, run_options, Resubmit("retry"))


def _go_on(
    run_name: str,
    service: ServiceOptions,
    job_options: JobOptions,
    run_options: RunOptions,
    resubmit: Resubmit | None,
) -> ExitCode:
    found = find_run_here(run_name, service)
    loaded = _load(found.job_file, service, job_options, run_options, text=found.job_text)
    return bring_all_to_done([Work(loaded, service, found.run, resubmit)], job_options, run_options)


def _load(
    job: Path,
    service: ServiceOptions,
    job_options: JobOptions,
    options: RunOptions,
    *,
    text: bytes | None = None,
) -> Loaded:
    """`load`, which raises only once what is in flight has been fetched."""
    try:
        return load(job, service, job_options, text=text)
    except JobError as error:
        project = find_project(job, root=common().root)
        error.exit_code = fetch_first(error, project, service, options, deadline=options.deadline)
        raise


_MOST_FOLDERS = 5
_MOST_NOTES = 3


@dataclass(frozen=True, slots=True)
class Work:
    """One job to be brought to done; `run` names the run that has to go on."""

    loaded: Loaded
    service: ServiceOptions
    run: RunRow | None = None
    resubmit: Resubmit | None = None


def bring_all_to_done(works: Sequence[Work], job_options: JobOptions, options: RunOptions) -> ExitCode:
    """One job after the other; what goes wrong with one does not keep the next from its turn.

    An interrupt ends them all. The deadline holds for all of them together.
    """
    ends = None if options.deadline is None else time.monotonic() + options.deadline
    summaries: list[Summary] = []
    root = works[0].loaded.place.project.root
    with pinged(root, job_options.allow_env) if options.ping else contextlib.nullcontext(Ending()) as ending:
        for work in works:
            left = None if ends is None else max(0.0, ends - time.monotonic())
            summary = _bring_to_done(work, job_options, options, left, is_one_of_several=len(works) > 1)
            summaries.append(summary)
            ending.lines.append(summary.line())
            if options.format == "jsonl":
                console.outcome(summary.line())
            if summary.exit_code in INTERRUPTS:
                break
        if options.format == "json":
            lines = ",\n".join(ending.lines)
            console.outcome(lines if len(works) == 1 else f"[{lines}]")
        ending.code = ExitCode.first([summary.exit_code for summary in summaries])
    # behind all jobs and what a monitor is told: pictures delay no submit
    ended = [summary.ended for summary in summaries if summary.ended is not None]
    report_after_runs(ended, ending.code, is_told=options.format == "text")
    for summary in summaries:
        summary.advise()
    return ending.code


def _say_nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Summary:
    """How one job ended, for programs; `result` is None where the job was not begun.

    `ended` is its run, and `advise` tells on stderr why it ended so, and what to do next.
    """

    job: str
    exit_code: ExitCode
    error: str = ""
    result: RunResult | None = None
    submitted: int = 0
    spent: Spend | None = None
    ended: tuple[Project, str] | None = None
    advise: Callable[[], None] = _say_nothing

    def line(self) -> str:
        """One line of JSON: what `--output-format jsonl` prints and a monitor is told."""
        document: dict[str, JsonValue] = {"job": self.job, "exit_code": int(self.exit_code)}
        if self.error:
            document["error"] = self.error
        if self.result is not None and self.spent is not None:
            manifest = self.result.manifest
            document |= {
                "run": self.result.run_id,
                "counts": {str(state): number for state, number in self.result.counts.items() if number},
                "submitted": self.submitted,
                "usd": self.spent.usd,
                "unpriced_tasks": self.spent.unknown,
                "manifest": None if manifest is None else str(manifest),
                "reasons": list(self.result.reasons),
                "waits": list(self.result.waits),
                "notes": list(self.result.notes),
            }
        return json_text(document)


def _bring_to_done(
    work: Work,
    job_options: JobOptions,
    options: RunOptions,
    left: float | None,
    *,
    is_one_of_several: bool,
) -> Summary:
    """Brings one job to done within `left` seconds, and tells how that ended."""
    loaded = work.loaded
    job, place = loaded.job, loaded.place
    try:
        if left == 0:
            raise BusyError(f"{job.file}: not begun: the deadline has passed", hint="run again to go on")
        key = place.find_key(loaded.environment, variable=job.api_key_env)
        redactor = Redactor([key.value])
        with locked_ledger(place.project, wait=options.wait) as ledger:
            with showing_lines(job.text):
                prepared = prepare_run(
                    job,
                    project=place.project,
                    reader=ledger.read,
                    origin=place.origin,
                    date=given_date(job_options),
                    run=work.run,
                    now=time.time(),
                    source=random.SystemRandom(),
                    resubmit=work.resubmit,
                    only=Only(options.only) if options.only else None,
                )
            show_warnings(prepared.plan.warnings, job.file)
            if prepared.only is not None:
                console.note(f"--only: {prepared.selected} of {count(prepared.plan.count, 'task')}")
            _ask(prepared, options.yes)
            submits = Submits()
            root = place.project.root
            facts = session_facts(sys.argv[1:], root / job.file, root, redactor)
            facts |= {KEY_VARIABLE: job.api_key_env}
            if is_idle(prepared, ledger.read, time.time()):
                result = conclude_idle(
                    prepared,
                    place.project,
                    ledger,
                    facts=facts,
                    observe=lines(),
                    warn=console.error,
                    redactor=redactor,
                )
            else:
                # imported here: the engine takes 0.3 s, and a job that is done needs none
                from runner.assemble import bring_to_done

                with progress() as shown:
                    result = bring_to_done(
                        prepared,
                        place,
                        key,
                        ledger,
                        facts=facts,
                        observe=fan_out(submits.observe, shown),
                        warn=console.error,
                        deadline=left,
                    )
            spent = ledger.read.spend(prepared.run.id)
            overdue = late(ledger.read, time.time())
    except CallsheetError as error:
        project = find_project(job.root, root=job.root)
        code = fetch_first(error, project, work.service, options, deadline=left)
        show(error)
        return Summary(job.file, code, error=str(error))
    if options.format == "text":
        if is_one_of_several:
            console.summary(f"{job.file}:")
        _tell(result, prepared, place, submits)
    # without the plan: the advice waits for all other jobs
    advise = functools.partial(
        _advise,
        result,
        shown_path(place.project.root / job.file),
        work.service,
        overdue,
        run_id=prepared.run.id if is_one_of_several else "",
        is_limited=prepared.only is not None,
    )
    return Summary(
        job.file,
        result.exit_code,
        result=result,
        submitted=submits.count,
        spent=spent,
        ended=(place.project, prepared.run.id),
        advise=advise,
    )


def _ask(prepared: Prepared, yes: bool) -> None:
    """Lets a person agree to what the new tasks cost. Raises RefusedError where nobody does."""
    asked = question(prepared.plan.job, prepared.new)
    if not asked or yes:
        return
    console.agree(f"{asked}. Go on?", f"{asked}; nothing was sent")


@dataclass(slots=True)
class Submits:
    """Counts the tasks that this process submitted and that may cost something, unclear ones included."""

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
            case "task.intended":
                self._posted.add(task)
            case "task.refused" | "task.failed" | "task.never_accepted":
                self._posted.discard(task)


def _tell(result: RunResult, prepared: Prepared, place: Place, submits: Submits) -> None:
    submitted = f"{submits.count} submitted now" if submits.count else "nothing was submitted"
    console.summary(f"{count(prepared.plan.count, 'task')}: {counts_words(result.counts)}; {submitted}")
    for folder in _video_folders(prepared):
        if (place.project.base / folder).is_dir():
            console.summary(f"videos:   {shown_path(place.project.base / folder)}")
    if result.manifest is not None:
        console.summary(f"manifest: {shown_path(result.manifest)}")
    for sentence in result.waits:
        console.summary(f"waiting for you: {sentence}")


def _advise(
    result: RunResult,
    job_file: str,
    service: ServiceOptions,
    overdue: Late | None,
    *,
    run_id: str,
    is_limited: bool,
) -> None:
    """On stderr: why it ended as it did, and what to do next; `is_limited`: by --only."""
    tell_reasons(result)
    tell_late(overdue)
    tell_notes(result, service)
    is_all_done = all(state is TaskState.DONE for state, number in result.counts.items() if number)
    if result.exit_code is not ExitCode.DONE and not is_all_done:
        console.error(f"{job_file}: not all is done: {counts_words(result.counts)}")
    tell_next(
        result.counts,
        result.exit_code,
        job_file,
        service,
        run_id=run_id,
        is_pick_awaited=bool(result.waits),
    )
    left_out = result.counts.get(TaskState.PLANNED, 0)
    if is_limited and left_out and result.exit_code is ExitCode.DONE:
        again = command("run", job_file, service=service)
        console.next_step(again, f"goes on with the {left_out} that --only left out")


def _video_folders(prepared: Prepared) -> list[Path]:
    """The folders of the outputs in plan order; the first few of many."""
    folders: dict[Path, None] = {}
    for task in prepared.plan.tasks:
        folders.setdefault(Path(task.output).parent)
        if len(folders) == _MOST_FOLDERS:
            break
    return list(folders)


def tell_notes(result: RunResult, service: ServiceOptions) -> None:
    """How other jobs' tasks stand that were looked at along the way, on stderr; the first few of many."""
    for note in result.notes[:_MOST_NOTES]:
        console.note(f"of another job: {Redactor().foreign_text(note)}")
    if len(result.notes) > _MOST_NOTES:
        console.note(f"and {len(result.notes) - _MOST_NOTES} more of other jobs")
    if result.notes:
        console.next_step(command("collect", service=service), "fetches what other jobs have in flight")
