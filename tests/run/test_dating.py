"""`run.date` comes from this machine's clock, which may be wrong: the same night would be bought twice."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable

import anyio
import pytest

from runner.errors import ExitCode, UsageError
from runner.job.expressions.rundate import RunDate
from runner.run.dating import ClockDate, DateCheck
from runner.sandbox import Fault, Kind, SandboxServer, Where
from tests.support.run_bench import RunBench, job_text

YEARS = 10 * 365 * 86_400.0
USES = {
    "edition": job_text(seeds=2, more="edition: ${{ run.date }}"),
    "the prompt": job_text(seeds=2).replace("a teapot", "a teapot of ${{ run.date.year }}"),
    "a path": job_text(seeds=2).replace("out/s", "out/${{ run.date }}/s"),
    "a variable": job_text(seeds=2, more="vars: {night: '${{ run.date }}'}").replace(
        "a teapot", "a teapot, ${{ vars.night }}"
    ),
    "an axis": job_text(seeds=1, more='matrix: {day: ["${{ run.date }}"]}').replace("a teapot", "${{ day }}"),
}


def _clock(ahead: float) -> Callable[[], float]:
    return lambda: time.time() + ahead


@pytest.mark.anyio
@pytest.mark.fault(61)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("ahead", [YEARS, -YEARS], ids=["ahead", "behind"])
async def test_a_clock_that_is_wrong_by_years_buys_no_night_twice(
    ahead: float, use: str, bench: RunBench, server: SandboxServer
) -> None:
    file = bench.write_job(USES[use])
    bench.wall = _clock(ahead)
    refused = await bench.run(file)
    assert (refused.exit_code, server.accepted) == (ExitCode.REFUSED, 0)
    (reason,) = refused.reasons
    today, wrong = RunDate.today(time.time()), RunDate.today(time.time() + ahead)
    assert f"this machine's clock says {wrong}" in reason
    assert f"the service's clock says {today}" in reason
    assert reason.endswith(f"set the clock, or give the date yourself: --date {today}")

    bench.wall = time.time
    done = await bench.run(file)
    assert done.exit_code is ExitCode.DONE
    assert bench.manifest()["run"]["run_date"] == today.format()  # type: ignore[index]
    before = server.accepted
    bench.wall = _clock(ahead)
    await bench.run(file, resume=done.run_id)
    assert server.accepted == before


@pytest.mark.anyio
@pytest.mark.fault(61)
async def test_what_it_advises_works(bench: RunBench, server: SandboxServer) -> None:
    file = bench.write_job(USES["edition"])
    bench.wall = _clock(YEARS)
    (reason,) = (await bench.run(file)).reasons
    advised = reason.rpartition("--date ")[2]
    assert (await bench.run(file, date=advised)).exit_code is ExitCode.DONE
    assert server.accepted == 2
    bench.wall = time.time
    await bench.run(file)
    assert server.accepted == 2


@pytest.mark.anyio
async def test_a_job_without_the_date_runs_under_any_clock(bench: RunBench, server: SandboxServer) -> None:
    bench.wall = _clock(YEARS)
    assert (await bench.run(bench.write_job(job_text(seeds=2)))).exit_code is ExitCode.DONE
    assert server.accepted == 2


@pytest.mark.anyio
@pytest.mark.fault(61)
async def test_a_date_under_which_something_was_submitted_stays(
    bench: RunBench, server: SandboxServer
) -> None:
    """The first session heard no Date; to change the date now would buy its tasks again."""
    file = bench.write_job(USES["edition"])
    bench.wall = _clock(YEARS)
    wrong = RunDate.today(bench.wall())
    server.faults.add(Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=402, code="insufficient_credits"))
    first = await bench.run(file, date=str(wrong))
    assert (first.exit_code, server.accepted) == (ExitCode.OUT_OF_MONEY, 1)
    server.faults.clear()
    bench.wall = time.time
    assert (await bench.run(file, resume=first.run_id)).exit_code is ExitCode.DONE
    assert server.accepted == 2
    assert bench.manifest()["run"]["run_date"] == wrong.format()  # type: ignore[index]


@pytest.mark.anyio
@pytest.mark.fault(61)
async def test_a_run_that_was_refused_is_not_gone_on_with_under_its_wrong_date(
    bench: RunBench, server: SandboxServer
) -> None:
    file = bench.write_job(USES["the prompt"])
    bench.wall = _clock(YEARS)
    wrong = RunDate.today(bench.wall())
    refused = await bench.run(file)
    bench.wall = time.time
    resumed = await bench.run(file, resume=refused.run_id)
    assert (resumed.exit_code, server.accepted) == (ExitCode.REFUSED, 0)
    assert f"this run is dated {wrong}, has submitted nothing" in resumed.reasons[0]
    with pytest.raises(UsageError, match="keeps that date"):
        await bench.run(file, resume=refused.run_id, date="2026-05-30")
    done = await bench.run(file)
    assert done.exit_code is ExitCode.DONE
    assert done.run_id != refused.run_id


@pytest.mark.anyio
async def test_what_is_in_flight_is_collected_although_the_date_is_in_doubt(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(Fault(where=Where.GET, kind=Kind.REGRESS, times=None))
    await bench.run(bench.write_job(job_text(seeds=2), "jobs/other.yaml"), until=lambda: server.accepted == 2)
    server.faults.clear()
    for _ in range(10):  # both are ready at the service, so that the first look has them
        await anyio.sleep(0.05)
    bench.wall = _clock(YEARS)
    dated = USES["edition"].replace("out/", "dated/")
    assert (await bench.run(bench.write_job(dated))).exit_code is ExitCode.REFUSED
    assert server.accepted == 2
    assert len(list((bench.project.base / "out").glob("*.mp4"))) == 2


NOON = datetime.datetime(2026, 5, 30, 12).astimezone().timestamp()
MIDNIGHT = datetime.datetime(2026, 5, 31).astimezone().timestamp()


@pytest.mark.parametrize(
    ("ours", "service", "is_right"),
    [
        (NOON, NOON, True),
        (NOON, NOON + 5 * 3600, True),
        (MIDNIGHT - 60, MIDNIGHT + 60, True),
        (MIDNIGHT + 300, MIDNIGHT - 300, True),
        (MIDNIGHT - 301, MIDNIGHT + 300, False),
        (MIDNIGHT + 660, MIDNIGHT - 1, False),
        (NOON + YEARS, NOON, False),
        (NOON, NOON + 86_400, False),
        (NOON, 253_402_300_799.0, False),
        (NOON, -1e12, False),
    ],
)
def test_the_date_is_in_doubt_beyond_ten_minutes_and_in_another_day(
    ours: float, service: float, is_right: bool
) -> None:
    assert (ClockDate(RunDate.today(ours), ours).doubt(service) == "") is is_right


def test_a_date_is_checked_until_one_reading_confirms_it() -> None:
    now = 1_780_000_000.0
    check = DateCheck(ClockDate(RunDate.today(now), now), began=100.0)
    assert check.doubt((), 105.0) == ""
    assert "is in doubt" in check.doubt((now + 5 - YEARS,), 105.0)
    assert check.doubt((now + 5 - YEARS, now + 5), 105.0) == ""
    assert check.doubt((now + 5 - YEARS,), 105.0) == ""
    assert DateCheck(None, began=0.0).doubt((now,), 1.0) == ""


def test_the_service_s_day_is_that_of_the_projects_time_zone() -> None:
    """An hour after midnight there, it is yesterday on this machine, and nothing is in doubt."""
    zone = datetime.timezone(datetime.timedelta(hours=14))
    midnight = datetime.datetime(2026, 11, 22, 1, tzinfo=zone).timestamp()
    dated = RunDate.today(midnight, zone)
    assert str(dated) == "2026-11-22"
    assert ClockDate(dated, midnight, zone=zone).doubt(midnight + 5) == ""
    told = ClockDate(dated, midnight, zone=zone).doubt(midnight - 7200)
    assert "the service's clock says 2026-11-21 23:00 +1400" in told
    assert "--date 2026-11-21" in told
