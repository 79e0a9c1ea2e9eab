"""`plan`: what a job would run, without sending anything."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.jobs import load, plan_of, project_or_here
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
from runner.cli.plan_comment import PlanComment, trouble_comment
from runner.cli.problems import show_warnings
from runner.cli.runs import reading
from runner.cli.task_list import (
    CONFLICT,
    EDIT,
    Row,
    chosen_tasks,
    listed_word,
    what_words,
    write_groups,
    write_rows,
)
from runner.errors import CallsheetError, ExitCode
from runner.job.files.extends import as_yaml
from runner.job.model import Job, OnEdit
from runner.json_value import JsonValue
from runner.lane.costs import outlook
from runner.lane.forecast import budget_outlook
from runner.ledger.read import LedgerReader
from runner.money import usd_or_null, usd_text, usd_words
from runner.plan.chains import chain_words
from runner.plan.combinations import sum_words
from runner.plan.cost import Total
from runner.plan.plan import Plan
from runner.plan.prices import price_words
from runner.plan.task import Task, Upstream
from runner.plural import count
from runner.project import Project, is_project
from runner.providers import every, find
from runner.providers.provider import Provider
from runner.redact import escape
from runner.run.finish import waits_for_a_person
from runner.run.prepare import CONFLICT_HINT
from runner.run.remembered import check_is_remembered
from runner.run.task.progress import Progress, progress_of


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
@output_format("json", "jsonl", "markdown")
@click.option(
    "--provider", metavar="NAME", callback=_installed, help="Show what the job would lose at this provider."
)
@click.option(
    "--resolved",
    is_flag=True,
    help="Print the job as one file, merged with the one that it `extends`, and plan nothing.",
)
@click.option(
    "--without-ledger",
    is_flag=True,
    help="Count each task as new, and ask no ledger: where its URL is not given, as in a stranger's pull"
    " request.",
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
    without_ledger: bool,
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
      callsheet plan jobs/hello.yaml --output-format markdown > comment.md
    """
    with _commenting_trouble(job, output_format):
        loaded = load(job, service, job_options, provider=provider, project=project_or_here(job))
        if resolved:
            console.block(as_yaml(loaded.job.document, name=loaded.job.name).removesuffix("\n"))
            return ExitCode.DONE
        planned = plan_of(loaded, job_options)
    show_warnings(planned.warnings, planned.job.file)
    tasks = chosen_tasks(planned, only, loaded.place.project)
    patterns = [word for pattern in only for word in ("--only", pattern)]
    make = command("run", str(job), *patterns, service=service)
    asked = contextlib.nullcontext() if without_ledger else reading(loaded.place.project)
    with _commenting_trouble(job, output_format), asked as ledger:
        if ledger is not None:
            check_is_remembered(loaded.place.project, ledger)
        new = Total()
        waits = waits_for_a_person(planned, ledger) if ledger is not None else ()
        base = loaded.place.project.base

        def rows(members: Iterable[Task]) -> Iterator[Progress]:
            return _adding_up(progress_of(members, ledger, base), new)

        def outlook_words() -> Iterator[str]:
            yield from _behind_words(planned)
            yield from price_words(planned.job)
            yield from outlook(planned, new, ledger)
            yield from _budget_words(loaded.place.project, planned, new, ledger)

        if output_format == "text":
            counts = write_groups(
                (group.title, map(group.columns.row, rows(group.tasks))) for group in _groups(planned, tasks)
            )
        elif output_format == "markdown":
            comment = PlanComment(planned.job, str(job), new)
            counts = comment.counts
            for row in progress_of(tasks, ledger, base):
                comment.add(row)
            on_edit = [f"{count(counts[EDIT], 'edit')}: {_ON_EDIT[planned.job.run.on_edit]}"]
            told = comment.text(
                warnings=[warning.render(planned.job.file) for warning in planned.warnings],
                sentences=[*_sums(planned), *outlook_words(), *on_edit * bool(counts[EDIT]), *waits],
                command=make,
                has_ledger=ledger is not None,
            )
            console.write(told)
        else:
            listed = map(_Columns(planned.job).row, rows(tasks))
            counts = write_rows(listed, output_format, {**_head(planned), "waits": [*waits]})
        code = ExitCode.JOB_INVALID if counts[CONFLICT] else ExitCode.DONE
        if output_format != "text":
            return code
        for sentence in (*_sums(planned), *_estimate_words(new), *_share_words(new), *outlook_words()):
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
        if not is_project(loaded.place.project.root):
            console.next_step("callsheet init", "makes this directory a project, where jobs can run")
            return code
        console.next_step(make, "submits what is new")
    return code


@contextlib.contextmanager
def _commenting_trouble(job: Path, output_format: str) -> Iterator[None]:
    """Where a comment is wanted, an error is told as one too."""
    try:
        yield
    except CallsheetError as error:
        if output_format == "markdown":
            console.write(trouble_comment(str(job), error))
        raise


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
        f"about {usd_words(new.micros)}" if new.without_price < new.tasks else "",
    ]
    unknown = [
        f"tokens of {count(new.without_tokens, 'task')} not known" if new.without_tokens else "",
        f"price of {count(new.without_price, 'task')} not known" if new.without_price else "",
    ]
    told = "; ".join(filter(None, (", ".join(filter(None, known)), *unknown)))
    yield f"estimate of what is new: {told}"


def _budget_words(project: Project, planned: Plan, new: Total, ledger: LedgerReader | None) -> list[str]:
    """None in a rehearsal, which no budget of the project is for."""
    if project.is_rehearsal:
        return []
    return budget_outlook(planned.job.project_file, new, ledger, time.time())


def _share_words(new: Total) -> Iterator[str]:
    """What of the estimate is for each of several accounts."""
    for name, share in new.accounts.items() if len(new.accounts) > 1 else ():
        known = "price not known" if share.is_unknown else f"about {usd_words(share.micros)}"
        unknown = share.without_price if not share.is_unknown else 0
        told = f"; price of {count(unknown, 'task')} not known" if unknown else ""
        yield f"  at {name}: {count(share.tasks, 'task')}, {known}{told}"


def _adding_up(rows: Iterable[Progress], new: Total) -> Iterator[Progress]:
    """Passes the rows on, and adds what `run` would submit to `new`."""
    for row in rows:
        if row.is_to_submit:
            new.add_task(row.task)
        yield row


@dataclass(frozen=True, slots=True)
class _Columns:
    """What a line tells besides its state. `what` gives the prompt and the inputs, where
    they are not the same for all tasks of the step.
    """

    job: Job
    has_models: bool = True
    what: Callable[[Task], str] | None = None

    def row(self, row: Progress) -> Row:
        columns, fields = partial(self._columns, row), partial(_fields, self.job, row)
        return Row(row.task.identity, row.task.name, listed_word(row), columns, fields)

    def _columns(self, row: Progress) -> tuple[str, ...]:
        task = row.task
        cell = {axis: value for axis, value in task.cell.items() if axis != "model" or self.has_models}
        at = {"at": task.account} if len(self.job.accounts) > 1 and task.account != task.model_name else {}
        needs = {"needs": ",".join(each.name for each in task.needs)} if task.needs else {}
        after = {} if task.previous is None else {"after": task.previous.name}
        content = self.job.steps[task.step].content
        without = {"without": ",".join(content[number].kind for number in sorted(task.left_out))}
        named = {**needs, **after, **cell, **at, **(without if task.left_out else {})}
        words = (f"{axis}={_value_words(value)}" for axis, value in named.items())
        what = (self.what(task),) if self.what is not None else ()
        return task.name, escape(" ".join(words)), task.output, escape(row.conflict or row.why), *what


@dataclass(frozen=True, slots=True)
class _Group:
    """The tasks of one step, under a title."""

    title: str
    tasks: Sequence[Task]
    columns: _Columns


_MOST_OF_A_PROMPT = 56


def _groups(planned: Plan, tasks: Iterable[Task]) -> Iterator[_Group]:
    """The tasks of each step, in the order of the job file; what all of a step share stands in its title.

    A model that all tasks share is left out, so that a line fits a terminal.
    """
    by_step: dict[str, list[Task]] = {name: [] for name in planned.job.steps}
    for task in tasks:
        by_step[task.step].append(task)
    has_models = len({task.model_name for members in by_step.values() for task in members}) > 1
    what = partial(what_words, planned.job, most=_MOST_OF_A_PROMPT)
    for name, members in by_step.items():
        shared = {what(task) for task in members}
        is_shared = len(shared) == 1 and len(members) > 1
        title = [f"{name}, {count(len(members), 'task')}"] if name and members else []
        title += [told for told in shared if told and is_shared]
        columns = _Columns(planned.job, has_models, None if is_shared else what)
        yield _Group(": ".join(title), members, columns)


def _behind_words(planned: Plan) -> Iterator[str]:
    """What each take that is picked would add."""
    for behind in planned.behind:
        each = behind.each
        if not each.tasks:
            continue
        cost = "of unknown price" if each.without_price else f"for about {usd_words(each.micros)}"
        tasks = count(each.tasks, "task")
        yield f"behind a pick: {tasks} of {behind.step} {cost}, for each picked take of {behind.above}"


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


def _fields(job: Job, row: Progress) -> dict[str, JsonValue]:
    task = row.task
    return {
        "reason": row.conflict or row.why,
        "step": task.step,
        "upstream": None if task.upstream is None else _upstream(task.upstream),
        **({"upstreams": [*map(_upstream, task.upstreams)]} if task.previous or len(task.needs) > 1 else {}),
        "cell": dict(task.cell),
        "model": task.model,
        **({"account": task.account} if len(job.accounts) > 1 or task.account != task.provider else {}),
        "seed": task.seed,
        "sample": task.sample,
        "request": dict(task.request),
        "output": task.output,
        "estimate": {"tokens": task.estimate_tokens, "usd": usd_or_null(task.estimate_micros)},
    }


def _upstream(above: Upstream) -> dict[str, JsonValue]:
    return {"step": above.step, "name": above.name, "identity": above.identity, "uses": [*sorted(above.uses)]}
