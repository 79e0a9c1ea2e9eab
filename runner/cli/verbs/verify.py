"""`verify`: the files of a run against its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

import click

from runner.cli import console
from runner.cli.common_options import common, common_options
from runner.cli.humanize import shown_path
from runner.cli.next_commands import command
from runner.cli.options import ServiceOptions, output_format, run_argument, service_options, workers_option
from runner.cli.runs import find_folder
from runner.errors import ExitCode
from runner.json_value import JsonValue
from runner.media.video import has_pyav
from runner.plural import count
from runner.record.folder import RunFolder
from runner.record.manifest import Manifest, read_manifest, read_tasks
from runner.record.verify import CheckedFile, Checks, FileToCheck, Finding, check, check_jobs, files_of
from runner.record.whereabouts import Whereabouts, whereabouts
from runner.redact import json_text, printable
from runner.work.crew import Lost, work
from runner.work.hire import Workers, hire

_TASKS_AT_ONCE = 200
"""Of these the ledger is asked in one statement."""
_COLOURS = {
    Finding.MISSING: "yellow",
    Finding.CHANGED: "red",
    Finding.BROKEN: "red",
    Finding.UNKNOWN: "yellow",
}


@click.command()
@run_argument
@service_options
@workers_option
@output_format("json", "jsonl")
@common_options
def verify(run_name: str, service: ServiceOptions, workers: Workers | None, output_format: str) -> ExitCode:
    """Hash and probe every file of RUN again, and compare with its manifest.

    RUN is an id or its beginning, a path to a run, or `latest`. Exit code 1 where a file is missing,
    changed or broken, or killed the process that read it. Nothing is asked of a service, and no ledger is
    needed: an archive will do. What an edit has made a version is found there.

    \b
    Examples:
      callsheet verify
      callsheet verify runs/20260531T220000Z-a1b2c3 --output-format jsonl
      callsheet verify --workers tcp://scheduler:8786
    """
    folder = find_folder(run_name, service)
    counts: Counter[Finding] = Counter()
    files: Counter[Finding] = Counter()
    """The files with a path: they were here once."""
    rows: list[JsonValue] = []
    manifest = read_manifest(folder.manifest)
    for checked in _check_all(folder, manifest, workers):
        console.status(f"verify: {count(counts.total() + 1, 'file')}")
        counts[checked.finding] += 1
        files[checked.finding] += bool(checked.path)
        if output_format == "json":
            rows.append(_fields(checked))
        elif output_format == "jsonl":
            console.result(json_text(_fields(checked)))
        elif checked.finding is not Finding.SAME or common().verbosity:
            console.result(_line(checked, folder))
    if not has_pyav():
        console.error(
            "PyAV is not installed: the containers were walked, no picture was decoded;"
            " hint: pip install 'callsheet[media]'"
        )
    is_whole = counts.total() == counts[Finding.SAME]
    told = ", ".join(f"{number} {finding}" for finding in Finding if (number := counts[finding]))
    if output_format == "json":
        by_finding = {str(finding): counts[finding] for finding in Finding}
        head = {"run": folder.run_id, "counts": by_finding, "pyav": has_pyav()}
        console.document({**head, "files": rows})
    elif output_format == "text":
        console.summary(f"run {folder.run_id}: {count(counts.total(), 'file')}: {told}")
        if files.total() != files[Finding.SAME]:
            job_file = shown_path(folder.project.root / manifest.run.job_file)
            why = "fetches what is missing again, free of charge, while the service has it"
            if counts[Finding.CHANGED] or counts[Finding.BROKEN]:
                why = f"after moving the changed files away: {why}"
            console.next_step(command("run", job_file, service=service), why)
    return ExitCode.DONE if is_whole else ExitCode.TASK_FAILED


def _check_all(folder: RunFolder, manifest: Manifest, workers: Workers | None) -> Iterator[CheckedFile]:
    """Every file of the run, in the order of its manifest; several are read at once."""
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
            else:
                yield found
    yield from check_jobs(folder, manifest)


def _files(folder: RunFolder, known: Whereabouts) -> Iterator[FileToCheck | CheckedFile]:
    tasks = read_tasks(folder.manifest)
    while some := tuple(islice(tasks, _TASKS_AT_ONCE)):
        elsewhere = known.paths(file.sha256 for task in some for file in task.outputs)
        for task in some:
            yield from files_of(task, elsewhere)


def _line(checked: CheckedFile, folder: RunFolder) -> str:
    finding = click.style(f"{checked.finding:8}", fg=_COLOURS.get(checked.finding))
    why = f"  {printable(checked.why)}" if checked.why else ""
    task = f"  ({printable(checked.task)})" if checked.task else ""
    path = shown_path(folder.project.base / checked.path) if checked.path else ""
    return f"{finding} {path}{task}{why}"


def _fields(checked: CheckedFile) -> dict[str, JsonValue]:
    return {
        "task": printable(checked.task),
        "path": printable(checked.path),
        "finding": checked.finding,
        "why": printable(checked.why),
    }
