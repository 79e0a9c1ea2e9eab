"""An accepted attempt, and an attempt that may or may not have been accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.json_value import JsonValue
from runner.lane.machine import Machine
from runner.ledger.read import LedgerReader
from runner.ledger.rows import Kind
from runner.ledger.states import TaskState
from runner.providers.base import RemoteTask


@dataclass(frozen=True, slots=True)
class Paid:
    """An accepted attempt: what has to be fetched.

    `since` is when it was accepted by this process's monotonic clock, which the wall clock's jumps
    do not move (row 38); for an attempt of an earlier process it lies before this one began.
    """

    attempt_id: str
    identity: str
    name: str
    output: str
    remote_id: str
    key_hash: str
    since: float
    server_time: float
    """The service's own time at the intent, in Unix seconds."""
    accepted_at: float
    """By our wall clock, in Unix seconds."""
    model: str
    kind: Kind
    tag: int | None
    is_taken_over: bool
    """Accepted in an earlier session: its webhook may have called while nobody listened."""
    is_done: bool
    is_collecting: bool
    """The service has shown its result before."""
    handle: Mapping[str, str] = field(default_factory=dict, repr=False)
    request: Mapping[str, JsonValue] = field(default_factory=dict, repr=False)

    @property
    def words(self) -> dict[str, str]:
        """What its events begin with."""
        return {"task": self.name, "identity": self.identity, "attempt": self.attempt_id}

    @property
    def remote(self) -> RemoteTask:
        return RemoteTask(self.remote_id, self.model, self.handle)


@dataclass(frozen=True, slots=True)
class InDoubt:
    """An attempt whose POST may or may not have been accepted."""

    attempt_id: str


def paid_of(
    reader: LedgerReader, attempt_id: str, machine: Machine, now: float, *, is_new: bool = False
) -> Paid:
    """An attempt that the service has accepted, and the facts that its result is fetched by.

    `now` is this session's monotonic clock, which has just seen the acceptance where it `is_new`.
    """
    attempt = reader.attempt(attempt_id)
    assert attempt is not None
    task = reader.task(attempt.identity)
    assert task is not None
    assert attempt.remote_id is not None
    accepted_at = attempt.accepted_at or attempt.intended_at
    return Paid(
        attempt_id=attempt.id,
        identity=attempt.identity,
        name=task.name,
        output=task.output,
        remote_id=attempt.remote_id,
        key_hash=attempt.key_hash,
        since=now if is_new else now - max(0.0, machine.wall() - accepted_at),
        server_time=attempt.server_time,
        accepted_at=accepted_at,
        model=attempt.model,
        kind=Kind.of(attempt.origin, task.request),
        tag=attempt.tag,
        is_taken_over=not is_new,
        is_done=attempt.state is TaskState.DONE,
        is_collecting=attempt.state is not TaskState.SUBMITTED,
        handle=attempt.handle,
        request=task.request,
    )
