"""A lane at the sandbox with a plan to submit, and no run around it: each part is called by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from runner.job.load import LoadOptions, load_job
from runner.lane.paid import InDoubt, Paid
from runner.lane.submit import Submission, Submitter
from runner.ledger.caps import Caps
from runner.ledger.ledger import Ledger
from runner.ledger.rows import AttemptRow
from runner.ledger.states import Reason
from runner.plan.task import Task
from runner.providers.account import Account
from runner.run.prepare import Prepared, prepare_run
from runner.run.run import Crew
from runner.run.task.body import make_body
from runner.run.task.session import JobWork, Session
from tests.support.run_bench import RunBench


@dataclass(frozen=True, slots=True)
class LaneBench:
    """`session` has the lane, the scanner's users and the control that a run would have."""

    job: JobWork
    session: Session
    prepared: Prepared
    submitter: Submitter

    @property
    def ledger(self) -> Ledger:
        return self.session.tools.commits.ledger

    def task(self, index: int) -> Task:
        return self.prepared.plan.tasks[index]

    def latest(self, index: int) -> AttemptRow:
        """The newest attempt of a task that has one."""
        identity = self.task(index).identity
        return self.ledger.read.latest([identity])[identity]

    async def submit(
        self, index: int, *, latest: AttemptRow | None = None, reason: Reason = Reason.RUN
    ) -> Paid | InDoubt | None:
        task = self.task(index)
        body = partial(make_body, self.session, task)
        return await Submission(self.submitter, task, body, latest, reason).submit()


@asynccontextmanager
async def open_lane(bench: RunBench, text: str, *, caps: Caps | None = None) -> AsyncIterator[LaneBench]:
    """The lane of a job, its run begun in the ledger; `caps` stand in for those of the job."""
    job = load_job(bench.write_job(text), root=bench.root.resolve(), options=LoadOptions(environ={}))
    with bench.ledger() as ledger:
        async with bench.order(ledger) as order:
            tools = order.tools
            prepared = prepare_run(
                job,
                project=bench.project,
                reader=ledger.read,
                origins={job.provider.name: bench.url},
                date=None,
                run=None,
                now=tools.machine.wall(),
                source=tools.machine.random,
            )
            with ledger.transaction():
                ledger.begin_run(prepared.run)
            crew = Crew([replace(order, prepared=prepared)])
            (session,) = crew.jobs[0].work.sessions.values()
            session.lane.gate.join(session.control)
            submitter = Submitter(
                session.lane,
                session.control,
                session.tools.observe,
                Account(job.provider.name, job.provider),
                prepared.run.id,
                job.file,
                caps or prepared.caps,
            )
            async with crew.at_work():
                assert await session.lane.answers(submitter.may_submit)
                yield LaneBench(crew.jobs[0].work, session, prepared, submitter)
