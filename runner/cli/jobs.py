"""`validate`, `plan` and `schema`: what can be said of a job without sending anything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from runner.cli import console
from runner.cli.options import (
    JobOptions,
    ServiceOptions,
    common_options,
    job_argument,
    job_options,
    output_format,
    service_options,
)
from runner.cli.service import load, plan_of, reading
from runner.cli.words import CONFLICT, cell_words, count, state_word
from runner.engine.standing import Standing, standings
from runner.errors import ExitCode, JobError, UsageError
from runner.job.node import JsonValue
from runner.job.plan import Plan
from runner.record.redact import escape
from runner.resources import schema_path


@click.command()
@click.argument("jobs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="JOB...")
@job_options
@common_options
def validate(jobs: tuple[Path, ...], job_options: JobOptions) -> ExitCode:
    """Check job files. Every problem is told with its line, its column and what to do."""
    codes = [_validate_one(file, job_options) for file in jobs]
    return ExitCode.first(codes)


def _validate_one(file: Path, options: JobOptions) -> ExitCode:
    try:
        plan = plan_of(load(file, ServiceOptions(sandbox=False, base_url=None), options), options)
    except JobError as error:
        console.error(str(error))
        return error.exit_code
    tell_warnings(plan)
    console.summary(f"{file}: valid, {count(plan.count, 'task')}")
    return ExitCode.DONE


@click.command()
@job_argument
@service_options
@job_options
@output_format
@common_options
def plan(job: Path, service: ServiceOptions, job_options: JobOptions, output_format: str) -> ExitCode:
    """Show each task of JOB: its name, where its video goes, how it stands, and why it is new.

    Nothing is sent. Only tasks that are `new` would be submitted by `run`.
    """
    loaded = load(job, service, job_options)
    planned = plan_of(loaded, job_options)
    tell_warnings(planned)
    with reading(loaded.place.project) as ledger:
        rows = standings(planned.tasks(), ledger, loaded.place.project.base)
        counts = _write_json(planned, rows) if output_format == "json" else _write_text(planned, rows)
    return ExitCode.JOB_INVALID if counts[CONFLICT] else ExitCode.DONE


def _write_text(planned: Plan, rows: Iterator[Standing]) -> Counter[str]:
    counts: Counter[str] = Counter()

    def cells() -> Iterator[tuple[str, ...]]:
        for row in rows:
            counts[state_word(row)] += 1
            yield (
                state_word(row),
                row.task.name,
                cell_words(row.task.cell),
                row.task.output,
                escape(row.conflict or row.why),
            )

    for line in console.table(cells()):
        console.result(line)
    told = ", ".join(f"{number} {word}" for word, number in counts.items())
    console.result(f"{count(planned.count, 'task')}: {told}")
    return counts


def _write_json(planned: Plan, rows: Iterator[Standing]) -> Counter[str]:
    """One JSON object, written task by task: a large plan is never held as a whole."""
    head = {
        "job": planned.job.name,
        "file": planned.job.file,
        "origin": planned.origin,
        "edition": planned.edition,
        "date": planned.run_date.format(),
    }
    console.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "tasks": [')
    counts: Counter[str] = Counter()
    for row in rows:
        separator = ",\n" if counts else "\n"
        counts[state_word(row)] += 1
        console.write(separator + json.dumps(_as_json(row), ensure_ascii=False))
    console.result('\n], "counts": ' + json.dumps(counts) + "}")
    return counts


def _as_json(row: Standing) -> dict[str, JsonValue]:
    return {
        "identity": row.task.identity,
        "name": row.task.name,
        "state": state_word(row),
        "reason": row.conflict or row.why,
        "cell": dict(row.task.cell),
        "model": row.task.model,
        "seed": row.task.seed,
        "sample": row.task.sample,
        "request": dict(row.task.request),
        "output": row.task.output,
    }


@click.command()
@click.argument("name", default="job")
@common_options
def schema(name: str) -> None:
    """Print the JSON Schema NAME: job (the default), mesh-request or manifest."""
    try:
        path = schema_path(name)
    except FileNotFoundError as error:
        raise UsageError(
            f"no schema `{name}`", hint="the schemas are job, mesh-request and manifest"
        ) from error
    console.result(path.read_text(encoding="utf-8").rstrip())


def tell_warnings(planned: Plan) -> None:
    """What the plan lets pass but a person should know."""
    for problem in planned.warnings:
        console.note(escape(problem.render(planned.job.file)))
