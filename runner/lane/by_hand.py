"""Settling an unclear submit by hand: what `reconcile` shows, and the answers to it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runner.errors import UsageError
from runner.lane.evidence import Beliefs, Unclear, contradicts
from runner.ledger.ledger import Ledger, RemoteIdTakenError
from runner.ledger.read import LedgerReader
from runner.ledger.rows import GIVEN_UP, AttemptRow, Grounds, TaskRow
from runner.ledger.states import IN_FLIGHT, UNCLEAR, Basis, Resolution, TaskState
from runner.plan.words import TaskWords
from runner.providers.base import Generation
from runner.providers.provider import Provider


@dataclass(frozen=True, slots=True)
class UnclearTask:
    """One line of `reconcile`."""

    task: TaskRow
    attempt: AttemptRow

    @property
    def state_word(self) -> str:
        """Our word for how it stands: `ambiguous`, `held`, or `absent` and `again` for what still counts
        against budgets although another submit may have followed.
        """
        is_followed = self.attempt.state is TaskState.PLANNED
        return str(self.attempt.resolution if is_followed else self.attempt.state)

    @property
    def evidence(self) -> str:
        """Why it is unclear, and why nothing settled it, in words."""
        told = (self.attempt.evidence, self.attempt.resolution_evidence)
        return "; ".join(one.reason for one in told if one is not None and one.reason)

    def begins_with(self, digits: str) -> bool:
        """Whether they are the first, six or more, of its identity or of its attempt."""
        whole = (self.task.identity, self.attempt.id)
        return len(digits) >= 6 and any(one.startswith(digits) for one in whole)


def unclear_tasks(reader: LedgerReader) -> Iterator[UnclearTask]:
    """All that is unclear, oldest first: ambiguous (the next run looks again) and held."""
    return _tasks(reader, reader.in_state(*UNCLEAR))


def absent_tasks(reader: LedgerReader) -> Iterator[UnclearTask]:
    """Submits taken for never accepted, by the list or by a person, that still count against budgets."""
    return _tasks(reader, reader.counted_absences())


def _tasks(reader: LedgerReader, attempts: Iterable[AttemptRow]) -> Iterator[UnclearTask]:
    for attempt in attempts:
        task = reader.task(attempt.identity)
        assert task is not None
        yield UnclearTask(task, attempt)


def find_unclear(reader: LedgerReader, words: TaskWords, answer: Resolution | None = None) -> UnclearTask:
    """The task of that name, output, identity or attempt (first digits will do) that `answer` can settle.

    Raises UsageError.
    """
    found = _named((absent_tasks if answer is Resolution.NOT_BILLED else unclear_tasks)(reader), words)
    if len(found) == 1:
        return found[0]
    if found:
        digits = ", ".join(one.attempt.id[:12] for one in found)
        raise UsageError(
            f"{words.typed}: {len(found)} unclear submits have this name",
            hint=f"give the attempt instead: {digits}",
        )
    raise UsageError(f"{words.typed}: no unclear task", hint="`callsheet reconcile` lists them")


def find_in_flight(reader: LedgerReader, words: TaskWords) -> tuple[TaskRow, AttemptRow]:
    """The accepted task of that name, output, service's id, identity or attempt (first digits will do).

    Raises UsageError.
    """
    found = _named(_tasks(reader, reader.in_state(*IN_FLIGHT)), words)
    if len(found) == 1:
        return found[0].task, found[0].attempt
    if found:
        raise UsageError(
            f"{words.typed}: {len(found)} tasks in flight have this name", hint="give the service's id of one"
        )
    raise UsageError(
        f"{words.typed}: no task in flight",
        hint=f"it is unclear: callsheet reconcile {shlex.quote(words.typed)} --write-off"
        if _named(unclear_tasks(reader), words)
        else "`callsheet status` lists the tasks of the last run",
    )


def _named(tasks: Iterable[UnclearTask], words: TaskWords) -> list[UnclearTask]:
    """Those that are meant; where none is, those whose path ends in these words."""
    among = list(tasks)
    meant = [
        one
        for one in among
        if one.begins_with(words.typed)
        or words.typed == one.attempt.remote_id
        or words.mean(one.task.name, one.task.output)
    ]
    return meant or [one for one in among if words.may_mean(one.task.output)]


def give_up(ledger: Ledger, attempt: AttemptRow, at: float) -> None:
    """Ends an accepted attempt by a person's word, in the caller's transaction: nothing fetches it then."""
    said = f"given up by a person while the service had it as {attempt.remote_id}; it may be billed"
    ledger.fail(attempt.id, GIVEN_UP, said, at, expired=True)


def check_adoptable(
    reader: LedgerReader, one: UnclearTask, provider: Provider, generation: Generation
) -> str:
    """Why `generation` is hardly this task's, in words; empty where nothing speaks against it.

    Raises UsageError where another task holds it.
    """
    holder = reader.holder(one.attempt.origin, generation.id)
    if holder is not None:
        raise UsageError(f"{generation.id} belongs to another task already ({holder.identity[:12]})")
    echoes = reader.echoes(one.attempt.origin, one.attempt.key_hash, 0.0, provider.own_tags)
    belief = Beliefs.of(one.attempt.model, echoes)
    return contradicts(Unclear(one.attempt, one.task.name, one.task.request, belief, provider), generation)


def record_answer(
    ledger: Ledger, one: UnclearTask, answer: Resolution, at: float, *, remote_id: str | None = None
) -> None:
    """Makes a person's answer durable, in the caller's transaction. Raises UsageError for a taken id."""
    grounds = Grounds.of(Basis.PERSON, was=one.state_word)
    if answer is Resolution.NOT_BILLED:
        ledger.settle_absent(one.attempt.id, Resolution.NOT_BILLED, grounds)
        return
    try:
        ledger.resolve(one.attempt.id, answer, grounds, at, remote_id=remote_id)
    except RemoteIdTakenError as error:
        raise UsageError(f"{remote_id} belongs to another task already") from error
