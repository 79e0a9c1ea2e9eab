"""`recover`: a ledger that was lost, damaged or put back from an older copy is made again."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from runner.assemble import Looking, look_at_lists
from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.humanize import shown_path
from runner.cli.next_commands import command
from runner.cli.options import ServiceOptions, output_format, service_options, wait_option
from runner.cli.place import accounts_here, choose_places, here
from runner.cli.task_list import counts_words
from runner.errors import CallsheetError, ExitCode, KeyRefusedError, NoProjectError, ServiceUnreachableError
from runner.http.access import ApiKey
from runner.job.environment import read_env
from runner.job.load import LoadOptions, load_job
from runner.job.load_project import readable_project_file
from runner.job.rundate import RunDate
from runner.json_value import JsonValue
from runner.lane.recognise import Recognised
from runner.ledger.caps import Budgets
from runner.ledger.ledger import Ledger
from runner.ledger.open import check_is_here
from runner.ledger.rows import KEY_HASH_SHOWN, AttemptRow, Grounds
from runner.ledger.states import IN_FLIGHT, OPEN, Basis, Resolution, TaskState
from runner.plan.plan import Plan, make_plan
from runner.plural import count
from runner.project import PROJECT_FILE, Project
from runner.providers.place import Place, origins_of
from runner.record.folder import RunFolder
from runner.record.recovery import KnownRun, Recorded, read_runs
from runner.redact import printable
from runner.run.lock import project_lock
from runner.run.lost import Old, Remains, copy_to_staging, drop_staging, put_in_place, staging_path
from runner.run.ownership import claim
from runner.run.rebuild import Rebuild, time_of
from runner.run.remembered import check_is_remembered
from runner.times import iso_time

_UNPROVEN = "the ledger was lost, and nothing shows any more which key it was made with"


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what a new ledger would hold; change nothing.")
@click.option("--no-lists", is_flag=True, help="Ask no service for its list: what that would tell is held.")
@click.option("--yes", is_flag=True, help="Put the new ledger in place without asking.")
@service_options
@wait_option
@output_format("json")
@common_options
def recover(
    dry_run: bool,
    no_lists: bool,
    yes: bool,
    service: ServiceOptions,
    wait: float,
    output_format: str,
) -> ExitCode:
    """Make a lost, damaged or outdated ledger again, from runs/ and the services' lists. Never submits.

    Put the newest backup of the ledger back first, if there is one: what was paid for since is added to it.
    What was submitted and cannot be shown to have ended stays unclear or is held, so nothing is bought twice.
    The old file is moved aside as ledger.db.lost-1, never deleted. Exit code 5: something needs a person.

    \b
    Examples:
      callsheet recover --dry-run
      callsheet recover
    """
    project = here(service)
    with project_lock(project, wait=wait, tell=console.note):
        try:
            return _recover(project, service, output_format, dry_run=dry_run, no_lists=no_lists, yes=yes)
        finally:
            drop_staging(project)


@dataclass(slots=True)
class _Found:
    """What a new ledger would hold. `listed` counts the rows of each account's list."""

    old: Old
    recorded: Recorded
    changed: int = 0
    counts: Counter[TaskState] = field(default_factory=Counter)
    listed: dict[str, int] = field(default_factory=dict)
    strangers: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Account, id, model and time of creation."""
    notes: list[str] = field(default_factory=list)

    @property
    def is_nothing(self) -> bool:
        """The ledger knows all that the runs tell."""
        return not self.changed and self.old.remains is not Remains.DAMAGED

    @property
    def exit_code(self) -> ExitCode:
        is_held = self.counts[TaskState.HELD] or self.strangers or self.notes
        return ExitCode.PERSON_NEEDED if is_held else ExitCode.DONE


def _recover(
    project: Project,
    service: ServiceOptions,
    output_format: str,
    *,
    dry_run: bool,
    no_lists: bool,
    yes: bool,
) -> ExitCode:
    recorded = read_runs(project)
    old = copy_to_staging(project)
    found = _Found(old, recorded, notes=recorded.notes)
    _check_project(project, found)
    zone = readable_project_file(project.root).timezone
    with contextlib.closing(Ledger.open(staging_path(project), Budgets(zone))) as ledger:
        keys = {} if no_lists else _keys(project, service)
        _rebuild(ledger, project, service, found, keys)
        if not no_lists and not found.is_nothing:
            _ask_lists(ledger, keys, found)
        _hold_unproven(ledger)
        found.counts = Counter(ledger.read.count_states())
        check_is_remembered(project, ledger.read)
    is_told = output_format == "text"
    if is_told:
        _tell(project, found)
    aside = None
    if not found.is_nothing and not dry_run:
        if not yes:
            console.agree("Put this ledger in place?", "the ledger stays as it is; nothing was changed")
        aside = put_in_place(project)
    if not console.for_programs(output_format, (), _document(found, aside)):
        _tell_end(project, service, found, aside, dry_run=dry_run)
    return ExitCode.DONE if found.is_nothing else found.exit_code


def _check_project(project: Project, found: _Found) -> None:
    """Raises NoProjectError for the folder of another project's run."""
    own = readable_project_file(project.root).project or found.old.meta.get("project", "")
    for run in found.recorded.runs.values():
        if own and run.project and run.project != own:
            raise NoProjectError(
                f"{RunFolder(project, run.id).path}: is a run of project {printable(run.project)}, and"
                f" {PROJECT_FILE} names {own}; nothing was changed",
                hint="move that folder out of runs/",
            )


@dataclass(frozen=True, slots=True)
class _Key:
    """An account's place and key; `missing` says why there is none."""

    place: Place
    key: ApiKey | None
    missing: str = ""


def _keys(project: Project, service: ServiceOptions) -> dict[str, _Key]:
    """By account."""
    accounts = accounts_here(project, service)
    own = frozenset(account.key_variable for account in accounts.values())
    environment = read_env(project.root, os.environ, allow=own - {""})
    found: dict[str, _Key] = {}
    for name, account in accounts.items():
        place = choose_places({name: account}, project, service)[name]
        try:
            found[name] = _Key(place, place.find_key(environment))
        except KeyRefusedError as error:
            found[name] = _Key(place, None, str(error))
    return found


def _rebuild(
    ledger: Ledger, project: Project, service: ServiceOptions, found: _Found, keys: Mapping[str, _Key]
) -> None:
    if found.old.remains is Remains.WHOLE and not ledger.read.key_hashes():
        found.old = replace(found.old, remains=Remains.NOTHING)  # a refused verb has left an empty one
    with ledger.transaction():
        ledger.replace_lost(found.old.meta)
    check_is_here(project, ledger.read)
    claim(project, ledger)
    known = {each[:KEY_HASH_SHOWN]: each for each in ledger.read.key_hashes() if len(each) > KEY_HASH_SHOWN}
    prints = [each.key.fingerprint(ledger.salt) for each in keys.values() if each.key is not None]
    known |= {each[:KEY_HASH_SHOWN]: each for each in prints}
    rebuild = Rebuild(
        ledger,
        found.recorded,
        project.base,
        now=time.time(),
        zone=readable_project_file(project.root).timezone,
        accounts=accounts_here(project, service),
        hash_of=lambda start: known.get(start, start),
        plan_of=lambda run: _plan_of(run, project, service, found.recorded),
    )
    with ledger.transaction():
        rebuild.run()
        ledger.recover(time.time())
    found.changed = len(rebuild.changed)
    found.notes += rebuild.notes


def _plan_of(run: KnownRun, project: Project, service: ServiceOptions, recorded: Recorded) -> Plan | None:
    """By the run's own copy of its job, which is trusted with nothing: its folder may be anybody's."""
    try:
        copy = RunFolder(project, run.id).job_copy()
        options = LoadOptions(environ=os.environ)
        job = load_job(
            project.root / (run.job_file or "job.yaml"), root=project.root, options=options, copy=copy
        )
        if run.origin:
            origins = origins_of(job.accounts, run.origin)
        else:
            places = choose_places(job.accounts, project, service)
            origins = {name: place.origin for name, place in places.items()}
        began = run.started_at or time_of(run.id) or time.time()
        zone = job.project_file.timezone
        date = RunDate.parse(run.run_date) if run.run_date else RunDate.today(began, zone)
        plan = make_plan(job, origins=origins, run_date=date, began=began)
    except (CallsheetError, ValueError):
        return None
    own = {known.identity for known in recorded.attempts.values() if known.run_id == run.id}
    return plan if not own or any(task.identity in own for task in plan.tasks) else None


# what the services show


def _ask_lists(ledger: Ledger, keys: Mapping[str, _Key], found: _Found) -> None:
    """Raises KeyRefusedError and ServiceUnreachableError where a list is needed and cannot be read."""
    now = time.time()
    looks: list[tuple[str, Looking]] = []
    for name, one in keys.items():
        provider = one.place.provider
        attempts = [
            row
            for row in _attempts(ledger, found.recorded)
            if row.origin == one.place.origin
            and now - row.intended_at < provider.record_life
            and (task := ledger.read.task(row.identity)) is not None
            and task.provider == provider.name
        ]
        if provider.listing is None or not attempts:
            continue
        if one.key is not None:
            looks.append((name, Looking(one.place, one.key, attempts)))
        elif any(map(_is_unproven, attempts)):
            raise KeyRefusedError(
                f"{name}: {one.missing}",
                hint="set it, so that the service's list can tell what became of submits; without it:"
                " callsheet recover --no-lists",
            )
    for (name, look), seen in zip(looks, look_at_lists([each for _, each in looks], ledger), strict=True):
        if not isinstance(seen, Recognised):
            said = f"{look.place.origin}: the list of {name} cannot be read: {printable(str(seen))}"
            if any(map(_is_unproven, look.attempts)):
                raise ServiceUnreachableError(
                    said, hint="try again later; without the list: callsheet recover --no-lists"
                )
            console.note(said)
            continue
        _take(ledger, name, look, seen, found)


def _take(ledger: Ledger, name: str, look: Looking, seen: Recognised, found: _Found) -> None:
    own = look.key.fingerprint(ledger.salt)
    with ledger.transaction():
        for key_hash in seen.hashes:
            if len(key_hash) == KEY_HASH_SHOWN:
                ledger.know_key(key_hash, own)
        for attempt_id, echoed in seen.echoes.items():
            ledger.notice_echo(attempt_id, echoed)
    found.listed[name] = seen.rows
    found.strangers += [(name, row.id, row.model, iso_time(row.created_at or 0.0)) for row in seen.strangers]


def _attempts(ledger: Ledger, recorded: Recorded) -> Iterator[AttemptRow]:
    """All that the runs tell of, and what else is open."""
    for attempt_id in recorded.attempts:
        row = ledger.read.attempt(attempt_id)
        assert row is not None
        yield row
    for row in ledger.read.in_state(*OPEN):
        if row.id not in recorded.attempts:
            yield row


def _is_unproven(row: AttemptRow) -> bool:
    """Whether it is unclear, and nothing shows which key it was made with: no list tells of it then."""
    return row.state is TaskState.AMBIGUOUS and len(row.key_hash) <= KEY_HASH_SHOWN


def _hold_unproven(ledger: Ledger) -> None:
    unproven = [row for row in ledger.read.in_state(TaskState.AMBIGUOUS) if _is_unproven(row)]
    with ledger.transaction():
        for row in unproven:
            grounds = Grounds.of(Basis.NONE, reason=_UNPROVEN)
            ledger.resolve(row.id, Resolution.HELD, grounds, time.time())


# what a person reads


def _tell(project: Project, found: _Found) -> None:
    ledger = shown_path(project.ledger_path)
    if found.is_nothing:
        return
    console.result(f"{ledger}: {found.old.remains}")
    submits = len(found.recorded.attempts)
    runs = f"{count(len(found.recorded.runs), 'run')} in {shown_path(project.runs_dir)}"
    more = f", {found.changed} of them news to the ledger" if found.old.remains is Remains.WHOLE else ""
    console.result(f"{runs}: {count(submits, 'submit')}{more}")
    for name, rows in found.listed.items():
        console.result(f"the list of {name}: {count(rows, 'generation')}")
    console.result(f"a new ledger: {counts_words(found.counts)}")
    for name, remote_id, model, created_at in found.strangers:
        console.note(
            f"{name} lists {printable(remote_id)} ({printable(model)}, {created_at}), made while these runs"
            " were at work, and no log tells of it: another project's, or paid for and forgotten"
        )
    for note in found.notes:
        console.note(printable(note))


def _document(found: _Found, aside: Path | None) -> dict[str, JsonValue]:
    return {
        "ledger": str(found.old.remains),
        "runs": len(found.recorded.runs),
        "submits": len(found.recorded.attempts),
        "changed": found.changed,
        "counts": {str(state): number for state, number in found.counts.items() if number},
        "listed": dict(found.listed),
        "not_in_a_log": [
            {"account": name, "id": printable(remote_id), "model": printable(model), "created_at": created_at}
            for name, remote_id, model, created_at in found.strangers
        ],
        "notes": [printable(note) for note in found.notes],
        "moved_to": None if aside is None else aside.name,
        "exit_code": int(ExitCode.DONE if found.is_nothing else found.exit_code),
    }


def _tell_end(
    project: Project, service: ServiceOptions, found: _Found, aside: Path | None, *, dry_run: bool
) -> None:
    if found.is_nothing:
        console.summary("nothing to recover: the ledger knows all that runs/ tells")
        return
    if dry_run:
        console.summary("nothing was changed")
        console.next_step(command("recover", service=service), "puts this ledger in place")
        return
    old = f"; the old one is {shown_path(aside)}" if aside is not None else ""
    console.summary(f"{shown_path(project.ledger_path)}: made again{old}")
    counts = found.counts
    if any(counts[state] for state in (*IN_FLIGHT, TaskState.AMBIGUOUS)):
        console.next_step(
            command("collect", service=service), "fetches what is in flight, and looks for what is unclear"
        )
    if counts[TaskState.HELD]:
        console.next_step(command("reconcile", service=service), "asks what became of what is held")
