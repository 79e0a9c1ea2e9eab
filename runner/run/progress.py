"""Where each task of a plan stands before anything is sent: new, in flight, unclear, done or gone."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runner.job.expressions import LAST_FRAME
from runner.ledger.read import LedgerReader, batches
from runner.ledger.rows import AttemptRow, OutputRow, TaskRow
from runner.ledger.states import TaskState
from runner.ledger.succession import is_reusable
from runner.plan.task import Task, Upstream
from runner.providers.base import RemoteFileKind
from runner.record.request import differences
from runner.run.wholeness import is_untouched, is_whole
from runner.store.files import LocalFiles, UnsafePathError


@dataclass(frozen=True, slots=True)
class Progress:
    """`state` is PLANNED for what `run` would submit, ABSENT for a done task whose file is missing here.

    `attempt` is the newest one; None where there is none, and for a task that is done and in place.
    `why` says it in words for a new or absent task. `elsewhere` are this identity's own files
    under other paths. `conflict` says of the output path why it cannot be used; empty where it can.
    `gives_way` are files of a rehearsal at another server that stand where this one's will; they are moved.
    """

    task: Task
    state: TaskState
    attempt: AttemptRow | None
    why: str = ""
    elsewhere: tuple[OutputRow, ...] = ()
    conflict: str = ""
    gives_way: tuple[OutputRow, ...] = ()
    published: frozenset[RemoteFileKind] = frozenset()
    """The kinds of files of an absent task that were here once."""
    video: str = ""
    """Where the newest take of a done task is: beside its output, where that was taken."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What the tasks of a batch need: standing attempts by identity, and which of them are done without
    the last frame that a task of the batch begins with.
    """

    attempts: Mapping[str, AttemptRow] = field(default_factory=dict)
    frameless: frozenset[str] = frozenset()


def needs_of(tasks: Iterable[Task], reader: LedgerReader) -> Needs:
    """For a batch of tasks."""
    needed = [upstream for task in tasks for upstream in task.upstreams]
    attempts = reader.standing_attempts([upstream.identity for upstream in needed])
    framed = [upstream.identity for upstream in needed if LAST_FRAME in upstream.uses]
    rows = reader.outputs(framed) if framed else {}
    frames = {row.attempt_id for own in rows.values() for row in own if row.kind is RemoteFileKind.LAST_FRAME}
    frameless = (
        identity
        for identity in framed
        if identity in attempts
        and attempts[identity].state is TaskState.DONE
        and attempts[identity].id not in frames
    )
    return Needs(attempts, frozenset(frameless))


@dataclass(slots=True)
class Chain:
    """Tells which tasks cannot start because of one that they build on; sees a plan in its order.

    `lost` are identities whose last frame the service no longer has.
    """

    lost: Container[str] = frozenset()
    _skipped: set[str] = field(default_factory=set)

    def state(self, task: Task, own: TaskState | None, needs: Needs) -> TaskState | None:
        """WAITING or SKIPPED for a task that one of its upstreams keeps from starting, else None.

        `own` is the state of its newest attempt.
        """
        found = self._keeping(task, own, needs)
        return None if found is None else found[1]

    def _keeping(self, task: Task, own: TaskState | None, needs: Needs) -> tuple[Upstream, TaskState] | None:
        """The upstream that keeps a task from starting, and what the task is then: one that failed counts
        more than one that is still to come.
        """
        if own not in (None, TaskState.PLANNED):
            return None
        kept: tuple[Upstream, TaskState] | None = None
        for upstream in task.upstreams:
            state = self._of_upstream(upstream, needs)
            if state is TaskState.SKIPPED:
                self._skipped.add(task.identity)
                return upstream, state
            if state is not None and kept is None:
                kept = upstream, state
        return kept

    def _of_upstream(self, upstream: Upstream, needs: Needs) -> TaskState | None:
        """What an upstream makes of the tasks that build on it; None where it is done."""
        before = needs.attempts.get(upstream.identity)
        is_done = before is not None and before.state is TaskState.DONE
        is_frameless = LAST_FRAME in upstream.uses and upstream.identity in needs.frameless
        if is_done and not is_frameless:
            return None
        failed = (
            upstream.identity in self.lost if is_done else before is not None and before.state.is_terminal
        )
        return TaskState.SKIPPED if failed or upstream.identity in self._skipped else TaskState.WAITING

    def blocked(self, task: Task, attempt: AttemptRow | None, needs: Needs) -> Progress | None:
        """A Progress that says why."""
        found = self._keeping(task, None if attempt is None else attempt.state, needs)
        if found is None:
            return None
        upstream, state = found
        is_previous = upstream.step == task.step
        if state is TaskState.SKIPPED:
            why = f"the task of step {upstream.step} failed"
            if is_previous:
                what = "failed" if upstream.identity in needs.attempts else "was not made"
                why = f"{upstream.name}, the task before it in its chain, {what}"
            return Progress(task, state, attempt, why=why)
        what = "the last frame of " if upstream.identity in needs.frameless else ""
        who = upstream.name if is_previous else f"step {upstream.step}"
        return Progress(task, state, attempt, why=f"waits for {what}{who}")


@dataclass(slots=True)
class _Folders:
    """Whether a video can be put where its task wants it; each folder is looked at once."""

    base: Path
    _found: dict[str, str] = field(default_factory=dict)

    def trouble(self, output: str) -> str:
        """Why nothing can be written there, found before it is paid for; empty where it can."""
        folder = output.rpartition("/")[0]
        if folder not in self._found:
            self._found[folder] = self._trouble(folder)
        return self._found[folder]

    def _trouble(self, folder: str) -> str:
        files = LocalFiles(self.base)
        name = files.root / folder / ".callsheet"
        try:
            files.stat(name)
        except UnsafePathError as error:
            return f"cannot be written: {error.message.removeprefix(f'{name}: ')}"
        except OSError as error:
            return f"cannot be written: {error.strerror}"
        upper = self.base / folder
        try:
            while not upper.exists() and upper != self.base.parent:
                upper = upper.parent
        except OSError as error:
            return f"cannot be written: {error.strerror}"
        return "" if os.access(upper, os.W_OK | os.X_OK) else f"cannot be written: no permission in {upper}"


def progress_of(tasks: Iterable[Task], reader: LedgerReader | None, base: Path) -> Iterator[Progress]:
    """One Progress per task, in order; lazy, `BATCH` tasks at a time. No ledger yet: all are new."""
    chain = Chain()
    folders = _Folders(base)
    for batch in batches(tasks):
        if reader is None:
            for task in batch:
                yield chain.blocked(task, None, Needs()) or _new(task, None, folders, None, None, _NEVER)
            continue
        videos = _in_place(batch, reader, base)
        others = [task for task in batch if task.identity not in videos]
        attempts = reader.latest([task.identity for task in others])
        needed = needs_of(others, reader)
        outputs = reader.outputs([task.identity for task in others])
        owners = reader.owners([task.output for task in others])
        for task in batch:
            attempt = attempts.get(task.identity)
            blocked = chain.blocked(task, attempt, needed)
            if task.identity in videos:
                yield Progress(task, TaskState.DONE, None, video=videos[task.identity])
            elif blocked is not None:
                yield blocked
            elif attempt is None or attempt.state is TaskState.PLANNED:
                why = _why_new(task, attempt, None if attempt else reader.task_at(task.output))
                yield _new(task, attempt, folders, owners.get(task.output), reader, why)
            elif attempt.state is TaskState.DONE:
                yield _done(task, attempt, outputs.get(task.identity, []), base)
            else:
                yield Progress(task, attempt.state, attempt)


def _in_place(tasks: Sequence[Task], reader: LedgerReader, base: Path) -> dict[str, str]:
    """Where the video is of each task that is done, has a file at its output, and has all of them as they
    were published; by its identity. A job of 100,000 is mostly that, and `_done` takes five times as long.
    """
    outputs = {task.identity: task.output for task in tasks}
    return {
        identity: rows[0].path
        for identity, rows in reader.published([*outputs]).items()
        if rows[0].kind is RemoteFileKind.VIDEO
        and any(row.path == outputs[identity] for row in rows)
        and all(is_untouched(row, base) for row in rows)
    }


_NEVER = "never submitted"
_MOST_DIFFERENCES = 3


def _new(
    task: Task,
    attempt: AttemptRow | None,
    folders: _Folders,
    owner: OutputRow | None,
    reader: LedgerReader | None,
    why: str,
) -> Progress:
    conflict = folders.trouble(task.output)
    if conflict or (owner is not None and owner.identity == task.identity):
        pass  # an older take of this very task: a new one finds its own place beside it
    elif os.path.lexists(folders.base / task.output):
        conflict = "exists already, and nothing that may be paid for is overwritten"
        if owner is not None and reader is not None:
            holder = reader.task(owner.identity)
            assert holder is not None
            own = _in_the_way(task, reader.outputs([owner.identity]).get(owner.identity, []), folders.base)
            # of two servers on this machine, and no other is without https: nothing there is paid for
            origins = {task.origin, holder.origin}
            are_rehearsals = len(origins) == 2 and not any(origin.startswith("https:") for origin in origins)
            if are_rehearsals and any(row.path == task.output for row in own):
                return Progress(task, TaskState.PLANNED, attempt, why, gives_way=own)
            difference = _difference(task, holder)
            conflict = f"holds the video of another request ({difference})"
    elif reader is not None:
        rival = reader.task_at(task.output)
        if rival is not None and rival.identity != task.identity and _is_on_its_way(rival, reader):
            conflict = f"is where a task in flight will put its video ({rival.name})"
    return Progress(task, TaskState.PLANNED, attempt, why, conflict=conflict)


def _in_the_way(task: Task, outputs: Iterable[OutputRow], base: Path) -> tuple[OutputRow, ...]:
    """Those published files that stand under the name of the task's own; whole, so that nothing is taken
    for one that somebody has put there.
    """
    names = re.compile(rf"{re.escape(task.output.removesuffix('.mp4'))}(-\d+)?(\.mp4|\.last\.png)")
    return tuple(row for row in outputs if names.fullmatch(row.path) and is_whole(row, base))


def _is_on_its_way(task: TaskRow, reader: LedgerReader) -> bool:
    attempt = reader.latest([task.identity]).get(task.identity)
    return attempt is not None and not attempt.state.is_terminal and attempt.state is not TaskState.PLANNED


def _done(task: Task, attempt: AttemptRow, outputs: list[OutputRow], base: Path) -> Progress:
    """Done where each file of the newest take is here, whole; a changed file counts as missing."""
    here = [row for row in outputs if is_whole(row, base)]
    wanted = {(row.kind, row.ordinal) for row in outputs if row.attempt_id == attempt.id}
    found = {(row.kind, row.ordinal) for row in here if row.attempt_id == attempt.id}
    at_path = any(row.path == task.output for row in here)
    if wanted and wanted == found:
        elsewhere = () if at_path or _was_published(task, outputs) else tuple(here)
        own = (row for row in here if row.attempt_id == attempt.id and row.kind is RemoteFileKind.VIDEO)
        first = min(own, key=lambda row: row.ordinal, default=None)
        return Progress(
            task, TaskState.DONE, attempt, elsewhere=elsewhere, video=first.path if first is not None else ""
        )
    gone = ", ".join(sorted({row.path for row in outputs if row not in here})) or task.output
    return Progress(
        task,
        TaskState.ABSENT,
        attempt,
        published=frozenset(RemoteFileKind(row.kind) for row in outputs if row.attempt_id == attempt.id)
        or frozenset({RemoteFileKind.VIDEO}),
        why=f"paid and done, but {gone} is missing or changed; fetched again while the service has it",
    )


def _was_published(task: Task, outputs: list[OutputRow]) -> bool:
    """Whether this path had its file once: under a suffix where the name was taken, or moved aside since."""
    stem = re.escape(task.output.removesuffix(".mp4"))
    return any(re.fullmatch(rf"{stem}(-\d+)?(\.v\d+)?\.mp4", row.path) for row in outputs)


def _why_new(task: Task, attempt: AttemptRow | None, before: TaskRow | None) -> str:
    """`before` is the task whose output path this was last."""
    if attempt is not None:
        return (
            "stopped before it was accepted" if is_reusable(attempt) else f"settled as {attempt.resolution}"
        )
    return _NEVER if before is None or before.identity == task.identity else _difference(task, before)


def _difference(task: Task, before: TaskRow) -> str:
    """How a new request differs from the one that had its output path."""
    if before.edition != task.edition:
        return f"edition is {task.edition or 'none'}, was {before.edition or 'none'}"
    changed = list(differences(task.request, before.request))
    if changed:
        return "; ".join(changed[:_MOST_DIFFERENCES])
    return "the API or the sample is another one"
