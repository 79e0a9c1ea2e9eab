"""`diff`: what changed from one run to another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.completion import complete_run
from runner.cli.humanize import count
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.cli.runs import find_folder
from runner.errors import CallsheetError, UsageError
from runner.job.cost import usd_as_today
from runner.json_value import JsonValue
from runner.record.diff import Change, Side, changes
from runner.record.folder import LATEST, RunFolder
from runner.record.manifest import Manifest, ManifestRun, read_manifest, read_tasks
from runner.redact import printable, printable_value

_MOST_RUNS = 5
_MOST_NAMES = 3
_LEAST_SHARED = 3
"""From so many tasks on, the same change is one line."""

_FOUND_COLOURS = {"added": "green", "removed": "red", "changed": "yellow"}


@click.command()
@click.argument("runs", metavar="[RUN [RUN]]", nargs=-1, shell_complete=complete_run)
@service_options
@output_format("json", "jsonl")
@common_options
def diff(runs: tuple[str, ...], service: ServiceOptions, output_format: str) -> None:
    """Show how the second RUN differs from the first: tasks, requests, outcomes, seeds, cost, files.

    Tasks are matched by name. RUN is an id or its beginning, a path to a run, or `latest`. One RUN
    is compared with the run of the same job before it; none means `latest`. The exit code is 0 even if
    they differ; programs read the counts.

    \b
    Examples:
      callsheet diff
      callsheet diff 20260530 latest
      callsheet diff 20260530 20260531 --output-format json
    """
    if len(runs) > 2:
        raise UsageError(f"{len(runs)} runs", hint="give two at most")
    after = find_folder(runs[-1] if runs else LATEST, service)
    new = _Read.of(after)
    old = _Read.of(find_folder(runs[0], service)) if len(runs) == 2 else _before(new, after)
    found = list(_compare(new, old))
    same = len(new.tasks.keys() & old.tasks.keys()) - sum(one.what == "changed" for one in found)
    if output_format == "text":
        _tell(found, new, old, same)
    else:
        _print(found, new, old, same, is_lines=output_format == "jsonl")


@dataclass(frozen=True, slots=True)
class _Read:
    """A manifest, with what is compared of each task by its name."""

    manifest: Manifest
    tasks: Mapping[str, Side]

    @classmethod
    def of(cls, folder: RunFolder) -> _Read:
        manifest = read_manifest(folder.manifest)
        tasks: dict[str, Side] = {}
        for task in read_tasks(folder.manifest):
            # those that have left the plan come last, and may have the name of one that is in it
            name = task.name
            while name in tasks:
                name = f"{name} ({task.identity[:8]})"
            tasks[name] = Side.of(task)
        return cls(manifest, tasks)

    @property
    def run(self) -> ManifestRun:
        return self.manifest.run


def _before(new: _Read, folder: RunFolder) -> _Read:
    """The run of the same job before `new`. Raises UsageError where there is none."""
    runs = folder.project.runs_dir
    earlier = sorted(
        (path.name for path in runs.iterdir() if path.name < new.run.id and not path.is_symlink()),
        reverse=True,
    )
    for name in earlier:
        with contextlib.suppress(CallsheetError):  # a run that was killed may have no manifest
            read = _Read.of(RunFolder(folder.project, name))
            if read.run.job_file == new.run.job_file:
                return read
    others = f"the runs here: {', '.join(earlier[:_MOST_RUNS])}" if earlier else "it is the first run here"
    raise UsageError(
        f"run {new.run.id} of {new.run.job_file} has none before it to compare with", hint=others
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """A task that is `added`, `removed` or `changed`."""

    what: str
    task: str
    changes: tuple[Change, ...] = ()

    @property
    def words(self) -> str:
        return "; ".join(change.words for change in self.changes)


def _compare(new: _Read, old: _Read) -> Iterator[_Found]:
    for name, side in new.tasks.items():
        if name not in old.tasks:
            yield _Found("added", name, (Change("state", side.state),))
        elif changed := tuple(changes(side, old.tasks[name])):
            yield _Found("changed", name, changed)
    for name, side in old.tasks.items():
        if name not in new.tasks:
            yield _Found("removed", name, (Change("state", f"was {side.state}"),))


def _heading(new: _Read, old: _Read) -> Iterator[tuple[str, str, str]]:
    """(what, now, before) of the runs as wholes; what is the same is left out."""
    for (what, now), (_, was) in zip(_facts(new.manifest), _facts(old.manifest), strict=True):
        if now != was:
            yield what, now or "none", was or "none"


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    run, usd = manifest.run, manifest.usage.cost.usd
    yield "job file", run.job_file
    yield "job file sha256", manifest.job.sha256
    yield "date", run.run_date
    yield "edition", run.edition
    yield "service", run.origin
    yield "cost USD", "unknown" if usd is None else usd_as_today(usd)
    yield "commit", _commit(run)


def _commit(run: ManifestRun) -> str:
    git = run.last_session.git if run.last_session is not None else None
    if git is None or not git.commit:
        return ""
    return f"{git.commit[:12]}{' with changes' if git.job_file_dirty else ''}"


def _tell(found: list[_Found], new: _Read, old: _Read, same: int) -> None:
    console.result(f"from {old.run.id} to {new.run.id}")
    for what, now, was in _heading(new, old):
        shown = [text[:16] if what.endswith("sha256") else text for text in (now, was)]
        console.result(printable(f"  {what} is {shown[0]}, was {shown[1]}"))
    shared = _shared(found)
    for words, names in shared.items():
        more = ", ..." if len(names) > _MOST_NAMES else ""
        told = f"in {len(names)} tasks ({', '.join(names[:_MOST_NAMES])}{more})  {words}"
        console.result(f"{click.style('changed ', fg=_FOUND_COLOURS['changed'])} {printable(told)}")
    for one in _without(found, shared):
        word = click.style(f"{one.what:8}", fg=_FOUND_COLOURS[one.what])
        console.result(f"{word} {printable(one.task)}  {printable(one.words)}".rstrip())
    told = ", ".join(f"{number} {what}" for what, number in _counts(found, same).items())
    console.result(f"{count(len(new.tasks.keys() | old.tasks.keys()), 'task')}: {told}")


def _shared(found: list[_Found]) -> dict[str, list[str]]:
    """What changed alike in the requests of several tasks, with their names."""
    names: dict[str, list[str]] = {}
    for one in found:
        for change in one.changes:
            if change.what == "request":
                names.setdefault(change.words, []).append(one.task)
    return {words: tasks for words, tasks in names.items() if len(tasks) >= _LEAST_SHARED}


def _without(found: list[_Found], shared: Mapping[str, object]) -> Iterator[_Found]:
    """Each task with what is left of its changes; none where nothing is."""
    for one in found:
        rest = tuple(change for change in one.changes if change.words not in shared)
        if rest:
            yield replace(one, changes=rest)


def _counts(found: list[_Found], same: int) -> dict[str, JsonValue]:
    counts: dict[str, JsonValue] = {
        what: sum(one.what == what for one in found) for what in ("added", "removed", "changed")
    }
    return {**counts, "same": same}


def _print(found: list[_Found], new: _Read, old: _Read, same: int, *, is_lines: bool) -> None:
    rows = [
        printable_value(
            {
                "task": one.task,
                "what": one.what,
                "changes": [{"what": change.what, "words": change.words} for change in one.changes],
            }
        )
        for one in found
    ]
    if is_lines:
        console.json_lines(rows)
        return
    document: dict[str, JsonValue] = {
        "from": old.run.id,
        "to": new.run.id,
        "runs": [{"what": what, "is": now, "was": was} for what, now, was in _heading(new, old)],
        "counts": _counts(found, same),
        "tasks": rows,
    }
    console.document(printable_value(document))
