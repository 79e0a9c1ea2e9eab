"""`status`: the state of a run's tasks. The run may be under way meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import click

from runner.cli import console
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
from runner.cli.runs import find_folder, find_run, reading
from runner.cli.task_list import CONFLICT, Row, chosen_tasks, write_rows
from runner.errors import CallsheetError, ExitCode, JobError, StateError
from runner.job.rundate import RunDate
from runner.json_value import JsonValue
from runner.ledger.read import LedgerReader
from runner.ledger.rows import RunRow
from runner.ledger.states import AWAITED, STATE_WORDS, TaskState
from runner.plan.plan import make_plan
from runner.record.folder import LATEST, RunFolder
from runner.record.manifest import ManifestRun, ManifestTask, read_manifest, read_tasks
from runner.redact import escape, printable
from runner.run.finish import waits_for_a_person
from runner.run.lock import is_holder_gone
from runner.run.only import Only
from runner.run.progress import Progress, progress_of
from runner.times import duration_words

ALIVE_WITHIN = 3600.0
"""Seconds after its last event in which a run counts as under way while its process lives.

A poll that finds nothing new is not an event, and a generation may wait in a queue for long. After this
time another process may have the process's number.
"""

_TAIL = 16_384
"""Bytes at the end of a log that hold its last line."""


@click.command()
@run_argument
@service_options
@job_options
@only_option
@output_format("json", "jsonl")
@common_options
def status(
    run_name: str,
    service: ServiceOptions,
    job_options: JobOptions,
    only: tuple[str, ...],
    output_format: str,
) -> None:
    """Show the state of each task of RUN (an id, a path to a run, or `latest`).

    Reads the ledger without locking it, and asks no service: a run may be under way meanwhile. Where the
    ledger cannot be read, what the run left in runs/ is shown.

    \b
    Examples:
      callsheet status
      watch callsheet status            while a run is under way
      callsheet status --only 'pour-*' --output-format jsonl
    """
    try:
        found = find_run(run_name, service)
        loaded = load(found.job_file, service, job_options, copy=found.job_copy)
        date = RunDate.parse(found.run.run_date)
        plan = make_plan(loaded.job, origin=found.run.origin, run_date=date, began=found.run.started_at)
    except (StateError, JobError) as error:
        _show_what_is_left(run_name, service, error, only, output_format)
        return
    tasks = chosen_tasks(plan, only)
    folder = RunFolder(found.place.project, found.run.id)
    states: Counter[TaskState] = Counter()
    with reading(found.place.project) as ledger:
        rows = _rows(progress_of(tasks, ledger, found.place.project.base), states, ledger)
        if output_format == "text":
            console.result(_title(found.run, folder))
        write_rows(rows, output_format, _head(found.run))
        waits = waits_for_a_person(plan, ledger) if ledger is not None and output_format == "text" else ()
        for sentence in waits:
            console.result(f"waiting for you: {escape(sentence)}")
    if output_format == "text" and not (found.run.finished_at is None and _is_alive(folder)):
        is_open = any(states[state] for state in (TaskState.PLANNED, *AWAITED))
        tell_next(
            states,
            ExitCode.TRY_AGAIN if is_open else ExitCode.TASK_FAILED,
            shown_path(found.job_file),
            service,
            run_id="" if run_name == LATEST else found.run.id,
            are_reasons_shown=True,
            is_pick_awaited=bool(waits),
        )


def _rows(rows: Iterable[Progress], states: Counter[TaskState], ledger: LedgerReader | None) -> Iterator[Row]:
    for row in rows:
        states[row.state] += 1
        if row.state is TaskState.DONE and row.attempt is None and ledger is not None:
            row = replace(row, attempt=ledger.latest([row.task.identity])[row.task.identity])
        remote_id = row.attempt.remote_id if row.attempt else None
        yield _row(
            row.task.identity,
            row.task.name,
            CONFLICT if row.conflict else STATE_WORDS[row.state].listed,
            row.video or row.task.output,
            _about(row),
            remote_id,
        )


def _row(identity: str, name: str, state: str, output: str, about: str, remote_id: str | None) -> Row:
    fields: dict[str, JsonValue] = {"reason": about, "output": output, "remote_id": remote_id}
    return Row(identity, name, state, lambda: (name, output, about), lambda: fields)


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
    seconds = _seconds_since_last_event(folder)
    last = "" if seconds is None else f" (last event {duration_words(seconds)} ago)"
    if run.finished_at is not None:
        how = "finished"
    elif _is_alive(folder):
        how = f"under way{last}"
    else:
        how = f"unfinished{last}"
    return f"run {run.id} of {run.job_file} at {run.origin}: {how}"


def _is_alive(folder: RunFolder) -> bool:
    """Judged by its log and its process: taking the lock could keep a run that starts now from it."""
    seconds = _seconds_since_last_event(folder)
    if seconds is None or seconds > ALIVE_WITHIN or is_holder_gone(folder.project):
        return False
    with folder.events.open("rb") as file:
        file.seek(max(0, folder.events.stat().st_size - _TAIL))
        return b'"event":"run.finished"' not in file.read().rstrip(b"\n").rpartition(b"\n")[2]


def _seconds_since_last_event(folder: RunFolder) -> float | None:
    try:
        return max(0.0, time.time() - folder.events.stat().st_mtime)
    except OSError:
        return None


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
) -> None:
    """The run by its manifest, as of when that was written. Raises `why` where there is none."""
    chosen = Only(only) if only else None
    try:
        folder = find_folder(run_name, service)
        run = read_manifest(folder.manifest).run
        rows = [_row_of(task) for task in read_tasks(folder.manifest) if chosen is None or chosen.names(task)]
    except CallsheetError:
        raise why from None
    console.error(str(why))
    console.error(f"what follows is from {shown_path(folder.manifest)}, as of its writing")
    if output_format == "text":
        how = "unfinished" if run.finished_at is None else "finished"
        console.result(f"run {run.id} of {run.job_file} at {run.origin}: {how}")
    write_rows(rows, output_format, _head(run))


def _row_of(task: ManifestTask) -> Row:
    remote_id = None if task.latest is None else task.latest.remote_id
    output = next((file.path for file in task.outputs), "")
    departed = "" if task.in_plan else "no longer in the plan"
    words = [remote_id, departed, *((task.error.code, task.error.message) if task.error else ())]
    about = printable(" ".join(word for word in words if word))
    return _row(task.identity, task.name, task.state, output, about, remote_id)
