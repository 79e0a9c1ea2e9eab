"""Each wait for a service has an end, and says what is awaited until when."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

import anyio
import pytest
import trio
import trio.testing

from runner.errors import ExitCode
from runner.http.verdicts import ProviderError, Trouble
from runner.job.model import RunPolicy
from runner.lane.control import Control
from runner.lane.gate import Gate
from runner.lane.pace import RequestPace, StillLimitedError
from runner.ledger.states import TaskState
from runner.providers.mesh.client import MeshClient
from runner.redact import Redactor
from runner.sandbox import Fault, Kind, SandboxConfig, SandboxServer, Where
from tests.support.evidence import evidence_but
from tests.support.run_bench import RunBench, job_text


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxConfig(latency=(0.0, 0.05), scale=0.05)) as running:
        yield running


def limited(where: Where, **shape: object) -> Fault:
    return Fault(where=where, kind=Kind.ANSWER, status=429, times=None, **shape)  # type: ignore[arg-type]


def waits(bench: RunBench) -> list[dict[str, object]]:
    return [dict(fields) for name, fields in bench.events if name == "run.waiting"]


@pytest.mark.anyio
@pytest.mark.fault(73)
async def test_a_hello_that_is_always_refused_ends_with_run_timeout(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(limited(Where.LIST, code="rate_limit_exceeded", message="slow down"))
    started = time.monotonic()
    result = await bench.run(bench.write_job(job_text(seeds=3, run="timeout: 1s")))
    assert time.monotonic() - started < 20
    assert (result.exit_code, server.accepted) == (ExitCode.TRY_AGAIN, 0)
    (reason,) = result.reasons
    assert "rate_limit_exceeded: slow down" in reason
    assert "would pass run.timeout (1 s)" in reason


@pytest.mark.anyio
@pytest.mark.fault(73)
@pytest.mark.parametrize("verb", ["run", "collect"])
async def test_polls_that_are_always_refused_leave_their_tasks_to_the_next_start(
    verb: str, bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults.add(limited(Where.GET, code="rate_limit_exceeded", message="slow down", retry_after=0.4))
    file = bench.write_job(job_text(seeds=3, run="timeout: 1s"))
    result = await bench.run(file)
    assert (result.exit_code, result.counts) == (ExitCode.TRY_AGAIN, {TaskState.SUBMITTED: 3})
    if verb == "collect":
        monkeypatch.setattr("runner.run.run.RunPolicy", functools.partial(RunPolicy, timeout=1.0))
        result = await bench.collect()
        assert result.exit_code is ExitCode.TRY_AGAIN
    assert any("rate_limit_exceeded: slow down" in reason for reason in result.reasons)
    server.faults.clear()
    assert ((await bench.run(file)).exit_code, server.accepted) == (ExitCode.DONE, 3)


@pytest.mark.anyio
@pytest.mark.fault(73)
@pytest.mark.parametrize("paid", [0, 1])
async def test_a_submit_is_not_waited_for_longer_than_run_timeout(
    paid: int, bench: RunBench, server: SandboxServer
) -> None:
    """Nor is what was accepted beside it, which is fetched by the next run."""
    server.faults.add(limited(Where.SUBMIT, after=paid, retry_after=600.0, message="slow down"))
    file, started = bench.write_job(job_text(seeds=3, run="timeout: 1s")), time.monotonic()
    result = await bench.run(file)
    assert time.monotonic() - started < 10
    assert (result.exit_code, server.accepted) == (ExitCode.TRY_AGAIN, paid)
    assert any("would pass run.timeout (1 s): " in reason for reason in result.reasons)
    server.faults.clear()
    assert ((await bench.run(file)).exit_code, server.accepted) == (ExitCode.DONE, 3)


@pytest.mark.anyio
@pytest.mark.fault(73)
async def test_refusals_without_a_pause_end_by_their_number(
    bench: RunBench, server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Retry-After: 0`, and patience for a week."""
    monkeypatch.setattr("runner.lane.lane.LIMITED_TRIES", 4)
    monkeypatch.setattr("runner.run.task.watch.LIMITED_LOOKS", 3)
    server.faults.add(limited(Where.LIST, retry_after=0.0, code="rate_limit_exceeded", message="slow down"))
    file = bench.write_job(job_text(seeds=1, run="timeout: 7d"))
    result = await bench.run(file)
    assert (result.exit_code, server.faults.struck) == (ExitCode.TRY_AGAIN, 4)
    assert any("slow down" in reason for reason in result.reasons)
    server.faults.clear()
    server.faults.add(limited(Where.GET, retry_after=0.0, code="rate_limit_exceeded", message="slow down"))
    result = await bench.run(file)
    assert (result.exit_code, server.faults.struck) == (ExitCode.TRY_AGAIN, 4)
    assert any("3 looks were refused in a row" in reason for reason in result.reasons)


@pytest.mark.anyio
@pytest.mark.fault(72)
@pytest.mark.parametrize("where", [Where.SUBMIT, Where.GET, Where.LIST])
async def test_a_quota_that_is_gone_stops_as_missing_money_does(
    where: Where, bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(limited(where, code="quota_exceeded", message="the daily quota is used up"))
    file = bench.write_job(job_text(seeds=3))
    result = await bench.run(file)
    assert result.exit_code is ExitCode.OUT_OF_MONEY
    assert any("the daily quota is used up" in reason for reason in result.reasons)
    posts = server.accepted
    assert posts == 0 or where is Where.GET
    server.faults.clear()
    assert ((await bench.run(file)).exit_code, server.accepted) == (ExitCode.DONE, 3)


@pytest.mark.anyio
async def test_a_service_that_sends_no_date_is_greeted_once(bench: RunBench, server: SandboxServer) -> None:
    """Its answer is one, though it tells no time: not one GET more for each task."""
    greeted = 0
    ping = MeshClient.ping

    async def timeless(provider: MeshClient) -> None:
        nonlocal greeted
        greeted += 1
        await ping(provider)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MeshClient, "ping", timeless)
        patched.setattr("runner.lane.clock.ServerClock.hear", lambda clock, at: None)
        result = await bench.run(bench.write_job(job_text(seeds=4)))
    assert (result.exit_code, server.accepted, greeted) == (ExitCode.DONE, 4, 1)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "created_at", evidence_but((253_402_300_799).__eq__, [0, 1_000_000_000, 253_402_300_799])
)
async def test_an_absurd_time_of_the_service_delays_no_later_look(
    created_at: int, bench: RunBench, server: SandboxServer
) -> None:
    text = job_text(seeds=1, run="timeout: 60s").replace("first: 20ms, ", "")
    server.faults.add(Fault(where=Where.GET, kind=Kind.FIELDS, fields={"created_at": created_at}, times=None))
    started = time.monotonic()
    for seeds in ("1..1", "1..3", "1..5"):
        result = await bench.run(bench.write_job(text.replace("1..1", seeds)))
        assert result.exit_code is ExitCode.DONE
    assert time.monotonic() - started < 30


def test_all_that_wait_come_back_when_the_service_has_refused_for_too_long() -> None:
    async def scenario() -> tuple[list[float], list[str]]:
        said: list[str] = []
        budget = RequestPace(None, patience=120.0, give_up=said.append)
        left: list[float] = []

        async def look() -> None:
            while True:
                try:
                    await budget.acquire()
                except StillLimitedError:
                    left.append(anyio.current_time())
                    return
                budget.refused(ProviderError(Trouble.RATE_LIMITED, "HTTP 429: slow", retry_after=20.0))

        async def submit() -> None:
            await budget.acquire(is_submit=True)
            left.append(anyio.current_time())

        async with anyio.create_task_group() as group:
            for _ in range(500):
                group.start_soon(look)
            await anyio.sleep(1)
            group.start_soon(submit)
        return left, said

    left, said = trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(left) == 501
    assert max(left) <= 180
    (reason,) = said
    said_so = "the service answers nothing but 429, and its next wait would pass run.timeout (120 s)"
    assert reason == f"{said_so}: HTTP 429: slow"


def test_an_answer_forgives_the_refusals_before_it() -> None:
    async def scenario() -> int:
        budget, refusals = RequestPace(None, patience=120.0), 0
        for _ in range(50):
            await budget.acquire()
            budget.refused(ProviderError(Trouble.RATE_LIMITED, "no", retry_after=60.0))
            refusals += 1
            await budget.acquire()
            budget.answered()
        return refusals

    assert trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0)) == 50


def test_a_wait_is_told_once_with_its_end_and_its_tasks() -> None:
    async def scenario() -> list[dict[str, object]]:
        told: list[dict[str, object]] = []
        gate = Gate("mesh", lambda: 0.0)
        gate.hearing.append(
            Control(lambda name, fields: told.append({"event": name, **fields}), Redactor(()))
        )
        gate.waiting("a limit", 9.9, 1)
        for _ in range(3):
            gate.waiting("a limit", 60.0, 2)
            await anyio.sleep(1)
        gate.waited("a limit")
        gate.waited("a limit")
        return told

    told = trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))
    wait = {"event": "run.waiting", "account": "mesh", "for": "a limit"}
    assert told == [
        {**wait, "until": "1970-01-01T00:01:00.000Z", "tasks": 2},
        {**wait, "until": "1970-01-01T00:00:00.000Z", "tasks": 0},
    ]


@pytest.mark.anyio
@pytest.mark.fault(74)
async def test_a_long_pause_of_the_service_is_told(bench: RunBench, server: SandboxServer) -> None:
    server.faults.add(limited(Where.SUBMIT, retry_after=30.0))
    result = await bench.run(
        bench.write_job(job_text(seeds=1)), until=lambda: bool(waits(bench)), deadline=None
    )
    assert result.exit_code is ExitCode.TRY_AGAIN
    (wait,) = waits(bench)
    assert (wait["for"], wait["tasks"]) == ("the service's limit on requests (429)", 1)
    assert str(wait["until"]).endswith("Z")


@pytest.mark.anyio
@pytest.mark.fault(74)
async def test_an_outage_is_told_with_the_time_at_which_the_run_stops_waiting(
    bench: RunBench, server: SandboxServer
) -> None:
    server.faults.add(
        Fault(where=Where.SUBMIT, kind=Kind.ANSWER, status=503, times=1),
        Fault(where=Where.LIST, kind=Kind.ANSWER, status=503, after=1, times=3),
    )
    result = await bench.run(bench.write_job(job_text(seeds=1)))
    assert result.exit_code is ExitCode.DONE
    first, last = waits(bench)
    assert "to answer a free request" in str(first["for"])
    assert (last["for"], last["tasks"]) == (first["for"], 0)
