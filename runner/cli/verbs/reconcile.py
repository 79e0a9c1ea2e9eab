"""`reconcile`: what is unclear with its evidence, and a person's answers, one by one or in one sitting."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import anyio
import click

from runner.assemble import served
from runner.cli import console
from runner.cli.attempt_keys import key_for
from runner.cli.common_options import common, common_options
from runner.cli.completion import complete_task
from runner.cli.fetching import services
from runner.cli.humanize import shown_path
from runner.cli.next_commands import command
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.cli.place import choose_place, task_words
from runner.cli.reconcile_walk import CHOICES, choices_for, evidence_lines, walk
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
from runner.lane.lease import driven_by_hand
from runner.ledger.leases import LaneKey
from runner.ledger.ledger import Ledger
from runner.ledger.states import Resolution, TaskState
from runner.plan.words import TaskWords
from runner.plural import count
from runner.project import Project, find_project
from runner.providers import DEFAULT, connect, find
from runner.providers.base import Generation, RemoteTask
from runner.providers.place import Place
from runner.redact import printable
from runner.run.lock import locked_ledger
from runner.times import iso_time


@click.command()
@click.argument("task", required=False, shell_complete=complete_task)
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
    """Settle submits that may or may not have been accepted: all of them in one sitting, or TASK.

    Without TASK, on a terminal, it goes from one to the next, shows the evidence, and asks. Elsewhere it
    lists them with the commands that settle each, and changes nothing. TASK is a name, an output, or the
    first digits of an identity or an attempt. A run looks for unclear tasks by itself. What it cannot prove
    stays `held`, for a person who can see the service's own list or bill. Exit code 5: something is held.

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
        if output_format == "text" and console.can_ask():
            return _walk(project, place, service)
        return _list(place.project, output_format, service)
    words = task_words(task, place.project)
    if len(answers) != 1:
        with reading(place.project) as reader:
            if reader is not None:
                find_unclear(reader, words)
        raise UsageError(
            f"what became of {task}?",
            hint="give one of --adopt ID, --write-off, --again and --not-billed",
        )
    one = _settle(words, answers[0], adopt, project, place, service, is_sure=yes)
    _tell_next([(one, answers[0])], project, service)
    return ExitCode.DONE


def _settle(
    words: TaskWords,
    answer: Resolution,
    remote_id: str | None,
    project: Project,
    place: Place,
    service: ServiceOptions,
    *,
    is_sure: bool,
) -> UnclearTask:
    """Takes a person's answer to the task that is meant. Raises CallsheetError; nothing has changed then."""
    with locked_ledger(place.project, wait=0) as ledger:
        with ledger.transaction():
            ledger.recover(time.time())
        one = find_unclear(ledger.read, words, answer)
        lane = LaneKey(one.task.provider, one.attempt.origin, one.attempt.key_hash)
        with driven_by_hand(ledger, lane, one.attempt.account, tell=console.note) as fence:
            # another machine may have found out meanwhile
            one = find_unclear(ledger.read, TaskWords(one.attempt.id), answer)
            if remote_id is not None:
                provider = find(one.task.provider)
                if provider is None:
                    raise UsageError(
                        f"{one.task.name}: the provider `{one.task.provider}` is not installed",
                        hint="install the plug-in that brings it",
                    )
                _check_adoption(ledger, one, remote_id, project, service, is_sure=is_sure)
            with ledger.transaction():
                fence(ledger)
                record_answer(ledger, one, answer, time.time(), remote_id=remote_id)
    console.summary(f"{one.task.name}: {answer.replace('_', ' ')}")
    return one


def _walk(project: Project, place: Place, service: ServiceOptions) -> ExitCode:
    """Asks about each on the terminal."""

    def settle(one: UnclearTask, answer: Resolution, remote_id: str | None, is_sure: bool) -> None:
        words = TaskWords(one.attempt.id)
        _settle(words, answer, remote_id, project, place, service, is_sure=is_sure)

    found = _found(place.project)
    if not found:
        console.summary("0 unclear tasks")
        return ExitCode.DONE
    settled = walk(found, settle, console.ask)
    left = _found(place.project)
    console.summary(f"{len(settled)} settled, {count(_unclear(left), 'unclear task')} left")
    _tell_next(settled, project, service)
    return _exit_code(left)


def _list(project: Project, output_format: str, service: ServiceOptions) -> ExitCode:
    found = _found(project)
    rows = [_as_json(one) for one in found]
    if not console.for_programs(output_format, rows, rows):
        _show(found, project.root, service)
    return _exit_code(found)


def _found(project: Project) -> list[UnclearTask]:
    """What is unclear or held, then what still counts although it was probably never accepted."""
    with reading(project) as reader:
        return [*unclear_tasks(reader), *absent_tasks(reader)] if reader is not None else []


def _unclear(found: Iterable[UnclearTask]) -> int:
    return sum(one.attempt.state is not TaskState.PLANNED for one in found)


def _exit_code(found: Iterable[UnclearTask]) -> ExitCode:
    is_held = any(one.attempt.state is TaskState.HELD for one in found)
    return ExitCode.PERSON_NEEDED if is_held else ExitCode.DONE


def _show(found: list[UnclearTask], root: Path, service: ServiceOptions) -> None:
    names = Counter(one.task.name for one in found)
    for one in found:
        console.result(f"{shown_word(one.state_word)}  {one.task.name}  {one.task.identity[:12]}")
        for label, words in evidence_lines(one):
            if words:
                console.result(f"    {label:11}{words}")
        own = one.task.name if names[one.task.name] == 1 else one.attempt.id[:12]
        settle = command("reconcile", own, service=service)
        commands = [
            (f"{settle} {CHOICES[answer].option}", CHOICES[answer].means) for answer in choices_for(one)
        ]
        widest = max(len(line) for line, _ in commands)
        for line, means in commands:
            console.result(f"    {line:{widest}}    {means}")
    console.summary(count(_unclear(found), "unclear task"))
    open_states = (TaskState.INTENDED, TaskState.AMBIGUOUS)
    for job_file in dict.fromkeys(one.task.job_file for one in found if one.attempt.state in open_states):
        line = command("run", shown_path(root / job_file), service=service)
        console.next_step(line, "looks for the unclear ones again")


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


def _tell_next(
    settled: Iterable[tuple[UnclearTask, Resolution]], project: Project, service: ServiceOptions
) -> None:
    """The commands that go on from these answers, each once."""
    steps: dict[str, str] = {}
    for one, answer in settled:
        match answer:
            case Resolution.ADOPTED:
                steps[command("collect", service=service)] = "fetches it"
            case Resolution.AGAIN:
                job_file = shown_path(project.root / one.task.job_file)
                steps[command("run", job_file, service=service)] = "submits it again"
            case Resolution.WRITTEN_OFF:
                console.note(
                    f"{one.task.name}: nothing more is done for it; `callsheet retry` would pay for it again"
                )
            case Resolution.NOT_BILLED:
                console.note(f"{one.task.name}: it no longer counts against a budget")
    for line, why in steps.items():
        console.next_step(line, why)


def _check_adoption(
    ledger: Ledger,
    one: UnclearTask,
    remote_id: str,
    project: Project,
    service: ServiceOptions,
    *,
    is_sure: bool,
) -> None:
    """Raises CallsheetError where the generation is not, or not surely, that of the task."""
    there = [
        each
        for each in services(project, service)
        if each.places[0].provider.name == one.task.provider and each.places[0].origin == one.attempt.origin
    ]
    if not there:
        raise UsageError(
            f"{one.task.name} was submitted to {one.attempt.origin}, where no account leads now",
            hint="give the --base-url (or --sandbox) of that run, or its account in callsheet.yaml",
        )
    place, key = key_for(there[0].places, ledger, one.attempt, is_named_here=there[0].is_named_here)
    remote = RemoteTask(remote_id, one.attempt.model)
    with served([place]) as access:
        generation = anyio.run(_look, place, access(place, key), remote)
    conflict = check_adoptable(ledger.read, one, place.provider, generation)
    if conflict and not is_sure:
        raise PersonNeededError(
            f"{remote_id} is probably not {one.task.name}: {printable(conflict)}",
            hint="if you are sure that it is, add --yes",
        )


async def _look(place: Place, access: Access, remote: RemoteTask) -> Generation:
    route = find_route(os.environ, trust_env=place.trust_env)
    async with connect(place.provider, access, route=route) as client:
        try:
            return await client.get(remote)
        except ProviderError as error:
            raise ServiceUnreachableError(
                f"{remote.id}: cannot be looked up: {printable(error.message)}",
                hint="check the id, and that the key is the one it was submitted with",
            ) from error
