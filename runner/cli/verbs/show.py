"""`show`: how one clip was made, what it cost, and how to make it again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.completion import complete_task
from runner.cli.humanize import shown_path
from runner.cli.next_commands import command
from runner.cli.options import ServiceOptions, output_format, service_options
from runner.cli.place import here
from runner.cli.runs import nothing_yet, reading, run_ids
from runner.cli.task_list import painted
from runner.errors import UsageError
from runner.http.verdicts import Verdict
from runner.ledger.database import open_for_reading
from runner.ledger.search import FoundTask, LedgerSearch
from runner.ledger.states import STATE_WORDS, TaskState
from runner.media.video import MediaFacts
from runner.project import Project
from runner.record.show import (
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

    Give a task's name, a video (it is known by its bytes, wherever it is now), the first digits of its
    sha256 or of the task's identity, or the service's id. No service is asked.

    \b
    Examples:
      callsheet show spin-16x9-s3
      callsheet show ~/archive/final-cut/take7.mp4
      callsheet show 9f86d081
    """
    project = here(service)
    with reading(project) as reader:
        if reader is None:
            raise nothing_yet(project)
    with contextlib.closing(LedgerSearch(open_for_reading(project.ledger_path))) as ledger:
        found = _find(ledger, what, project)
        documents = [describe(ledger, one.task, project) for one in found]
    if console.for_programs(output_format, documents, documents):
        return
    for one, document in zip(found, documents, strict=True):
        for line in _card(document, one.by):
            console.block(line)
    for line, why in _again(documents[0], project, service):
        console.next_step(line, why)


def _find(ledger: LedgerSearch, what: str, project: Project) -> list[FoundTask]:
    """The tasks that `what` means; several may have one name. Raises UsageError."""
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
    if found := ledger.find(what):
        return found
    if path.is_file():
        raise UsageError(
            f"{what}: not a file that this project made", hint="was it edited, or made elsewhere?"
        )
    if os.sep in what:
        near = did_you_mean(_below(path, project.base), ledger.paths())
    else:
        near = did_you_mean(what, ledger.names())
    begun = next((run for run in sorted(run_ids(project)) if run.startswith(what)), "")
    lists = f"`callsheet status {begun}`" if begun else "`callsheet status` lists the tasks of a run"
    hint = near or (f"that begins the id of a run: {lists}" if begun else lists)
    raise UsageError(f"{what}: not a task, a file, a sha256 or an id that is known here", hint=hint)


def _below(path: Path, base: Path) -> str:
    return os.path.relpath(path.resolve(), base)


def _card(task: ShownTask, by: str) -> Iterator[str]:
    state = painted(STATE_WORDS[task.state].listed)
    yield f"{click.style(task.name, bold=True)}  {state}  (found by {escape(by)})"
    echoed = "" if task.seed.echoed is None else f", {task.seed.echoed} echoed by the service"
    sent = "none sent" if task.seed.sent is None else f"{task.seed.sent} sent"
    yield from _row("prompt", task.prompt)
    yield from _row("model", f"{task.model} at {task.origin}")
    yield from _row("seed", sent + echoed)
    fields = {name: value for name, value in task.request.items() if name not in _TOLD_ELSEWHERE}
    yield from _row("request", " ".join(f"{name}={_short(value)}" for name, value in fields.items()))
    for taken in task.inputs:
        yield from _row("input", _input_words(taken))
    for run in task.runs:
        yield from _row("run", f"{run.id}, date {run.date}")
        yield from _row("job file", _job_words(run))
        yield from _row("", f"as it was run: {run.job_kept}")
    for number, attempt in enumerate(task.attempts, 1):
        accepted = f"accepted as {attempt.remote_id}" if attempt.remote_id else attempt.state
        request = f" (request {attempt.request_id})" if attempt.request_id else ""
        words = f"{number}. by {attempt.reason}, {attempt.intended_at}, {accepted}{request}"
        yield from _row("attempt" if number == 1 else "", words)
        yield from _row("", _outcome_words(attempt))
    for file in task.files:
        yield from _row("file", f"{file.path}  {_STANDS[file.stands]}")
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
}

_SINCE = {
    Since.SAME: "unchanged since",
    Since.CHANGED: "changed since",
    Since.GONE: "gone since",
    Since.UNKNOWN: "whether it changed since is not known",
}


def _input_words(taken: InputOfOurs | InputOfStep) -> str:
    role = f"{taken.role}: " if taken.role else ""
    if isinstance(taken, InputOfStep):
        return f"{role}{taken.output} of {taken.task or taken.identity[:12]}"
    kept = f", kept as {taken.kept}" if taken.kept else ", and its copy is gone"
    return f"{role}sha256 {taken.sha256[:16]}{kept}"


def _row(label: str, words: str) -> Iterator[str]:
    if words:
        yield f"  {label:{_LABEL}}{console.wrapped(words, _LABEL + 2)}"


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _job_words(run: ShownRun) -> str:
    if run.commit:
        dirty = ", with changes that were not committed" if run.job_file_dirty else ""
        commit = f"at commit {run.commit[:12]}{dirty}"
    else:
        commit = run.git_note or "commit unknown"
    return f"{run.job_file} ({commit}); {_SINCE[run.job_file_since]}"


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


def _again(task: ShownTask, project: Project, service: ServiceOptions) -> Iterator[tuple[str, str]]:
    """The commands for the missing file, and for a new take."""
    if not task.runs:
        return
    run = task.runs[-1]
    job = project.root / run.job_file
    dated = ["--date", run.date] if run.edition else []
    if run.job_file_since is not Since.SAME:
        kept = project.root / run.job_kept
        copy = job.with_name(f"{job.stem}-as-run{job.suffix}")
        yield (
            shlex.join(["cp", shown_path(kept), shown_path(copy)]),
            "the job file as it was run, beside its inputs",
        )
        job = copy
    unchanged = {file.sha256 for file in task.files if file.stands is Finding.SAME}
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
