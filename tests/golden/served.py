"""A frozen job run under its service's own address, while a sandbox on loopback answers for it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from PIL import Image

from runner.assemble import JobOrder, carry_out
from runner.http.access import ApiKey
from runner.job.model import PollPolicy
from runner.lane.machine import Machine
from runner.project import init_project
from runner.providers.account import Account
from runner.providers.place import Place
from runner.run.finish import RunResult
from runner.run.lock import locked_ledger
from runner.run.prepare import prepare_run
from runner.sandbox import SANDBOX_KEY
from tests.golden.frozen import DATE, plan_of


async def run_job(root: Path, file: str, url: str) -> RunResult:
    """`callsheet run FILE`, where `https://api...` is answered by the sandbox at `url`.

    So the ledger in `root` has the identities of what is paid for, not those of a rehearsal.
    """
    plan, machine = plan_of(file, root=root), Machine()
    fast = PollPolicy(first=0.1, minimum=0.05, maximum=0.2)
    job = replace(plan.job, run=replace(plan.job.run, poll=fast))
    project = init_project(root)
    account = Account(plan.job.provider.name, plan.job.provider)
    place = Place(account, project, plan.origin, url)
    key = ApiKey.load(SANDBOX_KEY, source="test")
    with locked_ledger(project, wait=0) as ledger:
        prepared = prepare_run(
            job,
            project=project,
            reader=ledger.read,
            origins=plan.origins,
            date=DATE,
            run=None,
            now=machine.wall(),
            source=machine.random,
        )
        order = JobOrder(
            prepared,
            {account.name: place},
            {account.name: key},
            facts={},
            observe=lambda _name, _fields: None,
            warn=lambda _text: None,
        )
        (result,) = await carry_out([order], ledger, deadline=120.0)
    assert isinstance(result, RunResult)
    return result


def still() -> bytes:
    """The smallest last frame that a request takes."""
    picture = io.BytesIO()
    Image.new("RGB", (304, 304), "navy").save(picture, format="PNG")
    return picture.getvalue()
