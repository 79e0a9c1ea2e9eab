"""Settling an unclear submit by hand: what `reconcile` shows, and the answers to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runner.errors import UsageError
from runner.lane.evidence import Beliefs, Unclear, contradicts
from runner.ledger.ledger import Ledger, RemoteIdTakenError
from runner.ledger.read import LedgerReader
from runner.ledger.rows import GIVEN_UP, AttemptRow, Grounds, TaskRow
from runner.ledger.states import IN_FLIGHT, UNCLEAR, Basis, Resolution, TaskState
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


def find_unclear(reader: LedgerReader, name: str, answer: Resolution | None = None) -> UnclearTask:
    """The task of that name, identity or attempt (first digits will do) that `answer` can settle.

    Raises UsageError.
    """
    found = [
        one
        for one in (absent_tasks if answer is Resolution.NOT_BILLED else unclear_tasks)(reader)
        if one.task.name == name or one.begins_with(name)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        digits = ", ".join(one.attempt.id[:12] for one in found)
        raise UsageError(
            f"{name}: {len(found)} unclear submits have this name",
            hint=f"give the attempt instead: {digits}",
        )
    raise UsageError(f"{name}: no unclear task", hint="`callsheet reconcile` lists them")


def find_in_flight(reader: LedgerReader, name: str) -> tuple[TaskRow, AttemptRow]:
    """The accepted task of that name, output, service's id, identity or attempt (first digits will do).

    Raises UsageError.
    """
    found = [
        (one.task, one.attempt)
        for one in _tasks(reader, reader.in_state(*IN_FLIGHT))
        if one.begins_with(name) or name in (one.task.name, one.task.output, one.attempt.remote_id)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{name}: {len(found)} tasks in flight have this name", hint="give the service's id of one"
        )
    unclear = any(one.task.name == name for one in unclear_tasks(reader))
    raise UsageError(
        f"{name}: no task in flight",
        hint=f"it is unclear: callsheet reconcile {name} --write-off"
        if unclear
        else "`callsheet status` lists the tasks of the last run",
    )


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
    belief = Beliefs.of(one.attempt.model, reader.echoes(one.attempt.origin, one.attempt.key_hash, 0.0))
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
