"""`verify`: the files of a run against its manifest."""

from __future__ import annotations

import functools
import os
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import BinaryIO

import click

from runner.cli import console
from runner.cli.common_options import common, common_options
from runner.cli.humanize import shown_path
from runner.cli.next_commands import command
from runner.cli.options import ServiceOptions, output_format, run_argument, service_options
from runner.cli.place import here
from runner.cli.runs import find_folder
from runner.errors import ExitCode, UsageError
from runner.job.load_project import readable_project_file
from runner.json_value import JsonValue
from runner.media.boxes import NotMediaError
from runner.media.pictures import Wanted
from runner.media.readers import Readers
from runner.media.video import has_pyav, probe, probe_image
from runner.objects.address import is_object
from runner.plural import count
from runner.providers.base import RemoteFileKind
from runner.record.folder import RunFolder
from runner.record.manifest import Manifest, read_manifest, read_tasks
from runner.record.verify import AskStore, CheckedFile, Finding, check_jobs, check_task
from runner.record.whereabouts import whereabouts
from runner.redact import json_text, printable

_MOST_WAITING = 200
"""Tasks that are read ahead of the one whose files are shown next."""
_WELL = frozenset({Finding.SAME, Finding.STORED, Finding.LISTED})
_COLOURS = {Finding.MISSING: "yellow", Finding.CHANGED: "red", Finding.BROKEN: "red"}


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
@output_format("json", "jsonl")
@common_options
def verify(
    run_name: str, reads_store: bool, lists_store: bool, service: ServiceOptions, output_format: str
) -> ExitCode:
    """Hash and probe every file of RUN again, and compare with its manifest.

    RUN is an id or its beginning, a path to a run, or `latest`. Exit code 1 where a file is missing,
    changed or broken. Nothing is asked of a service, and no ledger is needed: an archive will do. What
    an edit has made a version is found there. A file that lies in the store alone is told as `stored`, by the
    word of the ledger; only --store says that its bytes are right.

    \b
    Examples:
      callsheet verify
      callsheet verify --store
      callsheet verify runs/20260531T220000Z-a1b2c3 --output-format jsonl
    """
    folder = find_folder(run_name, service)
    counts: Counter[Finding] = Counter()
    files: Counter[Finding] = Counter()
    """The files with a path: they were here once."""
    rows: list[JsonValue] = []
    manifest = read_manifest(folder.manifest)
    if reads_store and lists_store:
        raise UsageError("--store reads what --store-list lists", hint="give one of them")
    ask_store = _store(service, reads=reads_store) if reads_store or lists_store else None
    for checked in _check_all(folder, manifest, ask_store):
        console.status(f"verify: {count(counts.total() + 1, 'file')}")
        counts[checked.finding] += 1
        files[checked.finding] += bool(checked.path)
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
            if counts[Finding.CHANGED] or counts[Finding.BROKEN]:
                why = f"after moving the changed files away: {why}"
            console.next_step(command("run", job_file, service=service), why)
    return ExitCode.DONE if is_whole else ExitCode.TASK_FAILED


def _store(service: ServiceOptions, *, reads: bool) -> AskStore:
    # imported here: most projects have no store, and `verify` starts in half the time
    from runner.cli.stored import StoreLister, StoreReader
    from runner.http.route import find_route

    trust_env = service.trust_env or readable_project_file(here(service).root).trust_env
    route = find_route(os.environ, trust_env=trust_env)
    return StoreReader(route).ask if reads else StoreLister(route).ask


def _check_all(folder: RunFolder, manifest: Manifest, ask_store: AskStore | None) -> Iterator[CheckedFile]:
    """Every file of the run, in the order of its manifest; the files of several tasks are read at once."""
    with Readers() as readers, whereabouts(folder.project) as known:
        find_wrong = functools.partial(_probe, readers if has_pyav() else None)
        waiting: deque[Future[list[CheckedFile]]] = deque()
        for task in read_tasks(folder.manifest):
            elsewhere = {file.sha256: known.elsewhere(file) for file in task.outputs}
            stored = known.stored(task.outputs)
            checks = check_task(task, folder.project.base, find_wrong, elsewhere, stored, ask_store)
            waiting.append(readers.submit(functools.partial(list, checks)))
            if len(waiting) > _MOST_WAITING:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    yield from check_jobs(folder, manifest)


def _probe(readers: Readers | None, kind: RemoteFileKind, file: BinaryIO) -> str:
    """The fault of a file; without `readers` its own structure says it, without FFmpeg."""
    if kind is RemoteFileKind.VIDEO and readers is not None:
        return readers.read(file, Wanted.CHECK).why
    try:
        (probe if kind is RemoteFileKind.VIDEO else probe_image)(file)
    except NotMediaError as error:
        return str(error)
    return ""


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
