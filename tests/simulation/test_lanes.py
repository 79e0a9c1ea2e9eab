"""Lanes side by side, in simulated time: what stops one, and what that costs the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import ExitCode, KeyRefusedError
from runner.ledger.states import TaskState
from runner.run.finish import RunResult
from tests.simulation.lanes import TimedBench, TimedService
from tests.simulation.loops import Backend

BOTH = pytest.mark.parametrize("backend", Backend)

HEAD = """\
version: 1
samples: {samples}
request: {{resolution: 480p, ratio: 16:9, duration: 4}}
content: [{{type: text, text: {text}}}]
output: {folder}/${{{{ model }}}}-${{{{ sample }}}}.mp4
run: {{concurrency: 4{run}}}
models:
"""
MODEL = "  - {{id: byteplus/seedance-1-0-pro, at: {at}, name: {at}}}\n"


def job(*accounts: str, samples: int = 8, text: str = "a teapot", folder: str = "out", run: str = "") -> str:
    head = HEAD.format(samples=samples, text=text, folder=folder, run=f", {run}" if run else "")
    return head + "".join(MODEL.format(at=each) for each in accounts)


def bench(tmp_path: Path, clip: bytes, **services: TimedService) -> TimedBench:
    tmp_path.mkdir(exist_ok=True)
    both = {"first": TimedService(), "second": TimedService()} | services
    return TimedBench(tmp_path, clip, both)


def done(result: RunResult) -> int:
    return result.counts.get(TaskState.DONE, 0)


@BOTH
def test_two_lanes_take_hardly_longer_than_one(tmp_path: Path, clip: bytes, backend: Backend) -> None:
    """40 tasks each, at most 4 at a service at once."""
    one = bench(tmp_path / "one", clip)
    [alone], seconds = one.run(backend, one.write("job.yaml", job("second", samples=40)))
    two = bench(tmp_path / "two", clip)
    [both], together = two.run(backend, two.write("job.yaml", job("first", "second", samples=40)))
    assert not alone.reasons, alone.reasons
    assert (done(alone), done(both), both.exit_code) == (40, 80, ExitCode.DONE)
    assert together <= 1.15 * seconds


@BOTH
@pytest.mark.parametrize(
    ("paid", "free", "code"),
    [
        (401, 0, ExitCode.KEY_REFUSED),
        (401, 401, ExitCode.KEY_REFUSED),
        (402, 0, ExitCode.OUT_OF_MONEY),
        (429, 0, ExitCode.TRY_AGAIN),
        (429, 429, ExitCode.TRY_AGAIN),
        (503, 0, ExitCode.TRY_AGAIN),
        (503, 503, ExitCode.UNREACHABLE),
    ],
)
@pytest.mark.fault(108)
def test_a_lane_that_is_refused_stops_no_other_and_delays_it_by_nothing(
    tmp_path: Path, clip: bytes, backend: Backend, paid: int, free: int, code: ExitCode
) -> None:
    one = bench(tmp_path / "one", clip)
    one.run(backend, one.write("job.yaml", job("second")))
    two = bench(tmp_path / "two", clip, first=TimedService(posts=paid, others=free))
    [result], _ = two.run(backend, two.write("job.yaml", job("first", "second", run="timeout: 10m")))
    assert (done(result), len(two.services["second"].accepted)) == (8, 8)
    assert max(two.ends("job.yaml", "second")) <= max(one.ends("job.yaml", "second")) + 1.0
    assert code in result.conditions
    assert all(reason.startswith("first: ") for reason in result.reasons)
    assert result.counts[TaskState.PLANNED] == 8
    assert two.services["first"].accepted == {}


@BOTH
@pytest.mark.fault(163)
def test_files_of_one_lane_that_never_come_delay_no_video_of_another(
    tmp_path: Path, clip: bytes, backend: Backend
) -> None:
    one = bench(tmp_path / "one", clip)
    one.run(backend, one.write("job.yaml", job("second", samples=12)))
    two = bench(tmp_path / "two", clip, first=TimedService(stalled=True))
    [result], _ = two.run(backend, two.write("job.yaml", job("first", "second", samples=12)))
    assert (done(result), len(two.services["second"].accepted)) == (12, 12)
    # three rounds of looks, each with a jitter of its own
    assert max(two.ends("job.yaml", "second")) <= max(one.ends("job.yaml", "second")) + 10.0


@BOTH
@pytest.mark.fault(109)
def test_a_stop_concerns_the_jobs_with_tasks_in_that_lane_alone(
    tmp_path: Path, clip: bytes, backend: Backend
) -> None:
    two = bench(tmp_path, clip, first=TimedService(posts=401))
    files = [
        two.write("a.yaml", job("first", folder="a")),
        two.write("b.yaml", job("second", text="a kettle", folder="b")),
        two.write("c.yaml", job("first", "second", text="a cup", folder="c")),
    ]
    (a, b, c), _ = two.run(backend, *files)
    assert [each.exit_code for each in (a, b, c)] == [77, 0, 77]
    assert [done(each) for each in (a, b, c)] == [0, 8, 8]
    assert (b.reasons, len(a.reasons), len(c.reasons)) == ((), 1, 1)
    (told,) = [fields for name, fields, _ in two.events["c.yaml"] if name == "run.submitting_stopped"]
    assert told["account"] == "first"
    assert not any(name == "run.submitting_stopped" for name, _, _ in two.events["b.yaml"])


@BOTH
def test_jobs_of_one_lane_share_its_pace_and_its_places(
    tmp_path: Path, clip: bytes, backend: Backend
) -> None:
    """Two jobs of 8 tasks take as long as one of 16."""
    one = bench(tmp_path / "one", clip)
    _, seconds = one.run(backend, one.write("job.yaml", job("first", samples=16)))
    two = bench(tmp_path / "two", clip)
    files = [two.write(f"{each}.yaml", job("first", text=each, folder=each)) for each in ("a", "b")]
    results, together = two.run(backend, *files)
    assert [done(each) for each in results] == [8, 8]
    assert 0.95 * seconds <= together <= 1.05 * seconds


@BOTH
@pytest.mark.fault(110)
def test_a_task_of_two_jobs_is_bought_once_and_is_in_both_places(
    tmp_path: Path, clip: bytes, backend: Backend
) -> None:
    two = bench(tmp_path, clip)
    files = [two.write(f"{each}.yaml", job("first", folder=each)) for each in ("a", "b")]
    results, _ = two.run(backend, *files)
    assert [(done(each), each.exit_code) for each in results] == [(8, ExitCode.DONE)] * 2
    assert len(two.services["first"].accepted) == 8
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(
        path.name for path in (tmp_path / "b").iterdir()
    )


@BOTH
@pytest.mark.fault(111)
def test_a_missing_key_leaves_its_tasks_and_nothing_is_asked(
    tmp_path: Path, clip: bytes, backend: Backend
) -> None:
    two = bench(tmp_path, clip, first=TimedService(posts=401, others=401))
    two.refusals = {"first": KeyRefusedError("account first: FIRST_KEY not set")}
    [result], _ = two.run(backend, two.write("job.yaml", job("first", "second")))
    assert (result.exit_code, done(result)) == (ExitCode.KEY_REFUSED, 8)
    assert result.reasons == ("first: account first: FIRST_KEY not set",)


@BOTH
@pytest.mark.fault(112)
def test_a_key_that_is_refused_later_ends_its_lane_and_loses_nothing(
    tmp_path: Path, clip: bytes, backend: Backend
) -> None:
    """The looks of one lane are answered 401 once its tasks are accepted; the next start fetches them."""
    two = bench(tmp_path, clip)
    first = two.services["first"]
    file = two.write("job.yaml", job("first", "second", samples=4))

    class Revoked(TimedService):
        async def get(self, task):  # type: ignore[no-untyped-def]
            self.others = 401
            return await super().get(task)

    two.services = {**two.services, "first": Revoked(accepted=first.accepted)}
    [result], _ = two.run(backend, file)
    assert (result.exit_code, done(result)) == (ExitCode.KEY_REFUSED, 4)
    two.services = {**two.services, "first": first}
    [again], _ = two.run(backend, file)
    assert (again.exit_code, done(again)) == (ExitCode.DONE, 8)
    assert (len(first.accepted), len(two.services["second"].accepted)) == (4, 4)
