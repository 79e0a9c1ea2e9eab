"""Jobs, faults and readings for the tests of reconciling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.errors import ExitCode
from runner.job.load import LoadOptions, load_job
from runner.lane.lane import LaneTools
from runner.ledger.states import TaskState
from runner.record.folder import RunFolder
from runner.run.finish import RunResult
from runner.run.prepare import prepare_run
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.run_bench import RunBench, job_text, run_one
from tests.support.unclear_attempts import DEAF_MODEL

ALL = None
"""A fault that strikes every time."""


def cut(*, accept: bool, after: int = 0, times: int | None = 1) -> Fault:
    """A POST whose connection ends without an answer."""
    return Fault(where=Where.SUBMIT, kind=Kind.CUT, accept=accept, after=after, times=times)


def answer_500(*, accept: bool) -> Fault:
    return Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=500, accept=accept, code="provider_error")


def views(kind: Kind, **shape: Any) -> tuple[Fault, Fault]:
    """A fault in everything that is read: GETs and lists."""
    return (
        Fault(where=Where.GET, kind=kind, times=ALL, **shape),
        Fault(where=Where.LIST, kind=kind, times=ALL, **shape),
    )


def tag_comes_back_as(value: int | None) -> tuple[Fault, Fault]:
    return views(Kind.FIELDS, fields={"execution_expires_after": value})


def sweep(seeds: int = 3, settle: str = "0s", more: str = "") -> str:
    return job_text(seeds=seeds, run=f"settle: {settle}{more}")


def samples(count: int) -> str:
    """Takes on a model that ignores seeds."""
    text = sweep().replace("seeds: 1..3", f"samples: {count}")
    return text.replace("byteplus/seedance-1-0-pro", DEAF_MODEL).replace("${{ seed }}", "${{ sample }}")


def shots(*prompts: str) -> str:
    """One seed, several prompts: rows of the list look all the same."""
    return (
        sweep(seeds=1)
        .replace("text: a teapot", "text: ${{ shot }}")
        .replace("out/s${{ seed }}", "out/${{ shot }}")
        .replace("request:", f"matrix: {{shot: [{', '.join(prompts)}]}}\nrequest:")
    )


def prompts(server: SandboxServer) -> Counter[str]:
    """How often the service accepted each prompt."""
    return Counter(task.request["content"][0]["text"] for task in server.tasks())


def attempts(bench: RunBench) -> list[dict[str, Any]]:
    """Every attempt of the newest manifest, in plan order."""
    document: Any = bench.manifest()
    return [attempt for task in document["tasks"] for attempt in task["attempts"]]


def settled(bench: RunBench) -> list[tuple[str, str]]:
    """(resolution, basis of the evidence) of each attempt that was unclear."""
    return [
        (attempt["resolution"], attempt["resolution_evidence"]["basis"])
        for attempt in attempts(bench)
        if attempt["resolution"]
    ]


def is_done(result: RunResult, count: int) -> bool:
    assert (result.exit_code, result.reasons) == (ExitCode.DONE, ())
    return result.counts[TaskState.DONE] == count


async def warm_up(bench: RunBench, text: str = "") -> None:
    """A task of another job is done: tags and seeds are believed, and each list has a witness."""
    text = text or sweep(seeds=1)
    text = text.replace("seeds: 1..1", "seeds: [77]").replace("out/", "warm/")
    assert (await bench.run(bench.write_job(text, "jobs/warm.yaml"))).exit_code is ExitCode.DONE


async def leave_unclear(bench: RunBench, server: SandboxServer, text: str) -> Path:
    """Ends a run while the only POST of `text` is still ambiguous."""
    file = bench.write_job(text.replace("settle: 0s", "settle: 60s"))
    server.faults.add(Fault(where=Where.LIST, kind=Kind.ANSWER, status=503, after=1, times=ALL))
    result = await bench.run(file, until=lambda: bench.has_seen("task.ambiguous"))
    assert (result.exit_code, result.counts[TaskState.AMBIGUOUS]) == (ExitCode.TRY_AGAIN, 1)
    server.faults.clear()
    return bench.write_job(text)


async def leave_unclear_once(bench: RunBench, server: SandboxServer, *, accept: bool = True) -> Path:
    server.faults.add(cut(accept=accept))
    return await leave_unclear(bench, server, sweep(seeds=1))


async def run_changed(bench: RunBench, text: str, change: Callable[[LaneTools], LaneTools]) -> RunResult:
    """`run` in a lane that a test has changed."""
    job = load_job(bench.write_job(text), root=bench.root.resolve(), options=LoadOptions(environ={}))
    with bench.ledger() as ledger:
        async with bench.order(ledger) as real:
            tools = real.tools
            prepared = prepare_run(
                job,
                project=bench.project,
                reader=ledger.read,
                origins={job.provider.name: bench.url},
                date=None,
                run=None,
                now=tools.machine.wall(),
                source=tools.machine.random,
            )
            RunFolder(bench.project, prepared.run.id).make(job.copy)
            lanes = {name: change(lane) for name, lane in real.lanes.items()}
            return await run_one(replace(real, lanes=lanes, prepared=prepared))
