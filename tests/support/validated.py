"""What `callsheet validate` finds in a job file, as problems."""

from __future__ import annotations

import shutil
from pathlib import Path

from runner.cli.jobs import check_copy, showing_lines
from runner.errors import JobError, Problem
from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.plan.plan import make_plan

JOBS = Path(__file__).resolve().parents[2] / "jobs"


def project_with_inputs(root: Path) -> Path:
    """The project `root` with the inputs that the files of `jobs/` name; gives its `jobs`."""
    shutil.copytree(JOBS / "assets", root / "jobs" / "assets")
    return root / "jobs"


def problems_of(text: str, file: Path) -> tuple[Problem, ...]:
    """What is wrong with `text` as the job file `file`, which stands in the `jobs` of its project."""
    file.write_text(text, encoding="utf-8", newline="")
    root, options = file.parent.parent, LoadOptions(environ={})
    try:
        with showing_lines(file, check_copy(file, root, options)):
            job = load_job(file, root=root, options=options)
            make_plan(job, origin="https://api.meshapi.ai", run_date=RunDate.parse("2026-11-21+01:00"))
    except JobError as error:
        return error.problems
    return ()
