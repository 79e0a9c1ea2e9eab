"""Where each task of a plan stands before anything is sent: new, in flight, unclear, done or gone."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from runner.job.expressions.expressions import LAST_FRAME
from runner.ledger.columns import batches
from runner.ledger.leases import HOST, host_name
from runner.ledger.read import LedgerReader
from runner.ledger.rows import AttemptRow, OutputRow, TaskRow
from runner.ledger.states import TaskState
from runner.ledger.succession import is_reusable
from runner.plan.edits import Edit
from runner.plan.task import Task, Upstream
from runner.providers.base import RemoteFileKind
from runner.record.request import changes, differences
from runner.redact import printable
from runner.run.wholeness import is_untouched, is_whole, stands, whole_files
from runner.store.files import LocalFiles, UnsafePathError
from runner.store.versions import names_of_take


@dataclass(frozen=True, slots=True)
class Progress:
    """`state` is PLANNED for what `run` would submit, ABSENT for a done task whose file is missing here.

    `attempt` is the newest one; None where there is none, and for a task that is done and in place.
    `why` says it in words for a new or absent task. `elsewhere` are this identity's own files where they
    are not all in their places. `conflict` says of the output path why it cannot be used; empty where it can.
    """

    task: Task
    state: TaskState
    attempt: AttemptRow | None
    why: str = ""
    elsewhere: tuple[OutputRow, ...] = ()
    conflict: str = ""
    edit: Edit | None = None
    """Where a person has to agree first: the path has, or will have, a take of another request."""
    is_displaced: bool = False
    """By the newest decision the path is for another task: an edit that was undone."""
    published: frozenset[RemoteFileKind] = frozenset()
    """The kinds of files of an absent task that were here once."""
    video: str = ""
    """Where the newest take of a done task is: beside its output, where that was taken."""

    @property
    def is_to_submit(self) -> bool:
        """Whether `run` would submit it, once what it waits for is done and somebody agrees to an edit."""
        return self.state in (TaskState.PLANNED, TaskState.WAITING) and not self.conflict


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
        return self._keeping(task, own, needs)[0]

    def _keeping(
        self, task: Task, own: TaskState | None, needs: Needs
    ) -> tuple[TaskState | None, list[Upstream]]:
        """What a task is that cannot start, and the upstreams that keep it from starting; those that failed
        count more than those that are still to come.
        """
        if own not in (None, TaskState.PLANNED):
            return None, []
        found = [(self._of_upstream(upstream, needs), upstream) for upstream in task.upstreams]
        for state in (TaskState.SKIPPED, TaskState.WAITING):
            if keeping := [upstream for each, upstream in found if each is state]:
                if state is TaskState.SKIPPED:
                    self._skipped.add(task.identity)
                return state, keeping
        return None, []

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
        state, keeping = self._keeping(task, None if attempt is None else attempt.state, needs)
        if state is None:
            return None
        words = _failed_words if state is TaskState.SKIPPED else _awaited_words
        return Progress(task, state, attempt, why=" and ".join(words(task, each, needs) for each in keeping))


def _failed_words(task: Task, upstream: Upstream, needs: Needs) -> str:
    if upstream.step != task.step:
        return f"the task of step {upstream.step} failed"
    what = "failed" if upstream.identity in needs.attempts else "was not made"
    return f"{upstream.name}, the task before it in its chain, {what}"


def _awaited_words(task: Task, upstream: Upstream, needs: Needs) -> str:
    what = "the last frame of " if upstream.identity in needs.frameless else ""
    return f"waits for {what}{upstream.name if upstream.step == task.step else f'step {upstream.step}'}"


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
        claims = reader.claims([task.output for task in batch])
        displaced = {
            task.identity for task in batch if claims.get(task.output, task.identity) != task.identity
        }
        videos = _in_place([task for task in batch if task.identity not in displaced], reader, base)
        others = [task for task in batch if task.identity not in videos]
        attempts = reader.latest([task.identity for task in others])
        needed = needs_of(others, reader)
        outputs = reader.outputs([task.identity for task in others])
        for identity, rows in _standing_all_the_same(attempts, outputs, reader, base).items():
            outputs[identity] = [*outputs.get(identity, []), *rows]
        stored = reader.stored(row for rows in outputs.values() for row in rows)
        owners = reader.owners([task.output for task in others])
        for task in batch:
            attempt = attempts.get(task.identity)
            blocked = chain.blocked(task, attempt, needed)
            if task.identity in videos:
                yield Progress(task, TaskState.DONE, None, video=videos[task.identity])
                continue
            is_displaced = task.identity in displaced
            edit = None
            if (attempt is None or attempt.state in _MAY_BE_SUBMITTED) and (
                is_displaced or task.output not in claims
            ):
                edit = _edit(task, owners.get(task.output), claims.get(task.output), reader, base)
            if blocked is not None:
                found = blocked
            elif attempt is None or attempt.state is TaskState.PLANNED:
                why = _why_new(task, attempt, None if attempt else reader.task_at(task.output))
                found = _new(task, attempt, folders, owners.get(task.output), reader, why)
            elif attempt.state is TaskState.DONE:
                rows = outputs.get(task.identity, [])
                found = _done(task, attempt, rows, base, stored, is_displaced=is_displaced)
                if found.state is TaskState.ABSENT and (hosts := _other_hosts(attempt.run_id, reader)):
                    why = f"made on {hosts}, and not here yet: fetched while the service has it"
                    found = replace(found, why=why)
            else:
                found = Progress(task, attempt.state, attempt)
            why = edit.change if edit is not None and found.state is TaskState.PLANNED else found.why
            yield replace(found, why=why, edit=edit, is_displaced=is_displaced)


def _standing_all_the_same(
    attempts: Mapping[str, AttemptRow],
    outputs: Mapping[str, list[OutputRow]],
    reader: LedgerReader,
    base: Path,
) -> dict[str, list[OutputRow]]:
    """The files of done tasks that stand here under paths which another machine has given to other takes, by
    identity, where nothing of the task is missing then (row 171). Each is read.
    """
    done = [attempt for attempt in attempts.values() if attempt.state is TaskState.DONE]
    if not reader.is_shared or not done:
        return {}
    found: dict[str, list[OutputRow]] = {}
    given_away = reader.given_away([attempt.identity for attempt in done])
    for attempt in done:
        rows = [row for row in given_away.get(attempt.identity, ()) if row.attempt_id == attempt.id]
        whole = {row.path: row for row in whole_files(rows, LocalFiles(base), base)}
        known = {(row.kind, row.ordinal) for row in (*outputs.get(attempt.identity, []), *whole.values())}
        if whole and all((row.kind, row.ordinal) in known for row in rows):
            found[attempt.identity] = [*whole.values()]
    return found


def _other_hosts(run_id: str, reader: LedgerReader) -> str:
    """The other machines that have worked on a run; empty where none has, as in a ledger of one machine."""
    if not reader.is_shared:
        return ""
    hosts = (host for host in reader.session_facts(run_id, HOST) if isinstance(host, str))
    return " or ".join(printable(host) for host in hosts if host != host_name())


def _in_place(tasks: Sequence[Task], reader: LedgerReader, base: Path) -> dict[str, str]:
    """Where the video is of each task that is done, has a file at its output, and has all of them as they
    were published, here or in a store; by its identity. A job of 100,000 is mostly that, and `_done` takes
    five times as long.
    """
    outputs = {task.identity: task.output for task in tasks}
    published = reader.published([*outputs])
    gone = {row.path for rows in published.values() for row in rows if not is_untouched(row, base)}
    stored = reader.stored(row for rows in published.values() for row in rows if row.path in gone)
    return {
        identity: rows[0].path
        for identity, rows in published.items()
        if rows[0].kind is RemoteFileKind.VIDEO
        and any(row.path == outputs[identity] for row in rows)
        and all(row.path not in gone or row.sha256 in stored for row in rows)
    }


def still_needed(tasks: Iterable[Task], reader: LedgerReader) -> frozenset[str]:
    """The identities whose files a task that has not ended begins with."""
    needed: set[str] = set()
    for batch in batches(task for task in tasks if any(each.uses for each in task.upstreams)):
        states = reader.states([task.identity for task in batch])
        for task in batch:
            if not states.get(task.identity, TaskState.PLANNED).is_terminal:
                needed.update(each.identity for each in task.upstreams if each.uses)
    return frozenset(needed)


_NEVER = "never submitted"
_MAY_BE_SUBMITTED = frozenset({TaskState.PLANNED, TaskState.FAILED, TaskState.EXPIRED, TaskState.WRITTEN_OFF})
"""Some of them only where a person asks for them again."""
_MOST_DIFFERENCES = 3
_OTHERWISE = "the API or the sample is another one"


def _new(
    task: Task,
    attempt: AttemptRow | None,
    folders: _Folders,
    owner: OutputRow | None,
    reader: LedgerReader | None,
    why: str,
) -> Progress:
    conflict, path = folders.trouble(task.output), folders.base / task.output
    if not conflict and os.path.lexists(path):
        # a take of another request is kept as a version; a link or a directory cannot be
        is_plain = path.is_file() and not path.is_symlink()
        is_take = owner is not None or (
            reader is not None and reader.is_awaited_at(task.output, task.identity)
        )
        if is_plain and is_take:
            return Progress(task, TaskState.PLANNED, attempt, why)
        conflict = "exists already, and nothing that may be paid for is overwritten"
    return Progress(task, TaskState.PLANNED, attempt, why, conflict=conflict)


def _edit(
    task: Task, owner: OutputRow | None, claim: str | None, reader: LedgerReader, base: Path
) -> Edit | None:
    """The edit that a submit of `task` is: its path has, or a task in flight will put there, the take of
    another request. Where nobody has to agree, it is none: in a new edition, or in a rehearsal at another
    server, what stands there is kept as a version all the same.
    """
    before = None
    if owner is not None and owner.identity != task.identity and stands([owner], base, reader):
        before = reader.task(owner.identity)
    elif claim is not None and (rival := reader.task(claim)) is not None:
        names, rows = names_of_take(task.output), reader.outputs([claim]).get(claim, [])
        has_take = stands([row for row in rows if names.fullmatch(row.path)], base, reader)
        before = rival if has_take or _is_on_its_way(rival, reader) else None
    if before is None or before.edition != task.edition:
        return None
    # of two servers on this machine, and no other is without https: nothing there is paid for
    origins = {task.origin, before.origin}
    if len(origins) == 2 and not any(origin.startswith("https:") for origin in origins):
        return None
    changed = islice(changes(task.request, before.request), _MOST_DIFFERENCES)
    return Edit(task, "; ".join(changed) or _OTHERWISE)


def _is_on_its_way(task: TaskRow, reader: LedgerReader) -> bool:
    attempt = reader.latest([task.identity]).get(task.identity)
    return attempt is not None and not attempt.state.is_terminal and attempt.state is not TaskState.PLANNED


def _done(
    task: Task,
    attempt: AttemptRow,
    outputs: list[OutputRow],
    base: Path,
    stored: Container[str],
    *,
    is_displaced: bool,
) -> Progress:
    """Done where each file of the newest take is whole, here or in a store (`stored` are digests); a changed
    file counts as missing.
    """
    here = [row for row in outputs if row.sha256 in stored or is_whole(row, base)]
    wanted = {(row.kind, row.ordinal) for row in outputs if row.attempt_id == attempt.id}
    found = {(row.kind, row.ordinal) for row in here if row.attempt_id == attempt.id}
    at_path = any(row.path == task.output for row in here)
    if wanted and wanted == found:
        is_in_place = not is_displaced and (at_path or _was_published(task, outputs))
        elsewhere = () if is_in_place else tuple(here)
        own = (row for row in here if row.attempt_id == attempt.id and row.kind is RemoteFileKind.VIDEO)
        first = min(own, key=lambda row: row.ordinal, default=None)
        video = first.path if first is not None else ""
        is_moved = is_displaced and video != task.output
        return Progress(
            task,
            TaskState.DONE,
            attempt,
            why=f"its take is kept at {video}, and `run` puts it back" if is_moved else "",
            elsewhere=elsewhere,
            video=video,
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
    """Whether this path had its video once, under a suffix where the name was taken. Its frame may have come
    there while the video lay under a version's name.
    """
    names = names_of_take(task.output)
    return any(row.kind is RemoteFileKind.VIDEO and names.fullmatch(row.path) for row in outputs)


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
    return _OTHERWISE
