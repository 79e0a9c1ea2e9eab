"""`diff`: what changed from one run to another."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.completion import complete_run
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.cli.runs import find_folder, run_ids
from runner.errors import CallsheetError, UsageError
from runner.json_value import JsonValue
from runner.plural import count
from runner.record.diff import Change, Side, changes
from runner.record.folder import LATEST, RunFolder
from runner.record.manifest import Manifest, ManifestRun, read_manifest, read_tasks
from runner.redact import printable, printable_value


class What(enum.StrEnum):
    """How a task changed from one run to the other."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


_COLOURS = {What.ADDED: "green", What.REMOVED: "red", What.CHANGED: "yellow"}
_MOST_NAMES = 3
_LEAST_SHARED = 3
"""From so many tasks on, the same change is one line."""


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
    difference = _Difference(old, new, tuple(_compare(new, old)))
    rows = [_fields(task) for task in difference.tasks]
    document: JsonValue = {
        "from": old.manifest.run.id,
        "to": new.manifest.run.id,
        "runs": [{"what": what, "is": now, "was": was} for what, now, was in difference.facts],
        "counts": dict(difference.counts),
        "tasks": rows,
    }
    if not console.for_programs(output_format, rows, printable_value(document)):
        _tell(difference)


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


def _before(new: _Read, folder: RunFolder) -> _Read:
    """The run of the same job before `new`. Raises UsageError where there is none."""
    run = new.manifest.run
    for name in sorted((each for each in run_ids(folder.project) if each < run.id), reverse=True):
        with contextlib.suppress(CallsheetError):  # a run that was killed may have no manifest
            read = _Read.of(RunFolder(folder.project, name))
            if read.manifest.run.job_file == run.job_file:
                return read
    raise UsageError(
        f"run {run.id} of {run.job_file} has none before it to compare with",
        hint="give two runs",
    )


@dataclass(frozen=True, slots=True)
class _ChangedTask:
    what: What
    name: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class _Difference:
    """Two runs, and the tasks in which they differ."""

    old: _Read
    new: _Read
    tasks: tuple[_ChangedTask, ...]

    @property
    def facts(self) -> Iterator[tuple[str, str, str]]:
        """(what, now, before) of the runs as wholes, where they differ."""
        for (what, now), (_, was) in zip(_facts(self.new.manifest), _facts(self.old.manifest), strict=True):
            if now != was:
                yield what, now or "none", was or "none"

    @property
    def counts(self) -> dict[str, int]:
        counts = {str(what): sum(task.what is what for task in self.tasks) for what in What}
        in_both = len(self.new.tasks) - counts[What.ADDED]
        return {**counts, "same": in_both - counts[What.CHANGED]}


def _compare(new: _Read, old: _Read) -> Iterator[_ChangedTask]:
    before = _pairs(new, old)
    for name, side in new.tasks.items():
        if name not in before:
            yield _ChangedTask(What.ADDED, name, (Change("state", side.state),))
        elif changed := tuple(changes(side, old.tasks[before[name]])):
            yield _ChangedTask(What.CHANGED, name, changed)
    paired = set(before.values())
    for name in (name for name in old.tasks if name not in paired):
        yield _ChangedTask(What.REMOVED, name, (Change("state", f"was {old.tasks[name].state}"),))


def _pairs(new: _Read, old: _Read) -> dict[str, str]:
    """The name in the old run of each task of the new one: the same, else that of the same task, else that
    of the same cell. An edition's date may stand in the name.
    """
    pairs = {name: name for name in new.tasks if name in old.tasks}
    keys: tuple[Callable[[Side], str], ...] = (lambda side: side.identity, lambda side: side.cell)
    for key in keys:
        left = {key(side): name for name, side in old.tasks.items() if name not in new.tasks}
        taken = set(pairs.values())
        for name, side in new.tasks.items():
            was = left.get(key(side))
            if name not in pairs and was is not None and was not in taken:
                pairs[name] = was
                taken.add(was)
    return pairs


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    run, usd = manifest.run, manifest.usage.cost.usd
    yield "job file", run.job_file
    yield "job file sha256", manifest.job.sha256
    yield "date", run.run_date
    yield "edition", run.edition
    yield "service", run.origin
    yield "cost USD", "unknown" if usd is None else usd
    yield "commit", _commit(run)


def _commit(run: ManifestRun) -> str:
    git = run.last_session.git if run.last_session is not None else None
    if git is None or not git.commit:
        return ""
    return f"{git.commit[:12]}{' with changes' if git.job_file_dirty else ''}"


def _tell(difference: _Difference) -> None:
    console.result(f"from {difference.old.manifest.run.id} to {difference.new.manifest.run.id}")
    for what, now, was in difference.facts:
        shown = [text[:16] if what.endswith("sha256") else text for text in (now, was)]
        console.result(printable(f"  {what} is {shown[0]}, was {shown[1]}"))
    shared = _shared(difference.tasks)
    for words, names in shared.items():
        more = ", ..." if len(names) > _MOST_NAMES else ""
        _tell_task(What.CHANGED, f"in {len(names)} tasks ({', '.join(names[:_MOST_NAMES])}{more})", words)
    for task in difference.tasks:
        rest = [change.words for change in task.changes if change.words not in shared]
        if rest:
            _tell_task(task.what, task.name, "; ".join(rest))
    counts = difference.counts
    told = ", ".join(f"{number} {what}" for what, number in counts.items())
    console.result(f"{count(sum(counts.values()), 'task')}: {told}")


def _tell_task(what: What, name: str, words: str) -> None:
    word = click.style(f"{what:8}", fg=_COLOURS[what])
    console.result(f"{word} {printable(name)}  {printable(words)}".rstrip())


def _shared(tasks: Sequence[_ChangedTask]) -> dict[str, list[str]]:
    """The changes that the requests of several tasks share, with the names of the tasks."""
    names: dict[str, list[str]] = {}
    for task in tasks:
        for change in task.changes:
            if change.what == "request":
                names.setdefault(change.words, []).append(task.name)
    return {words: tasks for words, tasks in names.items() if len(tasks) >= _LEAST_SHARED}


def _fields(task: _ChangedTask) -> JsonValue:
    changes: list[JsonValue] = [{"what": change.what, "words": change.words} for change in task.changes]
    return printable_value({"task": task.name, "what": task.what, "changes": changes})
