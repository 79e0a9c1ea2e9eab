"""A run whose tasks are all done and in place: it is recorded without asking the service anything.

Nothing here may load what a run works with: its event loop and HTTP clients are most of what a start costs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping

from runner.job.project.load_project import readable_project_file
from runner.json_value import JsonValue
from runner.lane.under_way import is_quiet
from runner.ledger.columns import batches
from runner.ledger.ledger import Ledger
from runner.ledger.read import LedgerReader
from runner.project import Project
from runner.record.events import EventFile, Observer, fan_out
from runner.record.folder import RunFolder
from runner.redact import Redactor
from runner.run.finish import RunResult, begin, conclude, tell_beginning, tell_end
from runner.run.prepare import Prepared
from runner.run.task.progress import needs_of
from runner.run.wholeness import here
from runner.store.files import LocalFiles


def is_idle(prepared: Prepared, reader: LedgerReader, now: float) -> bool:
    """Whether the run has nothing to send, to fetch, to move or to ask: neither for its own tasks, nor
    for what any job has left at the service.

    `retry`, `--again` and `--only` never are: what they ask for is decided while the run works.
    """
    if prepared.resubmit is not None or prepared.only is not None or prepared.unsettled:
        return False
    tasks = prepared.plan.tasks
    services = {(task.provider, task.origin) for task in tasks}
    if not all(is_quiet(reader, service, now) for service in services):
        return False
    needing = (task for task in tasks if task.upstreams)
    return not any(needs_of(batch, reader).frameless for batch in batches(needing))


def is_all_archived(project: Project, reader: LedgerReader) -> bool:
    """Whether nothing is here that the project's store should have and, by the ledger, has not."""
    store = "" if project.is_rehearsal else readable_project_file(project.root).store
    return not store or not here(reader.unarchived(store), LocalFiles(project.base))


def conclude_idle(
    prepared: Prepared,
    project: Project,
    ledger: Ledger,
    *,
    facts: Mapping[str, JsonValue],
    observe: Observer,
    warn: Callable[[str], None],
    redactor: Redactor,
) -> RunResult:
    """A session of its own, with folder, events, manifest and end like those of one that worked.

    `warn` is told where events cannot be written. Raises StateError where the ledger, the folder or the
    manifest cannot be written.
    """
    run, plan = prepared.run, prepared.plan
    folder = RunFolder(project, run.id)
    folder.make(plan.job.copy)
    events = EventFile(folder.events, wall=time.time, redactor=redactor, tell=warn)
    with contextlib.closing(events):
        told = fan_out(events, observe)
        with ledger.transaction():
            session = begin(ledger, prepared, time.time(), facts)
        tell_beginning(told, prepared)
        told("run.cached", {"tasks": plan.count})
        ended = conclude(
            ledger, project, plan, run_id=run.id, session=session, at=time.time(), redactor=redactor
        )
        tell_end(told, run.id, ledger.read.drift(run.id), ended.exit_code, ())
    return RunResult(
        ended.exit_code,
        (),
        ended.counts,
        run.id,
        ended.manifest,
        ended.waits,
        troubles=ended.troubles,
        conditions=ended.conditions,
    )
