"""A run from its first line to its last; read it top to bottom."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping

from runner.errors import ExitCode
from runner.job.model import RunPolicy
from runner.json_value import JsonValue
from runner.lane.control import Control
from runner.ledger.states import AWAITED, TaskState
from runner.run.finish import Lost, RunResult, begin, conclude, tell_beginning, tell_end
from runner.run.followed import following, left_at_the_service
from runner.run.prepare import Prepared
from runner.run.scheduler import Scheduler
from runner.run.session import Session, Tools
from runner.run.stop import signals_heard, stoppable


async def run_prepared(
    prepared: Prepared,
    tools: Tools,
    *,
    facts: Mapping[str, JsonValue],
    deadline: float | None = None,
) -> RunResult:
    """Brings a prepared run to done, or as far as it gets, within `deadline` seconds and the job's own.

    What the network, the service and a task do is in the result, never raised. Raises StateError
    where the ledger or the manifest cannot be written.
    """
    run, policy, lost = prepared.run, prepared.plan.job.run, Lost()
    limits = [each for each in (deadline, policy.deadline) if each is not None]
    number = await tools.commits.write(lambda ledger: begin(ledger, prepared, tools.machine.wall(), facts))
    tell_beginning(tools.observe, prepared)
    control = Control(tools.observe, tools.redactor, policy.max_failures, tools.machine.wall)
    session = Session(tools, control, policy, is_run=True)
    async with signals_heard(control):
        async with stoppable(control, min(limits, default=None)), session.at_work():
            left = await left_at_the_service(session)
            others = frozenset(attempt.identity for attempt in left if attempt.run_id != prepared.run.id)
            control.strangers = (
                others.difference(task.identity for task in prepared.plan.tasks) if others else others
            )
            async with following(session, left) as followed:
                await Scheduler(session, prepared, followed, lost).start()
        await tools.commits.flush()
        ended = await tools.machine.threads.run(
            functools.partial(
                conclude,
                tools.commits.ledger,
                tools.project,
                prepared.plan,
                run_id=run.id,
                session=number,
                at=tools.machine.wall(),
                redactor=tools.redactor,
                conditions=frozenset(control.conditions),
                passing=frozenset(control.passing),
                lost=lost,
            )
        )
    if ended.is_finished:
        control.forgive()
    drift = await tools.commits.read(lambda reader: reader.drift(run.id))
    tell_end(tools.observe, run.id, drift, ended.exit_code, control.reasons)
    return RunResult(
        ended.exit_code,
        control.reasons,
        ended.counts,
        run.id,
        ended.manifest,
        ended.waits,
        control.notes,
        ended.troubles,
        ended.conditions,
    )


async def collect_all(
    tools: Tools,
    policy: RunPolicy,
    *,
    deadline: float | None = None,
    attempts: frozenset[str] | None = None,
) -> RunResult:
    """Polls and downloads all that is in flight, whatever run it is from; never submits.

    `attempts` are the ids of those that this key is for, and that the exit code speaks of; None is all of
    them.
    """
    await tools.commits.write(lambda ledger: ledger.recover(tools.machine.wall()))
    control = Control(tools.observe, tools.redactor, wall=tools.machine.wall)
    session = Session(tools, control, policy, is_run=False)
    tools.observe("collect.started", {})
    async with signals_heard(control):
        async with stoppable(control, deadline), session.at_work():
            left = await left_at_the_service(session, attempts)
            async with following(session, left):
                pass
        await tools.commits.flush()
    read = tools.commits.read
    counts = Counter(await read(lambda reader: reader.count_states(tools.origin, tools.provider.name)))
    spoken_of = counts
    if attempts is not None:
        spoken_of = Counter(await read(lambda reader: reader.states_of(attempts)))
    conditions = set(control.conditions)
    if any(spoken_of[state] for state in AWAITED):
        conditions.add(ExitCode.TRY_AGAIN)
    if spoken_of[TaskState.HELD]:
        conditions.add(ExitCode.PERSON_NEEDED)
    exit_code = ExitCode.first(conditions)
    tools.observe("collect.finished", {"exit_code": int(exit_code), "reasons": control.reasons})
    return RunResult(exit_code, control.reasons, counts)
