"""What a project has done before a schedule begins: one task of the same model, paid for and fetched.

Its row is the witness that a first run in a new project lacks.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

from runner.http.verdicts import Evidence
from runner.lane.evidence import repeats_input
from runner.ledger.caps import Caps
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Intent, OutputRow, RunRow
from runner.ledger.states import Reason
from runner.media.video import MediaFacts
from runner.plan.plan import Plan
from runner.plan.task import Task
from runner.providers.base import RemoteFileKind
from tests.simulation.bench import EARLIER, KEY, Bench
from tests.simulation.clips import video
from tests.simulation.kinds import PROVIDERS, read
from tests.simulation.service import ORIGIN, START, Row

AGO = 600.0
"""Simulated seconds before the schedule begins."""

_ID = "e" * 32
_TAG = 77


def give_history(bench: Bench, plan: Plan) -> None:
    """Puts the task into the ledger, its row into the service and its file on the disk."""
    ledger, at = Ledger(bench.open_ledger()), START - AGO
    task = _earlier(plan.tasks[0])
    row = _row(bench, task)
    bench.service.rows.append(row)
    bench.service.told.append(row.id)
    bench.called.add(row.id)
    bench.earlier[row.said] += 1
    kind = bench.schedule.kind
    told = read(kind, bench.service.task_object(row, 0.0, in_list=False))
    is_same = repeats_input(PROVIDERS[kind], task.model, task.request, told)
    intent = Intent(
        attempt_id=_ID,
        reason=Reason.RUN,
        account=PROVIDERS[bench.schedule.kind].name,
        key_hash=KEY.fingerprint(ledger.salt),
        tag=_TAG if PROVIDERS[bench.schedule.kind].tag else None,
        body_sha256="0" * 64,
        server_time=bench.service.clock(-AGO),
        estimate_micros=None,
    )
    content = video(row.label)
    output = OutputRow(
        path=task.output,
        identity=task.identity,
        attempt_id=_ID,
        kind=RemoteFileKind.VIDEO,
        ordinal=1,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        media=MediaFacts("mp4"),
        created_at=at,
    )
    with ledger.transaction():
        ledger.begin_run(
            RunRow(
                id=EARLIER,
                job_file="earlier.yaml",
                job_name="earlier",
                job_digest="0" * 64,
                edition=plan.edition,
                run_date=plan.run_date.format(),
                provider=kind.value,
                origin=ORIGIN,
                started_at=at,
            )
        )
        ledger.intend(task, "earlier.yaml", EARLIER, intent, Caps(None, None), at)
        ledger.accept(_ID, row.id, Evidence(row=0, headers_begun=True, reason="accepted", status=200), at)
        ledger.observe(_ID, told, at, is_same_input=is_same)
        ledger.collect(_ID, at)
        ledger.finish(_ID, (output,), at)
        ledger.finish_run(EARLIER, at)
    inode = bench.platter.new_file()
    inode.content, inode.synced = bytearray(content), content
    bench.platter.bind(task.output, inode)
    bench.platter.sync_names("out")


def _earlier(task: Task) -> Task:
    content = [{"type": "text", "text": "the kettle, long ago"}]
    prompt = {"prompt": content[0]["text"]} if "prompt" in task.request else {}
    return replace(
        task,
        identity="e" * 64,
        name="earlier",
        output="out/earlier.mp4",
        request={**task.request, **prompt, "content": content, "return_last_frame": None},
    )


def _row(bench: Bench, task: Task) -> Row:
    tag = PROVIDERS[bench.schedule.kind].tag
    return Row(
        id="t-00000earlier",
        owner="ours",
        request={**task.request, **({} if tag is None else {tag.field: tag.value(_TAG)})},
        mark="0" * 64,
        at=-AGO,
        created_at=int(bench.service.clock(-AGO)),
        visible_at=-AGO,
        filled_at=-AGO,
        found_at=-AGO,
        done_at=-AGO / 2,
        fails=False,
        regress=(0.0, 0.0),
        forgotten_at=math.inf,
    )
