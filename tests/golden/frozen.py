"""Job files as they were when identities were frozen, and what they plan: cells, identities, paths.

`project/` is read and never changed; a new form of the job language gets a new file there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.plan.plan import Plan, make_plan

GOLDEN = Path(__file__).parent
PROJECT = GOLDEN / "project"
IDENTITIES = GOLDEN / "identities.json"
LEDGER = GOLDEN / "ledger" / "ledger.db"
RUNS = LEDGER.parent / "runs"
UNSERVED = frozenset(
    f"forms/{name}.yaml"
    for name in ("addresses", "chains", "extends", "from-files", "joins", "unknown-model")
)
"""Not in the frozen ledger: younger than that, or the sandbox knew no such model then."""

DATE = RunDate.parse("2026-05-30+02:00")
_OPTIONS = LoadOptions(environ={"TAKE": "blue"}, allow_env=frozenset({"TAKE"}))


def job_files(root: Path = PROJECT) -> list[str]:
    """Every job file below `root`, relative to it."""
    found = [*root.rglob("*.yaml"), *root.rglob("*.yml")]
    return sorted(file.relative_to(root).as_posix() for file in found)


def plan_of(file: str, *, root: Path = PROJECT, origin: str | None = None) -> Plan:
    """What `file` asks for on DATE; of the service's own address where no `origin` is given."""
    job = load_job(root / file, root=root, options=_OPTIONS)
    return make_plan(job, origin=origin or job.provider.origin, run_date=DATE)


def identities(files: Iterable[str]) -> str:
    """The golden file's text: one task a line."""
    return "{\n" + ",\n".join(_of_job(file) for file in files) + "\n}\n"


def _of_job(file: str) -> str:
    plan = plan_of(file)
    head = f'"origin": {_text(plan.origin)}, "edition": {_text(plan.edition)}, "tasks": [\n'
    return f" {_text(file)}: {{{head}" + ",\n".join(_tasks(plan)) + "\n ]}"


def _tasks(plan: Plan) -> Iterator[str]:
    for task in plan.tasks:
        yield f"  [{_text(task.identity)}, {_text(task.cell_name)}, {_text(task.output)}]"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
