"""What a job file no longer asks for was paid for all the same: its run brings it home and tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from runner.errors import ExitCode
from runner.sandbox import SandboxServer
from tests.support.run_bench import RunBench, job_text


@pytest.mark.anyio
@pytest.mark.fault(70)
async def test_a_task_in_flight_that_leaves_the_plan_is_brought_home_and_listed(
    bench: RunBench, server: SandboxServer
) -> None:
    more = "budget: {max_tasks: 3}"
    file = bench.write_job(job_text(seeds=2, run="submit_slots: 1", more=more))
    await bench.run(file, until=lambda: bench.has_seen("task.submitted"))
    paid = server.accepted
    file.write_text(file.read_text().replace("seeds: 1..2", "seeds: [9]"))
    assert (await bench.run(file)).exit_code is ExitCode.DONE
    manifest: dict[str, Any] = bench.manifest()
    assert [task["name"] for task in manifest["tasks"] if task["in_plan"]] == ["s9"]
    departed = [task for task in manifest["tasks"] if not task["in_plan"] and task["outputs"]]
    assert {task["state"] for task in departed} == {"done"}
    assert (len(departed), server.accepted) == (paid, paid + 1)
    assert len({session["job_digest"] for session in manifest["run"]["sessions"]}) == 2
