"""Fetches what is in flight at each service, for `collect`, and before a job is refused."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from runner.cli import console
from runner.cli.attempt_keys import KeyGroup, group_by_key
from runner.cli.endings import tell_nearing_expiry, tell_reasons
from runner.cli.options import RunOptions, ServiceOptions
from runner.cli.place import choose_place, does_trust_env, reachable
from runner.cli.problems import show
from runner.cli.runs import reading
from runner.cli.task_list import counts_words
from runner.cli.watching import watching
from runner.cli.work import Work
from runner.errors import INTERRUPTS, CallsheetError, ExitCode, JobError, RefusedError
from runner.job.load import LoadOptions, load_job
from runner.job.load_project import readable_project_file
from runner.job.rundate import RunDate
from runner.json_value import JsonValue
from runner.lane.under_way import nearing_expiry, open_attempts, open_services
from runner.ledger.ledger import Ledger
from runner.ledger.rows import RunRow
from runner.ledger.states import AWAITED
from runner.plan.plan import make_plan
from runner.project import Project
from runner.providers import DEFAULT, every
from runner.providers.place import Place
from runner.record.facts import job_facts, session_facts
from runner.record.folder import RunFolder
from runner.redact import Redactor
from runner.run.finish import RunResult, conclude
from runner.run.lock import locked_ledger


@dataclass(frozen=True, slots=True)
class Collected:
    """The outcome of collecting at one service, under one key."""

    origin: str
    result: RunResult

    def as_json(self) -> dict[str, JsonValue]:
        counts: dict[str, JsonValue] = {
            str(state): number for state, number in self.result.counts.items() if number
        }
        return {"origin": self.origin, "counts": counts, "reasons": list(self.result.reasons)}


def collect_everything(
    project: Project, service: ServiceOptions, *, wait: float, deadline: float | None, is_told: bool
) -> list[Collected]:
    """Collects from each service that has something in flight, one after the other.

    A failure at one, such as a missing key, does not stop the next.
    """
    ends = None if deadline is None else time.monotonic() + deadline
    collected: list[Collected] = []
    for place, is_named_here in places(project, service):
        collected += _collect_from(place, wait, ends, is_named_here=is_named_here, is_told=is_told)
        if collected and collected[-1].result.exit_code in INTERRUPTS:
            break
    return collected


def fetch_first(
    refusal: CallsheetError, project: Project, options: RunOptions, *, deadline: float | None
) -> ExitCode:
    """Collects what is in flight before a job is refused: to fetch a paid task, no valid job is needed.

    Gives the exit code of `refusal`, or of a signal meanwhile. The caller shows `refusal`; an error in
    here is shown, never raised. Nothing is fetched unless `refusal` is a JobError or a RefusedError.
    """
    code = refusal.exit_code
    if not isinstance(refusal, JobError | RefusedError):
        return code
    try:
        with reading(choose_place(DEFAULT, project, options.service).project) as reader:
            if reader is None or next(reader.in_state(*AWAITED), None) is None:
                return code
        console.note("nothing is submitted; what is in flight is fetched first")
        collected = collect_everything(
            project,
            options.service,
            wait=options.wait,
            deadline=deadline,
            is_told=options.output_format == "text",
        )
    except CallsheetError as error:
        show(error)
        return code
    return ExitCode.first({code, *(INTERRUPTS & {one.result.exit_code for one in collected})})


def places(project: Project, service: ServiceOptions) -> list[tuple[Place, bool]]:
    """Where tasks may be in flight: at the services as they are named here (True), and at those that only
    the ledger names (False), for jobs with a base URL of their own.
    """
    places = [choose_place(each, project, service) for each in reachable(service)]
    known = {(place.provider.name, place.origin) for place in places}
    found = [(place, True) for place in places]
    if service.base_url is not None or any(place.project != project for place in places):
        return found
    with reading(project) as reader:
        others = {} if reader is None else dict.fromkeys(open_services(reader, time.time()))
    return found + [
        (Place.at(provider, project, origin, trust_env=does_trust_env(project, service)), False)
        for name, origin in others
        if (provider := every().get(name)) is not None and (name, origin) not in known
    ]


def _collect_from(
    place: Place, wait: float, ends: float | None, *, is_named_here: bool, is_told: bool
) -> list[Collected]:
    """Collects from one service, key by key. Empty where nothing is in flight there."""
    with locked_ledger(place.project, wait=wait, tell=console.note) as ledger:
        with ledger.transaction():
            ledger.recover(time.time())
        attempts = list(open_attempts(ledger.read, (place.provider.name, place.origin), time.time()))
        groups = group_by_key(place, ledger, attempts, is_named_here=is_named_here)
        if not groups:
            return []
        redactor = redactor_of(groups)
        results = [_collect_with(group, place, ledger, ends) for group in groups]
        for run in ledger.read.unfinished_runs():
            if (run.origin, run.provider) == (place.origin, place.provider.name):
                refresh_manifest(ledger, place, run, redactor, is_told=is_told)
        overdue = nearing_expiry(ledger.read, time.time())
    if is_told:
        console.summary(f"{place.origin}: {counts_words(results[-1].counts)}")
    for result in results:
        tell_reasons(result)
    tell_nearing_expiry(overdue, readable_project_file(place.project.root).timezone)
    return [Collected(place.origin, result) for result in results]


def _collect_with(group: KeyGroup, place: Place, ledger: Ledger, ends: float | None) -> RunResult:
    if group.key is None:
        counts = ledger.read.count_states(place.origin, place.provider.name)
        return RunResult(group.code, (group.missing,) if group.missing else (), counts)
    left = None if ends is None else max(0.0, ends - time.monotonic())
    # imported here: the engine takes 0.3 s, and most often nothing is in flight
    from runner.assemble import collect_from

    work = Work(
        "collect",
        total=len(group.attempts),
        is_rehearsal=place.project.is_rehearsal,
        zone=readable_project_file(place.project.root).timezone,
    )
    with watching(work) as shown:
        return collect_from(place, group.key, ledger, attempts=group.attempts, observe=shown, deadline=left)


def refresh_manifest(ledger: Ledger, place: Place, run: RunRow, redactor: Redactor, *, is_told: bool) -> None:
    """Writes the manifest of a run again, with what was collected for it."""
    project = place.project
    file = project.root / run.job_file
    try:
        copy = RunFolder(project, run.id).job_copy()
        # what the job reads was allowed when the run began, and nothing is sent now
        options = LoadOptions(environ=os.environ, trust_job=True)
        job = load_job(file, root=project.root, options=options, copy=copy)
        date = RunDate.parse(run.run_date)
        plan = make_plan(job, origin=run.origin, run_date=date, began=run.started_at)
    except CallsheetError as error:
        console.note(f"run {run.id}: its manifest stays as it was: {redactor.foreign_text(str(error))}")
        return
    facts = session_facts(sys.argv[1:], file, project.root, redactor)
    with ledger.transaction():
        session = ledger.begin_session(run.id, time.time(), {**facts, **job_facts(job)})
    ended = conclude(ledger, project, plan, run_id=run.id, session=session, at=time.time(), redactor=redactor)
    if is_told:
        console.summary(f"run {run.id}: {counts_words(ended.counts)}")


def redactor_of(groups: Iterable[KeyGroup]) -> Redactor:
    """Removes the keys that are here for these tasks."""
    return Redactor([group.key.value for group in groups if group.key is not None])
