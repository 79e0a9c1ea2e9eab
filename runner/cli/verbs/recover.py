"""`recover`: a ledger that was lost, damaged or put back from an older copy is made again."""

from __future__ import annotations

import contextlib
import fnmatch
import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.humanize import shown_path
from runner.cli.next_commands import command
from runner.cli.options import ServiceOptions, output_format, service_options, wait_option
from runner.cli.place import here
from runner.cli.services.recovering import Found, Recovery, Silence
from runner.cli.task_list import counts_words
from runner.errors import ExitCode, UsageError
from runner.job.project.load_project import readable_project_file
from runner.json_value import JsonValue
from runner.lane.lease import LOOK
from runner.lane.machine import Machine
from runner.ledger.caps import Budgets
from runner.ledger.copy import copy_to_file
from runner.ledger.leases import host_name
from runner.ledger.ledger import Ledger
from runner.ledger.open import check_is_here, check_is_not_shared, ledger_words, shared_address
from runner.ledger.states import IN_FLIGHT, TaskState
from runner.plural import count
from runner.project import Project
from runner.record.recovery import read_runs
from runner.redact import printable
from runner.run.lock import project_lock
from runner.run.lost import (
    Old,
    Remains,
    copy_to_staging,
    drop_staging,
    put_in_place,
    staging_path,
)
from runner.run.ownership import claim
from runner.run.remembered import check_is_remembered, check_knows_runs, hosts_words
from runner.times import duration_words

if TYPE_CHECKING:
    from runner.ledger.postgres import Address


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what a new ledger would hold; change nothing.")
@click.option("--no-lists", is_flag=True, help="Ask no service for its list: what that would tell is held.")
@click.option(
    "--gone",
    multiple=True,
    metavar="HOST",
    help="Do not wait for this machine to recover a shared ledger too: its runs/ is gone (with * and ?).",
)
@click.option("--yes", is_flag=True, help="Put the new ledger in place without asking.")
@service_options
@wait_option
@output_format("json")
@common_options
def recover(
    dry_run: bool,
    no_lists: bool,
    gone: tuple[str, ...],
    yes: bool,
    service: ServiceOptions,
    wait: float,
    output_format: str,
) -> ExitCode:
    """Make a lost, damaged or outdated ledger again, from runs/ and the services' lists. Never submits.

    Put the newest backup of the ledger back first, if there is one: what was paid for since is added to it.
    What was submitted and cannot be shown to have ended stays unclear or is held, so nothing is bought twice.
    The old file is moved aside as ledger.db.lost-1, never deleted. A shared ledger is recovered on each
    machine that used it, for each has its own runs/; until then nothing is submitted. Exit code 5: something
    needs a person.

    \b
    Examples:
      callsheet recover --dry-run
      callsheet recover
      callsheet recover --gone 'gitlab-*'     hosted runners, which kept nothing
    """
    project = here(service)
    asked = Asked(dry_run, no_lists, gone, yes, is_told=output_format == "text")
    with project_lock(project, wait=wait, tell=console.note):
        try:
            address = shared_address(project)
            if address is None:
                if gone:
                    raise UsageError("--gone is for a shared ledger", hint="callsheet recover")
                found, aside = _recover_own(project, service, asked)
            else:
                found, aside = _recover_shared(project, service, asked, address), None
        finally:
            drop_staging(project)
    if not console.for_programs(output_format, (), _document(found, aside)):
        _tell_end(project, service, found, aside, dry_run=dry_run)
    return found.exit_code


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a person, or of a program."""

    dry_run: bool
    no_lists: bool
    gone: Sequence[str]
    yes: bool
    is_told: bool

    def agrees(self, project: Project, found: Found) -> bool:
        """Whether the new ledger is to take its place. Raises RefusedError where a person says no."""
        if self.is_told:
            _tell(project, found)
        if found.is_nothing or self.dry_run:
            return False
        if not self.yes:
            console.agree("Put this ledger in place?", "the ledger stays as it is; nothing was changed")
        return True

    def others(self, hosts: Iterable[str]) -> list[str]:
        """Those of these machines that are neither this one nor gone."""
        return sorted(
            host
            for host in hosts
            if host != host_name() and not any(fnmatch.fnmatchcase(host, each) for each in self.gone)
        )


def _recover_own(project: Project, service: ServiceOptions, asked: Asked) -> tuple[Found, Path | None]:
    """Of one machine: a new file takes the place of the old one, and gives where that is now."""
    check_is_not_shared(project)
    recorded = read_runs(project)
    found = Found(copy_to_staging(project), recorded, notes=recorded.notes)
    recovery = Recovery(project, service, found, asked.no_lists)
    recovery.check_projects()
    with _staged(project) as ledger:
        check_is_here(project, ledger.read)
        claim(project, ledger)
        recovery.study(ledger)
        check_is_remembered(project, ledger.read)
    return found, put_in_place(project) if asked.agrees(project, found) else None


def _recover_shared(project: Project, service: ServiceOptions, asked: Asked, address: Address) -> Found:
    """Of several machines: what this one's runs tell is added, in one transaction, once nobody can still be
    at work by the ledger as it was. It is tried on a copy first.
    """
    # imported here: an optional extra
    from runner.ledger.shared import is_moved, open_on_any_server, remember_home

    recorded, machine = read_runs(project), Machine()
    engine = open_on_any_server(address)
    engine.takes_its_time = True
    zone = readable_project_file(project.root).timezone
    with contextlib.closing(Ledger(engine, Budgets(zone))) as shared:
        assert shared.leases is not None
        check_is_here(project, shared.read)
        claim(project, shared)
        silence = Silence(shared.leases, machine.boottime)
        silence.left()
        found = Found(Old(Remains.WHOLE), recorded, is_moved=is_moved(engine), notes=recorded.notes)
        recovery = Recovery(project, service, found, asked.no_lists, is_shared=True)
        recovery.check_projects()

        def still_waited_for() -> list[str]:
            waits = shared.read.unrecovered()
            # news of a machine that was not waited for: the ledger went back once more, and others' runs too
            is_behind = found.changed > 0 and host_name() not in waits
            return asked.others(shared.read.hosts() if is_behind or is_moved(engine) else waits)

        drop_staging(project)
        copy_to_file(engine, staging_path(project), zone)
        with _staged(project) as copy:
            recovery.study(copy)
        found.waits_for = still_waited_for()
        if asked.agrees(project, found):
            if (left := silence.left()) > 0:
                drivers = ", ".join(dict.fromkeys(printable(row.host) for row in silence.rows()))
                console.note(f"waits {duration_words(left)}: {drivers} may be at work still")
            while (left := silence.left()) > 0:
                time.sleep(min(left, LOOK))
            with shared.transaction():
                silence.end()
                shared.replace_lost({})
                found.waits_for = still_waited_for()
                shared.wait_for(found.waits_for)
                remember_home(engine)
                recovery.apply(shared)
            check_knows_runs(project, shared.read)
        elif found.is_nothing and not asked.dry_run and found.waits_for != shared.read.unrecovered():
            with shared.transaction():
                found.waits_for = still_waited_for()
                shared.wait_for(found.waits_for)
    return found


def _staged(project: Project) -> contextlib.closing[Ledger]:
    zone = readable_project_file(project.root).timezone
    return contextlib.closing(Ledger.open(staging_path(project), Budgets(zone)))


def _tell(project: Project, found: Found) -> None:
    if found.is_nothing:
        return
    console.result(f"{_ledger(project)}: {found.old.remains}")
    runs = f"{count(len(found.recorded.runs), 'run')} in {shown_path(project.runs_dir)}"
    more = f", {found.changed} of them news to the ledger" if found.old.remains is Remains.WHOLE else ""
    console.result(f"{runs}: {count(len(found.recorded.attempts), 'submit')}{more}")
    for name, rows in found.listed.items():
        console.result(f"the list of {name}: {count(rows, 'generation')}")
    console.result(f"a new ledger: {counts_words(found.counts)}")
    for each in found.strangers:
        console.note(
            f"{each.account} lists {printable(each.id)} ({printable(each.model)}, {each.created_at}), made"
            " while these runs were at work, and no log tells of it: another project's, or paid for and"
            " forgotten"
        )
    for note in found.notes:
        console.note(printable(note))


def _ledger(project: Project) -> str:
    words = ledger_words(project)
    return shown_path(project.ledger_path) if words == str(project.ledger_path) else words


def _document(found: Found, aside: Path | None) -> dict[str, JsonValue]:
    return {
        "ledger": str(found.old.remains),
        "runs": len(found.recorded.runs),
        "submits": len(found.recorded.attempts),
        "changed": found.changed,
        "counts": {str(state): number for state, number in found.counts.items() if number},
        "listed": dict(found.listed),
        "not_in_a_log": [
            {
                "account": each.account,
                "id": printable(each.id),
                "model": printable(each.model),
                "created_at": each.created_at,
            }
            for each in found.strangers
        ],
        "notes": [printable(note) for note in found.notes],
        "waits_for": [printable(host) for host in found.waits_for],
        "moved_to": None if aside is None else aside.name,
        "exit_code": int(found.exit_code),
    }


def _tell_end(
    project: Project, service: ServiceOptions, found: Found, aside: Path | None, *, dry_run: bool
) -> None:
    if found.waits_for:
        console.note(
            f"waits for {hosts_words(found.waits_for)}: run `callsheet recover` there before any run, or give"
            f" --gone {shlex.quote(printable(found.waits_for[0]))}"
        )
    if found.is_moved or found.waits_for:
        console.note("the backup names no machine that came after it: recover there too, before any run")
    if found.is_nothing:
        console.summary("nothing to recover: the ledger knows all that runs/ tells")
        return
    if dry_run:
        console.summary("nothing was changed")
        console.next_step(command("recover", service=service), "puts this ledger in place")
        return
    old = f"; the old one is {shown_path(aside)}" if aside is not None else ""
    console.summary(f"{_ledger(project)}: made again{old}")
    counts = found.counts
    if any(counts[state] for state in (*IN_FLIGHT, TaskState.AMBIGUOUS)):
        console.next_step(
            command("collect", service=service), "fetches what is in flight, and looks for what is unclear"
        )
    if counts[TaskState.HELD]:
        console.next_step(command("reconcile", service=service), "asks what became of what is held")
    if not project.is_rehearsal and readable_project_file(project.root).store:
        console.next_step(command("archive", "--check"), "looks for files that only the store still knows")
