"""Our own state of a task; the service's is `providers.base.GenerationStatus`."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class TaskState(enum.StrEnum):
    """Where a task stands.

    `planned`, `waiting` and `absent` are views: no row says them but `planned`, which is also the
    state of an attempt whose POST is proved not to have been accepted.
    """

    PLANNED = "planned"
    WAITING = "waiting"
    """For a step before it, or for a person's pick."""
    INTENDED = "intended"
    """A POST may be on its way: what a kill leaves here is ambiguous."""
    SUBMITTED = "submitted"
    AMBIGUOUS = "ambiguous"
    HELD = "held"
    """Unclear, and only a person can say what became of it."""
    WRITTEN_OFF = "written_off"
    COLLECTING = "collecting"
    """The service has the result; the file is not here yet."""
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    SKIPPED = "skipped"
    ABSENT = "absent"
    """Done and paid, but the file is gone from here and from the service."""

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL

    @property
    def is_in_flight(self) -> bool:
        """Accepted, and its result is not here yet: polled and downloaded, whatever run it is from."""
        return self in IN_FLIGHT

    @property
    def is_unclear(self) -> bool:
        return self in (TaskState.AMBIGUOUS, TaskState.HELD)


class Words(NamedTuple):
    """A state as people meet it: in a list of tasks, as JSON too, and on the contact sheet."""

    listed: str
    shown: str


STATE_WORDS: Mapping[TaskState, Words] = {
    TaskState.DONE: Words("done", "done"),
    TaskState.FAILED: Words("failed", "failed"),
    TaskState.EXPIRED: Words("expired", "expired"),
    TaskState.WRITTEN_OFF: Words("written_off", "written off"),
    TaskState.SKIPPED: Words("skipped", "skipped"),
    TaskState.ABSENT: Words("absent", "absent"),
    TaskState.HELD: Words("held", "held"),
    TaskState.AMBIGUOUS: Words("ambiguous", "unclear"),
    TaskState.INTENDED: Words("ambiguous", "unclear"),
    TaskState.COLLECTING: Words("in flight", "in flight"),
    TaskState.SUBMITTED: Words("in flight", "in flight"),
    TaskState.WAITING: Words("waiting", "waiting"),
    TaskState.PLANNED: Words("new", "new"),
}
"""In the order in which the contact sheet offers them. States that are one to a person share a word."""


class Reason(enum.StrEnum):
    """Why an attempt was made."""

    RUN = "run"
    RETRY = "retry"
    """A person had what failed submitted once more."""
    AGAIN = "again"
    """A person asked for a new take."""
    RECONCILE = "reconcile"
    """The attempt before it was never accepted."""


class Resolution(enum.StrEnum):
    """How it ended that nobody knew what became of a POST."""

    ADOPTED = "adopted"
    """The service's list shows it."""
    ABSENT = "absent"
    """The list excludes it: submitted again once, and still counted against caps."""
    CONFIRMED = "confirmed"
    """The list excludes it a day later too: no longer counted."""
    FOUND = "found"
    """It was given up or taken for absent, and the service has it after all."""
    HELD = "held"
    WRITTEN_OFF = "written_off"
    AGAIN = "again"
    """A person had it submitted again."""
    NOT_BILLED = "not_billed"
    """A person says that what was absent, or sent again, was not billed."""


class Basis(enum.StrEnum):
    """By which evidence an attempt was resolved."""

    TAG = "tag"
    """A generation in the service's list carries the attempt's tag."""
    SEED = "seed"
    """A generation in the list carries its seed, and no other attempt can be its owner."""
    INPUT = "input"
    """A generation in the list was made from the same input, and no other attempt can be its owner."""
    LIST = "list"
    """The list excludes it."""
    PERSON = "person"
    NONE = "none"
    """Nothing tells: it is held."""


IN_FLIGHT = (TaskState.SUBMITTED, TaskState.COLLECTING)

OPEN = (
    TaskState.INTENDED,
    TaskState.SUBMITTED,
    TaskState.AMBIGUOUS,
    TaskState.HELD,
    TaskState.COLLECTING,
)
"""States of an attempt that has not ended."""

AWAITED = (TaskState.SUBMITTED, TaskState.COLLECTING, TaskState.AMBIGUOUS)
"""Open states that another look at the service may change."""

MAYBE_LISTED = (TaskState.INTENDED, TaskState.AMBIGUOUS, TaskState.HELD, TaskState.WRITTEN_OFF)
"""States of an attempt without a remote id whose row may still turn up in the service's list."""

UNCLEAR = (TaskState.INTENDED, TaskState.AMBIGUOUS, TaskState.HELD)
"""Nobody knows yet whether the service has accepted it."""

TAKEN_FOR_ABSENT = (Resolution.AGAIN, Resolution.ABSENT, Resolution.CONFIRMED, Resolution.NOT_BILLED)
"""Another POST may have followed, so the row of this one is still looked for."""

COUNTED_ABSENCES = (Resolution.AGAIN, Resolution.ABSENT)
"""Those that still count against caps."""

_TERMINAL = frozenset(TaskState) - {*OPEN, TaskState.PLANNED, TaskState.WAITING}

TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    TaskState.PLANNED: frozenset({TaskState.INTENDED, TaskState.SUBMITTED}),
    TaskState.INTENDED: frozenset(
        {TaskState.PLANNED, TaskState.SUBMITTED, TaskState.AMBIGUOUS, TaskState.FAILED, TaskState.HELD}
    ),
    TaskState.AMBIGUOUS: frozenset(
        {TaskState.PLANNED, TaskState.SUBMITTED, TaskState.HELD, TaskState.WRITTEN_OFF}
    ),
    TaskState.HELD: frozenset({TaskState.PLANNED, TaskState.SUBMITTED, TaskState.WRITTEN_OFF}),
    TaskState.SUBMITTED: frozenset({TaskState.COLLECTING, TaskState.FAILED, TaskState.EXPIRED}),
    TaskState.COLLECTING: frozenset({TaskState.DONE, TaskState.EXPIRED}),
    TaskState.WRITTEN_OFF: frozenset({TaskState.SUBMITTED}),
    TaskState.EXPIRED: frozenset({TaskState.SUBMITTED}),
}
"""What may follow what, for an attempt. Nothing follows `done` and `failed`; what was taken for absent
(planned), written off or given up (expired) becomes submitted where the service has it after all."""


def sql_list(words: Iterable[enum.StrEnum]) -> str:
    """`('held', 'done')`: for IN in a query, and for an index only in the order that the index has."""
    return "(" + ", ".join(f"'{word}'" for word in words) + ")"


def sql_among(states: Iterable[TaskState]) -> str:
    """That an attempt is in one of these states, in words by which the index `attempts_open` is used."""
    found = [*states]
    among = f"state IN {sql_list(found)}"
    return among if TaskState.DONE in found else f"(state <> '{TaskState.DONE}' AND {among})"
