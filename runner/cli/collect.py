"""`collect`: fetches what is in flight, and brings the manifests of its runs up to date."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import anyio
import click

from runner.cli import console
from runner.cli.advice import command
from runner.cli.bring import tell_late, tell_reasons
from runner.cli.found import reading
from runner.cli.options import (
    ServiceOptions,
    common,
    common_options,
    deadline_option,
    output_format,
    ping_option,
    service_options,
    wait_option,
)
from runner.cli.pings import Ending, pinged
from runner.cli.progress import progress
from runner.cli.service import choose_place, read_keys
from runner.cli.words import counts_words
from runner.engine.conclude import conclude
from runner.engine.lateness import late
from runner.engine.remembered import check_is_remembered
from runner.engine.run import RunResult, collect_all, is_open
from runner.errors import CallsheetError, ExitCode, StateError
from runner.job.load import LoadOptions, load_job
from runner.job.model import RunPolicy
from runner.job.node import JsonValue
from runner.job.plan import make_plan
from runner.job.rundate import RunDate
from runner.ledger.ledger import Ledger
from runner.ledger.rows import RunRow
from runner.project import Project, find_project
from runner.providers import REGISTRY
from runner.providers.place import Place
from runner.record.facts import JOB_DIGEST, session_facts
from runner.record.folder import RunFolder
from runner.record.redact import Redactor, json_text
from runner.session import key_of, locked_ledger, open_world, served


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of all that was in flight at one service."""

    origin: str
    result: RunResult

    def as_json(self) -> dict[str, JsonValue]:
        counts: dict[str, JsonValue] = {
            str(state): number for state, number in self.result.counts.items() if number
        }
        return {"origin": self.origin, "counts": counts, "reasons": list(self.result.reasons)}


@click.command()
@service_options
@wait_option
@deadline_option
@ping_option
@output_format("json")
@common_options
def collect(
    service: ServiceOptions, wait: float, deadline: float | None, ping: bool, output_format: str
) -> ExitCode:
    """Poll and download all that is in flight, whatever run it is from. Never submits.

    Safe at any time, hourly and at boot. There is no --only here: result URLs die in 24 hours.

    \b
    Examples:
      callsheet collect
      callsheet collect --wait 10m --deadline 50m
    """
    project = find_project(Path(), root=common().root)
    with pinged(project.root, frozenset()) if ping else contextlib.nullcontext(Ending()) as ending:
        places = [choose_place(name, project, service) for name in REGISTRY]
        found = [_collect_from(place, wait, deadline, is_told=output_format == "text") for place in places]
        collected = [one for one in found if one is not None]
        codes = [one.result.exit_code for one in collected]
        codes += map(_check_ledger, dict.fromkeys(place.project for place in places))
        code = ExitCode.first(codes)
        document = {"exit_code": int(code), "services": [one.as_json() for one in collected]}
        ending.code, ending.lines = code, [json_text(document)]
        if output_format == "json":
            console.outcome(ending.lines[0])
        elif not collected and code is ExitCode.DONE:
            console.summary("nothing is in flight")
    if any(one.result.exit_code is ExitCode.PERSON_NEEDED for one in collected):
        listing = command("reconcile", service=service)
        console.next_step(listing, "lists what is held, and what to type for each")
    if code is ExitCode.TRY_AGAIN:
        console.next_step(command("collect", service=service), "goes on with what is in flight still")
    return code


def _check_ledger(project: Project) -> ExitCode:
    """Says where it knows less than was submitted; what it does know has been fetched all the same."""
    try:
        with reading(project) as ledger:
            check_is_remembered(project, ledger)
    except StateError as error:
        console.error(str(error))
        return error.exit_code
    return ExitCode.DONE


def _collect_from(place: Place, wait: float, deadline: float | None, *, is_told: bool) -> Collected | None:
    """Collects from one service; None where nothing of it is in flight, so that no key is needed."""
    with locked_ledger(place.project, wait=wait) as ledger:
        with ledger.transaction():
            ledger.recover(time.time())
        if not is_open(ledger.read, place.origin, place.spec.name):
            return None
        key = key_of(place, read_keys(place), None)
        redactor = Redactor([key.value])

        async def go() -> RunResult:
            async with open_world(place, access, ledger, shown) as world:
                return await collect_all(world, RunPolicy(), deadline=deadline)

        with progress() as shown, served(place, key) as access:
            result = anyio.run(go)
        for run in ledger.read.unfinished_runs():
            if (run.origin, run.provider) == (place.origin, place.spec.name):
                _refresh(ledger, place, run, redactor, is_told=is_told)
        overdue = late(ledger.read, time.time())
    if is_told:
        console.summary(f"{place.origin}: {counts_words(result.counts)}")
    tell_reasons(result)
    tell_late(overdue)
    return Collected(place.origin, result)


def _refresh(ledger: Ledger, place: Place, run: RunRow, redactor: Redactor, *, is_told: bool) -> None:
    """Brings the manifest of a run up to what was collected for it."""
    project = place.project
    file = project.root / run.job_file
    try:
        text = RunFolder(project, run.id).job.read_bytes()
        # the run was allowed to read what it lists when it started; nothing is sent now
        options = LoadOptions(environ=os.environ, trust_job=True)
        job = load_job(file, root=project.root, options=options, text=text)
        plan = make_plan(job, origin=run.origin, run_date=RunDate.parse(run.run_date))
    except (CallsheetError, OSError) as error:
        console.note(f"run {run.id}: its manifest stays as it was: {redactor.foreign_text(str(error))}")
        return
    facts = session_facts(sys.argv[1:], file, project.root, redactor)
    with ledger.transaction():
        session = ledger.begin_session(run.id, time.time(), {**facts, JOB_DIGEST: job.digest})
    ended = conclude(ledger, project, plan, run_id=run.id, session=session, at=time.time(), redactor=redactor)
    if is_told:
        console.summary(f"run {run.id}: {counts_words(ended.counts)}")
