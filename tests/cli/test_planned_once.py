"""A run builds its plan once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from runner.job.expressions.rundate import RunDate
from runner.job.model import Job
from runner.plan.build import TaskBuilder
from runner.plan.matrix import Cell
from runner.plan.plan import Plan, make_plan
from runner.plan.task import Task, Upstream
from runner.run import prepare
from tests.support.verb_bench import JOB, STORY, VerbBench


def test_a_run_builds_each_task_once(verbs: VerbBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look the plan over, to feed it, to count it and for the manifest; when it goes on, and when done."""
    built: list[int] = []
    build = TaskBuilder.build

    def counted(self: TaskBuilder, index: int, cell: Cell, upstreams: tuple[Upstream, ...] = ()) -> Task:
        built.append(index)
        return build(self, index, cell, upstreams)

    monkeypatch.setattr(TaskBuilder, "build", counted)
    verbs.write(STORY)
    assert verbs.call("run", "boat.yaml", "--only", "first-*", "--date", "2026-05-30") == 0
    assert built == [0, 1]
    for _ in range(2):
        built.clear()
        assert verbs.call("run", "boat.yaml") == 0
        assert built == [0, 1]
    assert verbs.states() == ["done", "done"]


def test_a_run_of_another_date_is_planned_again_only_where_an_expression_reads_it(
    verbs: VerbBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    dates: list[str] = []

    def counted(job: Job, *, origins: Mapping[str, str], run_date: RunDate, began: float) -> Plan:
        dates.append(str(run_date))
        return make_plan(job, origins=origins, run_date=run_date, began=began)

    monkeypatch.setattr(prepare, "make_plan", counted)
    dated = JOB.replace("A paper boat", "A paper boat on ${{ run.date }}").replace("out/s", "out/dated-")
    for text, planned in ((JOB, 1), (dated, 2)):
        verbs.write(text)
        assert verbs.call("run", "boat.yaml", "--only", "s1", "--date", "2026-05-30") == 0
        dates.clear()
        assert verbs.call("run", "boat.yaml") == 0
        assert len(dates) == planned
        assert dates[1:] == ["2026-05-30"][: planned - 1]
