"""`verify`: the files of a run against its manifest."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import click

from runner.cli import console
from runner.cli.common_options import common, common_options
from runner.cli.humanize import shown_path
from runner.cli.next_commands import command
from runner.cli.options import ServiceOptions, output_format, run_argument, service_options, workers_option
from runner.cli.place import here
from runner.cli.runs import find_folder
from runner.errors import ExitCode, UsageError
from runner.job.project.load_project import readable_project_file
from runner.json_value import JsonValue
from runner.media.video import has_pyav
from runner.objects.address import is_object
from runner.plural import count
from runner.record.folder import RunFolder
from runner.record.manifest import Manifest, read_manifest, read_tasks
from runner.record.verify import CheckedFile, Checks, FileToCheck, Finding, check, check_jobs, files_of
from runner.record.whereabouts import Whereabouts, whereabouts
from runner.redact import json_text, printable
from runner.work.crew import Lost, work
from runner.work.hire import Workers, hire

if TYPE_CHECKING:
    from runner.cli.stored import Ask

_TASKS_AT_ONCE = 200
"""Of these the ledger is asked in one statement."""
_WELL = frozenset({Finding.SAME, Finding.STORED, Finding.LISTED})
_COLOURS = {
    Finding.MISSING: "yellow",
    Finding.CHANGED: "red",
    Finding.BROKEN: "red",
    Finding.UNKNOWN: "yellow",
}


@click.command()
@run_argument
@click.option("--store", "reads_store", is_flag=True, help="Also read every copy in the store, and hash it.")
@click.option(
    "--store-list",
    "lists_store",
    is_flag=True,
    help="Also list the store: whether each copy is there, with its size. None is read.",
)
@service_options
@workers_option
@output_format("json", "jsonl")
@common_options
def verify(
    run_name: str,
    reads_store: bool,
    lists_store: bool,
    service: ServiceOptions,
    workers: Workers | None,
    output_format: str,
) -> ExitCode:
    """Hash and probe every file of RUN again, and compare with its manifest.

    RUN is an id or its beginning, a path to a run, or `latest`. Exit code 1 where a file is missing,
    changed or broken, or killed the process that read it. Nothing is asked of a service, and no ledger is
    needed: an archive will do. What an edit has made a version is found there. A file that lies in the store
    alone is `stored`, by the ledger's word; only --store says that its bytes are right.

    \b
    Examples:
      callsheet verify
      callsheet verify --store
      callsheet verify runs/20260531T220000Z-a1b2c3 --output-format jsonl
      callsheet verify --workers tcp://scheduler:8786
    """
    folder = find_folder(run_name, service)
    counts: Counter[Finding] = Counter()
    files: Counter[Finding] = Counter()
    """The files with a path: they were here once."""
    copies: Counter[Finding] = Counter()
    """Those in the store."""
    rows: list[JsonValue] = []
    manifest = read_manifest(folder.manifest)
    if reads_store and lists_store:
        raise UsageError("--store reads what --store-list lists", hint="give one of them")
    ask = _store(service, reads=reads_store) if reads_store or lists_store else None
    for checked in _check_all(folder, manifest, workers, ask):
        console.status(f"verify: {count(counts.total() + 1, 'file')}")
        counts[checked.finding] += 1
        if checked.path:
            (copies if is_object(checked.path) else files)[checked.finding] += 1
        if output_format == "json":
            rows.append(_fields(checked))
        elif output_format == "jsonl":
            console.result(json_text(_fields(checked)))
        elif checked.finding not in _WELL or common().verbosity:
            console.result(_line(checked, folder))
    if not has_pyav():
        console.error(
            "PyAV is not installed: the containers were walked, no picture was decoded;"
            " hint: pip install 'callsheet[media]'"
        )
    is_whole = all(finding in _WELL for finding, number in counts.items() if number)
    told = ", ".join(f"{number} {finding}" for finding in Finding if (number := counts[finding]))
    if output_format == "json":
        of_store = (Finding.STORED, Finding.LISTED)
        told_always = (finding for finding in Finding if counts[finding] or finding not in of_store)
        by_finding = {str(finding): counts[finding] for finding in told_always}
        head = {"run": folder.run_id, "counts": by_finding, "pyav": has_pyav()}
        console.document({**head, "files": rows})
    elif output_format == "text":
        console.summary(f"run {folder.run_id}: {count(counts.total(), 'file')}: {told}")
        if counts[Finding.STORED] and not reads_store:
            what = "were listed, and not read" if lists_store else "are there by the ledger's word"
            console.note(f"the copies in the store {what}: `callsheet verify --store` reads them")
        if any(finding not in _WELL for finding, number in files.items() if number):
            job_file = shown_path(folder.project.root / manifest.run.job_file)
            why = "fetches what is missing again, free of charge, while the service has it"
            if files[Finding.CHANGED] or files[Finding.BROKEN]:
                why = f"after moving the changed files away: {why}"
            console.next_step(command("run", job_file, service=service), why)
        if any(finding not in _WELL for finding in copies):
            why = "forgets the copies that are gone, so that `callsheet run` fetches their files again"
            if copies[Finding.CHANGED]:
                why = f"after removing the changed objects: {why}"
            console.next_step(command("archive", "--check"), why)
    return ExitCode.DONE if is_whole else ExitCode.TASK_FAILED


def _store(service: ServiceOptions, *, reads: bool) -> Ask:
    # imported here: most projects have no store, and it takes 40 ms
    from runner.cli.stored import StoreLister, StoreReader
    from runner.http.route import find_route

    trust_env = service.trust_env or readable_project_file(here(service).root).trust_env
    route = find_route(os.environ, trust_env=trust_env)
    return StoreReader(route).ask if reads else StoreLister(route).ask


_UNSEEN = (Finding.MISSING, Finding.CHANGED, Finding.STORED)


def _check_all(
    folder: RunFolder, manifest: Manifest, workers: Workers | None, ask: Ask | None
) -> Iterator[CheckedFile]:
    """Every file of the run, in the order of its manifest, then the copies in the store; several are read at
    once.
    """
    base = folder.project.base
    checks = Checks(str(base), decode=has_pyav())
    modules = ("av",) if checks.decode else ()
    with (
        whereabouts(folder.project) as known,
        hire(workers, base, folder.manifest, modules=modules) as crew,
    ):
        files = _files(folder, known)
        for file, found in work(crew, check, checks, files, expected=manifest.counts.total):
            if isinstance(found, Lost):
                yield CheckedFile(file.task, file.path, Finding.UNKNOWN, found.why)
            elif found.finding in _UNSEEN and workers is not None and workers.address:
                # a worker's disk may be an older copy of this one
                yield check(Checks(str(base), decode=False), file)
            else:
                yield found
    yield from check_jobs(folder, manifest)
    if ask is not None:
        # imported here: as above
        from runner.cli.stored import check_stored

        with whereabouts(folder.project) as known:
            copies = [file for file in _files(folder, known) if isinstance(file, FileToCheck)]
        yield from check_stored(copies, ask)


def _files(folder: RunFolder, known: Whereabouts) -> Iterator[FileToCheck | CheckedFile]:
    tasks = read_tasks(folder.manifest)
    while some := tuple(islice(tasks, _TASKS_AT_ONCE)):
        elsewhere = known.paths(file.sha256 for task in some for file in task.outputs)
        stored = known.stored([file for task in some for file in task.outputs])
        for task in some:
            yield from files_of(task, elsewhere, stored)


def _line(checked: CheckedFile, folder: RunFolder) -> str:
    finding = click.style(f"{checked.finding:8}", fg=_COLOURS.get(checked.finding))
    why = f"  {printable(checked.why)}" if checked.why else ""
    task = f"  ({printable(checked.task)})" if checked.task else ""
    path = checked.path
    if path and not is_object(path):
        path = shown_path(folder.project.base / path)
    return f"{finding} {path}{task}{why}"


def _fields(checked: CheckedFile) -> dict[str, JsonValue]:
    return {
        "task": printable(checked.task),
        "path": printable(checked.path),
        "finding": checked.finding,
        "why": printable(checked.why),
    }
