"""`run`, `resume` and `retry`: the verbs that submit."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import click

from runner.cli import console
from runner.cli.options import (
    JobOptions,
    ServiceOptions,
    common_options,
    job_argument,
    job_options,
    service_options,
)
from runner.cli.progress import progress
from runner.cli.service import Loaded, Place, find_run_here, given_date, load
from runner.cli.session import locked_ledger, open_world, sandbox_key, served
from runner.cli.words import count, counts_words, shown_path
from runner.engine.budget import question
from runner.engine.prepare import Prepared, Resubmit, prepare_run
from runner.engine.run import RunResult, run_prepared
from runner.engine.seams import Seams
from runner.errors import ExitCode, RefusedError
from runner.job.model import WebhookPolicy
from runner.job.policy import parse_duration
from runner.ledger.ledger import Ledger
from runner.ledger.rows import RunRow
from runner.ledger.states import TaskState
from runner.providers.access import Access, ApiKey
from runner.record.events import EventLog, Observer, fan_out
from runner.record.facts import session_facts
from runner.record.folder import RunFolder
from runner.record.redact import Redactor

_MOST_FOLDERS = 5


def _read_wait(_context: click.Context, _option: click.Parameter, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


wait_option = click.option(
    "--wait",
    metavar="DURATION",
    default="0s",
    callback=_read_wait,
    help="Wait so long for another callsheet that works in this project, as 10m or 6h.",
)


yes_option = click.option(
    "--yes", is_flag=True, help="Agree to what the new tasks cost, above budget.confirm_usd too."
)


@click.command()
@job_argument
@service_options
@job_options
@wait_option
@yes_option
@click.option(
    "--again",
    multiple=True,
    metavar="TASK",
    help="Pay for a new take of this task (a name with * and ?, or an identity); may be repeated.",
)
@common_options
def run(
    job: Path,
    service: ServiceOptions,
    job_options: JobOptions,
    wait: float,
    yes: bool,
    again: tuple[str, ...],
) -> ExitCode:
    """Bring JOB to done: submit what is new, collect what is in flight, download and check it.

    An unfinished run of the same job goes on; what is done is never submitted again.
    """
    resubmit = Resubmit("again", again) if again else None
    return _bring_to_done(load(job, service, job_options), job_options, wait, None, resubmit, yes=yes)


@click.command()
@click.argument("run_name", metavar="[RUN]", default="latest")
@service_options
@job_options
@wait_option
@yes_option
@common_options
def resume(
    run_name: str, service: ServiceOptions, job_options: JobOptions, wait: float, yes: bool
) -> ExitCode:
    """Go on with RUN (an id, a path to a run, or `latest`), from the copy of the job that it kept."""
    found = find_run_here(run_name, service)
    loaded = load(found.job_file, service, job_options, text=found.job_text)
    return _bring_to_done(loaded, job_options, wait, found.run, None, yes=yes)


@click.command()
@click.argument("run_name", metavar="[RUN]", default="latest")
@service_options
@job_options
@wait_option
@yes_option
@click.option(
    "--only", multiple=True, metavar="TASK", help="Of the failed tasks only these (names with * and ?)."
)
@common_options
def retry(
    run_name: str,
    service: ServiceOptions,
    job_options: JobOptions,
    wait: float,
    yes: bool,
    only: tuple[str, ...],
) -> ExitCode:
    """Submit the failed, expired and written-off tasks of RUN once more, and pay for them again.

    RUN is an id, a path to a run, or `latest`. Everything else goes on as with `resume`.
    """
    found = find_run_here(run_name, service)
    loaded = load(found.job_file, service, job_options, text=found.job_text)
    return _bring_to_done(loaded, job_options, wait, found.run, Resubmit("retry", only), yes=yes)


def _bring_to_done(
    loaded: Loaded,
    options: JobOptions,
    wait: float,
    run: RunRow | None,
    resubmit: Resubmit | None,
    *,
    yes: bool,
) -> ExitCode:
    place, job = loaded.place, loaded.job
    key = key_of(place, loaded.environment, job.api_key_env)
    redactor = Redactor([key.value])
    with locked_ledger(place.project, wait=wait) as ledger:
        seams = Seams()
        prepared = prepare_run(
            job,
            project=place.project,
            reader=ledger.read,
            origin=place.origin,
            date=given_date(options),
            run=run,
            now=seams.wall(),
            source=seams.random,
            resubmit=resubmit,
        )
        for problem in prepared.plan.warnings:
            console.note(redactor.foreign_text(problem.render(job.file)))
        _ask(prepared, yes)
        submits = Submits()
        with served(place, key) as access:
            folder = RunFolder(place.project, prepared.run.id)
            folder.make(job.text)
            events = EventLog(folder.events, wall=time.time, redactor=redactor, tell=console.error)
            with contextlib.closing(events), progress() as shown:
                observe = fan_out(events, submits.observe, shown)
                result = _run(prepared, loaded, access, ledger, observe, redactor)
    _tell(result, prepared, place, submits)
    return result.exit_code


def _ask(prepared: Prepared, yes: bool) -> None:
    """Lets a person agree to what the new tasks cost. Raises RefusedError where nobody does."""
    asked = question(prepared.plan.job, prepared.new)
    if not asked or yes:
        return
    if not (sys.stdin.isatty() and console.is_terminal()):
        raise RefusedError(f"{asked}; nothing was sent", hint="give --yes, or run it in a terminal")
    if not click.confirm(f"{asked}. Go on?", err=True):
        raise RefusedError(f"{asked}; not agreed to, nothing was sent")


def _run(
    prepared: Prepared, loaded: Loaded, access: Access, ledger: Ledger, observe: Observer, redactor: Redactor
) -> RunResult:
    root = loaded.place.project.root
    facts = session_facts(sys.argv[1:], root / loaded.job.file, root, redactor)

    async def go() -> RunResult:
        webhook = _webhook(loaded)
        async with open_world(loaded.place, access, ledger, observe, webhook) as world:
            return await run_prepared(prepared, world, facts=facts, redactor=redactor)

    return anyio.run(go)


def _webhook(loaded: Loaded) -> WebhookPolicy | None:
    """Where the service is to call; the embedded sandbox calls the listener itself, never a public host."""
    webhook = loaded.job.run.webhook
    if webhook is None or loaded.place.url is not None:
        return webhook
    return replace(webhook, public_url=f"http://{webhook.listen}")


def key_of(place: Place, environment: Mapping[str, str], variable: str | None) -> ApiKey:
    """The key for this service; the embedded sandbox has one of its own. Raises KeyRefusedError."""
    return sandbox_key() if place.url is None else place.spec.find_key(environment, variable=variable)


@dataclass(slots=True)
class Submits:
    """Counts the tasks that this process submitted: those that cost something."""

    count: int = 0

    def observe(self, name: str, _fields: Mapping[str, object]) -> None:
        self.count += name == "task.submitted"


def _tell(result: RunResult, prepared: Prepared, place: Place, submits: Submits) -> None:
    submitted = f"{submits.count} submitted now" if submits.count else "nothing was submitted"
    console.summary(f"{count(prepared.plan.count, 'task')}: {counts_words(result.counts)}; {submitted}")
    for folder in _video_folders(prepared):
        if (place.project.base / folder).is_dir():
            console.summary(f"videos:   {shown_path(place.project.base / folder)}")
    if result.manifest is not None:
        console.summary(f"manifest: {shown_path(result.manifest)}")
    tell_reasons(result)
    for sentence in result.waits:
        console.summary(f"waiting for you: {sentence}")
    option = " --sandbox" if place.url is None else ""
    if result.exit_code is not ExitCode.DONE:
        console.error(
            f"{prepared.plan.job.file}: not all is done: {counts_words(result.counts)};"
            f" hint: callsheet status{option} shows each task"
        )
    if result.counts.get(TaskState.HELD):
        console.error(f"what is held waits for you: callsheet reconcile{option} lists it, and what to type")


def tell_reasons(result: RunResult) -> None:
    """Why a run ended as it did, on stderr."""
    for reason in result.reasons:
        console.error(Redactor().foreign_text(reason))


def _video_folders(prepared: Prepared) -> list[Path]:
    """The folders of the outputs in plan order; the first few of many."""
    folders: dict[Path, None] = {}
    for task in prepared.plan.tasks():
        folders.setdefault(Path(task.output).parent)
        if len(folders) == _MOST_FOLDERS:
            break
    return list(folders)
