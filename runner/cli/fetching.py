"""Fetches what is in flight at each service, for `collect`, and before a job is refused."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from runner.cli import console
from runner.cli.attempt_keys import KeyGroup, group_by_key
from runner.cli.closing.endings import tell_nearing_expiry, tell_reasons
from runner.cli.display.watching import watching
from runner.cli.display.work import Work
from runner.cli.options import RunOptions, ServiceOptions
from runner.cli.place import accounts_here, choose_places, does_trust_env, world_of
from runner.cli.problems import show
from runner.cli.runs import reading
from runner.cli.task_list import counts_words
from runner.errors import INTERRUPTS, CallsheetError, ExitCode, JobError, RefusedError
from runner.http.access import ApiKey
from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.job.project.environment import redactor_of
from runner.job.project.load_project import readable_project_file
from runner.json_value import JsonValue
from runner.lane.under_way import nearing_expiry, open_attempts, open_services
from runner.ledger.ledger import Ledger
from runner.ledger.open import is_shared
from runner.ledger.rows import RunRow
from runner.ledger.states import AWAITED
from runner.plan.plan import make_plan
from runner.project import Project
from runner.providers import every
from runner.providers.account import Account
from runner.providers.place import Place, origins_of, parted
from runner.record.events import redacted
from runner.record.facts import job_facts, key_variables, session_facts
from runner.record.folder import RunFolder
from runner.redact import Redactor
from runner.run.finish import RunResult, conclude
from runner.run.lock import locked_ledger


@dataclass(frozen=True, slots=True)
class Collected:
    """The outcome of collecting at one service, under one key. `account` is empty for a provider's own."""

    account: str
    origin: str
    result: RunResult

    def as_json(self) -> dict[str, JsonValue]:
        counts: dict[str, JsonValue] = {
            str(state): number for state, number in self.result.counts.items() if number
        }
        whose: dict[str, JsonValue] = {"account": self.account} if self.account else {}
        return whose | {
            "origin": self.origin,
            "counts": counts,
            "reasons": list(self.result.reasons),
        }


def collect_everything(
    project: Project, service: ServiceOptions, *, wait: float, deadline: float | None, is_told: bool
) -> list[Collected]:
    """Collects from all services that have something in flight, side by side.

    A failure at one, such as a missing key, stops no other.
    """
    ends = None if deadline is None else time.monotonic() + deadline
    collected: list[Collected] = []
    by_project: dict[Project, list[Service]] = {}
    for each in services(project, service):
        by_project.setdefault(each.places[0].project, []).append(each)
    for found in by_project.values():
        collected += _collect_from(found, wait, ends, is_told=is_told)
        if any(one.result.exit_code in INTERRUPTS for one in collected):
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
        with reading(world_of(project, options.service)) as reader:
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


@dataclass(frozen=True, slots=True)
class Service:
    """A service where tasks may be in flight, with the places of the accounts there. Not `is_named_here`:
    only the ledger names it, for a job with a base URL of its own.
    """

    places: tuple[Place, ...]
    is_named_here: bool = True


def services(project: Project, service: ServiceOptions) -> list[Service]:
    """Where tasks may be in flight."""
    found: dict[tuple[str, str], tuple[Place, ...]] = {}
    for name, account in accounts_here(project, service).items():
        place = choose_places({name: account}, project, service)[name]
        place_of = account.provider.name, place.origin
        found[place_of] = (*found.get(place_of, ()), place)
    here = [Service(places) for places in found.values()]
    if service.base_url is not None or any(each.places[0].project != project for each in here):
        return here
    with reading(project) as reader:
        others = {} if reader is None else dict.fromkeys(open_services(reader, time.time()))
    trust_env = does_trust_env(project, service)
    known = accounts_here(project, service).values()
    for name, origin in others:
        if (name, origin) not in found and (provider := every().get(name)) is not None:
            accounts = (Account(name, provider), *(each for each in known if each.provider.name == name))
            places = (_at(account, origin, project, trust_env=trust_env) for account in accounts)
            here.append(Service(tuple(places), is_named_here=False))
    return here


def _at(account: Account, origin: str, project: Project, *, trust_env: bool) -> Place:
    """The place of `account` at an earlier origin: its own, or that of an account that is no longer named."""
    if urlsplit(origin).path or not account.provider.base_path:
        account = replace(account, base_url=origin)
    return Place.at(account, project, origin, trust_env=trust_env)


def _collect_from(
    found: Sequence[Service], wait: float, ends: float | None, *, is_told: bool
) -> list[Collected]:
    """Collects from the services of one project. Empty where nothing is in flight."""
    project = found[0].places[0].project
    with locked_ledger(project, wait=wait, tell=console.note) as ledger:
        with ledger.transaction():
            ledger.recover(time.time())
        groups: list[KeyGroup] = []
        for service in found:
            first = service.places[0]
            attempts = list(open_attempts(ledger.read, (first.provider.name, first.origin), time.time()))
            groups += group_by_key(service.places, ledger, attempts, is_named_here=service.is_named_here)
        if not groups:
            return []
        results = _collect_with(groups, ledger, ends, wait)
        origins = {group.place.origin for group in groups}
        for run in ledger.read.unfinished_runs():
            if not origins.isdisjoint(parted(run.origin)):
                refresh_manifest(ledger, project, run, is_told=is_told)
        said = readable_project_file(project.root)
        overdue, zone = nearing_expiry(ledger.read, time.time(), said.accounts), said.timezone
        if is_told:
            for (origin, name), accounts in _accounts_of(groups).items():
                who = f"{', '.join(accounts)} at {origin}" if len(groups) > 1 else origin
                console.summary(f"{who}: {counts_words(ledger.read.count_states(origin, name))}")
    for result in results:
        tell_reasons(result)
    tell_nearing_expiry(overdue, zone)
    return [
        Collected("" if group.place.account.is_own else group.place.account.name, group.place.origin, result)
        for group, result in zip(groups, results, strict=True)
    ]


def _accounts_of(groups: Iterable[KeyGroup]) -> dict[tuple[str, str], list[str]]:
    """The names of the accounts at each (origin, provider)."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for place in (group.place for group in groups):
        found.setdefault((place.origin, place.provider.name), {})[place.account.name] = None
    return {service: list(names) for service, names in found.items()}


def _collect_with(
    groups: Sequence[KeyGroup], ledger: Ledger, ends: float | None, wait: float
) -> list[RunResult]:
    """A result for each group; where its key is missing, what that means."""
    results: dict[int, RunResult] = {}
    ready: dict[int, tuple[Place, ApiKey, frozenset[str]]] = {}
    for number, group in enumerate(groups):
        if group.key is None:
            counts = ledger.read.count_states(group.place.origin, group.place.provider.name)
            reasons = (group.missing,) if group.missing else ()
            results[number] = RunResult(group.code, reasons, counts)
        else:
            ready[number] = group.place, group.key, group.attempts
    if ready:
        # imported here: the engine takes 0.3 s, and most often nothing is in flight
        from runner.assemble import Collecting, collect_from

        project = groups[0].place.project
        work = Work(
            "collect",
            total=sum(len(attempts) for _, _, attempts in ready.values()),
            is_rehearsal=project.is_rehearsal,
            zone=readable_project_file(project.root).timezone,
        )
        left = None if ends is None else max(0.0, ends - time.monotonic())
        with watching([work]) as (shown,):
            told = redacted(shown, redactor_of(project.root, os.environ))
            works = [Collecting(*each, told) for each in ready.values()]
            ended = collect_from(works, ledger, deadline=left, wait=wait, tell=console.note)
            results |= zip(ready, ended, strict=True)
    return [results[number] for number in range(len(groups))]


def refresh_manifest(ledger: Ledger, project: Project, run: RunRow, *, is_told: bool) -> None:
    """Writes the manifest of a run again, with what was collected for it."""
    file, redactor = project.root / run.job_file, _redactor(ledger, project, run)
    if is_shared(project) and not RunFolder(project, run.id).path.exists():
        return  # the machine that made it keeps it
    try:
        copy = RunFolder(project, run.id).job_copy()
        # what the job reads was allowed when the run began, and nothing is sent now
        options = LoadOptions(environ=os.environ, trust_job=True)
        job = load_job(file, root=project.root, options=options, copy=copy)
        date = RunDate.parse(run.run_date)
        plan = make_plan(
            job, origins=origins_of(job.accounts, run.origin), run_date=date, began=run.started_at
        )
    except CallsheetError as error:
        console.note(f"run {run.id}: its manifest stays as it was: {redactor.foreign_text(str(error))}")
        return
    facts = session_facts(sys.argv[1:], file, project.root, redactor)
    with ledger.transaction():
        session = ledger.begin_session(run.id, time.time(), {**facts, **job_facts(job)})
    ended = conclude(ledger, project, plan, run_id=run.id, session=session, at=time.time(), redactor=redactor)
    if is_told:
        console.summary(f"run {run.id}: {counts_words(ended.counts)}")


def _redactor(ledger: Ledger, project: Project, run: RunRow) -> Redactor:
    """Removes every key that is here: of each account, now and when the run's sessions began."""
    return redactor_of(project.root, os.environ, also=key_variables(ledger, run.id))
