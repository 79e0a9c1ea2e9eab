"""A service that lists by cursor, shows inputs again and takes uploads: whole runs by the contract alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import ExitCode
from runner.lane.reconcile import SCANS
from runner.ledger.states import Basis, Resolution, TaskState
from tests.support.echoing_server import EchoingServer, echoing_server
from tests.support.echoing_service import UPLOADS
from tests.support.pictures import png
from tests.support.plugins import installed
from tests.support.run_bench import RunBench

pytestmark = pytest.mark.anyio

JOB = """\
version: 1
provider: echoing
models: [film-2]
seeds: 1..2
request: {duration: 4}
content:
  - {type: text, text: a teapot}
output: out/s${{ seed }}.mp4
run: {settle: 0s, settle_alone: 0s, timeout: 5s, poll: {first: 20ms, min: 20ms, max: 50ms}}
"""
IMAGE = "  - {type: image_url, image_url: ../in.png}\n"


@pytest.fixture
def server(clip: bytes) -> Iterator[EchoingServer]:
    with installed(echoing="tests.support.echoing_service:ECHOING"), echoing_server(clip) as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, server: EchoingServer) -> RunBench:
    return RunBench(tmp_path, server.url, "films_canary_key", provider="echoing")


def attempts(bench: RunBench) -> list[tuple[Resolution | None, Basis | None]]:
    """How each attempt was resolved, and by what."""
    with bench.ledger() as ledger:
        rows = list(ledger.read.in_state(*TaskState))
    return [(row.resolution, row.resolution_evidence and row.resolution_evidence.basis) for row in rows]


async def test_a_cut_post_is_found_by_its_input(bench: RunBench, server: EchoingServer) -> None:
    """By a list of several pages, with ids that hold a slash."""
    server.cuts = [True, True]
    for number in range(3):
        server.accept({"model": "film-2", "prompt": f"somebody's {number}", "duration": 4})
    result = await bench.run(bench.write_job(JOB))
    assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 2)
    assert server.posts == 2
    assert attempts(bench) == [(Resolution.ADOPTED, Basis.INPUT)] * 2


@pytest.mark.fault(104)
async def test_two_equal_submits_in_doubt_are_held(bench: RunBench, server: EchoingServer) -> None:
    """Both were accepted or one was: nothing that comes back says which."""
    server.cuts, server.queued_until = [True, False], 2
    equal = (
        JOB.replace("seeds: 1..2", "samples: 2").replace("seed }}", "sample }}").replace("film-2", "film-1")
    )
    result = await bench.run(bench.write_job(equal))
    assert server.posts == 2
    assert (result.exit_code, result.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 2)


async def test_absence_is_proved_by_inputs_that_are_believed(bench: RunBench, server: EchoingServer) -> None:
    warm = JOB.replace("seeds: 1..2", "seeds: [7]")
    assert (await bench.run(bench.write_job(warm, "jobs/warm.yaml"))).exit_code is ExitCode.DONE
    server.cuts = [False]
    result = await bench.run(bench.write_job(JOB))
    assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 2)
    assert (server.posts, len(server.films)) == (4, 3)
    assert (Resolution.ABSENT, Basis.LIST) in attempts(bench)
    assert server.lists >= SCANS


@pytest.mark.fault(168)
@pytest.mark.parametrize(
    "shown",
    [
        {"prompt": "a  Teapot "},
        {"prompt": "a \uff54eapot"},
        {"duration": 5},
        {"seed": 2_147_483_647},
    ],
    ids=["trimmed", "normalised", "to the next length", "clamped"],
)
async def test_a_value_that_the_service_has_put_in_order_proves_no_absence(
    bench: RunBench, server: EchoingServer, shown: dict[str, object]
) -> None:
    """Others came back as they were sent; this one was accepted, and shows something near to that."""
    warm = JOB.replace("seeds: 1..2", "seeds: [7]")
    assert (await bench.run(bench.write_job(warm, "jobs/warm.yaml"))).exit_code is ExitCode.DONE
    server.cuts, server.changes = [True], {1: shown}
    job = bench.write_job(JOB.replace("seeds: 1..2", "seeds: [1]"))
    for _ in range(2):
        result = await bench.run(job)
        assert (server.posts, len(server.films)) == (2, 2)
        assert (result.exit_code, result.counts[TaskState.HELD]) == (ExitCode.PERSON_NEEDED, 1)


@pytest.mark.fault(78)
async def test_a_row_that_turns_up_late_is_found_by_its_input(bench: RunBench, server: EchoingServer) -> None:
    """It was taken for absent and paid for again: it is paid for, too, and its video is kept."""
    warm = JOB.replace("seeds: 1..2", "seeds: [7]")
    assert (await bench.run(bench.write_job(warm, "jobs/warm.yaml"))).exit_code is ExitCode.DONE
    server.cuts, server.unlisted = [True], {1}
    job = bench.write_job(JOB.replace("seeds: 1..2", "seeds: [1]"))
    assert (await bench.run(job)).exit_code is ExitCode.DONE
    assert (server.posts, bench.has_seen("task.found")) == (3, False)
    server.unlisted.clear()
    assert (await bench.run(job)).exit_code is ExitCode.DONE
    assert (server.posts, bench.has_seen("task.found")) == (3, True)
    assert (Resolution.FOUND, Basis.INPUT) in attempts(bench)
    with bench.ledger() as ledger:
        assert len(list(ledger.read.in_state(TaskState.DONE))) == 3


async def test_inputs_that_are_gone_prove_no_absence(bench: RunBench, server: EchoingServer) -> None:
    """As where a service drops them an hour after the end: that is nothing that came back."""
    warm = JOB.replace("seeds: 1..2", "seeds: [7]")
    assert (await bench.run(bench.write_job(warm, "jobs/warm.yaml"))).exit_code is ExitCode.DONE
    server.forgets_inputs = True
    server.cuts = [True]
    result = await bench.run(bench.write_job(JOB.replace("seeds: 1..2", "seeds: [1]")))
    assert result.counts[TaskState.DONE] == 0
    assert server.posts == 2


async def test_what_came_with_the_id_goes_back_in_each_get_and_is_shown_nowhere(
    bench: RunBench, server: EchoingServer
) -> None:
    """Also by a later process: it is in the ledger with the id, and in no event, manifest, log or report."""
    server.queued_until = 3
    job = bench.write_job(JOB)
    await bench.run(job, until=lambda: bench.has_seen("task.status", 2))
    server.queued_until = 0
    assert (await bench.run(job)).exit_code is ExitCode.DONE
    gets = {path for path, _ in server.told if path.startswith(("/status/", "/v1/films/"))}
    assert gets == {"/status/0", "/status/1"}
    with bench.ledger() as ledger:
        (row, *_) = ledger.read.in_state(TaskState.DONE)
        assert "canary-handle" in row.handle["status"]
        assert "canary" not in repr(row)
    shown = [
        path for path in bench.root.rglob("*") if path.is_file() and not path.name.startswith("ledger.db")
    ]
    assert not any(b"canary-handle" in path.read_bytes() for path in shown)
    assert "canary" not in repr(bench.events)


async def test_an_input_file_is_put_up_once_for_a_run(bench: RunBench, server: EchoingServer) -> None:
    (bench.root / "in.png").write_bytes(png(640, 480))
    server.refused_uploads = 1
    result = await bench.run(bench.write_job(JOB.replace("output:", IMAGE + "output:")))
    assert (result.exit_code, result.counts[TaskState.DONE]) == (ExitCode.DONE, 2)
    assert server.uploads == [png(640, 480)]
    assert {film["input"]["image"] for film in server.films} == {f"{server.url}/in/1?sig=canary"}
    kept = [path for path in (bench.root / ".callsheet").rglob("*") if path.is_file()]
    assert not any(b"sig=canary" in path.read_bytes() for path in kept)


@pytest.mark.fault(106)
async def test_a_file_that_cannot_be_put_up_is_named_and_nothing_is_sent(
    bench: RunBench, server: EchoingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.lane.pace.Retry.pause", lambda _: 0.0)
    (bench.root / "in.png").write_bytes(png(640, 480))
    server.refused_uploads = 100
    result = await bench.run(bench.write_job(JOB.replace("output:", IMAGE + "output:")))
    assert result.exit_code is ExitCode.INPUT_MISSING
    assert "in.png cannot be uploaded" in " ".join(result.reasons)
    assert (server.posts, attempts(bench)) == (0, [])
    assert all(path in (UPLOADS, "/v1/films") for path, _ in server.told)
