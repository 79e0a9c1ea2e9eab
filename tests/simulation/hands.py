"""What a person types: `reconcile` for what is held, `retry`, `run --again`. The oracle is told of it."""

from __future__ import annotations

import contextlib
from typing import Any

import anyio

from runner.errors import UsageError
from runner.lane.by_hand import record_answer, unclear_tasks
from runner.ledger.ledger import Ledger
from runner.ledger.rows import TaskRow
from runner.ledger.states import Reason, Resolution, TaskState
from runner.plan.task import Task
from runner.run.only import Named
from runner.run.prepare import Resubmit
from tests.simulation.bench import EARLIER, Bench
from tests.simulation.schedule import Hand, Verb
from tests.simulation.service import START, Said


def asked(bench: Bench, verb: Verb, ledger: Ledger) -> Resubmit | None:
    """What a person asks to be submitted a second time; the oracle is told of it."""
    if verb not in (Verb.RETRY, Verb.AGAIN):
        return None
    latest = [one for one in ledger.read.in_state(*TaskState) if one.run_id != EARLIER]
    if verb is Verb.AGAIN:
        resubmit = Resubmit(Reason.AGAIN, Named((latest[0].identity[:12],))) if latest else None
    else:
        resubmit = Resubmit(Reason.RETRY)
    for attempt in latest:
        if resubmit is not None and resubmit.allows(attempt.state):
            task = ledger.read.task(attempt.identity)
            assert task is not None
            if verb is Verb.RETRY or attempt.identity == latest[0].identity:
                bench.consents[said_of(task)] += 1
    return resubmit


def said_of(task: TaskRow | Task) -> Said:
    """What the oracle tells requests apart by."""
    content: Any = task.request["content"]
    return task.origin, str(content[0]["text"]), task.seed, task.model


def settle_held(bench: Bench, hand: Hand) -> None:
    """`callsheet reconcile` for each held task, by somebody honest or rash."""
    if hand is Hand.NONE:
        return
    ledger = Ledger(bench.open_ledger())
    by_mark = {row.mark: row for row in bench.accepted() if row.at <= anyio.current_time()}
    for one in list(unclear_tasks(ledger.read)):
        if one.attempt.state is not TaskState.HELD:
            continue
        row = by_mark.get(one.attempt.body_sha256)
        answer, remote_id = Resolution.AGAIN, None
        if hand is Hand.HONEST and row is not None:
            answer, remote_id = Resolution.ADOPTED, row.id
        elif hand is Hand.HONEST and bench.random.random() < 0.5:
            answer = Resolution.WRITTEN_OFF
        with contextlib.suppress(UsageError), ledger.transaction():
            record_answer(ledger, one, answer, START + anyio.current_time(), remote_id=remote_id)
            if answer is not Resolution.ADOPTED:
                bench.given_up.add(one.attempt.id)
                bench.consents[said_of(one.task)] += answer is Resolution.AGAIN
        bench.trace.note("hand", task=one.task.name, answer=answer)
