"""`status`: the state of a run's tasks. The run may be under way meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import click

from runner.cli import console
from runner.cli.closing.advice import tell_advice
from runner.cli.common_options import common_options
from runner.cli.humanize import shown_path
from runner.cli.jobs import load
from runner.cli.next_commands import tell_next
from runner.cli.options import (
    JobOptions,
    ServiceOptions,
    job_options,
    only_option,
    output_format,
    run_argument,
    service_options,
)
from runner.cli.place import here, named, world_words
from runner.cli.run_state import RunState, run_state, seconds_since_last_event
from runner.cli.runs import FoundRun, find_folder, find_run, reading
from runner.cli.task_list import CONFLICT, Row, chosen_tasks, counts_words, listed_word, painted, write_rows
from runner.errors import CallsheetError, ExitCode, JobError, StateError, UsageError
from runner.job.expressions.rundate import RunDate
from runner.json_value import JsonValue
from runner.ledger.leases import LeaseRow
from runner.ledger.open import is_shared
from runner.ledger.read import LedgerReader
from runner.ledger.rows import RunRow
from runner.ledger.states import AWAITED, TaskState
from runner.plan.plan import make_plan
from runner.plan.task import Task
from runner.plural import count
from runner.project import Project
from runner.providers.place import origins_of, parted
from runner.record.folder import LATEST, RunFolder
from runner.record.manifest import ManifestRun, ManifestTask, read_manifest, read_tasks
from runner.redact import Redactor, escape, printable
from runner.run.finish import waits_for_a_person
from runner.run.task.progress import Progress, progress_of
from runner.run.troubles import Trouble, troubles
from runner.times import duration_words

_FAILED = frozenset({"failed", "expired", CONFLICT})
"""What --failed shows, by its listed words."""


@click.command()
@run_argument
@service_options
@job_options
@only_option
@click.option("--failed", is_flag=True, help="Only tasks that failed, with the reason of each.")
@click.option(
    "--watch", is_flag=True, help="Show it again each second, until the run is not at work any more."
)
@output_format("json", "jsonl")
@common_options
def status(
    run_name: str,
    service: ServiceOptions,
    job_options: JobOptions,
    only: tuple[str, ...],
    failed: bool,
    watch: bool,
    output_format: str,
) -> None:
    """Show the state of each task of RUN (an id or its beginning, a path to a run, or `latest`).

    Reads the ledger without locking it, and asks no service: a run may be under way meanwhile. Where the
    ledger cannot be read, what the run left in runs/ is shown. A rehearsal is found by its id or path.

    \b
    Examples:
      callsheet status
      callsheet status --watch           while a run is under way
      callsheet status --failed
      callsheet status --only 'pour-*' --output-format jsonl
    """
    if watch and not (output_format == "text" and console.is_screen()):
        raise UsageError(
            "--watch needs a terminal", hint="leave it out, or repeat it: watch callsheet status"
        )
    try:
        found = find_run(run_name, service)
        loaded = load(found.job_file, found.service, job_options, copy=found.job_copy)
        date = RunDate.parse(found.run.run_date)
        plan = make_plan(
            loaded.job,
            origins=origins_of(loaded.job.accounts, found.run.origin),
            run_date=date,
            began=found.run.started_at,
        )
    except (StateError, JobError) as error:
        _tell_leases(here(service), output_format)
        _show_what_is_left(run_name, service, error, only, output_format, is_failed=failed)
        return
    tasks = tuple(chosen_tasks(plan, only, found.project))
    project, folder = found.project, RunFolder(found.project, found.run.id)
    if watch:
        _watch(found, tasks, is_failed=failed)
    states: Counter[TaskState] = Counter()
    with reading(project) as ledger:
        run = (ledger.run(found.run.id) if ledger is not None else None) or found.run
        rows = _rows(progress_of(tasks, ledger, project.base), states, ledger, project)
        leases = _leases(run, ledger)
        if output_format == "text":
            console.block(console.wrapped(_title(run, folder), 2))
            for lease in leases:
                console.result(lease.words)
        head = _head(run)
        if is_shared(project):
            head["leases"] = [lease.as_json() for lease in leases]
        write_rows(_failed(rows, is_failed=failed), output_format, head)
        waits: tuple[str, ...] = ()
        met: list[Trouble] = []
        if output_format == "text" and failed:
            console.result(f"of {count(len(tasks), 'task')}: {counts_words(states)}")
        if output_format == "text" and ledger is not None:
            waits = waits_for_a_person(plan, ledger)
            shown = {task.identity for task in tasks}
            met = [each for each in troubles(plan, ledger, states, Redactor(())) if each.identity in shown]
        for sentence in waits:
            console.result(f"waiting for you: {escape(sentence)}")
    if output_format == "text" and run_state(run, folder) is not RunState.UNDER_WAY:
        job_file, own = shown_path(found.job_file), "" if run_name == LATEST else found.run.id
        tell_advice(met, job_file, found.service, run_id=own)
        is_open = any(states[state] for state in (TaskState.PLANNED, *AWAITED))
        tell_next(
            states,
            ExitCode.TRY_AGAIN if is_open else ExitCode.TASK_FAILED,
            job_file,
            found.service,
            is_pick_awaited=bool(waits),
        )


def _tell_leases(project: Project, output_format: str) -> None:
    """Who drives what of a shared ledger, also where the run that is asked for cannot be shown."""
    if output_format == "text" and is_shared(project):
        with reading(project) as ledger:
            for row in ledger.leases() if ledger is not None else []:
                if not row.is_free:
                    console.note(row.words)


def _leases(run: RunRow, ledger: LedgerReader | None) -> list[LeaseRow]:
    """The machines that drive an account at one of the run's services."""
    if ledger is None:
        return []
    return [row for row in ledger.leases() if not row.is_free and row.origin in parted(run.origin)]


def _failed(rows: Iterable[Row], *, is_failed: bool) -> Iterator[Row]:
    """The rows; with --failed only those that failed."""
    return (row for row in rows if not is_failed or row.state in _FAILED)


def _watch(found: FoundRun, tasks: tuple[Task, ...], *, is_failed: bool) -> None:
    """Shows the run again and again while it is under way; Ctrl-C ends it too."""
    # imported here: rich takes 50 ms, and only a terminal that is watched needs it
    from runner.cli.display.screen import watch_screen

    project, folder = found.project, RunFolder(found.project, found.run.id)

    def look() -> list[str] | None:
        with reading(project) as ledger:
            run = ledger.run(found.run.id) if ledger is not None else None
            if run is None or run_state(run, folder) is not RunState.UNDER_WAY:
                return None
            states: Counter[TaskState] = Counter()
            every = list(_rows(progress_of(tasks, ledger, project.base), states, ledger, project))
            rows = sorted(_failed(every, is_failed=is_failed), key=lambda row: row.state in ("done", "new"))
            lines = console.task_table((painted(row.state), *row.columns()) for row in rows)
            return [_title(run, folder), f"{count(len(every), 'task')}: {counts_words(states)}", *lines]

    watch_screen(look)


def _rows(
    rows: Iterable[Progress], states: Counter[TaskState], ledger: LedgerReader | None, project: Project
) -> Iterator[Row]:
    for row in rows:
        states[row.state] += 1
        if row.state is TaskState.DONE and row.attempt is None and ledger is not None:
            row = replace(row, attempt=ledger.latest([row.task.identity])[row.task.identity])
        remote_id = row.attempt.remote_id if row.attempt else None
        yield _row(
            row.task.identity,
            row.task.name,
            listed_word(row),
            row.video or row.task.output,
            _about(row),
            remote_id,
            project,
        )


def _row(
    identity: str, name: str, state: str, output: str, about: str, remote_id: str | None, project: Project
) -> Row:
    fields: dict[str, JsonValue] = {"reason": about, "output": output, "remote_id": remote_id}

    def columns() -> tuple[str, ...]:
        video = project.base / output
        return name, shown_path(video) if output and video.exists() else "", about

    return Row(identity, name, state, columns, lambda: fields)


def _about(row: Progress) -> str:
    attempt = row.attempt
    if attempt is None or row.conflict or row.why:
        return printable(row.conflict or row.why)
    since = ""
    if row.state.is_in_flight and attempt.accepted_at is not None:
        since = f"for {duration_words(time.time() - attempt.accepted_at)}"
    words = [attempt.remote_id or "", since, attempt.error_code, attempt.error_message]
    return printable(" ".join(word for word in words if word))


def _title(run: RunRow, folder: RunFolder) -> str:
    state, seconds = run_state(run, folder), seconds_since_last_event(folder)
    if state is RunState.FINISHED or seconds is None:
        return _title_words(run, folder, state)
    return _title_words(run, folder, f"{state} (last event {duration_words(seconds)} ago)")


def _title_words(run: RunRow | ManifestRun, folder: RunFolder, how: str) -> str:
    job_file = shown_path(folder.project.root / run.job_file)
    return f"run {run.id} of {job_file}, {world_words(folder.project)} at {run.origin}: {how}"


def _head(run: RunRow | ManifestRun) -> dict[str, JsonValue]:
    return {
        "run": run.id,
        "file": run.job_file,
        "origin": run.origin,
        "edition": run.edition,
        "date": run.run_date,
        "is_finished": run.finished_at is not None,
    }


def _show_what_is_left(
    run_name: str,
    service: ServiceOptions,
    why: CallsheetError,
    only: tuple[str, ...],
    output_format: str,
    *,
    is_failed: bool,
) -> None:
    """The run by its manifest, as of when that was written. Raises `why` where there is none."""
    try:
        folder = find_folder(run_name, service)
        run = read_manifest(folder.manifest).run
        chosen = named(only, folder.project)
        rows = [
            _row_of(task, folder.project)
            for task in read_tasks(folder.manifest)
            if not only or chosen.means(task)
        ]
    except CallsheetError:
        raise why from None
    console.error(str(why))
    console.error(f"what follows is from {shown_path(folder.manifest)}, as of its writing")
    if output_format == "text":
        how = "unfinished" if run.finished_at is None else "finished"
        console.result(_title_words(run, folder, how))
    write_rows(_failed(rows, is_failed=is_failed), output_format, _head(run))


def _row_of(task: ManifestTask, project: Project) -> Row:
    remote_id = None if task.latest is None else task.latest.remote_id
    output = next((file.path for file in task.outputs), "")
    departed = "" if task.in_plan else "no longer in the plan"
    words = [remote_id, departed, *((task.error.code, task.error.message) if task.error else ())]
    about = printable(" ".join(word for word in words if word))
    return _row(task.identity, task.name, task.state, output, about, remote_id, project)
