"""`plan`: what a job would run, without sending anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.jobs import load, plan_of
from runner.cli.next_commands import command, tell_pick
from runner.cli.options import (
    JobOptions,
    ServiceOptions,
    job_argument,
    job_options,
    only_option,
    output_format,
    service_options,
)
from runner.cli.problems import show_warnings
from runner.cli.runs import reading
from runner.cli.task_list import CONFLICT, EDIT, Row, chosen_tasks, listed_word, write_rows
from runner.errors import ExitCode
from runner.job.extends import as_yaml
from runner.job.model import Job, OnEdit
from runner.json_value import JsonValue
from runner.lane.costs import outlook
from runner.ledger.states import TaskState
from runner.money import usd_or_null, usd_text
from runner.plan.chains import chain_words
from runner.plan.combinations import sum_words
from runner.plan.cost import Total
from runner.plan.plan import Plan
from runner.plan.prices import price_words
from runner.plan.task import Upstream
from runner.plural import count
from runner.providers import every, find
from runner.providers.provider import Provider
from runner.redact import escape
from runner.run.finish import waits_for_a_person
from runner.run.prepare import CONFLICT_HINT
from runner.run.progress import Progress, progress_of
from runner.run.remembered import check_is_remembered


def _installed(_context: click.Context, _option: click.Parameter, name: str | None) -> Provider | None:
    """The provider of this name. Raises BadParameter where it is not installed."""
    provider = None if name is None else find(name)
    if name is not None and provider is None:
        raise click.BadParameter(f"{name!r} is not one of {', '.join(sorted(every()))}")
    return provider


@click.command()
@job_argument
@service_options
@job_options
@output_format("json", "jsonl")
@click.option(
    "--provider", metavar="NAME", callback=_installed, help="Show what the job would lose at this provider."
)
@click.option(
    "--resolved",
    is_flag=True,
    help="Print the job as one file, merged with the one that it `extends`, and plan nothing.",
)
@only_option
@common_options
def plan(
    job: Path,
    service: ServiceOptions,
    job_options: JobOptions,
    output_format: str,
    provider: Provider | None,
    resolved: bool,
    only: tuple[str, ...],
) -> ExitCode:
    """Show each task of JOB: its state, its name, where its video goes, and why it is new.

    Nothing is sent. Only tasks that are `new` would be submitted by `run`, and those that are an `edit` once
    somebody agrees: where their video would go is a take of another request, which is kept as a version.

    \b
    Examples:
      callsheet plan jobs/hello.yaml
      callsheet plan jobs/hello.yaml --only 'pour-*'
      callsheet plan jobs/hello.yaml --resolved
      callsheet plan jobs/hello.yaml --output-format jsonl | jq -r .output
    """
    loaded = load(job, service, job_options, provider=provider)
    if resolved:
        console.block(as_yaml(loaded.job.document, name=loaded.job.name).removesuffix("\n"))
        return ExitCode.DONE
    planned = plan_of(loaded, job_options)
    show_warnings(planned.warnings, planned.job.file)
    tasks = chosen_tasks(planned, only, loaded.place.project)
    has_models = len({model for step in planned.job.steps.values() for model in step.model_names}) > 1
    with reading(loaded.place.project) as ledger:
        if ledger is not None:
            check_is_remembered(loaded.place.project, ledger)
        new = Total()
        waits = waits_for_a_person(planned, ledger) if ledger is not None else ()
        rows = _adding_up(progress_of(tasks, ledger, loaded.place.project.base), new)
        listed = (_row(row, planned.job, has_models=has_models) for row in rows)
        counts = write_rows(listed, output_format, {**_head(planned), "waits": [*waits]})
        code = ExitCode.JOB_INVALID if counts[CONFLICT] else ExitCode.DONE
        if output_format != "text":
            return code
        for sentence in (
            *_sums(planned),
            *_estimate_words(new),
            *price_words(planned.job),
            *outlook(planned, new, ledger),
        ):
            console.result(sentence)
    for sentence in waits:
        console.result(f"waiting for you: {escape(sentence)}")
    if waits:
        tell_pick(str(job), service)
    if counts[CONFLICT]:
        in_conflict = count(counts[CONFLICT], "task")
        console.note(f"{in_conflict} in conflict: nothing would run; hint: {CONFLICT_HINT}")
    elif counts[EDIT]:
        console.note(f"{count(counts[EDIT], 'edit')}: {_ON_EDIT[planned.job.run.on_edit]}")
    if new.tasks and provider is None and not counts[CONFLICT]:
        patterns = [word for pattern in only for word in ("--only", pattern)]
        console.next_step(command("run", str(job), *patterns, service=service), "submits what is new")
    return code


_ON_EDIT = {
    OnEdit.ASK: "`run` asks first, and keeps the older takes as versions; --accept-edits agrees",
    OnEdit.VERSION: "`run` keeps the older takes as versions (run.on_edit)",
    OnEdit.REFUSE: "`run` submits no edit (run.on_edit); hint: give `output` another path, or write"
    " `on_edit: ask`",
}


def _sums(planned: Plan) -> Iterator[str]:
    """How many tasks each step that joins steps or makes a chain has, and why: `film: 4 x 4 = 16`."""
    for name, combined in planned.combined.items():
        step = planned.job.steps[name]
        if step.joins:
            yield sum_words(step, combined)
        if step.chain:
            yield chain_words(step, combined)


def _estimate_words(new: Total) -> Iterator[str]:
    """The estimate of new tasks, if there are any. What is not known is counted."""
    if not new.tasks:
        return
    known = [
        f"{new.tokens:,} tokens" if new.without_tokens < new.tasks else "",
        f"about USD {usd_text(new.micros)}" if new.without_price < new.tasks else "",
    ]
    unknown = [
        f"tokens of {count(new.without_tokens, 'task')} not known" if new.without_tokens else "",
        f"price of {count(new.without_price, 'task')} not known" if new.without_price else "",
    ]
    told = "; ".join(filter(None, (", ".join(filter(None, known)), *unknown)))
    yield f"estimate of what is new: {told}"


def _adding_up(rows: Iterable[Progress], new: Total) -> Iterator[Progress]:
    """Passes the rows on, and adds what `run` would submit to `new`."""
    for row in rows:
        if row.state in (TaskState.PLANNED, TaskState.WAITING) and not row.conflict:
            new.add(row.task.estimate_tokens, row.task.estimate_micros)
        yield row


def _row(row: Progress, job: Job, *, has_models: bool) -> Row:
    """A line of the list; a model that all tasks share is left out, so that the line fits a terminal."""
    task = row.task

    def columns() -> tuple[str, ...]:
        cell = {axis: value for axis, value in task.cell.items() if axis != "model" or has_models}
        needs = {"needs": ",".join(each.name for each in task.needs)} if task.needs else {}
        after = {} if task.previous is None else {"after": task.previous.name}
        place = {"step": task.step} if task.step else {}
        content = job.steps[task.step].content
        without = {"without": ",".join(content[number].kind for number in sorted(task.left_out))}
        named = {**place, **needs, **after, **cell, **(without if task.left_out else {})}
        words = (f"{axis}={_value_words(value)}" for axis, value in named.items())
        return task.name, escape(" ".join(words)), task.output, escape(row.conflict or row.why)

    return Row(
        task.identity,
        task.name,
        listed_word(row),
        columns,
        partial(_fields, row),
    )


def _value_words(value: JsonValue) -> str:
    """An object is shown by its `id` where it has one."""
    if isinstance(value, dict) and "id" in value:
        return str(value["id"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _head(planned: Plan) -> dict[str, JsonValue]:
    return {
        "job": planned.job.name,
        "file": planned.job.file,
        "origin": planned.origin,
        "edition": planned.edition,
        "date": planned.run_date.format(),
        "estimate": {
            "tokens": planned.cost.tokens,
            "usd": None if planned.cost.is_unknown else usd_text(planned.cost.micros),
            "tasks_without_tokens": planned.cost.without_tokens,
            "unpriced_tasks": planned.cost.without_price,
        },
    }


def _fields(row: Progress) -> dict[str, JsonValue]:
    task = row.task
    return {
        "reason": row.conflict or row.why,
        "step": task.step,
        "upstream": None if task.upstream is None else _upstream(task.upstream),
        **({"upstreams": [*map(_upstream, task.upstreams)]} if task.previous or len(task.needs) > 1 else {}),
        "cell": dict(task.cell),
        "model": task.model,
        "seed": task.seed,
        "sample": task.sample,
        "request": dict(task.request),
        "output": task.output,
        "estimate": {"tokens": task.estimate_tokens, "usd": usd_or_null(task.estimate_micros)},
    }


def _upstream(above: Upstream) -> dict[str, JsonValue]:
    return {"step": above.step, "name": above.name, "identity": above.identity, "uses": [*sorted(above.uses)]}
