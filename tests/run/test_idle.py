"""A run that has nothing to do: when that is so, and that it leaves what a run that looked would leave."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from runner.errors import ExitCode
from runner.http.verdicts import Evidence
from runner.job.load import LoadOptions, load_job
from runner.ledger.caps import Caps
from runner.ledger.ledger import Ledger
from runner.ledger.rows import Intent
from runner.ledger.states import Reason, Resolution
from runner.providers.mesh import MESH
from runner.redact import Redactor
from runner.run.idle import conclude_idle, is_idle
from runner.run.prepare import Prepared, Resubmit, prepare_run
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.run_bench import RunBench, job_text
from tests.support.unclear_runs import cut

pytestmark = pytest.mark.anyio

NOW = time.time()
INTENT = Intent("f" * 32, Reason.RUN, "mesh", "k", 99, "b" * 64, NOW)
EVIDENCE = Evidence(row=0, headers_begun=True, reason="test")

STEPS = """\
version: 1
models: [byteplus/seedance-1-0-pro]
request: {resolution: 480p, ratio: 16:9, duration: 4, return_last_frame: true}
run: {poll: {first: 20ms, min: 20ms, max: 50ms}}
steps:
  first:
    seeds: 1..2
    content: [{type: text, text: Dawn}]
    output: out/first-s${{ seed }}.mp4
  second:
    needs: first
    seeds: 3
    content:
      - {type: text, text: Noon}
      - {type: image_url, image_url: "${{ needs.first.last_frame }}", role: first_frame}
    output: out/second-${{ needs.first.seed }}-s${{ seed }}.mp4
"""


def prepare(bench: RunBench, ledger: Ledger, file: Path, resubmit: Resubmit | None = None) -> Prepared:
    job = load_job(file, root=bench.root.resolve(), options=LoadOptions(environ={}))
    return prepare_run(
        job,
        project=bench.project,
        reader=ledger.read,
        origins={job.provider.name: bench.url},
        date=None,
        run=None,
        now=time.time(),
        source=random.Random(),
        resubmit=resubmit,
    )


def is_idle_now(bench: RunBench, file: Path, resubmit: Resubmit | None = None) -> bool:
    with bench.ledger() as ledger:
        prepared = prepare(bench, ledger, file, resubmit)
        return is_idle(prepared, ledger.read, time.time())


def like(manifest: Any, run_id: str) -> Any:
    """Without the run's own id and times."""
    shown = json.loads(json.dumps(manifest).replace(run_id, "RUN"))
    for timed in (shown["run"], *shown["run"]["sessions"]):
        for name in ("started_at", "ended_at", "finished_at"):
            timed.pop(name, None)
    return shown


@pytest.mark.parametrize("text", [job_text(), STEPS], ids=["flat", "steps"])
async def test_it_leaves_the_same_manifest_events_and_ending_as_a_run_that_looked(
    bench: RunBench, text: str
) -> None:
    file = bench.write_job(text)
    await bench.run(file)
    bench.events.clear()
    looked = await bench.run(file)
    told = [(name, dict(fields)) for name, fields in bench.events]
    before = bench.manifest(looked.run_id or "")

    heard: list[tuple[str, dict[str, object]]] = []
    with bench.ledger() as ledger:
        prepared = prepare(bench, ledger, file)
        assert is_idle(prepared, ledger.read, time.time())
        idle = conclude_idle(
            prepared,
            bench.project,
            ledger,
            facts={},
            observe=lambda name, fields: heard.append((name, dict(fields))),
            warn=pytest.fail,
            redactor=Redactor([bench.key]),
        )
        assert ledger.read.unfinished_runs() == []
    assert (idle.exit_code, idle.reasons, idle.counts, idle.waits) == (
        looked.exit_code,
        looked.reasons,
        looked.counts,
        looked.waits,
    )
    assert idle.exit_code is ExitCode.DONE
    after = bench.manifest(idle.run_id or "")
    assert like(after, idle.run_id or "") == like(before, looked.run_id or "")
    assert [name for name, _ in heard] == ["run.started", "run.cached", "run.finished"]
    for name in ("run.started", "run.finished"):
        ((ours, theirs),) = [(mine, its) for n, mine in heard for m, its in told if n == m == name]
        its_own = dict.fromkeys(("run", "started_at"), "")
        assert ours | its_own == theirs | its_own
    cached = [fields["tasks"] for name, fields in told if name == "run.cached"]
    assert heard[1][1]["tasks"] == sum(int(str(tasks)) for tasks in cached)
    log = bench.project.runs_dir / (idle.run_id or "") / "events.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == [name for name, _ in heard]
    assert lines[1]["tasks"] == heard[1][1]["tasks"]


async def test_a_new_task_a_missing_file_and_another_path_are_work(bench: RunBench) -> None:
    file = bench.write_job(job_text())
    assert not is_idle_now(bench, file)
    await bench.run(file)
    assert is_idle_now(bench, file)

    bench.write_job(job_text(seeds=4))
    assert not is_idle_now(bench, file)

    bench.write_job(job_text().replace("out/", "elsewhere/"))
    assert not is_idle_now(bench, file)

    bench.write_job(job_text())
    (bench.project.base / "out" / "s2.mp4").unlink()
    assert not is_idle_now(bench, file)


async def test_whoever_asks_for_more_gets_a_run_that_works(bench: RunBench) -> None:
    file = bench.write_job(job_text())
    await bench.run(file)
    assert not is_idle_now(bench, file, Resubmit(Reason.AGAIN))
    assert not is_idle_now(bench, file, Resubmit(Reason.RETRY))


async def test_a_last_frame_that_never_came_is_asked_for_again(bench: RunBench) -> None:
    file = bench.write_job(STEPS)
    await bench.run(file)
    assert is_idle_now(bench, file)
    with bench.ledger() as ledger, ledger.transaction():
        ledger._db.execute("DELETE FROM outputs WHERE kind = 'last_frame'")
    assert not is_idle_now(bench, file)


@pytest.mark.parametrize("state", ["intended", "submitted", "collecting", "ambiguous"])
async def test_what_another_job_left_at_the_service_is_work(bench: RunBench, state: str) -> None:
    """An intent that a kill has stranded is in doubt once the next session begins."""
    file = bench.write_job(job_text())
    done = await bench.run(file)
    assert is_idle_now(bench, file)
    text = job_text(seeds=1).replace("a teapot", "a kettle").replace("out/", "other/")
    other = bench.write_job(text, "jobs/other.yaml")
    with bench.ledger() as ledger, ledger.transaction():
        [task] = prepare(bench, ledger, other).plan.tasks
        attempt = ledger.intend(task, "jobs/other.yaml", done.run_id or "", INTENT, Caps(), NOW)
        if state == "ambiguous":
            ledger.leave_unclear(attempt, EVIDENCE, NOW)
        elif state != "intended":
            ledger.accept(attempt, "t-1", EVIDENCE, NOW)
        if state == "collecting":
            ledger.collect(attempt, NOW)
    assert not is_idle_now(bench, file)


async def test_a_submit_taken_for_absent_is_looked_for_while_the_service_keeps_records(
    bench: RunBench, server: SandboxServer
) -> None:
    await bench.run(bench.write_job(job_text(seeds=1, run="settle: 0s")))
    file = bench.write_job(job_text(seeds=2, run="settle: 0s"))
    server.faults.add(
        cut(accept=True),
        Fault(where=Where.LIST, kind=Kind.HIDDEN, times=None, fields={"seed": 2}),
    )
    assert (await bench.run(file)).exit_code is ExitCode.DONE
    assert not is_idle_now(bench, file)
    with bench.ledger() as ledger:
        [attempt] = ledger.read.looked_for(bench.url, None, 0)
        assert attempt.resolution is Resolution.ABSENT
        later = time.time() + MESH.record_life + 60
        assert is_idle(prepare(bench, ledger, file), ledger.read, later)
