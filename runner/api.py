"""The end of the public API: from a plan to its videos, without the command line around it."""

from __future__ import annotations

import logging
import os

import anyio.to_thread

from runner.assemble import carry_out
from runner.desk.report import make_report
from runner.errors import CallsheetError, RefusedError
from runner.http.access import ApiKey
from runner.job.environment import read_env
from runner.lane.costs import question
from runner.lane.machine import Machine
from runner.plan.plan import Plan
from runner.project import find_project
from runner.providers.place import Place
from runner.record.events import Observer
from runner.record.facts import KEY_VARIABLE, session_facts
from runner.redact import Redactor
from runner.run.finish import RunResult
from runner.run.lock import locked_ledger
from runner.run.prepare import prepare_run

_LOG = logging.getLogger("callsheet")

PAGE_SECONDS = 30.0
"""For the pictures of the contact sheet; `callsheet report` makes those that are missing then."""


async def run_plan(
    plan: Plan,
    *,
    api_key: str | None = None,
    observe: Observer = lambda _name, _fields: None,
    deadline: float | None = None,
    is_agreed: bool = False,
    accept_edits: bool = False,
) -> RunResult:
    """Brings a plan to done, or as far as it gets: what `callsheet run` does. asyncio or trio.

    It is this plan that runs, with its tasks, identities and date, whatever became of the job file since.
    Requests go to the plan's `origin`, and its job's root must be a project. The unfinished run of the
    same tasks goes on; what is done is never submitted again. `api_key` is looked for in the environment
    and the root's `.env` where it is not given; `observe` hears each event
    (docs/reference/events.md) in the event loop; `deadline` is seconds from now; `is_agreed` agrees to
    what goes above `budget.confirm_usd`; `accept_edits` submits tasks whose path holds a take of another
    request, which is kept as a version. Without it they are left (exit code 3), unless `run.on_edit` is
    `version`.

    What the network, the service and a task do is in the result, never raised. Raises NoProjectError,
    KeyRefusedError, BusyError (another process is at work), RefusedError (budget, price or
    confirmation), JobError (an output path would overwrite something) and StateError; nothing was
    sent then, except before a StateError in the middle; the next run goes on from there.
    """
    job, machine = plan.job, Machine()
    project = find_project(job.root, root=job.root)
    place = Place.at(job.provider, project, plan.origin, trust_env=job.project_file.trust_env)
    if api_key is None:
        key = place.find_key(read_env(project.root, os.environ), variable=job.api_key_env)
    else:
        key = ApiKey.load(api_key, source="api_key")
    with locked_ledger(place.project, wait=0.0) as ledger:
        prepared = prepare_run(
            job,
            project=place.project,
            reader=ledger.read,
            origin=place.origin,
            now=machine.wall(),
            source=machine.random,
            plan=plan,
            agree=lambda _edits: accept_edits,
        )
        if not is_agreed and (asked := question(job, prepared.new)):
            raise RefusedError(f"{asked}; nothing was sent", hint="give is_agreed=True")
        result = await carry_out(
            prepared,
            place,
            key,
            ledger,
            facts=session_facts(["run_plan"], job.root / job.file, job.root, Redactor([key.value]))
            | ({KEY_VARIABLE: job.api_key_env} if api_key is None else {}),
            observe=observe,
            warn=_LOG.warning,
            deadline=deadline,
        )
    await anyio.to_thread.run_sync(_leave_page, place, prepared.run.id)
    return result


def _leave_page(place: Place, run_id: str) -> None:
    try:
        make_report(place.project, run_id, patience=PAGE_SECONDS)
    except CallsheetError as error:
        _LOG.warning("no contact sheet: %s", error)
    except Exception:  # the run has ended as it did: a page fails nothing
        _LOG.exception("no contact sheet")
