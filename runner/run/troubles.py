"""The tasks of a plan that a person has to hear of: what failed, expired or is held, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runner.http.verdicts import Verdict
from runner.ledger.columns import batches
from runner.ledger.read import LedgerReader
from runner.ledger.rows import GIVEN_UP, GONE, AttemptRow
from runner.ledger.states import TaskState
from runner.plan.plan import Plan
from runner.plan.task import Task
from runner.providers.failures import Cause, cause_of
from runner.providers.provider import Provider
from runner.redact import Redactor

_TOLD = frozenset({TaskState.FAILED, TaskState.EXPIRED, TaskState.HELD})


@dataclass(frozen=True, slots=True)
class Trouble:
    """A task that failed, expired or is held. `code` and `message` are the service's, or ours where it gave
    none; `cause` says what helps.
    """

    name: str
    identity: str
    state: TaskState
    code: str
    message: str
    cause: Cause


def troubles(
    plan: Plan, reader: LedgerReader, counts: Mapping[TaskState, int], redactor: Redactor
) -> tuple[Trouble, ...]:
    """In plan order. The ledger is asked only where `counts` hold such tasks."""
    if not any(counts.get(state) for state in _TOLD):
        return ()
    return tuple(_find(plan, reader, redactor))


def _find(plan: Plan, reader: LedgerReader, redactor: Redactor) -> Iterator[Trouble]:
    for tasks in batches(plan.tasks):
        states = reader.states([task.identity for task in tasks])
        told = [task for task in tasks if states.get(task.identity) in _TOLD]
        attempts = reader.latest([task.identity for task in told])
        for task in told:
            provider = plan.job.accounts[task.account].provider
            yield _trouble(task, attempts[task.identity], provider, redactor)


def _trouble(task: Task, attempt: AttemptRow, provider: Provider, redactor: Redactor) -> Trouble:
    code, message = attempt.error_code, attempt.error_message
    if attempt.state is TaskState.HELD:
        grounds, evidence = attempt.resolution_evidence, attempt.evidence
        code, message = "", (grounds.reason if grounds else "") or (evidence.reason if evidence else "")
    clean = redactor.foreign_text
    return Trouble(
        task.name, task.identity, attempt.state, clean(code), clean(message), _cause(attempt, provider)
    )


def _cause(attempt: AttemptRow, provider: Provider) -> Cause:
    if attempt.error_code in (GONE, GIVEN_UP):
        return Cause.LOST
    upstream = attempt.evidence.provider_code if attempt.evidence is not None else ""
    for code in (upstream, attempt.error_code):
        if code and (cause := cause_of(provider.causes, code)) is not None:
            return cause
    if attempt.verdict is Verdict.REJECTED:
        return Cause.REQUEST
    # nobody rendered it in time
    return Cause.PASSING if attempt.state is TaskState.EXPIRED else Cause.UNKNOWN
