"""`reconcile`: lists unclear submits with their evidence, and takes a person's answer to one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import anyio
import click

from runner.assemble import served
from runner.cli import console
from runner.cli.attempt_keys import key_for
from runner.cli.common_options import common, common_options
from runner.cli.humanize import shown_path
from runner.cli.next_commands import command
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.cli.place import choose_place, task_words
from runner.cli.runs import reading
from runner.cli.task_list import shown_word
from runner.errors import ExitCode, PersonNeededError, ServiceUnreachableError, UsageError
from runner.http.access import Access
from runner.http.route import find_route
from runner.http.verdicts import ProviderError
from runner.lane.by_hand import (
    UnclearTask,
    absent_tasks,
    check_adoptable,
    find_unclear,
    record_answer,
    unclear_tasks,
)
from runner.ledger.ledger import Ledger
from runner.ledger.states import Resolution, TaskState
from runner.plural import count
from runner.project import Project, find_project
from runner.providers import DEFAULT, connect, find
from runner.providers.base import Generation
from runner.providers.place import Place
from runner.redact import printable
from runner.run.lock import locked_ledger
from runner.times import iso_time


@click.command()
@click.argument("task", required=False)
@click.option("--adopt", metavar="ID", help="It is this generation at the service: fetch that.")
@click.option(
    "--write-off",
    is_flag=True,
    help="Give it up: it may have been paid for, but nothing looks for it.",
)
@click.option("--again", is_flag=True, help="It was never accepted: the next `run` submits it again.")
@click.option(
    "--not-billed",
    is_flag=True,
    help="It was submitted again, and the service did not bill this one: it counts against no budget.",
)
@click.option("--yes", is_flag=True, help="Adopt even if the service's answer contradicts it.")
@service_options
@output_format("json", "jsonl")
@common_options
def reconcile(
    task: str | None,
    adopt: str | None,
    write_off: bool,
    again: bool,
    not_billed: bool,
    yes: bool,
    service: ServiceOptions,
    output_format: str,
) -> ExitCode:
    """List submits that may or may not have been accepted; settle TASK by hand.

    Without TASK nothing changes. A run looks for unclear tasks by itself. What it cannot prove stays
    `held`, for a person who can see the service's own list or bill.

    \b
    Examples:
      callsheet reconcile
      callsheet reconcile spin-s3 --adopt t-0123456789    the service's list shows it
      callsheet reconcile spin-s3 --again                 it shows that nothing came
    """
    project = find_project(Path(), root=common().root)
    given = {
        Resolution.ADOPTED: adopt,
        Resolution.WRITTEN_OFF: write_off,
        Resolution.AGAIN: again,
        Resolution.NOT_BILLED: not_billed,
    }
    answers = [answer for answer, is_given in given.items() if is_given]
    place = choose_place(DEFAULT, project, service)
    if task is None:
        if answers:
            raise UsageError(
                "which task?",
                hint="callsheet reconcile TASK --adopt ID | --write-off | --again | --not-billed",
            )
        return _list(place.project, output_format, service)
    if len(answers) != 1:
        with reading(place.project) as reader:
            if reader is not None:
                find_unclear(reader, task_words(task, place.project))
        raise UsageError(
            f"what became of {task}?",
            hint="give one of --adopt ID, --write-off, --again and --not-billed",
        )
    with locked_ledger(place.project, wait=0) as ledger:
        with ledger.transaction():
            ledger.recover(time.time())
        one = find_unclear(ledger.read, task_words(task, place.project), answers[0])
        if adopt is not None:
            provider = find(one.task.provider)
            if provider is None:
                raise UsageError(
                    f"{one.task.name}: the provider `{one.task.provider}` is not installed",
                    hint="install the plug-in that brings it",
                )
            place = choose_place(provider, project, service)
            _adopt(ledger, one, adopt, place, is_sure=yes)
        else:
            _settle(ledger, one, answers[0])
    _tell_next(one, answers[0], project, service)
    return ExitCode.DONE


def _list(project: Project, output_format: str, service: ServiceOptions) -> ExitCode:
    with reading(project) as reader:
        found = [*unclear_tasks(reader), *absent_tasks(reader)] if reader is not None else []
        rows = [_as_json(one) for one in found]
        if not console.for_programs(output_format, rows, rows):
            _show(found, project.root, service)
    is_held = any(one.attempt.state is TaskState.HELD for one in found)
    return ExitCode.PERSON_NEEDED if is_held else ExitCode.DONE


def _show(found: list[UnclearTask], root: Path, service: ServiceOptions) -> None:
    for one in found:
        attempt = one.attempt
        console.result(
            f"{shown_word(one.state_word)}  {one.task.name}  {one.task.identity[:12]}  {one.task.output}"
        )
        take = "" if attempt.seed is None else f", seed {attempt.seed}"
        console.result(f"    submitted {iso_time(attempt.intended_at)} ({one.task.model}{take})")
        console.result(f"    {printable(one.evidence)}")
    absent = [one for one in found if one.attempt.state is TaskState.PLANNED]
    console.summary(f"{count(len(found) - len(absent), 'unclear task')}")
    if any(one.attempt.state in (TaskState.INTENDED, TaskState.AMBIGUOUS) for one in found):
        job_file = shown_path(root / found[0].task.job_file)
        console.next_step(command("run", job_file, service=service), "looks for the unclear ones again")
    held = next((one for one in found if one.attempt.state is TaskState.HELD), None)
    if held is not None:
        settle = command("reconcile", held.task.name, service=service)
        console.next_step(f"{settle} --adopt ID", "it is this generation at the service")
        console.next_step(f"{settle} --again", "it was never accepted: submit it again")
        console.next_step(f"{settle} --write-off", "give it up")
    if absent:
        console.note(
            f"{count(len(absent), 'submit')} taken for never accepted: counted against budgets until a day"
            " later the service's list still shows nothing of it"
        )
        settle = command("reconcile", absent[0].task.name, service=service)
        console.next_step(f"{settle} --not-billed", "the service did not bill it")


def _as_json(one: UnclearTask) -> dict[str, object]:
    return {
        "task": one.task.name,
        "identity": one.task.identity,
        "attempt": one.attempt.id,
        "state": one.state_word,
        "submitted_at": iso_time(one.attempt.intended_at),
        "model": one.task.model,
        "seed": one.attempt.seed,
        "tag": one.attempt.tag,
        "output": one.task.output,
        "evidence": one.attempt.evidence,
        "held_because": one.attempt.resolution_evidence and one.attempt.resolution_evidence.facts,
    }


def _settle(ledger: Ledger, one: UnclearTask, answer: Resolution, remote_id: str | None = None) -> None:
    with ledger.transaction():
        record_answer(ledger, one, answer, time.time(), remote_id=remote_id)
    console.summary(f"{one.task.name}: {answer.replace('_', ' ')}")


def _tell_next(one: UnclearTask, answer: Resolution, project: Project, service: ServiceOptions) -> None:
    match answer:
        case Resolution.ADOPTED:
            console.next_step(command("collect", service=service), "fetches it")
        case Resolution.AGAIN:
            job_file = shown_path(project.root / one.task.job_file)
            console.next_step(command("run", job_file, service=service), "submits it again")
        case Resolution.WRITTEN_OFF:
            console.note("nothing more is done for it; `callsheet retry` would pay for it again")
        case Resolution.NOT_BILLED:
            console.note("it no longer counts against a budget")


def _adopt(ledger: Ledger, one: UnclearTask, remote_id: str, place: Place, *, is_sure: bool) -> None:
    if one.attempt.origin != place.origin:
        raise UsageError(
            f"{one.task.name} was submitted to {one.attempt.origin}, not to {place.origin}",
            hint="give the --base-url (or --sandbox) of that run",
        )
    key = key_for(place, ledger, one.attempt)
    with served(place, key) as access:
        generation = anyio.run(_look, place, access, remote_id)
    conflict = check_adoptable(ledger.read, one, place.provider, generation)
    if conflict and not is_sure:
        raise PersonNeededError(
            f"{remote_id} is probably not {one.task.name}: {printable(conflict)}",
            hint="if you are sure that it is, add --yes",
        )
    _settle(ledger, one, Resolution.ADOPTED, remote_id)


async def _look(place: Place, access: Access, remote_id: str) -> Generation:
    route = find_route(os.environ, trust_env=place.trust_env)
    async with connect(place.provider, access, route=route) as client:
        try:
            return await client.get(remote_id)
        except ProviderError as error:
            raise ServiceUnreachableError(
                f"{remote_id}: cannot be looked up: {printable(error.message)}",
                hint="check the id, and that the key is the one it was submitted with",
            ) from error
