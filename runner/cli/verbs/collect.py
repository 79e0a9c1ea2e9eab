"""`collect`: fetches what is in flight, and updates the manifests of its runs."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import click

from runner.cli import console
from runner.cli.closing.evicting import evict_old
from runner.cli.closing.monitor import Ending, pinged
from runner.cli.common_options import common, common_options
from runner.cli.completion import complete_task
from runner.cli.fetching import collect_everything, refresh_manifest, services
from runner.cli.next_commands import command
from runner.cli.options import (
    ServiceOptions,
    deadline_option,
    output_format,
    ping_option,
    service_options,
    wait_option,
)
from runner.cli.place import choose_place, task_words
from runner.cli.runs import reading
from runner.errors import ExitCode, StateError
from runner.lane.by_hand import find_in_flight
from runner.lane.by_hand import give_up as give_up_attempt
from runner.ledger.leases import LaneKey
from runner.plan.words import TaskWords
from runner.project import Project, find_project
from runner.providers import DEFAULT
from runner.redact import json_text
from runner.run.lock import locked_ledger
from runner.run.remembered import check_is_remembered
from runner.times import iso_time


@click.command()
@click.option(
    "--give-up",
    metavar="TASK",
    shell_complete=complete_task,
    help="Stop fetching this accepted task (a name, an output, an identity or the service's id).",
)
@click.option("--yes", is_flag=True, help="Agree to --give-up.")
@service_options
@wait_option
@deadline_option("50m")
@ping_option
@output_format("json")
@common_options
def collect(
    give_up: str | None,
    yes: bool,
    service: ServiceOptions,
    wait: float,
    deadline: float,
    ping: bool,
    output_format: str,
) -> ExitCode:
    """Poll and download all that is in flight, whatever run it is from. Never submits.

    Safe at any time, hourly and at boot. There is no --only here: result URLs die in 24 hours. What
    `store_keep` lets go is removed here at the end.

    --give-up ends one task that was accepted and never finishes. Nothing is asked of the service: it may
    bill the task, and its video is no longer fetched.

    \b
    Examples:
      callsheet collect
      callsheet collect --wait 10m --deadline 50m
      callsheet collect --give-up pour-s3
    """
    project = find_project(Path(), root=common().root)
    if give_up is not None:
        return _give_up(give_up, project, service, wait=wait, is_agreed=yes)
    with pinged(project.root, frozenset()) if ping else contextlib.nullcontext(Ending()) as ending:
        collected = collect_everything(
            project, service, wait=wait, deadline=deadline, is_told=output_format == "text"
        )
        ends = [one.result.exit_code for one in collected]
        for each in dict.fromkeys(each.places[0].project for each in services(project, service)):
            ends.append(_check_ledger(each))
            evict_old(each, trust_env=service.trust_env)
        code = ExitCode.first(ends)
        document = {"exit_code": int(code), "services": [one.as_json() for one in collected]}
        ending.code, ending.lines = code, [json_text(document)]
        if output_format == "json":
            console.outcome(ending.lines[0])
        elif not collected and code is ExitCode.DONE:
            console.summary("nothing is in flight")
    codes = {one.result.exit_code for one in collected}
    if ExitCode.PERSON_NEEDED in codes:
        listing = command("reconcile", service=service)
        console.next_step(listing, "lists what is held, and what to type for each")
    if ExitCode.TRY_AGAIN in codes:
        console.next_step(command("collect", service=service), "goes on with what is still in flight")
    return code


def _check_ledger(project: Project) -> ExitCode:
    """Says if the ledger knows less than was submitted; what it does know has been fetched."""
    try:
        with reading(project) as ledger:
            check_is_remembered(project, ledger)
    except StateError as error:
        console.error(str(error))
        return error.exit_code
    return ExitCode.DONE


def _give_up(
    name: str, project: Project, service: ServiceOptions, *, wait: float, is_agreed: bool
) -> ExitCode:
    place = choose_place(DEFAULT, project, service)
    with locked_ledger(place.project, wait=wait, tell=console.note) as ledger:
        task, attempt = find_in_flight(ledger.read, task_words(name, place.project))
        said = (
            f"{task.name} was accepted as {attempt.remote_id} at {iso_time(attempt.intended_at)}: the service"
            " may bill it, and its video will not be fetched"
        )
        if not is_agreed:
            console.agree(f"{said}. Give it up?", f"{said}; nothing was changed")
        # imported here: the event loop takes 0.1 s, and most often nothing is given up
        from runner.lane.lease import driven_by_hand

        lane = LaneKey(task.provider, attempt.origin, attempt.key_hash)
        with driven_by_hand(ledger, lane, attempt.account, tell=console.note, wait=wait) as fence:
            task, attempt = find_in_flight(ledger.read, TaskWords(attempt.id))
            with ledger.transaction():
                fence(ledger)
                give_up_attempt(ledger, attempt, time.time())
        run = ledger.read.run(attempt.run_id)
        assert run is not None
        refresh_manifest(ledger, place.project, run, is_told=True)
    console.summary(f"{task.name}: given up")
    again = command("retry", run.id, "--only", task.name, service=service)
    console.next_step(again, "fetches it where the service still has it, and buys it again where not")
    return ExitCode.DONE
