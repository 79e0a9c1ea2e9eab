"""The end of the public API: from a plan to its videos, without the command line around it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace

import anyio.to_thread

from runner.assemble import JobOrder, carry_out
from runner.desk.report import make_report
from runner.errors import CallsheetError, RefusedError
from runner.http.access import ApiKey
from runner.job.project.environment import read_env, redactor_of
from runner.lane.costs import question
from runner.lane.machine import Machine
from runner.plan.plan import Plan, make_plan
from runner.project import find_project
from runner.providers.place import Place, as_known, find_keys
from runner.record.events import Observer
from runner.record.facts import KEY_VARIABLE, session_facts
from runner.run.finish import RunResult
from runner.run.lock import locked_ledger
from runner.run.prepare import prepare_run

_LOG = logging.getLogger("callsheet")

PAGE_SECONDS = 30.0
"""For the pictures of the contact sheet; `callsheet report` makes those that are missing then."""


async def run_plan(
    plan: Plan,
    *,
    api_key: str | Mapping[str, str] | None = None,
    observe: Observer = lambda _name, _fields: None,
    deadline: float | None = None,
    is_agreed: bool = False,
    accept_edits: bool = False,
) -> RunResult:
    """Brings a plan to done, or as far as it gets: what `callsheet run` does. asyncio or trio.

    It is this plan that runs, with its tasks, identities and date, whatever became of the job file since.
    Requests go to the plan's `origin`, and its job's root must be a project. Where the project's tasks spell
    that server in another way, such as `localhost` for `127.0.0.1`, identities have their spelling. The
    unfinished run of the same tasks goes on; what is done is never submitted again. `api_key` is the key of
    the job's own account, or keys by account; what it does not give is looked for in the environment and the
    root's `.env`. Tasks of an account without a key are left (exit code 77), and all others go on. `observe`
    hears each event (docs/reference/events.md) in the event loop; `deadline` is seconds from now;
    `is_agreed` agrees to what goes above `budget.confirm_usd`; `accept_edits` submits tasks whose path holds
    a take of another request, which is kept as a version. Without it they are left (exit code 3), unless
    `run.on_edit` is `version`.

    What the network, the service and a task do is in the result, never raised. Raises NoProjectError,
    KeyRefusedError, BusyError (another process is at work), RefusedError (budget, price or
    confirmation), JobError (an output path would overwrite something) and StateError; nothing was
    sent then, except before a StateError in the middle; the next run goes on from there.
    """
    job, machine = plan.job, Machine()
    project = find_project(job.root, root=job.root)
    accounts = job.accounts
    places = {
        name: Place.at(
            account,
            project,
            as_known(plan.origins[name], account, [account.origin]),
            trust_env=job.project_file.trust_env,
        )
        for name, account in accounts.items()
    }
    place = next(iter(places.values()))
    given = {next(iter(accounts)): api_key} if isinstance(api_key, str) else api_key or {}
    named = job.project_file.accounts.values()
    keys = find_keys(places, read_env(project.root, os.environ), job.api_key_env, given, named)
    with locked_ledger(place.project, wait=0.0) as ledger:
        known = ledger.read.origins()
        origins = {name: as_known(plan.origins[name], account, known) for name, account in accounts.items()}
        places = {name: replace(each, origin=origins[name]) for name, each in places.items()}
        if origins != plan.origins:
            again = make_plan(job, origins=origins, run_date=plan.run_date, began=plan.began)
            plan = replace(again, clock=plan.clock)
        prepared = prepare_run(
            job,
            project=place.project,
            reader=ledger.read,
            origins=origins,
            now=machine.wall(),
            source=machine.random,
            plan=plan,
            agree=lambda _edits: accept_edits,
        )
        if not is_agreed and (asked := question(job, prepared.new)):
            raise RefusedError(f"{asked}; nothing was sent", hint="give is_agreed=True")
        known = [key.value for key in keys.values() if isinstance(key, ApiKey)]
        redactor = redactor_of(job.root, os.environ, known)
        facts = session_facts(["run_plan"], job.root / job.file, job.root, redactor)
        facts |= {} if given else {KEY_VARIABLE: job.api_key_env}
        order = JobOrder(prepared, places, keys, facts, observe, _LOG.warning)
        (result,) = await carry_out([order], ledger, deadline=deadline)
    if isinstance(result, CallsheetError):
        raise result
    await anyio.to_thread.run_sync(_leave_page, place, prepared.run.id)
    return result


def _leave_page(place: Place, run_id: str) -> None:
    try:
        make_report(place.project, run_id, patience=PAGE_SECONDS)
    except CallsheetError as error:
        _LOG.warning("no contact sheet: %s", error)
    except Exception:  # the run has ended as it did: a page fails nothing
        _LOG.exception("no contact sheet")
