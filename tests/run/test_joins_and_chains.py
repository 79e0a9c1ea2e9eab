"""A run of joins and chains: each task after all that it builds on, and paid for once."""

from __future__ import annotations

import pytest

from runner.errors import ExitCode
from runner.ledger.states import Reason, TaskState
from runner.record.folder import RunFolder
from runner.record.manifest import ManifestTask, read_tasks
from runner.run.finish import RunResult
from runner.run.prepare import Resubmit
from runner.run.task.progress import progress_of
from runner.sandbox import SandboxServer
from runner.sandbox.faults import Fault, Kind, Where
from tests.support.lane_bench import open_lane
from tests.support.run_bench import RunBench

pytestmark = pytest.mark.anyio

HEAD = """\
version: 1
name: reel
models: [byteplus/seedance-1-0-pro]
request: {resolution: 480p, ratio: 16:9, duration: 4, return_last_frame: true}
run: {poll: {first: 20ms, min: 20ms, max: 50ms}RUN}
"""
JOIN = (
    HEAD
    + """\
steps:
  first:
    seeds: 1..2
    content: [{type: text, text: the harbour}]
  last:
    seeds: 1..2
    content: [{type: text, text: the sea}]
  film:
    needs: [first, last]
    content:
      - {type: text, text: the boat leaves}
      - {type: image_url, image_url: "${{ needs.first.last_frame }}", role: first_frame}
      - {type: image_url, image_url: "${{ needs.last.last_frame }}", role: last_frame}
  after:
    needs: film
    content:
      - {type: text, text: it is gone}
      - {type: image_url, image_url: "${{ needs.film.last_frame }}", role: first_frame}
"""
).replace("RUN", "")
CHAIN = (
    HEAD
    + """\
matrix:
  shot: [a, b, c]
chain: shot
content:
  - {type: text, text: "shot ${{ shot }}"}
  - {type: image_url, image_url: "${{ previous.last_frame }}", role: first_frame}
"""
).replace("RUN", "")


def tasks_of(bench: RunBench, result: RunResult) -> dict[str, ManifestTask]:
    assert result.run_id is not None
    return {task.name: task for task in read_tasks(RunFolder(bench.project, result.run_id).manifest)}


def failing(bench: RunBench, server: SandboxServer, name: str) -> None:
    """The service fails the task of this name, once."""

    def watch(event: str, fields: object) -> None:
        if event == "task.intended" and isinstance(fields, dict) and fields["task"] == name:
            server.faults.add(
                Fault(where=Where.SUBMIT, kind=Kind.OUTCOME, text="failed", code="internal_error", times=1)
            )

    bench.tell = watch


async def test_a_task_starts_once_after_all_that_it_needs(bench: RunBench, server: SandboxServer) -> None:
    result = await bench.run(bench.write_job(JOIN))
    assert (result.exit_code, result.counts) == (ExitCode.DONE, {TaskState.DONE: 2 + 2 + 4 + 4})
    assert server.accepted == 12
    events = [(name, str(fields.get("task"))) for name, fields in bench.events]
    for first in (1, 2):
        for last in (1, 2):
            intended = events.index(("task.intended", f"film-s{first}-s{last}"))
            assert events.index(("task.done", f"first-s{first}")) < intended
            assert events.index(("task.done", f"last-s{last}")) < intended
    tasks = tasks_of(bench, result)
    film = tasks["film-s1-s2"]
    assert (film.needs, film.also_needs) == (tasks["first-s1"].identity, (tasks["last-s2"].identity,))
    assert film.attempts[0].taken is not None
    frames = [each["last_frame"]["path"] for each in film.attempts[0].taken["tasks"]]  # type: ignore[index,union-attr,call-overload]
    assert frames == ["out/reel/first/s1.last.png", "out/reel/last/s2.last.png"]
    again = await bench.run(bench.write_job(JOIN))
    assert (again.exit_code, server.accepted) == (ExitCode.DONE, 12)


async def test_a_needed_task_that_failed_stops_exactly_what_needs_it(
    bench: RunBench, server: SandboxServer
) -> None:
    failing(bench, server, "last-s2")
    file = bench.write_job(JOIN.replace("run: {", "run: {concurrency: 1, submit_slots: 1, "))
    result = await bench.run(file)
    assert result.exit_code is ExitCode.TASK_FAILED
    tasks = tasks_of(bench, result)
    skipped = {name for name, task in tasks.items() if task.state is TaskState.SKIPPED}
    assert skipped == {"film-s1-s2", "film-s2-s2", "after-s1-s2", "after-s2-s2"}
    assert tasks["film-s1-s2"].error is not None
    assert "the task of step last that it needs failed" in tasks["film-s1-s2"].error.message
    assert server.accepted == 4 + 2 + 2
    bench.tell = lambda name, fields: None
    retried = await bench.run(file, resubmit=Resubmit(Reason.RETRY))
    assert (retried.exit_code, retried.counts) == (ExitCode.DONE, {TaskState.DONE: 12})
    assert server.accepted == 8 + 1 + 4


async def test_a_file_of_one_needed_task_is_fetched_before_the_join_begins(
    bench: RunBench, server: SandboxServer
) -> None:
    """The other one is done and here, and must not let it start early."""
    only = JOIN.partition("  film:")[0]
    await bench.run(bench.write_job(only))
    (bench.project.base / "out/reel/first/s1.last.png").unlink()
    result = await bench.run(bench.write_job(JOIN))
    assert (result.exit_code, result.reasons) == (ExitCode.DONE, ())
    assert server.accepted == 12


async def test_a_chain_is_made_one_after_the_other(bench: RunBench, server: SandboxServer) -> None:
    result = await bench.run(bench.write_job(CHAIN))
    assert (result.exit_code, server.accepted) == (ExitCode.DONE, 3)
    events = [(name, fields.get("task")) for name, fields in bench.events]
    for before, after in (("a", "b"), ("b", "c")):
        assert events.index(("task.done", before)) < events.index(("task.intended", after))
    tasks = tasks_of(bench, result)
    assert [tasks[name].previous for name in "abc"] == [None, tasks["a"].identity, tasks["b"].identity]
    assert tasks["b"].attempts[0].taken is not None
    assert tasks["b"].attempts[0].taken["last_frame"]["path"] == "out/reel/a.last.png"  # type: ignore[index,call-overload]


async def test_what_comes_after_a_failure_in_a_chain_says_so_and_retry_goes_on(
    bench: RunBench, server: SandboxServer
) -> None:
    failing(bench, server, "b")
    file = bench.write_job(CHAIN)
    result = await bench.run(file)
    assert result.counts == {TaskState.DONE: 1, TaskState.FAILED: 1, TaskState.SKIPPED: 1}
    error = tasks_of(bench, result)["c"].error
    assert error is not None
    assert "the task before it in its chain was not made" in error.message
    async with open_lane(bench, CHAIN) as lane:
        plan = lane.prepared.plan
        shown = {
            each.task.name: each for each in progress_of(plan.tasks, lane.ledger.read, bench.project.base)
        }
        assert shown["c"].why == "b, the task before it in its chain, failed"
    bench.tell = lambda name, fields: None
    retried = await bench.run(file, resubmit=Resubmit(Reason.RETRY))
    assert (retried.exit_code, retried.counts) == (ExitCode.DONE, {TaskState.DONE: 3})
    assert server.accepted == 4


async def test_an_edit_in_the_middle_buys_what_comes_after_and_nothing_before(
    bench: RunBench, server: SandboxServer
) -> None:
    text = CHAIN.replace("chain: shot", "chain: shot\noutput: out/1/${{ shot }}.mp4")
    await bench.run(bench.write_job(text))
    edited = text.replace("shot: [a, b, c]", "shot: [a, x, c]").replace("out/1/", "out/2/")
    result = await bench.run(bench.write_job(edited))
    assert (result.exit_code, result.counts) == (ExitCode.DONE, {TaskState.DONE: 3})
    assert server.accepted == 3 + 2


async def test_a_chain_that_was_cut_off_goes_on_where_it_was(bench: RunBench, server: SandboxServer) -> None:
    file = bench.write_job(CHAIN)
    first = await bench.run(file, until=lambda: server.accepted == 2)
    assert first.exit_code is ExitCode.TRY_AGAIN
    second = await bench.run(file)
    assert (second.exit_code, second.counts) == (ExitCode.DONE, {TaskState.DONE: 3})
    assert server.accepted == 3
