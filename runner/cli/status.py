"""`status`: what became of a run's tasks, read beside a run that may be under way."""

from __future__ import annotations

import click

from runner.cli import console
from runner.cli.listing import write_json, write_text
from runner.cli.options import (
    JobOptions,
    ServiceOptions,
    common_options,
    job_options,
    output_format,
    run_argument,
    service_options,
)
from runner.cli.service import find_run_here, load, reading
from runner.engine.standing import Standing, standings
from runner.job.node import JsonValue
from runner.job.plan import make_plan
from runner.job.rundate import RunDate
from runner.ledger.rows import RunRow
from runner.record.redact import Redactor


@click.command()
@run_argument
@service_options
@job_options
@output_format("json", "jsonl")
@common_options
def status(run_name: str, service: ServiceOptions, job_options: JobOptions, output_format: str) -> None:
    """Show how each task of RUN (an id, a path to a run, or `latest`) stands now.

    Reads the ledger and asks no service; a run may be under way meanwhile.
    """
    found = find_run_here(run_name, service)
    loaded = load(found.job_file, service, job_options, text=found.job_text)
    plan = make_plan(loaded.job, origin=found.run.origin, run_date=RunDate.parse(found.run.run_date))
    with reading(found.place.project) as ledger:
        rows = standings(plan.tasks(), ledger, found.place.project.base)
        if output_format == "json":
            write_json(_head(found.run), rows, _fields)
        else:
            console.result(_title(found.run))
            write_text(rows, lambda row: (row.task.name, row.task.output, _about(row)))


def _title(run: RunRow) -> str:
    finished = "finished" if run.finished_at is not None else "unfinished"
    return f"run {run.id} of {run.job_file} at {run.origin}: {finished}"


def _about(row: Standing) -> str:
    """What a person wants to know of a task that is not simply done."""
    attempt = row.attempt
    if attempt is None or row.conflict or row.why:
        return Redactor().foreign_text(row.conflict or row.why)
    words = [attempt.remote_id or "", attempt.error_code, attempt.error_message]
    return Redactor().foreign_text(" ".join(word for word in words if word))


def _head(run: RunRow) -> dict[str, JsonValue]:
    return {
        "run": run.id,
        "file": run.job_file,
        "origin": run.origin,
        "edition": run.edition,
        "date": run.run_date,
        "is_finished": run.finished_at is not None,
    }


def _fields(row: Standing) -> dict[str, JsonValue]:
    return {
        "reason": _about(row),
        "output": row.task.output,
        "remote_id": row.attempt.remote_id if row.attempt else None,
    }
