"""Plans jobs that are given as text, in a project of the test's own."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from runner.errors import JobError
from runner.job.expressions.rundate import RunDate
from runner.job.load import LoadOptions, load_job
from runner.job.model import Job
from runner.plan.plan import Plan, make_plan
from runner.plan.task import Task
from runner.project import init_project
from tests.support.pictures import png

ORIGIN = "https://api.example.com"
PNG = png()
HEAD = "version: 1\nmodels: [byteplus/seedance-1-0-pro]\n"
TEXT = "content: [{type: text, text: A teapot}]\n"


class JobBench:
    """A project with a folder of jobs; `load` and `plan` take the text of a job file."""

    def __init__(self, root: Path) -> None:
        self.root = init_project(root).root
        self.folder = self.root / "jobs"
        self.folder.mkdir()

    def load(
        self,
        text: str,
        *,
        environ: Mapping[str, str] | None = None,
        allow_env: frozenset[str] = frozenset(),
        trust_job: bool = False,
    ) -> Job:
        file = self.folder / "hero.yaml"
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        options = LoadOptions(environ or {}, allow_env, trust_job)
        return load_job(file, root=self.root, options=options)

    def plan(self, text: str, *, date: str = "2026-11-21+01:00", **options: object) -> Plan:
        job = self.load(text, **options)  # type: ignore[arg-type]
        return make_plan(job, origin=ORIGIN, run_date=RunDate.parse(date))

    def tasks(self, text: str, **options: object) -> list[Task]:
        return list(self.plan(text, **options).tasks)  # type: ignore[arg-type]

    def problems(self, text: str, **options: object) -> list[str]:
        """What is wrong with the job, as lines for a person."""
        with pytest.raises(JobError) as caught:
            self.plan(text, **options)  # type: ignore[arg-type]
        return str(caught.value).splitlines()
