"""Why a job ends as it does, and what it is told to stop: submitting only, or everything."""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import anyio

from runner.errors import CallsheetError, ExitCode, StateError
from runner.ledger.caps import Overshoot
from runner.ledger.leases import LaneHeldError
from runner.record.events import Observer
from runner.redact import Redactor

POST_GRACE = 10.0
"""Seconds that a POST under way gets to end once the run is told to stop."""

MOST_DEFECTS = 5
"""Sentences: one defect may strike every task of a plan."""

_FRAMES = 8
_LONGEST_TEXT = 300
_ANOTHER_TRY = frozenset({ExitCode.TRY_AGAIN, ExitCode.UNREACHABLE, ExitCode.REFUSED})


@dataclass(slots=True, eq=False)
class Control:
    """Collects why a job ends as it does; `conditions` become its exit code.

    `names_accounts`: it has several, so the reason for a lane's stop says whose it is.
    """

    observe: Observer
    redactor: Redactor
    max_failures: int | None = None
    names_accounts: bool = False
    peers: list[Control] = field(default_factory=list)
    """The jobs of this process, itself among them: what stops all is told to each."""
    conditions: set[ExitCode] = field(default_factory=set)
    passing: dict[ExitCode, str] = field(default_factory=dict)
    """The conditions that only kept something from being submitted, with their reasons."""
    when_stopped: list[Callable[[], None]] = field(default_factory=list)
    """Called once, when submitting stops."""
    when_ended: list[Callable[[], None]] = field(default_factory=list)
    """Called once, when all work of the job is told to end."""
    strangers: set[str] = field(default_factory=set)
    """Identities of tasks under way that are other jobs': their trouble is not this run's exit code."""
    _notes: list[str] = field(default_factory=list)
    _reasons: list[str] = field(default_factory=list)
    _is_submitting: bool = True
    _failures: int = 0
    _defects: int = 0
    work: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """All work of the job stands in here; `stop` leaves it."""
    _posts: set[anyio.CancelScope] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.peers.append(self)

    @property
    def may_submit(self) -> bool:
        return self._is_submitting

    @property
    def is_ending(self) -> bool:
        """Whether all work of the job was told to end."""
        return self.work.cancel_called

    @property
    def reasons(self) -> tuple[str, ...]:
        """Sentences for the person who reads the end of the run."""
        return tuple(self._reasons)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about tasks of other jobs, which the exit code does not speak of."""
        return tuple(self._notes)

    def condition(self, code: ExitCode, reason: str = "", *, identity: str = "") -> None:
        """Something that the exit code tells, and that stops nothing.

        `identity` is the task's that it is about: of another job's task only a note is made.
        """
        if identity in self.strangers:
            if reason and reason not in self._notes:
                self._notes.append(reason)
            return
        if reason != self.passing.get(code):
            self.passing.pop(code, None)
        self.conditions.add(code)
        if reason and reason not in self._reasons:
            self._reasons.append(reason)

    def note(self, reason: str) -> None:
        """Something that a person should read, and that the exit code does not tell."""
        if reason not in self._reasons:
            self._reasons.append(reason)

    def forgive(self) -> None:
        """Everything is done all the same: what only asked for another try means nothing any more."""
        self.conditions -= self.passing.keys()
        self._reasons = [reason for reason in self._reasons if reason not in self.passing.values()]

    def stop_submitting(self, code: ExitCode, reason: str) -> None:
        """No new POST in any lane; what is in flight is still collected."""
        self._note_stop(code, reason)
        if self._is_submitting:
            self._is_submitting = False
            for callback in self.when_stopped:
                callback()
            self.observe("run.submitting_stopped", {"reason": reason, "exit_code": int(code)})

    def lane_stopped(self, account: str, code: ExitCode, reason: str, *, is_first: bool) -> None:
        """No new POST in a lane where this job has tasks; its other lanes go on."""
        self._note_stop(code, reason)
        if is_first:
            told = {"account": account, "reason": reason, "exit_code": int(code)}
            self.observe("run.submitting_stopped", told)

    def _note_stop(self, code: ExitCode, reason: str) -> None:
        if code in _ANOTHER_TRY and code not in self.conditions:
            self.passing.setdefault(code, reason)
        self.condition(code, reason)

    def refuse(self, error: CallsheetError) -> None:
        """No new POST, for the reason and with the exit code of `error`. The ledger's stop all jobs."""
        for control in self.peers if isinstance(error, StateError) else (self,):
            control.stop_submitting(error.exit_code, str(error))

    def exceeded(self, account: str, passed: Iterable[Overshoot]) -> None:
        """What this account has paid for passes these budgets: told, for it cannot be refused."""
        for each in passed:
            self.note(each.words)
            told = {"cap": each.cap.path, "reason": each.words, "account": account}
            self.observe("budget.exceeded", told)

    def count_failure(self, identity: str = "") -> None:
        """A task of this job failed at the service; after `max_failures` of them, submitting stops."""
        if identity in self.strangers:
            return
        self._failures += 1
        if self.max_failures is not None and self._failures >= self.max_failures:
            self.stop_submitting(
                ExitCode.TASK_FAILED,
                f"{self._failures} tasks failed (run.max_failures); nothing more is sent",
            )

    def defect(self, name: str, error: Exception) -> None:
        """Something of ours broke in the work on `name`: told and logged, and everything else goes on."""
        # file, line and function, without values of variables: they may hold a key
        frames = [
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES:]
        ]
        what = f"{type(error).__name__}: {self.redactor.foreign_text(str(error))[:_LONGEST_TEXT]}"
        where = f" (at {frames[-1]})" if frames else ""
        self._defects += 1
        if self._defects <= MOST_DEFECTS:
            self.condition(
                ExitCode.BUG,
                f"{name}: {what}{where}; all else went on; hint: this is a defect of callsheet: send us this"
                " line, and those of `task.defect` in events.jsonl",
            )
        else:
            self.condition(ExitCode.BUG, "more such defects are in events.jsonl, as `task.defect`")
        self.observe("task.defect", {"task": name, "error": what, "frames": frames})

    @contextmanager
    def contained(self, name: str, identity: str = "") -> Iterator[None]:
        """Whatever the work on `name` raises in here ends that work alone; a cancellation passes."""
        try:
            yield
        except LaneHeldError as error:  # its lane is closed, which is told there
            self.left(name, str(error), identity)
        except CallsheetError as error:
            self.refuse(error)
            self.left(name, str(error), identity)
        except Exception as error:  # the one place where a defect of ours becomes a sentence
            self.defect(name, error)

    def left(self, name: str, reason: str, identity: str) -> None:
        """Tells that a task is left as it is, for a later session; `identity` is empty for other work."""
        self.observe(
            "task.left", {"task": name} | ({"identity": identity} if identity else {}) | {"reason": reason}
        )

    def stop(self, code: ExitCode, reason: str) -> None:
        """Ends all jobs of the process now, with their state kept."""
        for control in self.peers:
            control.end(code, reason)

    def end(self, code: ExitCode, reason: str) -> None:
        """Ends this job now, with its state kept. A POST under way gets a bounded time."""
        self.condition(code, reason)
        if not self.work.cancel_called:
            self.observe("run.stopping", {"reason": reason, "exit_code": int(code)})
        self.stop_submitting(code, reason)
        deadline = anyio.current_time() + POST_GRACE
        for scope in self._posts:
            scope.deadline = min(scope.deadline, deadline)
        self.work.cancel()
        while self.when_ended:
            self.when_ended.pop()()

    def leave(self, code: ExitCode) -> NoReturn:
        """Ends the process at once. That is safe: what a kill can interrupt is durable already."""
        try:
            for control in self.peers:
                control.observe("run.left_at_once", {"exit_code": int(code)})
        finally:
            os._exit(code)

    @contextmanager
    def shielded_post(self) -> Iterator[anyio.CancelScope]:
        """A POST with the commits around it: a stop does not cut it, but bounds it."""
        deadline = anyio.current_time() + POST_GRACE if self.work.cancel_called else math.inf
        with anyio.CancelScope(shield=True, deadline=deadline) as scope:
            self._posts.add(scope)
            try:
                yield scope
            finally:
                self._posts.discard(scope)
