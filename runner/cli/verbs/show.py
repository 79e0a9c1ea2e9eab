"""`show`: how one clip was made, what it cost, and how to make it again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.completion import complete_task
from runner.cli.humanize import shown_path
from runner.cli.next_commands import command
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.cli.place import choose_places, here, leading_to, task_words, world_words, worlds
from runner.cli.runs import nothing_yet, reading, run_ids
from runner.cli.task_list import painted
from runner.errors import UsageError
from runner.http.verdicts import Verdict
from runner.job.project.load_project import readable_project_file
from runner.ledger.open import open_search
from runner.ledger.search import FoundTask, LedgerSearch
from runner.ledger.states import STATE_WORDS, TaskState
from runner.media.video import MediaFacts
from runner.project import Project
from runner.record.folder import RunFolder, is_of_digest
from runner.record.show import (
    InputByKey,
    InputOfOurs,
    InputOfStep,
    ShownAttempt,
    ShownRun,
    ShownTask,
    Since,
    describe,
)
from runner.record.verify import Finding
from runner.redact import escape
from runner.spelling import did_you_mean

_LABEL = 11


@click.command()
@click.argument("what", metavar="TASK|FILE|SHA256", shell_complete=complete_task)
@service_options
@output_format("json", "jsonl")
@common_options
def show(what: str, service: ServiceOptions, output_format: str) -> None:
    """Show how a clip was made: prompt, seed, commit, inputs, ids, tokens, cost, and how to make it again.

    Give a task's name, a video (it is known by its bytes, wherever it is now, and by its path), the first
    digits of its sha256 or of the task's identity, or the service's id. A rehearsal is found too. No
    service is asked.

    \b
    Examples:
      callsheet show spin-16x9-s3
      callsheet show ~/archive/final-cut/take7.mp4
      callsheet show 9f86d081
    """
    with contextlib.ExitStack() as opened:
        found = _Found.look(what, service, opened)
        documents = [describe(found.ledger, one.task, found.project) for one in found.tasks]
    if console.for_programs(output_format, documents, documents):
        return
    for one, document in zip(found.tasks, documents, strict=True):
        for line in _card(document, one.by, found.project):
            console.block(line)
    for note in found.notes:
        console.note(note)
    if lost := _lost_account(documents[0], found.project):
        console.note(lost)
    else:
        service = leading_to(documents[0].origin, found.project, service)
    for line, why in _again(documents[0], found.project, service):
        console.next_step(line, why)


@dataclass(frozen=True, slots=True)
class _Found:
    """The tasks that somebody means, in the project or in its rehearsal; several may have one name."""

    project: Project
    ledger: LedgerSearch
    tasks: list[FoundTask]
    notes: tuple[str, ...]

    @classmethod
    def look(cls, what: str, service: ServiceOptions, opened: contextlib.ExitStack) -> _Found:
        """Raises UsageError where nothing is known of `what`."""
        ledgers: list[tuple[Project, LedgerSearch]] = []
        path = Path(what).expanduser()
        # the bytes of a rehearsal may be known in both worlds: a path says which is meant
        for project in sorted(worlds(service), key=lambda world: not _lies_in(path, world)):
            with reading(project) as reader:
                is_empty = reader is None
            if not is_empty:
                ledger = open_search(project)
                ledgers.append((project, opened.enter_context(contextlib.closing(ledger))))
        if not ledgers:
            raise nothing_yet(here(service))
        found = [
            (project, ledger, tasks) for project, ledger in ledgers if (tasks := _find(ledger, what, project))
        ]
        if not found:
            raise _unknown(what, ledgers)
        project, ledger, tasks = found[0]
        notes = [_also(project, tasks[0]) for project, _, tasks in found[1:]]
        return cls(project, ledger, tasks, tuple(notes))


def _lies_in(path: Path, project: Project) -> bool:
    """Whether it is a file of the rehearsal that `project` is."""
    return project.is_rehearsal and path.is_file() and path.resolve().is_relative_to(project.base)


def _also(project: Project, one: FoundTask) -> str:
    line = command("show", shown_path(project.base / one.task.output))
    return f"{world_words(project)} is known by {one.by} too: {line}"


def _find(ledger: LedgerSearch, what: str, project: Project) -> list[FoundTask]:
    """The tasks that `what` means in one ledger, newest first; none where it is not known there."""
    path = Path(what).expanduser()
    if path.is_file():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if found := ledger.find(digest):
            return [FoundTask(one.task, f"the bytes of {what}") for one in found[:1]]
    for shown in (what, _below(path, project.base)):
        owner = ledger.owners([shown]).get(shown)
        task = ledger.task(owner.identity) if owner is not None else None
        if task is not None:
            return [FoundTask(task, f"the path {shown}")]
    return ledger.find(what) or ledger.find_path(task_words(str(path), project))


def _unknown(what: str, ledgers: Sequence[tuple[Project, LedgerSearch]]) -> UsageError:
    path = Path(what).expanduser()
    if path.is_file():
        return UsageError(
            f"{what}: not a file that this project made", hint="was it edited, or made elsewhere?"
        )
    for project, ledger in ledgers:
        typed, known = (
            (_below(path, project.base), ledger.paths()) if os.sep in what else (what, ledger.names())
        )
        if near := did_you_mean(typed, known):
            break
    ids = (run for project, _ in ledgers for run in sorted(run_ids(project)))
    begun = next((run for run in ids if run.startswith(what)), "")
    lists = "`callsheet status` lists the tasks of a run"
    hint = near or (f"it begins the id of a run: `callsheet status {begun}`" if begun else lists)
    return UsageError(f"{what}: not a task, a file, a sha256 or an id that is known here", hint=hint)


def _below(path: Path, base: Path) -> str:
    return os.path.relpath(path.resolve(), base)


def _card(task: ShownTask, by: str, project: Project) -> Iterator[str]:
    state = painted(STATE_WORDS[task.state].listed)
    world = f"{world_words(project)}; found by {escape(by)}"
    yield f"{click.style(task.name, bold=True)}  {state}  ({world})"
    echoed = "" if task.seed.echoed is None else f", {task.seed.echoed} echoed by the service"
    sent = "none sent" if task.seed.sent is None else f"{task.seed.sent} sent"
    yield from _row("prompt", task.prompt)
    yield from _row("model", f"{task.model} at {task.origin}")
    yield from _row("seed", sent + echoed)
    fields = {name: value for name, value in task.request.items() if name not in _TOLD_ELSEWHERE}
    yield from _row("request", " ".join(f"{name}={_short(value)}" for name, value in fields.items()))
    for taken in task.inputs:
        yield from _row("input", _input_words(taken, project))
    for run in task.runs:
        yield from _row("run", f"{run.id}, date {run.date}")
        yield from _row("job file", _job_words(run, project))
        yield from _row("", f"as it was run: {shown_path(project.root / run.job_kept)}")
    is_told = len(readable_project_file(project.root).accounts) > 1
    for number, attempt in enumerate(task.attempts, 1):
        accepted = f"accepted as {attempt.remote_id}" if attempt.remote_id else attempt.state
        request = f" (request {attempt.request_id})" if attempt.request_id else ""
        payer = f", account {attempt.account or task.provider}" if is_told or attempt.account else ""
        words = f"{number}. by {attempt.reason}{payer}, {attempt.intended_at}, {accepted}{request}"
        yield from _row("attempt" if number == 1 else "", words)
        yield from _row("", _outcome_words(attempt))
    for file in task.files:
        yield from _row("file", f"{shown_path(project.base / file.path)}  {_STANDS[file.stands]}")
        if file.stored:
            yield from _row("", f"in the store: {file.stored}")
        yield from _row("", f"{file.bytes:,} bytes{_media_words(file.media)}")
        yield from _row("sha256", file.sha256)
    for kind in task.missing:
        yield from _row("missing", f"{kind}: asked for, and never came from the service")
    yield from _row("identity", task.identity)


_TOLD_ELSEWHERE = frozenset({"model", "seed", "content", "prompt"})
_STANDS = {
    Finding.SAME: "(here, unchanged)",
    Finding.CHANGED: click.style("(changed since)", fg="red"),
    Finding.MISSING: click.style("(gone)", fg="yellow"),
    Finding.STORED: "(in the store, not here)",
}

_SINCE = {
    Since.SAME: "unchanged since",
    Since.CHANGED: "changed since",
    Since.GONE: "gone since",
    Since.UNKNOWN: "whether it changed since is not known",
}


def _input_words(taken: InputOfOurs | InputByKey | InputOfStep, project: Project) -> str:
    role = f"{taken.role}: " if taken.role else ""
    if isinstance(taken, InputOfStep):
        return f"{role}{taken.output} of {taken.task or taken.identity[:12]}"
    if isinstance(taken, InputByKey):
        return f"{role}key {taken.key}, which stands for an address"
    kept = f", kept as {shown_path(project.root / taken.kept)}" if taken.kept else ", and its copy is gone"
    return f"{role}sha256 {taken.sha256[:16]}{kept}"


def _row(label: str, words: str) -> Iterator[str]:
    if words:
        yield f"  {label:{_LABEL}}{console.wrapped(words, _LABEL + 2)}"


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _job_words(run: ShownRun, project: Project) -> str:
    if run.commit:
        dirty = ", with changes that were not committed" if run.job_file_dirty else ""
        commit = f"at commit {run.commit[:12]}{dirty}"
    else:
        commit = run.git_note or "commit unknown"
    return f"{shown_path(project.root / run.job_file)} ({commit}); {_SINCE[run.job_file_since]}"


def _outcome_words(attempt: ShownAttempt) -> str:
    tokens = attempt.total_tokens
    by = f" (by {attempt.resolved_by})" if attempt.resolved_by else ""
    parts = [
        f"unclear at first: {attempt.evidence}" if attempt.verdict is Verdict.AMBIGUOUS else "",
        f"settled as {attempt.resolution}{by}" if attempt.resolution else "",
        attempt.state + (f" after {attempt.seconds:g} s" if attempt.seconds else ""),
        f"{attempt.service_seconds:g} s at the service" if attempt.service_seconds else "",
        " ".join(filter(None, (attempt.error_code, attempt.error_message))),
        f"{tokens:,} tokens" if isinstance(tokens, int) else "",
        _cost_words(attempt),
    ]
    return ", ".join(filter(None, parts))


def _cost_words(attempt: ShownAttempt) -> str:
    if attempt.cost_usd is not None:
        return f"USD {attempt.cost_usd}"
    if attempt.estimate_usd is not None:
        return f"about USD {attempt.estimate_usd} (estimated)"
    return "cost unknown"


def _media_words(media: MediaFacts) -> str:
    size = f", {media.width}x{media.height}" if media.width else ""
    length = f", {media.duration:g} s" if media.duration else ""
    codec = f", {media.codec}" if media.codec else ""
    return f"{size}{length}{codec}"


def _lost_account(task: ShownTask, project: Project) -> str:
    """What has to be put back before any command reaches the task's account; empty where they do."""
    name = (task.attempts[-1].account if task.attempts else "") or task.provider
    account = readable_project_file(project.root).accounts.get(name)
    if account is None:
        there = f"callsheet.yaml names no account `{name}` now"
        return "" if name == task.provider else f"{there}; first put it back, with its `api_key_env`"
    plain = ServiceOptions(sandbox=False, base_url=None)
    if project.is_rehearsal or choose_places({name: account}, project, plain)[name].origin == task.origin:
        return ""
    back = f'first put back its `base_url: "{task.origin}"`'
    return f"the account `{name}` of callsheet.yaml leads to {account.origin} now; {back}"


def _again(task: ShownTask, project: Project, service: ServiceOptions) -> Iterator[tuple[str, str]]:
    """The commands for the missing file, and for a new take."""
    if not task.runs:
        return
    run = task.runs[-1]
    job = project.root / run.job_file
    dated = ["--date", run.date] if run.edition else []
    changed = RunFolder(project, run.id).files_changed(project.root / run.job_kept)
    # another session of this run may have read the same job with other files
    is_job_same = run.job_sha256 is not None and is_of_digest(job, run.job_sha256)
    if (
        changed or (is_job_same and run.job_file_since is not Since.SAME)
    ) and task.state is not TaskState.HELD:
        # the job with a table or text that was changed since asks for other videos
        if not task.state.is_terminal:
            yield command("resume", run.id, service=service), "goes on with it, by the files as it read them"
            return
        for file, kept in changed.items():
            back = shlex.join(["cp", shown_path(kept), shown_path(file)])
            yield back, "puts it back as the run read it; save your own first, then ask `show` again"
        return
    if run.job_file_since is not Since.SAME:
        kept = project.root / run.job_kept
        copy = job.with_name(f"{job.stem}-as-run{job.suffix}")
        yield (
            shlex.join(["cp", shown_path(kept), shown_path(copy)]),
            "the job file as it was run, beside its inputs",
        )
        job = copy
    if any(file.stands is Finding.STORED for file in task.files):
        yield command("fetch", task.name), "brings it back from the store, free of charge at the service"
    unchanged = {file.sha256 for file in task.files if file.stands in (Finding.SAME, Finding.STORED)}
    if any(file.sha256 not in unchanged for file in task.files):
        line = command("run", shown_path(job), "--only", task.name, *dated, service=service)
        yield line, "fetches the file again, free of charge, while the service has it"
    if task.state is TaskState.HELD:
        yield command("reconcile", service=service), "lists what is held, and what to type for each"
        return
    if not task.state.is_terminal:
        line = command("run", shown_path(job), *dated, service=service)
        yield line, "goes on with it; nothing is paid twice"
        return
    line = command("run", shown_path(job), "--again", task.name, "--only", task.name, *dated, service=service)
    what = "the same request" if task.seed.sent is None else "the same request and seed"
    is_paid = "" if project.is_rehearsal else ", which is paid for"
    yield line, f"makes it again: a new take of {what}{is_paid}"
